//! Service.
//!
//! Cluster IPs and node ports are allocated by the API server, not here: rules are pure.

mod validate;

use machinery::{Map, Value};

use crate::edit::{each, fill, fill_zero, text, within};
use crate::table::{AGE, NAME, age, cell, labels, name as name_cell, or_none, text as string, wide};
use crate::{Column, Cx, FieldErrors, Names, Rules, equal, strategy};

pub(crate) use validate::port_or_name;

/// Rules of services.
pub(crate) struct Service;

/// Whether the type has something outside the cluster: node ports or a balancer, or there are external IPs.
pub(crate) fn externally_accessible(spec: &Value) -> bool {
    let kind = spec["type"].as_str().unwrap_or_default();
    matches!(kind, "LoadBalancer" | "NodePort")
        || (kind == "ClusterIP" && !spec.list_at(&["externalIPs"]).is_empty())
}

impl Rules for Service {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        let spec = object.at_mut(&["spec"]);
        fill_zero(spec, "sessionAffinity", "None");
        match text(spec, "sessionAffinity") {
            "None" => {
                spec.remove("sessionAffinityConfig");
            }
            "ClientIP" => {
                fill(
                    spec.map_entry("sessionAffinityConfig").map_entry("clientIP"),
                    "timeoutSeconds",
                    10800,
                );
            }
            _ => {}
        }
        fill_zero(spec, "type", "ClusterIP");
        each(spec, "ports", |port| {
            fill_zero(port, "protocol", "TCP");
            let number = port.get("port").cloned().unwrap_or(Value::Int(0));
            fill_zero(port, "targetPort", number);
        });
        let kind = text(spec, "type").to_owned();
        let outside = matches!(&*kind, "LoadBalancer" | "NodePort")
            || (kind == "ClusterIP" && spec.get("externalIPs").is_some_and(|v| !v.is_zero()));
        if outside {
            fill_zero(spec, "externalTrafficPolicy", "Cluster");
        }
        if matches!(&*kind, "NodePort" | "LoadBalancer" | "ClusterIP") {
            fill(spec, "internalTrafficPolicy", "Cluster");
        }
        if kind == "LoadBalancer" {
            fill(spec, "allocateLoadBalancerNodePorts", true);
            within(object.at_mut(&["status", "loadBalancer"]), "ingress", |_| {});
            each(object.at_mut(&["status", "loadBalancer"]), "ingress", |ingress| {
                if !text(ingress, "ip").is_empty() {
                    fill(ingress, "ipMode", "VIP");
                }
            });
        }
        object.at_mut(&["status", "loadBalancer"]);
    }

    fn prepare_create(&self, object: &mut Value, cx: &Cx<'_>) {
        strategy::prepare_create(object, false, cx);
        object.at_mut(&["status", "loadBalancer"]);
        let spec = object.at_mut(&["spec"]);
        sync_cluster_ips(spec, None);
        default_family_policy(spec, None);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, cx: &Cx<'_>) {
        strategy::prepare_update(new, old, false, cx);
        if cx.subresource.is_empty() {
            let was = &old["spec"];
            let spec = new.at_mut(&["spec"]);
            keep_allocations(spec, was);
            sync_cluster_ips(spec, Some(was));
            drop_by_type(spec, was);
            default_family_policy(spec, Some(was));
            if text(spec, "type") != "LoadBalancer" {
                new.at_mut(&["status"]).insert("loadBalancer", Map::new());
            }
        }
    }

    fn names(&self, cx: &Cx<'_>) -> Names {
        // Kubernetes 1.36 relaxed it.
        if cx.minor >= 36 {
            Names::Label
        } else {
            Names::Label1035
        }
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        validate::service(object, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
        match cx.subresource {
            "" => validate::update(new, old, errors),
            _ => validate::status(new, errors),
        }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                string("Type"),
                string("Cluster-IP"),
                string("External-IP"),
                string("Port(s)"),
                AGE,
                wide("Selector"),
            ]
        }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let spec = &object["spec"];
        let first = spec
            .list_at(&["clusterIPs"])
            .first()
            .unwrap_or(&spec["clusterIP"]);
        let ports: Vec<String> = spec.list_at(&["ports"]).iter().map(port_text).collect();
        vec![
            name_cell(object),
            cell(&spec["type"]),
            or_none(first.as_str().unwrap_or_default()),
            external_ip(object).into(),
            or_none(&ports.join(",")),
            age(object, cx),
            labels(&spec["selector"]),
        ]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let text = |path: &[&str]| object.str_at(path).unwrap_or_default().to_owned();
        vec![
            ("spec.clusterIP", text(&["spec", "clusterIP"])),
            ("spec.type", text(&["spec", "type"])),
        ]
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }
}

fn port_text(port: &Value) -> String {
    let number = port["port"].as_i64().unwrap_or(0);
    let protocol = port["protocol"].as_str().unwrap_or_default();
    match port["nodePort"].as_i64().unwrap_or(0) {
        0 => format!("{number}/{protocol}"),
        node => format!("{number}:{node}/{protocol}"),
    }
}

fn external_ip(object: &Value) -> String {
    let spec = &object["spec"];
    let mut external: Vec<&str> = spec
        .list_at(&["externalIPs"])
        .iter()
        .filter_map(Value::as_str)
        .collect();
    match spec["type"].as_str().unwrap_or_default() {
        "ClusterIP" | "NodePort" if external.is_empty() => "<none>".into(),
        "ClusterIP" | "NodePort" => external.join(","),
        "LoadBalancer" => {
            let mut all = balancer_addresses(object);
            all.append(&mut external);
            if all.is_empty() {
                "<pending>".into()
            } else {
                all.join(",")
            }
        }
        "ExternalName" => spec["externalName"].as_str().unwrap_or_default().to_owned(),
        _ => "<unknown>".into(),
    }
}

/// Addresses or host names of the balancers, sorted.
pub(crate) fn balancer_addresses(object: &Value) -> Vec<&str> {
    let points = object.list_at(&["status", "loadBalancer", "ingress"]).iter();
    let mut all: Vec<&str> = points
        .filter_map(|i| {
            i["ip"]
                .as_str()
                .filter(|t| !t.is_empty())
                .or(i["hostname"].as_str())
        })
        .filter(|t| !t.is_empty())
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// `clusterIP` is the first of `clusterIPs`: a client that knows one of them only must not fight with the other.
fn sync_cluster_ips(spec: &mut Map, old: Option<&Value>) {
    let single = text(spec, "clusterIP").to_owned();
    let list: Vec<Value> = spec
        .get("clusterIPs")
        .and_then(Value::as_list)
        .unwrap_or_default()
        .to_vec();
    let Some(old) = old else {
        if !single.is_empty() && list.is_empty() {
            spec.insert("clusterIPs", vec![single.into()]);
        }
        return;
    };
    let before = old["clusterIP"].as_str().unwrap_or_default();
    let same_list = old.list_at(&["clusterIPs"]) == list;
    if single != before && same_list {
        // Only the old field was changed: by a client that does not know the new one.
        if single.is_empty() {
            spec.remove("clusterIPs");
        } else {
            spec.insert("clusterIPs", vec![single.into()]);
        }
    } else if !single.is_empty() && list.is_empty() {
        spec.insert("clusterIPs", vec![single.into()]);
    }
}

/// An update that leaves out what was allocated keeps it, if the type still needs it.
fn keep_allocations(spec: &mut Map, old: &Value) {
    let kind = text(spec, "type").to_owned();
    if kind != "ExternalName" && old["type"].as_str() != Some("ExternalName") {
        if text(spec, "clusterIP").is_empty() && spec.get("clusterIPs").is_none_or(Value::is_zero) {
            strategy::put(spec, "clusterIP", old["clusterIP"].clone());
            strategy::put(spec, "clusterIPs", old["clusterIPs"].clone());
        }
        if spec.get("ipFamilies").is_none_or(Value::is_zero) {
            strategy::put(spec, "ipFamilies", old["ipFamilies"].clone());
        }
    }
    let was = |kind: Option<&str>| matches!(kind, Some("NodePort" | "LoadBalancer"));
    if was(Some(&kind)) && was(old["type"].as_str()) {
        let mut used: Vec<i64> = Vec::new();
        each(spec, "ports", |port| {
            used.extend(port.get("nodePort").and_then(Value::as_i64).filter(|n| *n != 0))
        });
        each(spec, "ports", |port| {
            let same = old.list_at(&["ports"]).iter().find(|p| {
                p.get("port") == port.get("port")
                    && p["protocol"].as_str() == port.get("protocol").and_then(Value::as_str)
            });
            let node = same.and_then(|p| p["nodePort"].as_i64()).unwrap_or(0);
            if node != 0 && !used.contains(&node) && port.get("nodePort").is_none_or(Value::is_zero) {
                port.insert("nodePort", node);
                used.push(node);
            }
        });
    }
    let local = |policy: Option<&str>| policy == Some("Local");
    if kind == "LoadBalancer"
        && old["type"].as_str() == Some("LoadBalancer")
        && local(spec.get("externalTrafficPolicy").and_then(Value::as_str))
        && local(old["externalTrafficPolicy"].as_str())
        && spec.get("healthCheckNodePort").is_none_or(Value::is_zero)
    {
        strategy::put(spec, "healthCheckNodePort", old["healthCheckNodePort"].clone());
    }
}

/// A change of the type drops what the new type has not, unless the client changed it too (then validation complains).
fn drop_by_type(spec: &mut Map, old: &Value) {
    let was = old["type"].as_str().unwrap_or_default();
    let is = text(spec, "type").to_owned();
    let same = |spec: &Map, key: &str| equal(spec.get(key).unwrap_or(&Value::Null), &old[key]);
    let node_ports = |kind: &str| matches!(kind, "NodePort" | "LoadBalancer");
    if was != "ExternalName" && is == "ExternalName" {
        if same(spec, "clusterIP") && same(spec, "clusterIPs") {
            spec.remove("clusterIP");
            spec.remove("clusterIPs");
        }
        for key in ["ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            if same(spec, key) {
                spec.remove(key);
            }
        }
    }
    if node_ports(was) && !node_ports(&is) {
        let had: Vec<i64> = old
            .list_at(&["ports"])
            .iter()
            .filter_map(|p| p["nodePort"].as_i64())
            .collect();
        let mut kept = true;
        each(spec, "ports", |port| {
            let node = port.get("nodePort").and_then(Value::as_i64).unwrap_or(0);
            kept &= node == 0 || had.contains(&node);
        });
        if kept {
            each(spec, "ports", |port| {
                port.remove("nodePort");
            });
        }
    }
    let health = |kind: &str, policy: Option<&str>| kind == "LoadBalancer" && policy == Some("Local");
    if health(was, old["externalTrafficPolicy"].as_str())
        && !health(&is, spec.get("externalTrafficPolicy").and_then(Value::as_str))
        && same(spec, "healthCheckNodePort")
    {
        spec.remove("healthCheckNodePort");
    }
    if was == "LoadBalancer" && is != "LoadBalancer" {
        for key in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if same(spec, key) {
                spec.remove(key);
            }
        }
    }
    let outside = externally_accessible(&Value::Map(spec.clone()));
    if externally_accessible(old) && !outside && same(spec, "externalTrafficPolicy") {
        spec.remove("externalTrafficPolicy");
    }
}

/// One family, unless the service has no cluster IP and no selector.
fn default_family_policy(spec: &mut Map, old: Option<&Value>) {
    if text(spec, "type") == "ExternalName" || spec.get("ipFamilyPolicy").is_some_and(|v| !v.is_null()) {
        return;
    }
    let before = old.map(|o| o["ipFamilyPolicy"].clone()).filter(|v| !v.is_null());
    let headless = text(spec, "clusterIP") == "None" && spec.get("selector").is_none_or(Value::is_zero);
    let policy = before.unwrap_or(if headless {
        "RequireDualStack".into()
    } else {
        "SingleStack".into()
    });
    spec.insert("ipFamilyPolicy", policy);
}
