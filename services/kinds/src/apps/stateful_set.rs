//! StatefulSet.

use machinery::{Value, value};

use super::{count_or_percent, is_none, validate_selector_and_template};
use crate::edit::{each, fill, fill_zero, lacks, text, within};
use crate::table::{AGE, NAME, age, containers, name as name_cell, text as string, wide};
use crate::types::{claim_spec, pod_template};
use crate::{Column, Cx, FieldErrors, Path, Rules, Scale, equal};

/// Rules of stateful sets.
pub(crate) struct StatefulSet;

/// What an update may change of the spec.
const MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
    "revisionHistoryLimit",
];

impl Rules for StatefulSet {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        let spec = object.at_mut(&["spec"]);
        fill_zero(spec, "podManagementPolicy", "OrderedReady");
        let strategy = spec.map_entry("updateStrategy");
        if lacks(strategy, "type") {
            strategy.insert("type", "RollingUpdate");
            strategy.map_entry("rollingUpdate");
        }
        if text(strategy, "type") == "RollingUpdate" {
            within(strategy, "rollingUpdate", |rolling| fill(rolling, "partition", 0));
        }
        let retention = spec.map_entry("persistentVolumeClaimRetentionPolicy");
        fill_zero(retention, "whenDeleted", "Retain");
        fill_zero(retention, "whenScaled", "Retain");
        fill(spec, "replicas", 1);
        fill(spec, "revisionHistoryLimit", 10);
        pod_template::default(spec, "template");
        each(spec, "volumeClaimTemplates", |claim| {
            // As upstream's embedded objects come out: with type and status.
            fill_zero(claim, "kind", "PersistentVolumeClaim");
            fill_zero(claim, "apiVersion", "v1");
            claim_spec::default(claim.map_entry("spec"));
            fill_zero(claim.map_entry("status"), "phase", "Pending");
        });
        fill(object.at_mut(&["status"]), "replicas", 0);
        fill(object.at_mut(&["status"]), "availableReplicas", 0);
    }

    fn prepare_create(&self, object: &mut Value, cx: &Cx<'_>) {
        crate::strategy::prepare_create(object, true, cx);
        let status = object.at_mut(&["status"]);
        status.insert("replicas", 0);
        status.insert("availableReplicas", 0);
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let policy = path.child("podManagementPolicy");
        match spec["podManagementPolicy"].as_str().unwrap_or_default() {
            "" => errors.required(&policy, ""),
            "OrderedReady" | "Parallel" => {}
            other => errors.invalid(&policy, other.to_owned(), "must be 'OrderedReady' or 'Parallel'"),
        }
        let (strategy, at) = (&spec["updateStrategy"], path.child("updateStrategy"));
        match strategy["type"].as_str().unwrap_or_default() {
            "OnDelete" if !strategy["rollingUpdate"].is_null() => {
                let detail = "only allowed for updateStrategy 'RollingUpdate'";
                errors.invalid(
                    &at.child("rollingUpdate"),
                    strategy["rollingUpdate"].clone(),
                    detail,
                );
            }
            "OnDelete" => {}
            "RollingUpdate" => {
                let rolling = &strategy["rollingUpdate"];
                errors.nonnegative(&at.child("rollingUpdate.partition"), &rolling["partition"]);
                let unavailable = &rolling["maxUnavailable"];
                if !unavailable.is_null() {
                    count_or_percent(unavailable, &at.child("rollingUpdate.maxUnavailable"), errors);
                    if is_none(unavailable) {
                        let at = at.child("rollingUpdate.maxUnavailable");
                        errors.invalid(&at, unavailable.clone(), "cannot be 0");
                    }
                }
            }
            "" => errors.required(&at, ""),
            _ => errors.invalid(&at, strategy.clone(), "must be 'RollingUpdate' or 'OnDelete'"),
        }
        for field in ["whenDeleted", "whenScaled"] {
            let at = path.child("persistentVolumeClaimRetentionPolicy").child(field);
            let value = &spec["persistentVolumeClaimRetentionPolicy"][field];
            if !value.is_null() {
                errors.enumeration(&at, value, &["Retain", "Delete"]);
            }
        }
        for field in ["replicas", "minReadySeconds"] {
            errors.nonnegative(&path.child(field), &spec[field]);
        }
        errors.nonnegative(&path.child("ordinals.start"), spec.at(&["ordinals", "start"]));
        if let Some(text) = spec["serviceName"].as_str().filter(|t| !t.is_empty()) {
            errors.invalid_each(
                &path.child("serviceName"),
                text,
                machinery::name::dns1123_label(text),
            );
        }
        let template = with_claims(spec);
        validate_selector_and_template(spec, &template, "StatefulSet", errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
        if !cx.subresource.is_empty() {
            let counts = [
                "replicas",
                "readyReplicas",
                "currentReplicas",
                "updatedReplicas",
                "availableReplicas",
            ];
            super::status_counts(&new["status"], &counts, errors);
            return;
        }
        let fixed = |o: &Value| {
            let mut spec = o["spec"].clone();
            if let Value::Map(map) = &mut spec {
                map.retain(|k, _| !MUTABLE.contains(&k));
            }
            spec
        };
        if !equal(&fixed(new), &fixed(old)) {
            let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
            errors.forbidden(&Path::new("spec"), detail);
        }
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, string("Ready"), AGE, wide("Containers"), wide("Images")] }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let ready = object.int_at(&["status", "readyReplicas"]).unwrap_or(0);
        let wanted = object.int_at(&["spec", "replicas"]).unwrap_or(0);
        let [names, images] = containers(object.at(&["spec", "template", "spec"]));
        vec![
            name_cell(object),
            format!("{ready}/{wanted}").into(),
            age(object, cx),
            names,
            images,
        ]
    }

    fn scale(&self) -> Option<Scale> {
        Some(Scale::BUILT_IN)
    }
}

/// The template as its pods will be: with a volume for each claim template.
fn with_claims(spec: &Value) -> Value {
    let mut template = spec["template"].clone();
    let pod = template.at_mut(&["spec"]);
    pod.remove("hostname");
    pod.remove("subdomain");
    let claims = spec.list_at(&["volumeClaimTemplates"]);
    if claims.is_empty() {
        return template;
    }
    let name = |claim: &Value| claim.at(&["metadata", "name"]).clone();
    let mut volumes: Vec<Value> = claims
        .iter()
        .map(|claim| value!({"name": (name(claim)), "persistentVolumeClaim": {"claimName": (name(claim))}}))
        .collect();
    let own = spec.list_at(&["template", "spec", "volumes"]).iter();
    volumes.extend(
        own.filter(|v| !claims.iter().any(|c| name(c) == v["name"]))
            .cloned(),
    );
    pod.insert("volumes", volumes);
    template
}
