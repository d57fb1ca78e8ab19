//! APIService.

use machinery::{Value, name};

use crate::edit::{fill, within};
use crate::table::{AGE, NAME, age, name as name_cell, text};
use crate::{Column, Cx, FieldErrors, Names, Path, Rules, strategy};

/// Rules of API services.
pub(crate) struct ApiService;

impl Rules for ApiService {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        within(object.at_mut(&["spec"]), "service", |service| {
            fill(service, "port", 443)
        });
    }

    fn prepare_create(&self, object: &mut Value, cx: &Cx<'_>) {
        strategy::prepare_create(object, false, cx);
        // What the server itself serves is there as soon as it is registered.
        if object.at(&["spec", "service"]).is_null() {
            let condition = machinery::value!({
                "type": "Available",
                "status": "True",
                "lastTransitionTime": (crate::now(cx)),
                "reason": "Local",
                "message": "Local APIServices are always available"
            });
            object.at_mut(&["status"]).insert("conditions", vec![condition]);
        }
    }

    fn names(&self, _cx: &Cx<'_>) -> Names {
        Names::PathSegment
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let of = |field: &str| spec[field].as_str().unwrap_or_default();
        let (group, version) = (of("group"), of("version"));
        let wanted = format!("{version}.{group}");
        let called = object.str_at(&["metadata", "name"]).unwrap_or_default();
        if name::path_segment(called, false).is_empty() && called != wanted {
            let detail = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
            errors.invalid(&Path::new("metadata.name"), called.to_owned(), &detail);
        }
        if group.is_empty() && version != "v1" {
            let detail = "only v1 may have an empty group and it better be legacy kube";
            errors.required(&path.child("group"), detail);
        } else if !group.is_empty() {
            errors.invalid_each(&path.child("group"), group, name::dns1123_subdomain(group));
        }
        errors.invalid_each(&path.child("version"), version, name::dns1035_label(version));
        for (field, most) in [("groupPriorityMinimum", 20000), ("versionPriority", 1000)] {
            let n = spec[field].as_i64().unwrap_or(0);
            if n <= 0 || n > most {
                errors.invalid(
                    &path.child(field),
                    n,
                    &format!("must be positive and less than {most}"),
                );
            }
        }
        let insecure = spec["insecureSkipTLSVerify"].as_bool() == Some(true);
        let (service, at) = (&spec["service"], path.child("service"));
        if service.is_null() {
            if insecure {
                let detail = "local APIServices may not have insecureSkipTLSVerify";
                errors.invalid(&path.child("insecureSkipTLSVerify"), true, detail);
            }
            return;
        }
        for field in ["namespace", "name"] {
            if service[field].is_zero() {
                errors.required(&at.child(field), "");
            }
        }
        let port = service["port"].as_i64().unwrap_or(0);
        for message in name::port_number(port) {
            errors.invalid(&at.child("port"), port, &format!("port is not valid: {message}"));
        }
        if insecure && !spec["caBundle"].is_zero() {
            let detail = "may not be true if caBundle is present";
            errors.invalid(&path.child("insecureSkipTLSVerify"), true, detail);
        }
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("Service"), text("Available"), AGE] }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let service = object.at(&["spec", "service"]);
        let of = |field: &str| service[field].as_str().unwrap_or_default();
        let shown = match service {
            Value::Null => "Local".to_owned(),
            _ => format!("{}/{}", of("namespace"), of("name")),
        };
        let conditions = object.list_at(&["status", "conditions"]);
        let state = conditions
            .iter()
            .find(|c| c["type"].as_str() == Some("Available"))
            .map_or_else(
                || "Unknown".to_owned(),
                |c| match (
                    c["status"].as_str().unwrap_or_default(),
                    c["reason"].as_str().unwrap_or_default(),
                ) {
                    ("True", _) => "True".to_owned(),
                    (status, "") => status.to_owned(),
                    (status, reason) => format!("{status} ({reason})"),
                },
            );
        vec![name_cell(object), shown.into(), state.into(), age(object, cx)]
    }
}
