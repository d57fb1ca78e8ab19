//! The smallest strategic merge patch from the status last written to the present one.
//!
//! Only top-level fields that differ are sent. Conditions merge by type, so only the kubelet's own are sent and those
//! of others survive. Addresses are replaced as a whole. The UID goes along, so that a pod made again under the same
//! name cannot get its predecessor's status.

use super::conditions::OWNED;
use crate::k8s::PodStatus;
use serde_json::{Map, Value, json};

/// The patch, or `None` if nothing differs.
pub fn patch(uid: &str, before: Option<&PodStatus>, now: &PodStatus) -> Option<Value> {
    let old = before.map(fields).unwrap_or_default();
    let new = fields(now);
    let mut out = Map::new();
    for (key, value) in &new {
        if old.get(key) == Some(value) {
            continue;
        }
        let value = match key.as_str() {
            "podIPs" | "hostIPs" if before.is_some_and(|_| old.contains_key(key)) => {
                let mut list = vec![json!({"$patch": "replace"})];
                list.extend(value.as_array().cloned().unwrap_or_default());
                Value::Array(list)
            }
            _ => value.clone(),
        };
        out.insert(key.clone(), value);
    }
    for key in old.keys().filter(|k| !new.contains_key(*k)) {
        // What the scheduler or a controller wrote is not the kubelet's to remove.
        if !matches!(
            key.as_str(),
            "nominatedNodeName" | "resourceClaimStatuses" | "resize" | "conditions" | "qosClass"
        ) {
            out.insert(key.clone(), Value::Null);
        }
    }
    (!out.is_empty()).then(|| json!({"metadata": {"uid": uid}, "status": out}))
}

fn fields(status: &PodStatus) -> Map<String, Value> {
    // A status is plain data: text, numbers, lists and maps with text keys.
    let mut map = match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    if let Some(Value::Array(conditions)) = map.get_mut("conditions") {
        conditions.retain(|c| c["type"].as_str().is_some_and(|t| OWNED.contains(&t)));
        conditions.sort_by_key(|c| c["type"].as_str().unwrap_or_default().to_owned());
        for condition in conditions {
            if let Value::Object(fields) = condition {
                // Absent means null on the wire and must not stay from before.
                for key in ["reason", "message"] {
                    fields.entry(key).or_insert(Value::Null);
                }
                fields.entry("lastProbeTime").or_insert(Value::Null);
            }
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(text: &str) -> PodStatus {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn only_what_changed_is_sent_and_foreign_conditions_are_left_alone() {
        let before = status(
            r#"{"phase":"Pending","hostIP":"1","podIPs":[{"ip":"2"}],"reason":"x","nominatedNodeName":"n",
                "conditions":[{"type":"Ready","status":"False","reason":"R"},{"type":"Mine","status":"True"}]}"#,
        );
        let now = status(
            r#"{"phase":"Running","hostIP":"1","podIPs":[{"ip":"3"}],"conditions":[{"type":"Ready","status":"True"}]}"#,
        );
        let want = json!({"metadata":{"uid":"u"},"status":{
            "phase":"Running",
            "podIPs":[{"$patch":"replace"},{"ip":"3"}],
            "conditions":[{"type":"Ready","status":"True","reason":null,"message":null,"lastProbeTime":null}],
            "reason":null}});
        assert_eq!(patch("u", Some(&before), &now), Some(want));
        assert_eq!(patch("u", Some(&now), &now), None);
    }
}
