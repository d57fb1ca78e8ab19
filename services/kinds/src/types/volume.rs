//! Volumes of pods.

use machinery::{Map, Value, name};

use super::{claim_spec, container, env};
use crate::edit::{each, fill, fill_zero, text, within};
use crate::{FieldErrors, Path};

/// The mode of files in volumes that the kubelet writes: 0644.
const FILE_MODE: i64 = 0o644;

/// Defaults of a volume: what has no source is an empty directory.
pub(crate) fn default(volume: &mut Map) {
    if !volume.iter().any(|(k, v)| k != "name" && !v.is_null()) {
        volume.insert("emptyDir", Value::map());
    }
    for key in ["secret", "configMap", "downwardAPI", "projected"] {
        within(volume, key, |source| fill(source, "defaultMode", FILE_MODE));
    }
    within(volume, "hostPath", |source| fill(source, "type", ""));
    within(volume, "downwardAPI", default_items);
    within(volume, "projected", |source| {
        each(source, "sources", |projection| {
            within(projection, "downwardAPI", default_items);
            within(projection, "serviceAccountToken", |token| {
                fill(token, "expirationSeconds", 3600)
            });
        });
    });
    within(volume, "image", |image| {
        let policy = container::pull_policy(text(image, "reference"));
        fill_zero(image, "pullPolicy", policy);
    });
    within(volume, "ephemeral", |ephemeral| {
        within(ephemeral, "volumeClaimTemplate", |template| {
            claim_spec::default(template.map_entry("spec"));
        });
    });
    default_source(volume);
}

fn default_items(source: &mut Map) {
    each(source, "items", |item| {
        within(item, "fieldRef", |field| fill_zero(field, "apiVersion", "v1"))
    });
}

/// Defaults of the sources that volumes share with persistent volumes.
pub(crate) fn default_source(volume: &mut Map) {
    within(volume, "iscsi", |source| {
        fill_zero(source, "iscsiInterface", "default")
    });
    within(volume, "rbd", |source| {
        fill_zero(source, "pool", "rbd");
        fill_zero(source, "user", "admin");
        fill_zero(source, "keyring", "/etc/ceph/keyring");
    });
    within(volume, "azureDisk", |source| {
        fill(source, "cachingMode", "ReadWrite");
        fill(source, "fsType", "ext4");
        fill(source, "readOnly", false);
        fill(source, "kind", "Shared");
    });
    within(volume, "scaleIO", |source| {
        fill_zero(source, "storageMode", "ThinProvisioned");
        fill_zero(source, "fsType", "xfs");
    });
}

/// The order in which upstream looks at sources.
const ORDER: [&str; 8] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
];

/// What is wrong with volumes; returns their names.
pub(crate) fn validate_all<'a>(volumes: &'a [Value], path: &Path, errors: &mut FieldErrors) -> Vec<&'a str> {
    let mut names = Vec::new();
    for (i, volume) in volumes.iter().enumerate() {
        let at = path.index(i);
        let before = errors.0.len();
        let sources: Vec<&str> = volume
            .as_map()
            .into_iter()
            .flat_map(Map::iter)
            .filter(|(k, v)| *k != "name" && !v.is_null())
            .map(|(k, _)| k)
            .collect();
        if sources.is_empty() {
            errors.required(&at, "must specify a volume type");
        }
        // Upstream looks at the sources in its own order; the first is judged, the others are too many.
        let mut ordered = sources.clone();
        ordered.sort_by_key(|s| ORDER.iter().position(|o| o == s).unwrap_or(ORDER.len()));
        for (n, source) in ordered.iter().enumerate() {
            if n == 0 {
                validate_source(source, &volume[*source], &at.child(source), errors);
            } else {
                // Upstream spells some of them so.
                let shown = match *source {
                    "downwardAPI" => "downwarAPI",
                    "cephfs" => "cephFS",
                    other => other,
                };
                errors.forbidden(&at.child(shown), "may not specify more than 1 volume type");
            }
        }
        let name = volume["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            errors.required(&at.child("name"), "");
            continue;
        }
        errors.invalid_each(&at.child("name"), name, name::dns1123_label(name));
        if names.contains(&name) {
            errors.duplicate(&at.child("name"), name.to_owned());
        } else if errors.0.len() == before {
            // As upstream: nothing can be mounted from a volume that is wrong.
            names.push(name);
        }
    }
    names
}

fn validate_source(kind: &str, source: &Value, path: &Path, errors: &mut FieldErrors) {
    let mut need = |field: &str| {
        if source[field].is_zero() {
            errors.required(&path.child(field), "");
        }
    };
    match kind {
        "hostPath" => need("path"),
        "secret" => need("secretName"),
        "configMap" => need("name"),
        "persistentVolumeClaim" => need("claimName"),
        "nfs" => {
            need("server");
            need("path");
        }
        "csi" => need("driver"),
        "iscsi" => {
            need("targetPortal");
            need("iqn");
        }
        _ => {}
    }
    if let Some(mode) = source["defaultMode"].as_i64()
        && !(0..=0o777).contains(&mode)
    {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.invalid(&path.child("defaultMode"), mode, detail);
    }
    for (i, item) in source.list_at(&["items"]).iter().enumerate() {
        let at = path.child("items").index(i);
        if kind == "downwardAPI" {
            downward_item(item, path, errors);
        } else if item["key"].is_zero() {
            errors.required(&at.child("key"), "");
        }
        local_path(
            item["path"].as_str().unwrap_or_default(),
            &at.child("path"),
            errors,
        );
    }
    if kind == "hostPath" {
        let path_text = source["path"].as_str().unwrap_or_default();
        if path_text.split('/').any(|p| p == "..") {
            errors.invalid(&path.child("path"), path_text.to_owned(), "must not contain '..'");
        }
        let known = [
            "",
            "BlockDevice",
            "CharDevice",
            "Directory",
            "DirectoryOrCreate",
            "File",
            "FileOrCreate",
            "Socket",
        ];
        if let Some(text) = source["type"].as_str()
            && !known.contains(&text)
        {
            errors.not_supported(&path.child("type"), text.to_owned(), &known);
        }
    }
    if kind == "nfs"
        && source["path"]
            .as_str()
            .is_some_and(|p| !p.is_empty() && !p.starts_with('/'))
    {
        errors.invalid(
            &path.child("path"),
            source["path"].clone(),
            "must be an absolute path",
        );
    }
    if kind == "ephemeral" {
        let template = &source["volumeClaimTemplate"];
        let at = path.child("volumeClaimTemplate");
        if template.is_null() {
            errors.required(&at, "");
        } else {
            claim_spec::validate(&template["spec"], &at.child("spec"), errors);
        }
    }
    if kind == "projected" {
        validate_projections(source, path, errors);
    }
}

fn validate_projections(source: &Value, path: &Path, errors: &mut FieldErrors) {
    let mut paths: Vec<&str> = Vec::new();
    for (i, projection) in source.list_at(&["sources"]).iter().enumerate() {
        validate_projection(projection, path, &path.child("sources").index(i), errors);
        for kind in ["secret", "configMap", "downwardAPI"] {
            for item in projection[kind].list_at(&["items"]) {
                let text = item["path"].as_str().unwrap_or_default();
                if paths.contains(&text) {
                    let at = path.child("sources").index(i).child(kind);
                    errors.invalid(&at, text.to_owned(), "conflicting duplicate paths");
                }
                paths.push(text);
            }
        }
    }
}

fn validate_projection(projection: &Value, volume: &Path, path: &Path, errors: &mut FieldErrors) {
    let sources: Vec<&str> = projection
        .as_map()
        .into_iter()
        .flat_map(Map::iter)
        .filter(|(_, v)| !v.is_null())
        .map(|(k, _)| k)
        .collect();
    for extra in sources.iter().skip(1) {
        errors.forbidden(
            &path.child(extra),
            "may not specify more than 1 volume type per source",
        );
    }
    for source in sources {
        let (inner, at) = (&projection[source], path.child(source));
        if matches!(source, "secret" | "configMap") && inner["name"].is_zero() {
            errors.required(&at.child("name"), "");
        }
        if source == "serviceAccountToken" {
            let seconds = inner["expirationSeconds"].as_i64().unwrap_or(3600);
            if seconds < 600 {
                let detail = "may not specify a duration less than 10 minutes";
                errors.invalid(&at.child("expirationSeconds"), seconds, detail);
            }
            // As upstream: the path of this one lacks the projection.
            let at = volume.child("path");
            match inner["path"].as_str().unwrap_or_default() {
                "" => errors.required(&at, ""),
                text => local_path(text, &at, errors),
            }
        }
    }
}

/// A relative path that stays below where it starts.
pub(crate) fn local_path(text: &str, path: &Path, errors: &mut FieldErrors) {
    if text.is_empty() {
        errors.required(path, "");
        return;
    }
    descending_path(text, path, errors);
    if text.starts_with("..") && !text.starts_with("../") {
        errors.invalid(path, text.to_owned(), "must not start with '..'");
    }
}

/// A relative path without `..`.
pub(crate) fn descending_path(text: &str, path: &Path, errors: &mut FieldErrors) {
    if text.starts_with('/') {
        errors.invalid(path, text.to_owned(), "must be a relative path");
    }
    if text.split('/').any(|p| p == "..") {
        errors.invalid(path, text.to_owned(), "must not contain '..'");
    }
}

/// An item that shows a field of the pod, or a resource of a container.
fn downward_item(item: &Value, path: &Path, errors: &mut FieldErrors) {
    let (field, resource) = (&item["fieldRef"], &item["resourceFieldRef"]);
    match (field.is_null(), resource.is_null()) {
        (true, true) => errors.required(path, "one of fieldRef and resourceFieldRef is required"),
        (false, false) => {
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.invalid_omitted(path, detail);
        }
        (false, true) => {
            let known = [
                "metadata.name",
                "metadata.namespace",
                "metadata.uid",
                "metadata.labels",
                "metadata.annotations",
            ];
            env::field_ref(field, &known, &path.child("fieldRef"), errors);
        }
        (true, false) => {
            if resource["containerName"].is_zero() {
                errors.required(&path.child("resourceFieldRef.containerName"), "");
            }
        }
    }
    if let Some(mode) = item["mode"].as_i64().filter(|m| !(0..=0o777).contains(m)) {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.invalid(&path.child("mode"), mode, detail);
    }
}
