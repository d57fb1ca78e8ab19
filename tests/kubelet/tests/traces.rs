//! The spans of a kubelet, as a collector gets them. A program of its own, because tracing is set up once in a process and
//! because it would be measured by the other one.

use collector::{Collector, Span};
use kubelet_tests::{Case, Node, run};
use serde_json::json;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Where this process sends its spans.
static COLLECTOR: OnceLock<Collector> = OnceLock::new();
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

fn main() -> ExitCode {
    let telemetry = || {
        let any = "127.0.0.1:0".parse().expect("an address");
        let collector = COLLECTOR.get_or_init(|| Collector::start(any).expect("a free port"));
        let mut options = telemetry::Options::new("marina-node");
        options.filter = "warn";
        options.endpoint = Some(format!("http://{}", collector.address()));
        telemetry::init(&options).expect("the endpoint is well-formed")
    };
    let cases = vec![
        Case {
            name: "a_pod_s_start_is_one_trace_down_to_the_runtime_and_the_api_server",
            run: |node| Box::pin(async move { start(&node).await }),
        },
        Case {
            name: "a_request_to_the_kubelet_is_a_child_of_the_caller_s_span",
            run: |node| Box::pin(async move { request(&node).await }),
        },
    ];
    run(telemetry, Vec::new(), cases)
}

/// The spans that arrive until these are enough. Spans are sent every five seconds.
async fn spans(enough: impl Fn(&[Span]) -> bool) -> Vec<Span> {
    let started = Instant::now();
    loop {
        let spans = COLLECTOR.get().map_or_else(Vec::new, Collector::spans);
        if enough(&spans) {
            return spans;
        }
        if started.elapsed() > Duration::from_secs(30) {
            let names: Vec<_> = spans.iter().map(|s| format!("{} {}", s.trace, s.name)).collect();
            panic!("these spans are not what was waited for: {names:#?}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A pod that runs, with a ConfigMap as volume and as environment.
async fn run_pod(node: &Node, name: &str) {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"color": "blue"}});
    node.create("configmaps", &map).await;
    let container = json!({"name": "c", "image": "busybox:1.36", "command": ["sleep", "600"],
        "envFrom": [{"configMapRef": {"name": name}}],
        "readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1},
        "volumeMounts": [{"name": "map", "mountPath": "/map"}]});
    let volumes = json!([{"name": "map", "configMap": {"name": name}}]);
    node.run(name, json!({"containers": [container], "volumes": volumes}))
        .await;
    node.until_ready(name).await;
}

async fn start(node: &Node) {
    run_pod(node, "traced").await;
    // Some looks and probes later, nothing has been added.
    tokio::time::sleep(Duration::from_secs(3)).await;
    node.delete("traced").await;
    let of_pod = |s: &&Span, name: &str| s.name == name && s.attribute("k8s.pod.name") == "traced";
    let all = spans(|all| all.iter().any(|s| of_pod(&s, "syncTerminatingPod"))).await;

    let starts: Vec<_> = all.iter().filter(|s| of_pod(s, "syncPod")).collect();
    let [start] = starts[..] else {
        panic!("one start, not {starts:#?}")
    };
    assert_eq!(start.parent, "", "nothing names the trace that a pod comes from");
    assert_eq!(start.attribute("k8s.namespace.name"), "default");
    assert!(!start.attribute("k8s.pod.uid").is_empty());
    assert_eq!(start.service(), "marina-node");

    let tree: Vec<_> = all.iter().filter(|s| s.trace == start.trace).collect();
    let child = |parent: &Span, name: &str| -> Span {
        let mut found = tree.iter().filter(|s| s.parent == parent.id && s.name == name);
        let one = found
            .next()
            .unwrap_or_else(|| panic!("no {name} below {}: {tree:#?}", parent.name));
        Span::clone(one)
    };
    // The kubelet's requests to the API server go on as its spans.
    let volumes = child(start, "mountVolumes");
    assert_eq!(child(&volumes, "request").attribute("resource"), "configmaps");
    let sandbox = child(start, "createPodSandbox");
    child(&sandbox, "runtime.v1.RuntimeService/RunPodSandbox");
    let container = child(start, "startContainer");
    assert_eq!(container.attribute("k8s.container.name"), "c");
    assert_eq!(child(&container, "request").attribute("resource"), "configmaps");
    for call in ["CreateContainer", "StartContainer"] {
        let call = child(&container, &format!("runtime.v1.RuntimeService/{call}"));
        assert_eq!(call.attribute("rpc.system"), "grpc");
    }
    let told = child(start, "writePodStatus");
    assert_eq!(child(&told, "request").attribute("verb"), "patch");
    let failed: Vec<_> = tree.iter().filter(|s| s.failed).collect();
    assert!(failed.is_empty(), "{failed:#?}");

    let noise = |s: &&Span| s.name.contains("ExecSync") || s.name.contains("List") || s.name == "pod";
    let noise: Vec<_> = all.iter().filter(noise).map(|s| &s.name).collect();
    assert!(noise.is_empty(), "{noise:?}");
}

async fn request(node: &Node) {
    run_pod(node, "asked").await;
    let parent = format!("00-{TRACE}-{CALLER}-01");
    assert_eq!(node.kubelet_traced("/metrics", &parent).await, 200);
    assert_eq!(
        node.kubelet_traced("/containerLogs/default/asked/c", &parent)
            .await,
        200
    );
    let route = "/containerLogs/{podNamespace}/{podID}/{containerName}";
    let all = spans(|all| all.iter().any(|s| s.name == route)).await;
    let ours: Vec<_> = all.iter().filter(|s| s.parent == CALLER).collect();
    let [logs] = ours[..] else {
        panic!("one child of the caller, and none for metrics: {ours:#?}")
    };
    assert_eq!((logs.trace.as_str(), logs.name.as_str()), (TRACE, route));
    assert_eq!(
        ["k8s.namespace.name", "k8s.pod.name", "k8s.container.name"].map(|key| logs.attribute(key)),
        ["default", "asked", "c"]
    );
    assert_eq!(logs.attribute("http.response.status_code"), "200");
    let below = |s: &Span| s.parent == logs.id && s.name == "runtime.v1.RuntimeService/ListContainers";
    assert!(all.iter().any(below), "what it asks the runtime is below it");
    node.delete("asked").await;
}
