//! From a span to a collector over a real socket, with a parent that came in a header.

use collector::{Collector, Span};
use std::process::Command;
use tracing::Instrument;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// Where the child process is told to send its spans by its options.
const GIVEN: &str = "TEST_ENDPOINT";

/// What runs in the child process, whose environment names the collector: settings of a process are read once, at its start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let given = std::env::var(GIVEN).ok();
    if std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_none() && given.is_none() {
        assert!(
            base::trace::traceparent().is_none(),
            "nothing is installed without an endpoint"
        );
        return;
    }
    let mut options = telemetry::Options::new("marinad");
    options.endpoint = given;
    options.resource = vec![("k8s.node.name", "n1".into())];
    let guard = telemetry::init(&options).unwrap();
    let for_logs = tracing::info_span!(target: "apiserver::log", "context");
    let span = for_logs.in_scope(|| tracing::debug_span!(target: "apiserver", "request", cluster = "a"));
    base::trace::accept(&span, PARENT);
    async {
        let inner = tracing::debug_span!(target: "apiserver", "store");
        let passed_on = async { base::trace::traceparent() }
            .instrument(inner)
            .await
            .unwrap();
        assert!(
            passed_on.starts_with("00-0af7651916cd43dd8448eb211c80319c-"),
            "{passed_on}"
        );
        assert!(
            !passed_on.contains("b7ad6b7169203331"),
            "the callee's parent is our span: {passed_on}"
        );
    }
    .instrument(span)
    .await;
    assert!(
        for_logs.in_scope(base::trace::traceparent).is_none(),
        "context of log lines is no span"
    );
    let hostile = tracing::debug_span!(target: "apiserver", "hostile");
    base::trace::accept(&hostile, "00-zz-\u{1F600}");
    drop(hostile);
    drop(tracing::debug_span!(target: "hyper", "not ours"));
    tokio::task::spawn_blocking(move || drop(guard)).await.unwrap();
}

/// The spans of the child with these variables, of which `{}` is where the collector listens.
fn spans_with(environment: &[(&str, &str)]) -> Vec<Span> {
    let collector = Collector::start("127.0.0.1:0".parse().unwrap()).unwrap();
    let here = format!("http://{}", collector.address());
    let done = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .envs(environment.iter().map(|(k, v)| (k, v.replace("{}", &here))))
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    collector.spans()
}

#[test]
fn a_span_reaches_the_collector_as_a_child_of_the_caller_s() {
    let spans = spans_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "{}")]);
    let names: Vec<_> = spans.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(spans.len(), 3, "{names:?}");
    let find = |name: &str| spans.iter().find(|s| s.name == name).unwrap();
    let (request, store) = (find("request"), find("store"));
    assert_eq!(request.service(), "marinad");
    assert_eq!(request.resource["k8s.node.name"], "n1");
    assert_eq!(request.trace, "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(request.parent, "b7ad6b7169203331");
    assert_eq!(store.parent, request.id);
    assert!(find("hostile").parent.is_empty());
}

#[test]
fn an_endpoint_of_the_options_holds_unless_the_environment_names_one() {
    assert_eq!(spans_with(&[(GIVEN, "{}")]).len(), 3);
    let environment_wins = [("OTEL_EXPORTER_OTLP_ENDPOINT", "{}"), (GIVEN, "no URL at all")];
    assert_eq!(spans_with(&environment_wins).len(), 3);
}

#[tokio::test]
async fn an_endpoint_that_makes_no_sense_is_an_error_and_not_a_panic() {
    let mut options = telemetry::Options::new("marina-node");
    options.endpoint = Some("collector:4317".into());
    let error = telemetry::init(&options).unwrap_err().to_string();
    assert!(error.contains("collector:4317"), "{error}");
}
