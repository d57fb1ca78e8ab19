//! One trace through both programs: from a user's command to the machine that it reaches, and from a machine's work to the
//! API server.

use collector::{Collector, Span};
use e2e::{World, wait_for};
use std::time::Duration;

/// Programs send their spans every five seconds.
const PATIENCE: Duration = Duration::from_secs(30);
const POD: &str = "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"web\"}, \"spec\": {\"containers\": [
  {\"name\": \"c\", \"image\": \"docker.io/library/busybox:latest\", \"imagePullPolicy\": \"Always\", \"command\": [\"sleep\", \"600\"]}]}}";

#[test]
fn a_command_in_a_pod_and_a_pod_s_start_are_traces_through_both_programs() {
    let Some(kubectl) = needs::kubectls().into_iter().next() else {
        return;
    };
    // At every address, for the machines' side of the host is not there yet.
    let collector = Collector::start("0.0.0.0:0".parse().unwrap()).unwrap();
    let port = collector.address().port();
    let world = World::start_with(4, |gateway| {
        vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{port}")),
            ("MARINA_NODE_OTLP_ENDPOINT", format!("http://{gateway}:{port}")),
        ]
    });
    let Some(world) = world else { return };
    world.marina("cluster create shop --cloud local").run();
    world.marina("kubeconfig shop --merge").run();
    world
        .marina("node-pool create shop web --nodes 1")
        .limit(120)
        .run();
    let file = world.file("pod.json", POD);
    let file = file.to_string_lossy();
    for line in [
        vec!["apply", "-f", &*file],
        vec!["wait", "--for=condition=Ready", "pod/web", "--timeout", "60s"],
        vec!["exec", "web", "--", "true"],
    ] {
        world.kubectl(&kubectl, &line).run();
    }

    let exec = "/exec/{podNamespace}/{podID}/{containerName}";
    let find = |what: &str, fits: &dyn Fn(&Span) -> bool| {
        wait_for(what, PATIENCE, || collector.spans().into_iter().find(|s| fits(s)))
    };
    let on_node = find("the kubelet's span of exec", &|s| s.name == exec);
    assert_eq!(on_node.service(), "marina-node");
    assert_eq!(on_node.resource["k8s.node.name"], "web-1");
    let request = find("the API server's span of exec", &|s| s.id == on_node.parent);
    assert_eq!((request.service(), request.name.as_str()), ("marinad", "request"));
    assert_eq!(request.trace, on_node.trace);
    assert_eq!(
        on_node.resource["k8s.cluster.name"],
        request.attribute("cluster"),
        "the cluster has one name in both"
    );

    let start = find("the pod's start", &|s| {
        s.name == "syncPod" && s.attribute("k8s.pod.name") == "web"
    });
    let container = find("the container's start", &|s| {
        s.name == "startContainer" && s.parent == start.id
    });
    let pull = find("the image's pull", &|s| {
        s.name == "pullImage" && s.parent == container.id
    });
    find("the runtime's call", &|s| {
        s.name == "runtime.v1.ImageService/PullImage" && s.parent == pull.id
    });
    let written = find("the status", &|s| {
        s.name == "writePodStatus" && s.parent == start.id
    });
    let patch = find("the API server's side of it", &|s| s.parent == written.id);
    assert_eq!((patch.service(), patch.attribute("verb")), ("marinad", "patch"));
    for span in collector
        .spans()
        .iter()
        .filter(|s| s.trace == on_node.trace || s.trace == start.trace)
    {
        println!(
            "{} {:11} {} < {} {}",
            span.trace,
            span.service(),
            span.id,
            span.parent,
            span.name
        );
    }
    // Without nodes that hold connections, marinad ends at once.
    world.marina("cluster delete shop --yes").limit(120).run();
}
