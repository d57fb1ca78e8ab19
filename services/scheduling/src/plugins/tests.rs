//! Each plugin through the whole framework: one table of worlds and what comes out.

use crate::{Framework, Pod, Snapshot};
use machinery::{Value, value};
use std::sync::Arc;

fn node(name: &'static str, zone: &'static str) -> Value {
    value!({
        "metadata": {"name": name, "labels": {"zone": zone, "kubernetes.io/hostname": name}},
        "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "3"}}
    })
}

fn pod(name: &'static str, spec: Value) -> Value {
    let mut object = value!({"metadata": {"name": name, "namespace": "d", "labels": {"app": "x"}}});
    object.at_mut(&[]).insert("spec", spec);
    object
}

fn asks(cpu: &'static str) -> Value {
    value!({"containers": [{"image": "i", "resources": {"requests": {"cpu": cpu}}}]})
}

fn world(nodes: Vec<Value>, placed: &[(&str, Value)]) -> Snapshot {
    let mut snapshot = Snapshot::new();
    for node in &nodes {
        snapshot.set_node(node);
    }
    for (at, object) in placed {
        snapshot.place(Arc::new(Pod::read(object)), at);
    }
    snapshot
}

fn place(snapshot: &Snapshot, object: &Value) -> Result<String, String> {
    let framework = Framework::standard();
    let answer = framework.place(&Pod::read(object), snapshot, &mut 0, &mut |_| 0);
    answer.map(|o| o.node).map_err(|e| e.message())
}

fn three() -> Vec<Value> {
    vec![node("a", "z1"), node("b", "z1"), node("c", "z2")]
}

#[test]
fn nothing_fits_nowhere() {
    assert_eq!(
        place(&world(vec![], &[]), &pod("p", asks("1"))),
        Err("no nodes available to schedule pods".into())
    );
}

#[test]
fn the_emptier_node_is_better_and_a_full_one_is_none() {
    let placed = [
        ("a", pod("1", asks("1"))),
        ("b", pod("2", asks("500m"))),
        ("c", pod("3", asks("2"))),
    ];
    let world = world(three(), &placed);
    assert_eq!(place(&world, &pod("p", asks("100m"))).as_deref(), Ok("b"));
    let full = place(&world, &pod("p", asks("1600m")));
    assert_eq!(full, Err("0/3 nodes are available: 3 Insufficient cpu.".into()));
}

#[test]
fn a_node_takes_only_so_many_pods() {
    let none = || value!({"containers": [{"image": "i"}]});
    let placed = [
        ("a", pod("1", none())),
        ("a", pod("2", none())),
        ("a", pod("3", none())),
    ];
    let world = world(vec![node("a", "z1")], &placed);
    assert_eq!(
        place(&world, &pod("p", none())),
        Err("0/1 nodes are available: 1 Too many pods.".into())
    );
}

#[test]
fn cordoned_and_tainted_nodes_are_avoided() {
    let mut nodes = three();
    nodes[0].at_mut(&["spec"]).insert("unschedulable", true);
    nodes[1]
        .at_mut(&["spec"])
        .insert("taints", vec![value!({"key": "k", "effect": "NoSchedule"})]);
    let world = world(nodes, &[]);
    assert_eq!(place(&world, &pod("p", asks("1"))).as_deref(), Ok("c"));
    let mut picky = asks("1");
    picky.at_mut(&["nodeSelector"]).insert("zone", "z1");
    let why = place(&world, &pod("p", picky));
    let expected = "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, \
                    1 node(s) had untolerated taint(s), 1 node(s) were unschedulable.";
    assert_eq!(why, Err(expected.into()));
}

#[test]
fn required_and_preferred_node_affinity() {
    let affinity = |kind: &'static str, term: Value| {
        let mut spec = asks("1");
        spec.at_mut(&["affinity", "nodeAffinity"]).insert(kind, term);
        pod("p", spec)
    };
    let z2 = || value!({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["z2"]}]});
    let world = world(three(), &[]);
    let mut terms = Value::map();
    terms.at_mut(&[]).insert("nodeSelectorTerms", vec![z2()]);
    let required = affinity("requiredDuringSchedulingIgnoredDuringExecution", terms);
    assert_eq!(place(&world, &required).as_deref(), Ok("c"));
    let mut weighted = value!({"weight": 10});
    weighted.at_mut(&[]).insert("preference", z2());
    let preferred = affinity(
        "preferredDuringSchedulingIgnoredDuringExecution",
        Value::List(vec![weighted]),
    );
    assert_eq!(place(&world, &preferred).as_deref(), Ok("c"));
}

#[test]
fn host_ports_do_not_collide() {
    let spec = || value!({"containers": [{"image": "i", "ports": [{"hostPort": 80, "protocol": "TCP"}]}]});
    let world = world(vec![node("a", "z1")], &[("a", pod("1", spec()))]);
    let why = "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.";
    assert_eq!(place(&world, &pod("p", spec())), Err(why.into()));
}

#[test]
fn hard_spread_keeps_the_skew() {
    let mut spec = asks("10m");
    let constraint = value!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "x"}}});
    spec.at_mut(&[])
        .insert("topologySpreadConstraints", vec![constraint]);
    let world = world(three(), &[("a", pod("1", asks("10m")))]);
    assert_eq!(place(&world, &pod("p", spec)).as_deref(), Ok("c"));
}

#[test]
fn anti_affinity_holds_in_both_directions() {
    let mut shy = asks("10m");
    let term = value!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "x"}}});
    shy.at_mut(&["affinity", "podAntiAffinity"])
        .insert("requiredDuringSchedulingIgnoredDuringExecution", vec![term]);
    let beside_others = world(three(), &[("a", pod("1", asks("10m")))]);
    assert_eq!(place(&beside_others, &pod("p", shy.clone())).as_deref(), Ok("c"));
    let beside_a_shy_one = world(three(), &[("c", pod("1", shy.clone()))]);
    assert_ne!(
        place(&beside_a_shy_one, &pod("p", asks("10m"))).as_deref(),
        Ok("c")
    );
    let everywhere = world(
        three(),
        &[("a", pod("1", asks("10m"))), ("c", pod("2", asks("10m")))],
    );
    let why = "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules.";
    assert_eq!(place(&everywhere, &pod("p", shy)), Err(why.into()));
}

#[test]
fn affinity_follows_its_friends_and_the_first_goes_anywhere() {
    let mut fond = asks("10m");
    let term = value!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "x"}}});
    fond.at_mut(&["affinity", "podAffinity"])
        .insert("requiredDuringSchedulingIgnoredDuringExecution", vec![term]);
    assert!(place(&world(three(), &[]), &pod("p", fond.clone())).is_ok());
    let friend = world(three(), &[("c", pod("1", asks("1")))]);
    assert_eq!(place(&friend, &pod("p", fond)).as_deref(), Ok("c"));
}

#[test]
fn every_resource_that_is_lacking_is_named() {
    let asked = value!({"containers": [{"image": "i", "resources": {"requests":
        {"cpu": "3", "memory": "5Gi", "example.com/gpu": "1"}}}]});
    let small = world(vec![node("a", "z1"), node("b", "z1")], &[]);
    assert_eq!(
        place(&small, &pod("p", asked)),
        Err("0/2 nodes are available: 2 Insufficient cpu, 2 Insufficient example.com/gpu, 2 Insufficient memory.".into())
    );
}
