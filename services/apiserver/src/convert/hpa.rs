//! HorizontalPodAutoscaler: `autoscaling/v1` knows CPU alone; everything else rides in annotations.
//!
//! Source: upstream's `pkg/apis/autoscaling/v1/conversion.go` (facts: the annotation names and what goes into them).

use crate::codec;
use machinery::{Map, Value, value};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";

fn is_cpu(metric: &Value) -> bool {
    metric.str_at(&["type"]) == Some("Resource") && metric.str_at(&["resource", "name"]) == Some("cpu")
}

fn take(object: &mut Value, part: &'static str, field: &str) -> Option<Value> {
    object.get_mut(part)?.as_map_mut()?.remove(field)
}

fn annotate(object: &mut Value, key: &'static str, value: &Value) {
    if !value.is_zero() {
        let text = String::from_utf8_lossy(&codec::to_json(value, false)).into_owned();
        object.at_mut(&["metadata", "annotations"]).insert(key, text);
    }
}

fn annotated(object: &mut Value, key: &str) -> Option<Value> {
    let annotations = object.get_mut("metadata")?.get_mut("annotations")?.as_map_mut()?;
    let text = annotations.remove(key)?;
    codec::parse_json(text.as_str()?.as_bytes()).ok()
}

/// `v2` to `v1`.
pub(super) fn to_v1(object: &mut Value) {
    if let Some(Value::List(metrics)) = take(object, "spec", "metrics") {
        let (cpu, other): (Vec<_>, Vec<_>) = metrics
            .into_iter()
            .partition(|m| is_cpu(m) && m.int_at(&["resource", "target", "averageUtilization"]).is_some());
        if let Some(n) = cpu
            .first()
            .and_then(|m| m.int_at(&["resource", "target", "averageUtilization"]))
        {
            object
                .at_mut(&["spec"])
                .insert("targetCPUUtilizationPercentage", n);
        }
        annotate(object, METRICS, &Value::List(other));
    }
    if let Some(behavior) = take(object, "spec", "behavior") {
        annotate(object, BEHAVIOR, &behavior);
    }
    if let Some(conditions) = take(object, "status", "conditions") {
        annotate(object, CONDITIONS, &conditions);
    }
    if let Some(Value::List(metrics)) = take(object, "status", "currentMetrics") {
        let (cpu, other): (Vec<_>, Vec<_>) = metrics
            .into_iter()
            .partition(|m| is_cpu(m) && m.int_at(&["resource", "current", "averageUtilization"]).is_some());
        if let Some(n) = cpu
            .first()
            .and_then(|m| m.int_at(&["resource", "current", "averageUtilization"]))
        {
            object
                .at_mut(&["status"])
                .insert("currentCPUUtilizationPercentage", n);
        }
        annotate(object, CURRENT, &Value::List(other));
    }
}

/// `v1` to `v2`.
pub(super) fn to_v2(object: &mut Value) {
    let cpu = |field: &'static str, n: Value| {
        let mut numbers = Map::new();
        if field == "target" {
            numbers.insert("type", "Utilization");
        }
        numbers.insert("averageUtilization", n);
        let mut resource = Map::new();
        resource.insert("name", "cpu");
        resource.insert(field, numbers);
        let mut metric = Map::new();
        metric.insert("type", "Resource");
        metric.insert("resource", resource);
        Value::Map(metric)
    };
    let mut metrics = match annotated(object, METRICS) {
        Some(Value::List(list)) => list,
        _ => Vec::new(),
    };
    if let Some(n) = take(object, "spec", "targetCPUUtilizationPercentage").filter(|n| !n.is_null()) {
        metrics.push(cpu("target", n));
    }
    if !metrics.is_empty() {
        object.at_mut(&["spec"]).insert("metrics", Value::List(metrics));
    }
    if let Some(behavior) = annotated(object, BEHAVIOR) {
        object.at_mut(&["spec"]).insert("behavior", behavior);
    }
    if let Some(conditions) = annotated(object, CONDITIONS) {
        object.at_mut(&["status"]).insert("conditions", conditions);
    }
    let mut current = match annotated(object, CURRENT) {
        Some(Value::List(list)) => list,
        _ => Vec::new(),
    };
    if let Some(n) = take(object, "status", "currentCPUUtilizationPercentage").filter(|n| !n.is_null()) {
        current.push(cpu("current", n));
    }
    if !current.is_empty() {
        object
            .at_mut(&["status"])
            .insert("currentMetrics", Value::List(current));
    }
    if object["metadata"]["annotations"] == value!({}) {
        object.at_mut(&["metadata"]).remove("annotations");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v1_and_back_loses_nothing() {
        let v2 = value!({
            "metadata": {"name": "x"},
            "spec": {"metrics": [
                {"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "1"}}},
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
            ], "behavior": {"scaleUp": {"stabilizationWindowSeconds": 3}}},
            "status": {"conditions": [{"type": "AbleToScale", "status": "True"}]}
        });
        let mut object = v2.clone();
        to_v1(&mut object);
        assert_eq!(
            object.int_at(&["spec", "targetCPUUtilizationPercentage"]),
            Some(80)
        );
        to_v2(&mut object);
        assert_eq!(object, v2);
    }
}
