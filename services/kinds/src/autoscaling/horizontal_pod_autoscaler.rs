//! HorizontalPodAutoscaler, in the form of `autoscaling/v2`; v1 gets what the two forms share.

use machinery::{Value, name, value};

use crate::edit::{fill, lacks};
use crate::table::{AGE, NAME, age, int, name as name_cell, text};
use crate::{Column, Cx, FieldErrors, Path, Rules, strategy};

/// Rules of autoscalers.
pub(crate) struct Autoscaler;

/// The utilization of CPU that is aimed at if nothing is said, in percent.
const UTILIZATION: i64 = 80;

impl Rules for Autoscaler {
    fn default(&self, object: &mut Value, cx: &Cx<'_>) {
        let spec = object.at_mut(&["spec"]);
        fill(spec, "minReplicas", 1);
        if cx.resource.version == "v1" {
            return;
        }
        if lacks(spec, "metrics") {
            let cpu = value!({
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": UTILIZATION}}
            });
            spec.insert("metrics", vec![cpu]);
        }
        if spec.get("behavior").is_some_and(|b| !b.is_null()) {
            let behavior = spec.map_entry("behavior");
            let up = behavior.map_entry("scaleUp");
            fill(up, "stabilizationWindowSeconds", 0);
            fill(up, "selectPolicy", "Max");
            let pods = value!({"type": "Pods", "value": 4, "periodSeconds": 15});
            let percent = value!({"type": "Percent", "value": 100, "periodSeconds": 15});
            fill(up, "policies", vec![pods, percent.clone()]);
            let down = behavior.map_entry("scaleDown");
            fill(down, "selectPolicy", "Max");
            fill(down, "policies", vec![percent]);
        }
    }

    fn prepare_create(&self, object: &mut Value, cx: &Cx<'_>) {
        strategy::prepare_create(object, false, cx);
        let status = object.at_mut(&["status"]);
        fill(status, "desiredReplicas", 0);
        if cx.resource.version == "v1" {
            fill(status, "currentReplicas", 0);
        } else {
            fill(status, "currentMetrics", Value::Null);
        }
    }

    fn validate(&self, object: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let (min, max) = (
            spec["minReplicas"].as_i64(),
            spec["maxReplicas"].as_i64().unwrap_or(0),
        );
        if let Some(n) = min.filter(|n| *n < 1) {
            errors.invalid(
                &path.child("minReplicas"),
                n,
                "must be greater than or equal to 1",
            );
        }
        if max == 0 {
            errors.required(&path.child("maxReplicas"), "must be set and greater than 0");
        } else if max < 0 {
            errors.invalid(
                &path.child("maxReplicas"),
                max,
                "must be greater than or equal to 1",
            );
        }
        if min.is_some_and(|n| max < n) {
            errors.invalid(
                &path.child("maxReplicas"),
                max,
                "must be greater than or equal to `minReplicas`",
            );
        }
        let at = path.child("scaleTargetRef");
        for field in ["kind", "name"] {
            match spec["scaleTargetRef"][field].as_str().unwrap_or_default() {
                "" => errors.required(&at.child(field), ""),
                text => errors.invalid_each(&at.child(field), text, name::path_segment(text, false)),
            }
        }
        if cx.resource.version == "v1" {
            return;
        }
        let version = spec["scaleTargetRef"]["apiVersion"].as_str().unwrap_or_default();
        let target = path.child("scaleTargetRef.apiVersion");
        let of_core = spec["scaleTargetRef"]["kind"].as_str() == Some("ReplicationController");
        let grouped = version.contains('/') || (version == "v1" && of_core);
        if !grouped {
            errors.invalid(&target, version.to_owned(), "apiVersion must specify API group");
        }
        let metrics = spec.list_at(&["metrics"]);
        let outside = |m: &Value| matches!(m["type"].as_str(), Some("Object" | "External"));
        if min == Some(0) && !metrics.iter().any(outside) {
            let detail =
                "must specify at least one Object or External metric to support scaling to zero replicas";
            errors.forbidden(&path.child("metrics"), detail);
        }
        for (i, metric) in metrics.iter().enumerate() {
            validate_metric(metric, &path.child("metrics").index(i), errors);
        }
        for side in ["scaleUp", "scaleDown"] {
            validate_behavior(
                &spec["behavior"][side],
                &path.child("behavior").child(side),
                errors,
            );
        }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                text("Reference"),
                text("Targets"),
                text("MinPods"),
                text("MaxPods"),
                text("Replicas"),
                AGE,
            ]
        }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let target = |field: &str| spec["scaleTargetRef"][field].as_str().unwrap_or_default();
        let least = spec["minReplicas"]
            .as_i64()
            .map_or("<unset>".to_owned(), |n| n.to_string());
        vec![
            name_cell(object),
            format!("{}/{}", target("kind"), target("name")).into(),
            metrics(spec, status).into(),
            least.into(),
            int(&spec["maxReplicas"]),
            int(&status["currentReplicas"]),
            age(object, cx),
        ]
    }
}

/// The member of a metric that its type names.
fn source(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return None,
    })
}

fn validate_metric(metric: &Value, path: &Path, errors: &mut FieldErrors) {
    let known = ["ContainerResource", "External", "Object", "Pods", "Resource"];
    let kind = metric["type"].as_str().unwrap_or_default();
    let Some(member) = source(kind) else {
        errors.enumeration(&path.child("type"), &metric["type"], &known);
        return;
    };
    let (inner, at) = (&metric[member], path.child(member));
    if inner.is_null() {
        let detail = "must populate information for the given metric source";
        errors.required(&at, detail);
        return;
    }
    for other in ["containerResource", "external", "object", "pods", "resource"] {
        if other != member && !metric[other].is_null() {
            let detail = "must populate the given metric source only";
            errors.forbidden(&path.child(other), detail);
        }
    }
    let (name, at_name, missing) = if matches!(member, "resource" | "containerResource") {
        (&inner["name"], at.child("name"), "must specify a resource name")
    } else {
        (
            inner.at(&["metric", "name"]),
            at.child("metric.name"),
            "must specify a metric name",
        )
    };
    match name.as_str().unwrap_or_default() {
        "" => errors.required(&at_name, missing),
        text => errors.invalid_each(&at_name, text, name::path_segment(text, false)),
    }
    let (target, at) = (&inner["target"], at.child("target"));
    let kind = target["type"].as_str().unwrap_or_default();
    if kind.is_empty() {
        errors.required(&at.child("type"), "must specify a metric target type");
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        errors.invalid(
            &at.child("type"),
            kind.to_owned(),
            "must be either Utilization, Value, or AverageValue",
        );
    }
    let lacks = |field: &str| target[field].is_null();
    match member {
        "resource" | "containerResource" if lacks("averageUtilization") && lacks("averageValue") => {
            let detail = "must set either a target raw value or a target utilization";
            errors.required(&at.child("averageUtilization"), detail);
        }
        "pods" if lacks("averageValue") => {
            errors.required(
                &at.child("averageValue"),
                "must specify a positive target averageValue",
            );
        }
        "object" if lacks("value") && lacks("averageValue") => {
            errors.required(
                &at.child("averageValue"),
                "must set either a target value or averageValue",
            );
        }
        "external" if lacks("value") && lacks("averageValue") => {
            let detail = "must set either a target value for metric or a per-pod target";
            errors.required(&at.child("averageValue"), detail);
        }
        _ => {}
    }
    for field in ["value", "averageValue"] {
        if crate::types::resources::amount(target, field).is_some_and(|q| q.sign() <= 0) {
            errors.invalid(&at.child(field), target[field].clone(), "must be positive");
        }
    }
    if let Some(n) = target["averageUtilization"].as_i64().filter(|n| *n < 1) {
        errors.invalid(&at.child("averageUtilization"), n, "must be greater than 0");
    }
}

fn validate_behavior(rules: &Value, path: &Path, errors: &mut FieldErrors) {
    if rules.is_null() {
        return;
    }
    if let Some(n) = rules["stabilizationWindowSeconds"].as_i64() {
        let at = path.child("stabilizationWindowSeconds");
        if n < 0 {
            errors.invalid(&at, n, "must be greater than or equal to zero");
        } else if n > 3600 {
            errors.invalid(&at, n, "must be less than or equal to 3600");
        }
    }
    if !rules["selectPolicy"].is_null() {
        errors.enumeration(
            &path.child("selectPolicy"),
            &rules["selectPolicy"],
            &["Disabled", "Max", "Min"],
        );
    }
    let policies = rules.list_at(&["policies"]);
    if policies.is_empty() {
        errors.required(&path.child("policies"), "must specify at least one Policy");
    }
    for (i, policy) in policies.iter().enumerate() {
        let at = path.child("policies").index(i);
        errors.enumeration(&at.child("type"), &policy["type"], &["Percent", "Pods"]);
        let value = policy["value"].as_i64().unwrap_or(0);
        if value <= 0 {
            errors.invalid(&at.child("value"), value, "must be greater than zero");
        }
        let period = policy["periodSeconds"].as_i64().unwrap_or(0);
        if period <= 0 {
            errors.invalid(&at.child("periodSeconds"), period, "must be greater than zero");
        } else if period > 1800 {
            errors.invalid(
                &at.child("periodSeconds"),
                period,
                "must be less than or equal to 1800",
            );
        }
    }
}

/// At most two metrics as `current/target`.
fn metrics(spec: &Value, status: &Value) -> String {
    const MOST: usize = 2;
    let specs = spec.list_at(&["metrics"]);
    if let ([], Some(target)) = (specs, spec["targetCPUUtilizationPercentage"].as_i64()) {
        let now = status["currentCPUUtilizationPercentage"].as_i64();
        return format!(
            "cpu: {}/{target}%",
            now.map_or("<unknown>".into(), |n| format!("{n}%"))
        );
    }
    if specs.is_empty() {
        return "<none>".into();
    }
    let currents = status.list_at(&["currentMetrics"]);
    let shown: Vec<String> = specs
        .iter()
        .enumerate()
        .map(|(i, m)| metric(m, currents.get(i).unwrap_or(&Value::Null)))
        .collect();
    if shown.len() > MOST {
        format!("{} + {} more...", shown[..MOST].join(", "), shown.len() - MOST)
    } else {
        shown.join(", ")
    }
}

fn metric(metric: &Value, current: &Value) -> String {
    let Some(member) = source(metric["type"].as_str().unwrap_or_default()) else {
        return "<unknown type>".into();
    };
    let target = &metric[member]["target"];
    let now = &current[member]["current"];
    let text = |map: &Value, field: &str| map[field].as_str().map(str::to_owned);
    let unknown = || "<unknown>".to_owned();
    let average = text(target, "averageValue");
    match member {
        "resource" | "containerResource" => {
            let name = metric[member]["name"].as_str().unwrap_or_default();
            if let Some(average) = average {
                return format!(
                    "{name}: {}/{average}",
                    text(now, "averageValue").unwrap_or_else(unknown)
                );
            }
            let percent = |map: &Value| map["averageUtilization"].as_i64().map(|n| format!("{n}%"));
            let (now, target) = (percent(now), percent(target));
            format!(
                "{name}: {}/{}",
                now.unwrap_or_else(unknown),
                target.unwrap_or_else(|| "<auto>".into())
            )
        }
        "pods" => {
            let now = text(now, "averageValue").unwrap_or_else(unknown);
            format!("{now}/{}", average.unwrap_or_default())
        }
        _ => match average {
            Some(average) => format!(
                "{}/{average} (avg)",
                text(now, "averageValue").unwrap_or_else(unknown)
            ),
            None => format!(
                "{}/{}",
                text(now, "value").unwrap_or_else(unknown),
                text(target, "value").unwrap_or_default()
            ),
        },
    }
}
