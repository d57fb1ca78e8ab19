//! What is wrong with a pod and with changes of it.

use machinery::{Map, Value, name};

use crate::edit::each;
use crate::strategy::put;
use crate::types::{pod_spec, scheduling};
use crate::{FieldErrors, Path, equal};

/// The fields that an update may change, as the message names them.
const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                         `spec.tolerations` (only additions to existing tolerations),\
                         `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(super) fn pod(pod: &Value, errors: &mut FieldErrors) {
    let (spec, path) = (&pod["spec"], Path::new("spec"));
    pod_spec::validate(spec, &path, errors);
    for key in ["containers", "initContainers"] {
        for (i, container) in spec.list_at(&[key]).iter().enumerate() {
            let image = container["image"].as_str().unwrap_or_default();
            if image.trim() != image {
                let at = path.child(key).index(i).child("image");
                errors.invalid(
                    &at,
                    image.to_owned(),
                    "must not have leading or trailing whitespace",
                );
            }
        }
    }
    if spec["serviceAccountName"].is_zero() {
        for (i, volume) in spec.list_at(&["volumes"]).iter().enumerate() {
            for (j, source) in volume.list_at(&["projected", "sources"]).iter().enumerate() {
                if !source["serviceAccountToken"].is_null() {
                    let at = path.child("volumes").index(i).child("projected.sources").index(j);
                    let detail = "must not be specified when serviceAccountName is not set";
                    errors.forbidden(&at.child("serviceAccountToken"), detail);
                }
            }
        }
    }
    // A claim that a volume brings along is called after the pod and the volume.
    let name = pod.str_at(&["metadata", "name"]).unwrap_or_default();
    for (i, volume) in spec.list_at(&["volumes"]).iter().enumerate() {
        if volume["ephemeral"].is_null() || name.is_empty() {
            continue;
        }
        let own = volume["name"].as_str().unwrap_or_default();
        let claim = format!("{name}-{own}");
        for message in name::dns1123_subdomain(&claim) {
            let at = path.child("volumes").index(i).child("name");
            errors.invalid(&at, own.to_owned(), &format!("PVC name {claim:?}: {message}"));
        }
    }
    // A new pod has no resource version yet.
    if pod.at(&["metadata", "resourceVersion"]).is_zero() {
        if !spec.list_at(&["ephemeralContainers"]).is_empty() {
            errors.forbidden(&path.child("ephemeralContainers"), "cannot be set on create");
        }
        if !spec["nodeName"].is_zero() && !spec.list_at(&["schedulingGates"]).is_empty() {
            let detail = "cannot be set until all schedulingGates have been cleared";
            errors.forbidden(&path.child("nodeName"), detail);
        }
    }
}

pub(super) fn update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (spec, was, path) = (&new["spec"], &old["spec"], Path::new("spec"));
    for key in ["containers", "initContainers"] {
        let (list, had) = (spec.list_at(&[key]), was.list_at(&[key]));
        if list.len() != had.len() {
            let what = if key == "containers" {
                "containers"
            } else {
                "initContainers"
            };
            errors.forbidden(&path.child(what), "pod updates may not add or remove containers");
            return;
        }
        for (i, container) in list.iter().enumerate() {
            if container["image"].is_zero() {
                errors.required(&path.child(key).index(i).child("image"), "");
            }
        }
    }
    if !deadline(spec, was, &path, errors) {
        return;
    }
    gates(spec, was, &path, errors);
    tolerations(spec, was, &path, errors);
    let mut fixed = spec.clone();
    let map = fixed.at_mut(&[]);
    for key in ["containers", "initContainers"] {
        let had = was.list_at(&[key]);
        let mut at = 0;
        each(map, key, |container| {
            put(
                container,
                "image",
                had.get(at).map(|c| c["image"].clone()).unwrap_or_default(),
            );
            at += 1;
        });
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        put(map, field, was[field].clone());
    }
    let grace = |s: &Value| s["terminationGracePeriodSeconds"].as_i64();
    if grace(was).is_some_and(|n| n < 0) && grace(spec) == Some(1) {
        put(
            map,
            "terminationGracePeriodSeconds",
            was["terminationGracePeriodSeconds"].clone(),
        );
    }
    if !was.list_at(&["schedulingGates"]).is_empty() {
        gated(map, spec, was, &path, errors);
    }
    if !equal(&fixed, was) {
        errors.forbidden(
            &path,
            &format!("pod updates may not change fields other than {UPDATABLE}\n"),
        );
    }
}

/// A deadline may be set, and shortened; never lengthened nor taken away.
fn deadline(spec: &Value, was: &Value, path: &Path, errors: &mut FieldErrors) -> bool {
    let at = path.child("activeDeadlineSeconds");
    let before = errors.0.len();
    match (
        spec["activeDeadlineSeconds"].as_i64(),
        was["activeDeadlineSeconds"].as_i64(),
    ) {
        (Some(n), _) if !(0..=i64::from(i32::MAX)).contains(&n) => {
            errors.invalid(&at, n, &name::range_message(0, i64::from(i32::MAX)));
        }
        (Some(n), Some(had)) if had < n => {
            errors.invalid(&at, n, "must be less than or equal to previous value")
        }
        (None, Some(_)) => {
            errors.invalid(
                &at,
                Value::Null,
                "must not update from a positive integer to nil value",
            );
        }
        _ => {}
    }
    errors.0.len() == before
}

/// Gates may only be taken away.
fn gates(spec: &Value, was: &Value, path: &Path, errors: &mut FieldErrors) {
    let had = was.list_at(&["schedulingGates"]);
    for (i, gate) in spec.list_at(&["schedulingGates"]).iter().enumerate() {
        if !had.iter().any(|g| g["name"] == gate["name"]) {
            let name = gate["name"].as_str().unwrap_or_default();
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.forbidden(&path.child("schedulingGates").index(i).child("name"), &detail);
        }
    }
}

/// Tolerations may be added, and the seconds of an old one changed.
fn tolerations(spec: &Value, was: &Value, path: &Path, errors: &mut FieldErrors) {
    let at = path.child("tolerations");
    let bare = |t: &Value| {
        let mut t = t.clone();
        t.at_mut(&[]).remove("tolerationSeconds");
        t
    };
    let list = spec.list_at(&["tolerations"]);
    for old in was.list_at(&["tolerations"]) {
        if !list.iter().any(|t| equal(&bare(t), &bare(old))) {
            errors.forbidden(
                &at,
                "existing toleration can not be modified except its tolerationSeconds",
            );
            return;
        }
    }
    scheduling::tolerations(list, &at, errors);
}

/// As long as a pod is gated, where it may run can be narrowed.
fn gated(map: &mut Map, spec: &Value, was: &Value, path: &Path, errors: &mut FieldErrors) {
    let kept = was["nodeSelector"].as_map().into_iter().flat_map(Map::iter);
    let narrowed = kept
        .into_iter()
        .all(|(k, v)| spec["nodeSelector"].get(k) == Some(v));
    if !narrowed {
        errors.invalid(
            &path.child("nodeSelector"),
            spec["nodeSelector"].clone(),
            "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
        );
    }
    put(map, "nodeSelector", was["nodeSelector"].clone());
    let affinity = |s: &Value| s.at(&["affinity", "nodeAffinity"]).clone();
    if equal(&affinity(spec), &affinity(was)) {
        return;
    }
    let required = |s: &Value| {
        let path = [
            "affinity",
            "nodeAffinity",
            "requiredDuringSchedulingIgnoredDuringExecution",
            "nodeSelectorTerms",
        ];
        s.list_at(&path).to_vec()
    };
    let (terms, had) = (required(spec), required(was));
    let at =
        path.child("affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
    if !had.is_empty() && terms.len() != had.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.invalid(&at, Value::List(terms.clone()), detail);
    }
    for (i, (term, old)) in terms.iter().zip(&had).enumerate() {
        let grown = ["matchExpressions", "matchFields"].iter().all(|f| {
            let (list, before) = (term.list_at(&[f]), old.list_at(&[f]));
            list.len() >= before.len() && list.iter().zip(before).all(|(a, b)| equal(a, b))
        });
        if !grown {
            let detail = "only additions are allowed (no mutations or deletions)";
            errors.invalid(&at.index(i), term.clone(), detail);
        }
    }
    let mut both = map.get("affinity").cloned().unwrap_or_default();
    put(both.at_mut(&[]), "nodeAffinity", affinity(was));
    put(map, "affinity", if both.is_zero() { Value::Null } else { both });
}

pub(super) fn status(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (status, was, path) = (&new["status"], &old["status"], Path::new("status"));
    for (i, condition) in status.list_at(&["conditions"]).iter().enumerate() {
        let kind = condition["type"].as_str().unwrap_or_default();
        if is_system(kind) {
            continue;
        }
        let at = path.child("conditions").index(i).child("type");
        errors.invalid_each(&at, kind, name::qualified_name(kind));
    }
    let nominated = &status["nominatedNodeName"];
    if nominated != &was["nominatedNodeName"]
        && let Some(text) = nominated.as_str().filter(|t| !t.is_empty())
    {
        errors.invalid_each(
            &path.child("nominatedNodeName"),
            text,
            name::dns1123_subdomain(text),
        );
        if !old.at(&["spec", "nodeName"]).is_zero() {
            let detail = "may not be set on pods that are already bound to a node";
            errors.forbidden(&path.child("nominatedNodeName"), detail);
        }
    }
    if let Some(n) = status["observedGeneration"].as_i64().filter(|n| *n < 0) {
        errors.invalid(
            &path.child("observedGeneration"),
            n,
            "must be a non-negative integer",
        );
    }
    errors.immutable(&path.child("qosClass"), &status["qosClass"], &was["qosClass"]);
    let policy = old.at(&["spec", "restartPolicy"]).as_str().unwrap_or_default();
    if policy != "Always" {
        states(status, was, policy, &path, errors);
    }
}

fn is_system(kind: &str) -> bool {
    matches!(
        kind,
        "PodScheduled"
            | "Initialized"
            | "Ready"
            | "ContainersReady"
            | "DisruptionTarget"
            | "PodReadyToStartContainers"
            | "PodResizePending"
            | "PodResizeInProgress"
    )
}

/// A container that ended for good does not run again.
fn states(status: &Value, was: &Value, policy: &str, path: &Path, errors: &mut FieldErrors) {
    for (i, before) in was.list_at(&["containerStatuses"]).iter().enumerate() {
        let ended = before.at(&["state", "terminated"]);
        let failed = ended["exitCode"].as_i64().unwrap_or(0) != 0;
        if ended.is_null() || (failed && policy == "OnFailure") {
            continue;
        }
        let now = status
            .list_at(&["containerStatuses"])
            .iter()
            .find(|c| c["name"] == before["name"]);
        if now.is_some_and(|c| c.at(&["state", "terminated"]).is_null()) {
            let at = path.child("containerStatuses").index(i).child("state");
            errors.forbidden(&at, "may not be transitioned to non-terminated state");
        }
    }
}

pub(super) fn ephemeral(new: &Value, old: &Value, errors: &mut FieldErrors) {
    pod_spec::validate(&new["spec"], &Path::new("spec"), errors);
    let at = Path::new("spec.ephemeralContainers");
    let list = new.list_at(&["spec", "ephemeralContainers"]);
    for before in old.list_at(&["spec", "ephemeralContainers"]) {
        let name = before["name"].as_str().unwrap_or_default();
        match list.iter().find(|c| c["name"] == before["name"]) {
            None => {
                errors.forbidden(
                    &at,
                    &format!("existing ephemeral containers {name:?} may not be removed\n"),
                );
            }
            Some(now) if !equal(now, before) => {
                errors.forbidden(
                    &at,
                    &format!("existing ephemeral containers {name:?} may not be changed\n"),
                );
            }
            Some(_) => {}
        }
    }
}

/// Only CPU and memory may change, and the quality of service stays.
pub(super) fn resize(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let path = Path::new("spec");
    pod_spec::validate(&new["spec"], &path, errors);
    if super::qos::class(new) != super::qos::class(old) {
        errors.invalid(
            &path,
            super::qos::class(new),
            "Pod QOS Class may not change as a result of resizing",
        );
    }
    for (i, (now, before)) in new
        .list_at(&["spec", "containers"])
        .iter()
        .zip(old.list_at(&["spec", "containers"]))
        .enumerate()
    {
        for list in ["requests", "limits"] {
            let rest = |c: &Value| {
                let mut map = c.at(&["resources", list]).clone();
                if let Value::Map(m) = &mut map {
                    m.retain(|k, _| !matches!(k, "cpu" | "memory"));
                }
                map
            };
            if !equal(&rest(now), &rest(before)) {
                let at = path.child("containers").index(i).child("resources").child(list);
                errors.forbidden(&at, "only cpu and memory resources are mutable");
            }
        }
    }
}
