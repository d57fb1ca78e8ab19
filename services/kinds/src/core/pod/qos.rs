//! The quality-of-service class of a pod.
//!
//! BestEffort: nothing asked. Guaranteed: every container limits CPU and memory, and asks for as much. Else Burstable.

use machinery::Value;
use machinery::quantity::{Format, Quantity};

use crate::types::resources::amount;

const RESOURCES: [&str; 2] = ["cpu", "memory"];

fn positive(list: &Value, name: &str) -> Option<Quantity> {
    amount(list, name).filter(|q| q.sign() > 0)
}

/// The class of a pod by its spec.
pub(super) fn class(pod: &Value) -> &'static str {
    let spec = &pod["spec"];
    let whole = &spec["resources"];
    let parts: Vec<&Value> = if whole.is_null() {
        let all = spec
            .list_at(&["containers"])
            .iter()
            .chain(spec.list_at(&["initContainers"]));
        all.map(|c| &c["resources"]).collect()
    } else {
        vec![whole]
    };
    let total = |of: &str, name: &str| {
        let found: Vec<Quantity> = parts.iter().filter_map(|r| positive(&r[of], name)).collect();
        let zero = Quantity::zero(Format::DecimalSi);
        (!found.is_empty()).then(|| found.into_iter().fold(zero, |a, b| a + b))
    };
    let requests = RESOURCES.map(|name| total("requests", name));
    let limits = RESOURCES.map(|name| total("limits", name));
    if requests.iter().chain(&limits).all(Option::is_none) {
        return "BestEffort";
    }
    // A pod's own limits may be absent while its requests stand: then nothing is guaranteed.
    let limited = |r: &&Value| {
        RESOURCES
            .iter()
            .all(|name| positive(&r["limits"], name).is_some())
    };
    if parts.iter().all(limited) && requests == limits {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::value;

    #[test]
    fn classes_follow_requests_and_limits() {
        let both = || value!({"cpu": "1", "memory": "1Gi"});
        for (containers, expect) in [
            (value!([{}]), "BestEffort"),
            (
                value!([{"resources": {"requests": (both()), "limits": (both())}}]),
                "Guaranteed",
            ),
            (
                value!([{"resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}, "limits": (both())}}]),
                "Guaranteed",
            ),
            (
                value!([{"resources": {"requests": (both()), "limits": (both())}}, {}]),
                "Burstable",
            ),
            (value!([{"resources": {"requests": {"cpu": "1"}}}]), "Burstable"),
            (
                value!([{"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}}]),
                "Burstable",
            ),
            (
                value!([{"resources": {"requests": {"example.com/x": "1"}}}]),
                "BestEffort",
            ),
            (value!([{"resources": {"requests": {"cpu": "0"}}}]), "BestEffort"),
        ] {
            let pod = value!({"spec": {"containers": (containers.clone())}});
            assert_eq!(class(&pod), expect, "{containers:?}");
        }
    }
}
