//! PersistentVolumeClaim.

use machinery::{Map, Value};

use super::persistent_volume::{class, short_modes, unset};
use crate::edit::{fill_zero, within};
use crate::table::{AGE, NAME, age, cell, name as name_cell, text, wide};
use crate::types::{claim_spec, resources};
use crate::{Column, Cx, FieldErrors, Path, Rules, equal, strategy};

/// Rules of claims.
pub(crate) struct PersistentVolumeClaim;

impl Rules for PersistentVolumeClaim {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        claim_spec::default(object.at_mut(&["spec"]));
        let status = object.at_mut(&["status"]);
        fill_zero(status, "phase", "Pending");
        within(status, "capacity", resources::default_list);
    }

    fn prepare_create(&self, object: &mut Value, cx: &Cx<'_>) {
        strategy::prepare_create(object, false, cx);
        object.at_mut(&["status"]).insert("phase", "Pending");
        data_sources(object.at_mut(&["spec"]), false);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, cx: &Cx<'_>) {
        strategy::prepare_update(new, old, false, cx);
        if cx.subresource.is_empty() {
            let used = ["dataSource", "dataSourceRef"]
                .iter()
                .any(|k| !old["spec"][*k].is_null());
            data_sources(new.at_mut(&["spec"]), used);
        }
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        claim_spec::validate(&object["spec"], &Path::new("spec"), errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
        if !cx.subresource.is_empty() {
            return;
        }
        let bound = old.at(&["status", "phase"]).as_str() == Some("Bound");
        let (wish, was) = (&new["spec"], &old["spec"]);
        // The binder sets the volume's name once; the size may grow while bound; the attributes class may change.
        let mut allowed = wish.clone();
        let map = allowed.at_mut(&[]);
        if was["volumeName"].is_zero() {
            strategy::put(map, "volumeName", was["volumeName"].clone());
        }
        let (asked, had) = (
            resources::amount(wish.at(&["resources", "requests"]), "storage"),
            resources::amount(was.at(&["resources", "requests"]), "storage"),
        );
        if bound && !was.at(&["resources", "requests"]).is_null() {
            let old_request = was.at(&["resources", "requests", "storage"]).clone();
            within(map, "resources", |r| {
                within(r, "requests", |q| strategy::put(q, "storage", old_request));
            });
        }
        strategy::put(
            map,
            "volumeAttributesClassName",
            was["volumeAttributesClassName"].clone(),
        );
        if was["storageClassName"].is_null() || allowed["storageClassName"].is_null() {
            // Setting a class on a claim that has none yet is allowed (retroactive default).
            let waiting = was["storageClassName"].is_null() && !bound;
            if waiting {
                strategy::put(
                    allowed.at_mut(&[]),
                    "storageClassName",
                    was["storageClassName"].clone(),
                );
            }
        }
        if !equal(&allowed, was) {
            let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
            errors.forbidden(&Path::new("spec"), detail);
        }
        if let (Some(asked), Some(had)) = (asked, had)
            && bound
            && asked < had
        {
            let status = resources::amount(old.at(&["status", "capacity"]), "storage");
            if status.is_none_or(|s| asked <= s) {
                let detail = "field can not be less than status.capacity";
                errors.forbidden(&Path::new("spec.resources.requests.storage"), detail);
            }
        }
        let (wished_class, old_class) = (
            &wish["volumeAttributesClassName"],
            &was["volumeAttributesClassName"],
        );
        if !equal(wished_class, old_class) && !bound {
            let detail = "update is forbidden when the PVC is not bound";
            errors.forbidden(&Path::new("spec.volumeAttributesClassName"), detail);
        }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                text("Status"),
                text("Volume"),
                text("Capacity"),
                text("Access Modes"),
                text("StorageClass"),
                text("VolumeAttributesClass"),
                AGE,
                wide("VolumeMode"),
            ]
        }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let bound = !spec["volumeName"].is_zero();
        let capacity = status.str_at(&["capacity", "storage"]).unwrap_or("0").to_owned();
        let deleting = !object.at(&["metadata", "deletionTimestamp"]).is_null();
        vec![
            name_cell(object),
            if deleting {
                "Terminating".into()
            } else {
                cell(&status["phase"])
            },
            cell(&spec["volumeName"]),
            if bound { capacity.into() } else { "".into() },
            if bound {
                short_modes(status).into()
            } else {
                "".into()
            },
            class(object),
            unset(&spec["volumeAttributesClassName"]),
            age(object, cx),
            unset(&spec["volumeMode"]),
        ]
    }
}

/// `dataSource` and `dataSourceRef` say the same. What the old field never could name is dropped from it.
fn data_sources(spec: &mut Map, used: bool) {
    let source = spec.get("dataSource").filter(|v| !v.is_null()).cloned();
    let reference = spec.get("dataSourceRef").filter(|v| !v.is_null()).cloned();
    match (source, reference) {
        (Some(source), None) => {
            let group = source["apiGroup"].as_str().unwrap_or_default();
            let kind = source["kind"].as_str().unwrap_or_default();
            let known = (group.is_empty() && kind == "PersistentVolumeClaim")
                || (group == "snapshot.storage.k8s.io" && kind == "VolumeSnapshot");
            if known || used {
                spec.insert("dataSourceRef", source);
            } else {
                spec.remove("dataSource");
            }
        }
        (None, Some(reference)) if reference["namespace"].is_zero() => {
            let mut source = reference;
            source.at_mut(&[]).remove("namespace");
            spec.insert("dataSource", source);
        }
        _ => {}
    }
}
