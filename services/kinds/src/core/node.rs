//! Node.

use machinery::{Map, Value, name, value};

use crate::edit::{fill, within};
use crate::table::{AGE, NAME, age, cell, name as name_cell, text, wide};
use crate::types::resources;
use crate::{Column, Cx, FieldErrors, Path, Rules, strategy};

/// Rules of nodes.
pub(crate) struct Node;

impl Rules for Node {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        let spec = object.at_mut(&["spec"]);
        let first = spec
            .get("podCIDRs")
            .and_then(Value::as_list)
            .and_then(|l| l.first())
            .cloned();
        match (first, spec.get("podCIDR").cloned()) {
            (Some(first), None) => {
                spec.insert("podCIDR", first);
            }
            (None, Some(single)) if !single.is_zero() => {
                spec.insert("podCIDRs", vec![single]);
            }
            _ => {}
        }
        if let Some(Value::Map(status)) = object.get_mut("status") {
            if let Some(capacity) = status.get("capacity").filter(|c| !c.is_zero()).cloned() {
                fill(status, "allocatable", capacity);
            }
            within(status, "capacity", resources::default_list);
            within(status, "allocatable", resources::default_list);
        }
    }

    // A kubelet registers its node with the status it has.
    fn prepare_create(&self, object: &mut Value, _cx: &Cx<'_>) {
        object.at_mut(&["status"]);
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        for (i, taint) in object.list_at(&["spec", "taints"]).iter().enumerate() {
            // Upstream names the wrong parent here.
            let path = Path::new("metadata.taints").index(i);
            let key = taint["key"].as_str().unwrap_or_default();
            errors.invalid_each(&path.child("key"), key, name::qualified_name(key));
            let value = taint["value"].as_str().unwrap_or_default();
            errors.invalid_each(&path.child("value"), value, name::label_value(value));
            taint_effect(&taint["effect"], &path.child("effect"), errors);
            let same = |t: &&Value| t["key"] == taint["key"] && t["effect"] == taint["effect"];
            if object.list_at(&["spec", "taints"])[..i].iter().any(|t| same(&t)) {
                let error = value!({"key": (key.to_owned()), "effect": (taint["effect"].clone())});
                errors.duplicate_because(&path, error, "taints must be unique by key and effect pair");
            }
        }
        let cidrs = object.list_at(&["spec", "podCIDRs"]);
        for (i, cidr) in cidrs.iter().filter_map(Value::as_str).enumerate() {
            crate::ip::check_cidr(cidr, &Path::new("spec.podCIDRs").index(i), errors);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
        if !cx.subresource.is_empty() {
            return;
        }
        let was = old.list_at(&["spec", "podCIDRs"]);
        if !was.is_empty() && was != new.list_at(&["spec", "podCIDRs"]) {
            errors.forbidden(
                &Path::new("spec.podCIDRs"),
                "node updates may not change podCIDR except from \"\" to valid",
            );
        }
        let id = |o: &Value| o.str_at(&["spec", "providerID"]).unwrap_or_default().to_owned();
        if !id(old).is_empty() && id(old) != id(new) {
            errors.forbidden(
                &Path::new("spec.providerID"),
                "node updates may not change providerID except from \"\" to valid",
            );
        }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                text("Status"),
                text("Roles"),
                AGE,
                text("Version"),
                wide("Internal-IP"),
                wide("External-IP"),
                wide("OS-Image"),
                wide("Kernel-Version"),
                wide("Container-Runtime"),
            ]
        }
    }

    fn row(&self, node: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let status = &node["status"];
        let info = &status["nodeInfo"];
        let ready = status
            .list_at(&["conditions"])
            .iter()
            .rfind(|c| c["type"].as_str() == Some("Ready"));
        let mut state = match ready.map(|c| c["status"].as_str() == Some("True")) {
            Some(true) => "Ready",
            Some(false) => "NotReady",
            None => "Unknown",
        }
        .to_owned();
        if node.at(&["spec", "unschedulable"]).as_bool() == Some(true) {
            state.push_str(",SchedulingDisabled");
        }
        let address = |kind: &str| -> Value {
            let found = status
                .list_at(&["addresses"])
                .iter()
                .find(|a| a["type"].as_str() == Some(kind));
            found.map_or("<none>".into(), |a| cell(&a["address"]))
        };
        let known = |v: &Value| {
            v.as_str()
                .filter(|s| !s.is_empty())
                .unwrap_or("<unknown>")
                .to_owned()
        };
        let mut kernel = known(&info["kernelVersion"]);
        if let Some(architecture) = info["architecture"].as_str().filter(|a| !a.is_empty()) {
            kernel = format!("{kernel} ({architecture})");
        }
        vec![
            name_cell(node),
            state.into(),
            crate::table::or_none(&roles(node)),
            age(node, cx),
            cell(&info["kubeletVersion"]),
            address("InternalIP"),
            address("ExternalIP"),
            known(&info["osImage"]).into(),
            kernel.into(),
            known(&info["containerRuntimeVersion"]).into(),
        ]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let off = object.at(&["spec", "unschedulable"]).as_bool().unwrap_or(false);
        vec![("spec.unschedulable", off.to_string())]
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, cx: &Cx<'_>) {
        strategy::prepare_update(new, old, false, cx);
    }
}

/// An effect of a taint.
pub(crate) fn taint_effect(effect: &Value, path: &Path, errors: &mut FieldErrors) {
    match effect.as_str().unwrap_or_default() {
        "NoSchedule" | "PreferNoSchedule" | "NoExecute" => {}
        "" => errors.required(path, ""),
        other => {
            errors.not_supported(
                path,
                other.to_owned(),
                &["NoSchedule", "PreferNoSchedule", "NoExecute"],
            );
        }
    }
}

/// What the labels say a node is for.
fn roles(node: &Value) -> String {
    let labels = node
        .at(&["metadata", "labels"])
        .as_map()
        .into_iter()
        .flat_map(Map::iter);
    let mut roles: Vec<&str> = labels
        .filter_map(|(k, v)| match k.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if k == "kubernetes.io/role" => v.as_str(),
            None => None,
        })
        .filter(|r| !r.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    roles.join(",")
}
