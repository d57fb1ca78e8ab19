//! Event, in the core group and in `events.k8s.io`, which name the same fields differently.

use machinery::Value;

use crate::table::{NAME, cell, name, since, text, wide};
use crate::{Column, Cx, FieldErrors, Path, Rules};

/// Rules of events.
pub(crate) struct Event;

/// What happened to which object: `involvedObject` in the core group, `regarding` in `events.k8s.io`.
fn subject(event: &Value) -> &Value {
    if event["involvedObject"].is_null() {
        &event["regarding"]
    } else {
        &event["involvedObject"]
    }
}

/// A field under its name in the core group, else under the other.
fn either<'a>(event: &'a Value, core: &str, other: &str) -> &'a Value {
    if event[core].is_null() {
        &event[other]
    } else {
        &event[core]
    }
}

fn first_text(texts: [&Value; 2]) -> &str {
    texts
        .into_iter()
        .filter_map(Value::as_str)
        .find(|t| !t.is_empty())
        .unwrap_or_default()
}

impl Rules for Event {
    fn create_on_update(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
        let involved = subject(object);
        let at = if object["involvedObject"].is_null() {
            "regarding"
        } else {
            "involvedObject"
        };
        let wanted = involved.str_at(&["namespace"]).unwrap_or_default();
        let namespace = object.str_at(&["metadata", "namespace"]).unwrap_or_default();
        // Events of cluster-wide objects live in `default`.
        let fits = if wanted.is_empty() {
            matches!(namespace, "default" | "kube-system")
        } else {
            wanted == namespace
        };
        if !fits {
            let path = Path::new(at).child("namespace");
            errors.invalid(&path, wanted.to_owned(), "does not match event.namespace");
        }
        // Events of the new group say more; those of the core group do not have to.
        if object["eventTime"].is_null() {
            if cx.resource.group.is_empty() {
                return;
            }
            errors.required(&Path::new("eventTime"), "");
            judge_type(object, errors);
            return;
        }
        if !cx.resource.group.is_empty() {
            judge_type(object, errors);
        }
        for (field, max) in [("reason", 128), ("action", 128)] {
            let text = object[field].as_str().unwrap_or_default();
            if text.is_empty() {
                errors.required(&Path::new(field), "");
            } else if text.len() > max {
                errors.invalid(
                    &Path::new(field),
                    "",
                    &format!("can have at most {max} characters"),
                );
            }
        }
        let controller = first_text([&object["reportingComponent"], &object["reportingController"]]);
        if controller.is_empty() {
            errors.required(&Path::new("reportingController"), "");
        } else {
            let bad = machinery::name::qualified_name(controller);
            errors.invalid_each(&Path::new("reportingController"), controller, bad);
        }
        match object["reportingInstance"].as_str().unwrap_or_default() {
            "" => errors.required(&Path::new("reportingInstance"), ""),
            text if text.len() > 128 => {
                errors.invalid(
                    &Path::new("reportingInstance"),
                    "",
                    "can have at most 128 characters",
                );
            }
            _ => {}
        }
        if either(object, "message", "note")
            .as_str()
            .is_some_and(|m| m.len() > 1024)
        {
            errors.invalid(&Path::new("message"), "", "can have at most 1024 characters");
        }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                text("Last Seen"),
                text("Type"),
                text("Reason"),
                text("Object"),
                wide("Subobject"),
                wide("Source"),
                text("Message"),
                wide("First Seen"),
                wide("Count"),
                Column { priority: 1, ..NAME },
            ]
        }
    }

    fn row(&self, event: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let time = |core: &str, other: &str| either(event, core, other);
        let first = match time("firstTimestamp", "deprecatedFirstTimestamp") {
            Value::Null => since(&event["eventTime"], cx),
            t => since(t, cx),
        };
        let mut last = match time("lastTimestamp", "deprecatedLastTimestamp") {
            Value::Null => first.clone(),
            t => since(t, cx),
        };
        let mut count = either(event, "count", "deprecatedCount")
            .as_i64()
            .unwrap_or(0)
            .max(1);
        let series = &event["series"];
        if !series.is_null() {
            last = since(&series["lastObservedTime"], cx);
            count = series["count"].as_i64().unwrap_or(0);
        }
        let involved = subject(event);
        let kind = involved["kind"].as_str().unwrap_or_default().to_lowercase();
        let target = match involved["name"].as_str().unwrap_or_default() {
            "" => kind,
            name => format!("{kind}/{name}"),
        };
        let source = either(event, "source", "deprecatedSource");
        let reporter = either(event, "reportingComponent", "reportingController");
        let component = first_text([&source["component"], reporter]);
        let instance = first_text([&source["host"], &event["reportingInstance"]]);
        let source = if instance.is_empty() {
            component.to_owned()
        } else {
            format!("{component}, {instance}")
        };
        let message = either(event, "message", "note")
            .as_str()
            .unwrap_or_default()
            .trim()
            .to_owned();
        vec![
            last,
            cell(&event["type"]),
            cell(&event["reason"]),
            target.into(),
            cell(&involved["fieldPath"]),
            source.into(),
            message.into(),
            first,
            count.into(),
            name(event),
        ]
    }

    fn selectable_fields(&self, event: &Value) -> Vec<(&'static str, String)> {
        let involved = subject(event);
        let of = |field: &str| involved[field].as_str().unwrap_or_default().to_owned();
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let reporter = either(event, "reportingComponent", "reportingController");
        let source = either(event, "source", "deprecatedSource");
        vec![
            ("involvedObject.kind", of("kind")),
            ("involvedObject.namespace", of("namespace")),
            ("involvedObject.name", of("name")),
            ("involvedObject.uid", of("uid")),
            ("involvedObject.apiVersion", of("apiVersion")),
            ("involvedObject.resourceVersion", of("resourceVersion")),
            ("involvedObject.fieldPath", of("fieldPath")),
            ("reason", text(&event["reason"])),
            ("reportingComponent", text(reporter)),
            ("source", first_text([&source["component"], reporter]).to_owned()),
            ("type", text(&event["type"])),
        ]
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ]
    }
}

/// `Normal` or `Warning`.
fn judge_type(object: &Value, errors: &mut FieldErrors) {
    let text = object["type"].as_str().unwrap_or_default();
    if !matches!(text, "Normal" | "Warning") {
        let detail = format!("has invalid value: {text}");
        errors.invalid(&Path::new("type"), text.to_owned(), &detail);
    }
}
