//! Pods that do not tolerate a NoExecute taint of their node are deleted, at once or when their toleration ends.

use crate::common::{Meta, Object, plus, pods, until};
use crate::kinds::{Node, Pod, Taint, Toleration};
use async_trait::async_trait;
use client::{DeleteParams, Patch};
use jiff::Timestamp;
use runtime::header::POD_NODE;
use runtime::{Controller, Cx, Error, EventType, Key, Next, Wiring};
use serde_json::json;

/// See the module. Keys are pods.
#[derive(Debug, Default)]
pub(crate) struct TaintEviction;

#[async_trait]
impl Controller for TaintEviction {
    fn name(&self) -> &'static str {
        "taint-eviction-controller"
    }

    fn queue(&self) -> &'static str {
        "noexec_taint_pod"
    }

    fn account(&self) -> &'static str {
        "node-controller"
    }

    fn wire(&self, w: &mut Wiring) {
        w.primary::<Pod>().indexed::<Pod>(&POD_NODE);
        w.maps::<Node>(|caches, change| {
            let taints = |e: &Option<std::sync::Arc<runtime::Entry>>| {
                e.as_ref()
                    .and_then(|e| e.decode::<Node>().ok())
                    .map(|n| noexecute(&n))
                    .unwrap_or_default()
            };
            if taints(&change.old) == taints(&change.new) {
                return Vec::new();
            }
            let Ok(pods) = caches.of::<Pod>() else {
                return Vec::new();
            };
            let bound = pods.by_field(&change.cluster, &POD_NODE, &change.entry().key.name);
            bound.iter().map(|p| p.key.clone()).collect()
        });
        w.writes::<Pod>(&["delete", "patch"]);
    }

    async fn reconcile(&self, cx: &Cx, _key: &Key) -> Result<Next, Error> {
        let Some(pod) = cx.this::<Pod>()? else {
            return Ok(Next::Done);
        };
        let Some(name) = pods::node(&pod).filter(|_| !pod.deleting()) else {
            return Ok(Next::Done);
        };
        let Some(node) = cx.get::<Node>("", name)? else {
            return Ok(Next::Done);
        };
        let tolerations = pod
            .spec
            .as_ref()
            .and_then(|s| s.tolerations.as_deref())
            .unwrap_or_default();
        let Some(at) = deadline(&noexecute(&node), tolerations, cx.now()) else {
            return Ok(Next::Done);
        };
        if at > cx.now() {
            return Ok(Next::After(until(at, cx.now())));
        }
        let text = format!("Marking for deletion Pod {}/{}", pod.namespace(), pod.name());
        cx.event(&pod, EventType::Normal, "TaintManagerEviction", text);
        let patch = json!({ "status": { "conditions": [{
            "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": base::clock::rfc3339(cx.now()),
        }]}});
        match cx
            .patch_status::<Pod>(pod.namespace(), pod.name(), &Patch::Strategic(patch))
            .await
        {
            Err(e) if e.is_not_found() => return Ok(Next::Done),
            other => other?,
        };
        cx.delete(&pod, DeleteParams::default()).await?;
        Ok(Next::Done)
    }
}

fn noexecute(node: &Node) -> Vec<Taint> {
    let taints = node
        .spec
        .as_ref()
        .and_then(|s| s.taints.as_deref())
        .unwrap_or_default();
    taints
        .iter()
        .filter(|t| t.effect == "NoExecute")
        .cloned()
        .collect()
}

/// Whether a toleration covers a taint (`v1helper.ToleratesTaint`).
pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |v: &Option<String>| v.clone().unwrap_or_default();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    match toleration.operator.as_deref() {
        Some("Exists") => true,
        None | Some("" | "Equal") => !key.is_empty() && text(&toleration.value) == text(&taint.value),
        _ => false,
    }
}

/// When the pod has to go: `None` never.
fn deadline(taints: &[Taint], tolerations: &[Toleration], now: Timestamp) -> Option<Timestamp> {
    let mut earliest: Option<Timestamp> = None;
    for taint in taints {
        let mut used = tolerations.iter().filter(|t| tolerates(t, taint)).peekable();
        if used.peek().is_none() {
            return Some(now);
        }
        let seconds = used.filter_map(|t| t.toleration_seconds).min();
        let from = taint.time_added.as_ref().map_or(now, |t| t.0);
        if let Some(at) = seconds.map(|s| plus(from, s.max(0))) {
            earliest = Some(earliest.map_or(at, |e| e.min(at)));
        }
    }
    earliest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;

    #[test]
    fn a_pod_stays_as_long_as_its_shortest_toleration() {
        let now = at("2026-01-01T00:10:00Z");
        let taint = |key: &str| Taint {
            key: key.into(),
            effect: "NoExecute".into(),
            time_added: Some(crate::kinds::Time(at("2026-01-01T00:08:00Z"))),
            value: None,
        };
        let toleration = |key: &str, seconds| Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            toleration_seconds: seconds,
            ..Toleration::default()
        };
        let a = taint("a");
        assert_eq!(deadline(&[], &[], now), None);
        assert_eq!(deadline(std::slice::from_ref(&a), &[], now), Some(now));
        assert_eq!(
            deadline(std::slice::from_ref(&a), &[toleration("a", None)], now),
            None
        );
        let five = deadline(std::slice::from_ref(&a), &[toleration("a", Some(300))], now);
        assert_eq!(five, Some(at("2026-01-01T00:13:00Z")));
        assert_eq!(
            deadline(&[a, taint("b")], &[toleration("a", Some(300))], now),
            Some(now)
        );
        let all = Toleration {
            operator: Some("Exists".into()),
            ..Toleration::default()
        };
        assert!(tolerates(&all, &taint("x")));
    }
}
