//! PersistentVolume.

use machinery::{Map, Value};

use crate::edit::{fill, fill_zero, within};
use crate::table::{AGE, NAME, age, cell, name as name_cell, text, wide};
use crate::types::{resources, volume};
use crate::{Column, Cx, FieldErrors, Path, Rules, equal, strategy};

/// Rules of persistent volumes.
pub(crate) struct PersistentVolume;

/// The annotation that named the storage class before there was a field.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// Members of the spec that are no source.
const NO_SOURCE: &[&str] = &[
    "capacity",
    "accessModes",
    "claimRef",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "mountOptions",
    "volumeMode",
    "nodeAffinity",
    "volumeAttributesClassName",
];

impl Rules for PersistentVolume {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        let spec = object.at_mut(&["spec"]);
        fill_zero(spec, "persistentVolumeReclaimPolicy", "Retain");
        fill(spec, "volumeMode", "Filesystem");
        within(spec, "capacity", resources::default_list);
        within(spec, "hostPath", |source| fill(source, "type", ""));
        volume::default_source(spec);
        fill_zero(object.at_mut(&["status"]), "phase", "Pending");
    }

    fn prepare_create(&self, object: &mut Value, cx: &Cx<'_>) {
        strategy::prepare_create(object, false, cx);
        let status = object.at_mut(&["status"]);
        status.insert("phase", "Pending");
        status.insert("lastPhaseTransitionTime", crate::now(cx));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, cx: &Cx<'_>) {
        strategy::prepare_update(new, old, false, cx);
        if cx.subresource == "status" {
            let (before, since) = (&old["status"]["phase"], &old["status"]["lastPhaseTransitionTime"]);
            let status = new.at_mut(&["status"]);
            let given = status.get("lastPhaseTransitionTime").cloned().unwrap_or_default();
            if status.get("phase") == Some(before) {
                if given.is_null() {
                    strategy::put(status, "lastPhaseTransitionTime", since.clone());
                }
            } else if given.is_null() || given == *since {
                status.insert("lastPhaseTransitionTime", crate::now(cx));
            }
        }
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        access_modes(spec, &path, errors);
        if spec["capacity"].is_zero() {
            errors.required(&path.child("capacity"), "");
        }
        let keys: Vec<&str> = spec["capacity"]
            .as_map()
            .into_iter()
            .flat_map(Map::keys)
            .collect();
        if keys != ["storage"] {
            errors.not_supported(&path.child("capacity"), spec["capacity"].clone(), &["storage"]);
        }
        for key in keys {
            if resources::amount(&spec["capacity"], key).is_none_or(|q| q.sign() <= 0) {
                let text = spec["capacity"][key].as_str().unwrap_or_default().to_owned();
                errors.invalid(
                    &path.child("capacity").key(key),
                    text,
                    "must be greater than zero",
                );
            }
        }
        let policies = ["Delete", "Recycle", "Retain"];
        if !spec["persistentVolumeReclaimPolicy"].is_zero() {
            let at = path.child("persistentVolumeReclaimPolicy");
            errors.enumeration(&at, &spec["persistentVolumeReclaimPolicy"], &policies);
        }
        let sources: Vec<&str> = spec
            .as_map()
            .into_iter()
            .flat_map(Map::iter)
            .filter(|(k, v)| !NO_SOURCE.contains(k) && !v.is_null())
            .map(|(k, _)| k)
            .collect();
        let root = spec.str_at(&["hostPath", "path"]) == Some("/");
        if root && spec["persistentVolumeReclaimPolicy"].as_str() == Some("Recycle") {
            let detail = "may not be 'recycle' for a hostPath mount of '/'";
            errors.forbidden(&path.child("persistentVolumeReclaimPolicy"), detail);
        }
        if sources.is_empty() {
            errors.required(&path, "must specify a volume type");
        }
        for extra in sources.iter().skip(1) {
            errors.forbidden(&path.child(extra), "may not specify more than 1 volume type");
        }
        let class = spec["storageClassName"].as_str().unwrap_or_default();
        if !class.is_empty() {
            errors.invalid_each(
                &path.child("storageClassName"),
                class,
                machinery::name::dns1123_subdomain(class),
            );
        }
        volume_mode(&spec["volumeMode"], &path.child("volumeMode"), errors);
        if sources == ["local"] && spec.at(&["nodeAffinity", "required"]).is_null() {
            errors.required(&path.child("nodeAffinity"), "Local volume requires node affinity");
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
        if !cx.subresource.is_empty() {
            return;
        }
        let source = |o: &Value| {
            let mut spec = o["spec"].clone();
            if let Value::Map(map) = &mut spec {
                map.retain(|k, _| !NO_SOURCE.contains(&k));
            }
            spec
        };
        if !equal(&source(new), &source(old)) {
            let detail = "spec.persistentvolumesource is immutable after creation";
            errors.forbidden(&Path::new("spec.persistentvolumesource"), detail);
        }
        errors.immutable(
            &Path::new("volumeMode"),
            &new["spec"]["volumeMode"],
            &old["spec"]["volumeMode"],
        );
        let affinity = &old["spec"]["nodeAffinity"];
        if !affinity.is_null() {
            errors.immutable(
                &Path::new("spec.nodeAffinity"),
                &new["spec"]["nodeAffinity"],
                affinity,
            );
        }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                text("Capacity"),
                text("Access Modes"),
                text("Reclaim Policy"),
                text("Status"),
                text("Claim"),
                text("StorageClass"),
                text("VolumeAttributesClass"),
                text("Reason"),
                AGE,
                wide("VolumeMode"),
            ]
        }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let claim = &spec["claimRef"];
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let claim = if claim.is_null() {
            String::new()
        } else {
            text(&claim["namespace"]) + "/" + &text(&claim["name"])
        };
        let deleting = !object.at(&["metadata", "deletionTimestamp"]).is_null();
        vec![
            name_cell(object),
            spec.str_at(&["capacity", "storage"])
                .unwrap_or("0")
                .to_owned()
                .into(),
            short_modes(spec).into(),
            cell(&spec["persistentVolumeReclaimPolicy"]),
            if deleting {
                "Terminating".into()
            } else {
                cell(&status["phase"])
            },
            claim.into(),
            class(object),
            unset(&spec["volumeAttributesClassName"]),
            cell(&status["reason"]),
            age(object, cx),
            unset(&spec["volumeMode"]),
        ]
    }
}

/// A string, or `<unset>`.
pub(super) fn unset(value: &Value) -> Value {
    value.as_str().unwrap_or("<unset>").to_owned().into()
}

/// The storage class, of a volume or a claim.
pub(super) fn class(object: &Value) -> Value {
    let old = &object.at(&["metadata", "annotations"])[CLASS_ANNOTATION];
    cell(if old.is_null() {
        object.at(&["spec", "storageClassName"])
    } else {
        old
    })
}

/// Access modes in kubectl's abbreviations.
pub(super) fn short_modes(holder: &Value) -> String {
    let have = |mode: &str| {
        holder
            .list_at(&["accessModes"])
            .iter()
            .any(|m| m.as_str() == Some(mode))
    };
    [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ]
    .iter()
    .filter(|(mode, _)| have(mode))
    .map(|(_, short)| *short)
    .collect::<Vec<_>>()
    .join(",")
}

/// At least one access mode, all of them known, and `ReadWriteOncePod` alone.
pub(crate) fn access_modes(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let path = path.child("accessModes");
    let modes = spec.list_at(&["accessModes"]);
    if modes.is_empty() {
        errors.required(&path, "at least 1 access mode is required");
    }
    let (mut once, mut other) = (false, false);
    for mode in modes.iter().filter_map(Value::as_str) {
        match mode {
            "ReadWriteOncePod" => once = true,
            "ReadOnlyMany" | "ReadWriteMany" | "ReadWriteOnce" => other = true,
            unknown => {
                let known = [
                    "ReadOnlyMany",
                    "ReadWriteMany",
                    "ReadWriteOnce",
                    "ReadWriteOncePod",
                ];
                errors.not_supported(&path, unknown.to_owned(), &known);
            }
        }
    }
    if once && other {
        errors.forbidden(&path, "may not use ReadWriteOncePod with other access modes");
    }
}

/// `Block` or `Filesystem`.
pub(crate) fn volume_mode(mode: &Value, path: &Path, errors: &mut FieldErrors) {
    if !mode.is_null() {
        errors.enumeration(path, mode, &["Block", "Filesystem"]);
    }
}
