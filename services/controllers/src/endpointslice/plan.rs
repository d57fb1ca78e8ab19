//! Which slices there should be.

use super::{MANAGED_BY, MANAGER, SERVICE};
use crate::common::claim::controller_ref;
use crate::common::{Meta, Object, pods, services};
use crate::kinds::{
    Endpoint, EndpointConditions, EndpointPort, EndpointSlice, ObjectMeta, ObjectReference, Pod, Service,
};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// Endpoints in one slice at most.
const MAX: usize = 100;
const HEADLESS: &str = "service.kubernetes.io/headless";

#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) create: Vec<EndpointSlice>,
    pub(super) update: Vec<EndpointSlice>,
    pub(super) delete: Vec<EndpointSlice>,
}

/// Ports as a key: slices hold endpoints that answer on the same ports.
fn ports_key(ports: &[EndpointPort]) -> String {
    let mut parts: Vec<String> = ports
        .iter()
        .map(|p| {
            let text = |v: &Option<String>| v.clone().unwrap_or_default();
            let number = p.port.unwrap_or(0);
            format!(
                "{}/{}/{number}/{}",
                text(&p.name),
                p.protocol.as_deref().unwrap_or("TCP"),
                text(&p.app_protocol)
            )
        })
        .collect();
    parts.sort();
    parts.join(",")
}

fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let all = service.spec.iter().flat_map(|s| s.ports.iter().flatten());
    all.filter_map(|p| {
        Some(EndpointPort {
            name: Some(p.name.clone().unwrap_or_default()),
            port: Some(services::port_on(pod, p)?),
            protocol: Some(p.protocol.clone().unwrap_or_else(|| "TCP".into())),
            app_protocol: p.app_protocol.clone(),
        })
    })
    .collect()
}

fn endpoint(
    service: &Service,
    pod: &Pod,
    addresses: Vec<String>,
    zones: &HashMap<String, String>,
) -> Endpoint {
    let serving = pods::is_ready(pod);
    let terminating = pod.deleting();
    let ready = services::publishes_unready(service) || (serving && !terminating);
    let node = pods::node(pod).map(str::to_string);
    Endpoint {
        addresses,
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: services::hostname(pod, service),
        zone: node.as_ref().and_then(|n| zones.get(n)).cloned(),
        node_name: node,
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    }
}

fn families(service: &Service) -> Vec<&str> {
    let listed = service
        .spec
        .iter()
        .flat_map(|s| s.ip_families.iter().flatten())
        .map(String::as_str);
    let all: Vec<&str> = listed.collect();
    if all.is_empty() { vec!["IPv4"] } else { all }
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if services::is_headless(service) {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels.insert(SERVICE.into(), service.name().into());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels
}

/// An endpoint is the same endpoint if it is of the same pod.
fn who(e: &Endpoint) -> &str {
    e.target_ref.as_ref().and_then(|t| t.uid.as_deref()).unwrap_or("")
}

pub(super) fn decide(
    service: &Service,
    pods: &[Pod],
    existing: &[EndpointSlice],
    zones: &HashMap<String, String>,
) -> Plan {
    let mut plan = Plan::default();
    let families = families(service);
    let mut rest: Vec<&EndpointSlice> = Vec::new();
    for slice in existing {
        let mine = crate::common::claim::is_controlled_by(slice, service.uid());
        if !mine || !families.contains(&slice.address_type.as_str()) {
            plan.delete.push(slice.clone());
        } else {
            rest.push(slice);
        }
    }
    for family in families {
        let mut groups: BTreeMap<String, (Vec<EndpointPort>, Vec<Endpoint>)> = BTreeMap::new();
        for pod in pods.iter().filter(|p| services::is_endpoint(p, true)) {
            let fits = |ip: &IpAddr| ip.is_ipv6() == (family == "IPv6");
            let addresses: Vec<String> = services::addresses(pod)
                .into_iter()
                .filter(fits)
                .map(|ip| ip.to_string())
                .collect();
            if addresses.is_empty() {
                continue;
            }
            let ports = ports(service, pod);
            let group = groups
                .entry(ports_key(&ports))
                .or_insert_with(|| (ports, Vec::new()));
            group.1.push(endpoint(service, pod, addresses, zones));
        }
        if groups.is_empty() {
            // A Service without pods has one empty slice: it says that somebody looked.
            groups.insert(String::new(), (Vec::new(), Vec::new()));
        }
        let (mine, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|s| s.address_type == family);
        rest = others;
        let mut by_ports: BTreeMap<String, Vec<&EndpointSlice>> = BTreeMap::new();
        for slice in mine {
            by_ports
                .entry(ports_key(slice.ports.as_deref().unwrap_or_default()))
                .or_default()
                .push(slice);
        }
        for (key, (ports, endpoints)) in groups {
            let slices = by_ports.remove(&key).unwrap_or_default();
            fill(service, family, ports, endpoints, &slices, &mut plan);
        }
        plan.delete.extend(by_ports.into_values().flatten().cloned());
    }
    plan
}

/// Distributes endpoints with the same ports over the slices there are.
fn fill(
    service: &Service,
    family: &str,
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
    slices: &[&EndpointSlice],
    plan: &mut Plan,
) {
    let labels = labels(service);
    let placeholder = endpoints.is_empty();
    let mut wanted: BTreeMap<String, Endpoint> =
        endpoints.into_iter().map(|e| (who(&e).to_string(), e)).collect();
    let mut kept: Vec<(EndpointSlice, bool)> = Vec::new();
    for slice in slices {
        let mut new = (*slice).clone();
        let old = new.endpoints.take().unwrap_or_default();
        let stay: Vec<Endpoint> = old.iter().filter_map(|e| wanted.remove(who(e))).collect();
        let changed = stay != old || new.metadata.labels.as_ref() != Some(&labels);
        new.metadata.labels = Some(labels.clone());
        new.endpoints = Some(stay);
        kept.push((new, changed));
    }
    let size = |s: &EndpointSlice| s.endpoints.as_ref().map_or(0, Vec::len);
    let mut left: Vec<Endpoint> = wanted.into_values().collect();
    // Fullest first, so that few slices change and none stays nearly empty.
    kept.sort_by_key(|(s, _)| std::cmp::Reverse(size(s)));
    for (slice, changed) in &mut kept {
        let room = MAX.saturating_sub(size(slice));
        if room > 0 && !left.is_empty() {
            let more = left.split_off(left.len().saturating_sub(room));
            slice.endpoints.get_or_insert_default().extend(more);
            *changed = true;
        }
    }
    let mut alive = 0;
    let total: usize = kept.iter().map(|(s, _)| size(s)).sum::<usize>() + left.len();
    for (slice, changed) in kept {
        // An emptied slice goes, except the last.
        if size(&slice) == 0 && (total > 0 || alive > 0) {
            plan.delete.push(slice);
            continue;
        }
        alive += 1;
        if changed {
            plan.update.push(slice);
        }
    }
    if placeholder && alive == 0 && left.is_empty() {
        plan.create.push(new(service, family, ports, Vec::new(), labels));
        return;
    }
    while !left.is_empty() {
        let batch = left.split_off(left.len().saturating_sub(MAX));
        plan.create
            .push(new(service, family, ports.clone(), batch, labels.clone()));
    }
}

fn new(
    service: &Service,
    family: &str,
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
    labels: BTreeMap<String, String>,
) -> EndpointSlice {
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", service.name())),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![controller_ref(service)]),
            ..ObjectMeta::default()
        },
        address_type: family.into(),
        ports: Some(ports),
        endpoints: Some(endpoints),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{object, pod};

    fn service() -> Service {
        object(
            r#"{"metadata":{"name":"web","namespace":"ns","uid":"s"},"spec":{"clusterIP":"10.0.0.1","selector":{"a":"b"},
            "ports":[{"name":"http","port":80,"targetPort":"web"}]}}"#,
        )
    }

    fn pods(range: std::ops::Range<usize>) -> Vec<Pod> {
        let one = |i: usize| {
            pod(&format!(
                r#"{{"metadata":{{"name":"p{i}","namespace":"ns","uid":"{i:04}"}},
                "spec":{{"nodeName":"n","containers":[{{"name":"c","ports":[{{"name":"web","containerPort":8080}}]}}]}},
                "status":{{"phase":"Running","podIPs":[{{"ip":"10.1.{}.{}"}}],"conditions":[{{"type":"Ready","status":"True"}}]}}}}"#,
                i / 200,
                i % 200
            ))
        };
        range.map(one).collect()
    }

    fn apply(slices: &mut Vec<EndpointSlice>, plan: Plan) {
        for s in plan.update {
            let uid = s.metadata.uid.clone();
            *slices.iter_mut().find(|o| o.metadata.uid == uid).unwrap() = s;
        }
        for s in plan.delete {
            slices.retain(|o| o.metadata.uid != s.metadata.uid);
        }
        for mut s in plan.create {
            s.metadata.uid = Some(format!("u{}", slices.len()));
            slices.push(s);
        }
    }

    #[test]
    fn slices_fill_up_and_change_as_little_as_possible() {
        let zones = HashMap::from([("n".to_string(), "a".to_string())]);
        let mut slices = Vec::new();
        let plan = decide(&service(), &[], &slices, &zones);
        apply(&mut slices, plan);
        assert_eq!(slices.len(), 1, "a Service without pods has one slice");
        let plan = decide(&service(), &pods(0..150), &slices, &zones);
        apply(&mut slices, plan);
        let sizes = |s: &[EndpointSlice]| {
            let mut n: Vec<_> = s.iter().map(|s| s.endpoints.as_ref().unwrap().len()).collect();
            n.sort_unstable();
            n
        };
        assert_eq!(sizes(&slices), [50, 100]);
        let first = &slices[0].endpoints.as_ref().unwrap()[0];
        assert_eq!(first.zone.as_deref(), Some("a"));
        assert_eq!(slices[0].ports.as_ref().unwrap()[0].port, Some(8080));
        assert_eq!(
            decide(&service(), &pods(0..150), &slices, &zones),
            Plan::default(),
            "nothing changed"
        );
        let plan = decide(&service(), &pods(1..150), &slices, &zones);
        assert_eq!(
            (plan.update.len(), plan.create.len(), plan.delete.len()),
            (1, 0, 0)
        );
        let plan = decide(&service(), &[], &slices, &zones);
        apply(&mut slices, plan);
        assert_eq!(sizes(&slices), [0]);
    }

    #[test]
    fn a_pod_that_ends_is_served_but_not_ready() {
        let mut all = pods(0..1);
        all[0].metadata.deletion_timestamp =
            Some(crate::kinds::Time(crate::testing::at("2026-01-01T00:00:00Z")));
        let plan = decide(&service(), &all, &[], &HashMap::new());
        let conditions = plan.create[0].endpoints.as_ref().unwrap()[0]
            .conditions
            .clone()
            .unwrap();
        let got = (conditions.ready, conditions.serving, conditions.terminating);
        assert_eq!(got, (Some(false), Some(true), Some(true)));
    }
}
