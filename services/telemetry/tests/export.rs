//! From a span to a collector over a real socket, with a parent that came in a header.

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use std::process::Command;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};
use tracing::Instrument;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

struct Collector(mpsc::UnboundedSender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0
            .send(request.into_inner())
            .map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// What runs in the child process, whose environment names the collector: settings of a process are read once, at its start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    if std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_none() {
        assert!(
            base::trace::traceparent().is_none(),
            "nothing is installed without an endpoint"
        );
        return;
    }
    let guard = telemetry::init("marinad", telemetry::Format::Text, "info").unwrap();
    let span = tracing::debug_span!(target: "apiserver", "request", cluster = "a");
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
    let hostile = tracing::debug_span!(target: "apiserver", "hostile");
    base::trace::accept(&hostile, "00-zz-\u{1F600}");
    drop(hostile);
    drop(tracing::debug_span!(target: "hyper", "not ours"));
    tokio::task::spawn_blocking(move || drop(guard)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_span_reaches_the_collector_as_a_child_of_the_caller_s() {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    let (sender, mut received) = mpsc::unbounded_channel();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(socket);
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(Collector(sender)))
            .serve_with_incoming(incoming),
    );
    let me = std::env::current_exe().unwrap();
    let done = tokio::task::spawn_blocking(move || {
        Command::new(me)
            .args(["child", "--exact", "--nocapture"])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{at}"))
            .output()
            .unwrap()
    })
    .await
    .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let mut spans = Vec::new();
    while let Ok(request) = received.try_recv() {
        for resource in request.resource_spans {
            let name = resource
                .resource
                .iter()
                .flat_map(|r| &r.attributes)
                .find(|a| a.key == "service.name");
            assert!(format!("{name:?}").contains("marinad"));
            spans.extend(resource.scope_spans.into_iter().flat_map(|s| s.spans));
        }
    }
    let names: Vec<_> = spans.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(spans.len(), 3, "{names:?}");
    let find = |name: &str| spans.iter().find(|s| s.name == name).unwrap();
    let (request, store) = (find("request"), find("store"));
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(hex(&request.trace_id), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(hex(&request.parent_span_id), "b7ad6b7169203331");
    assert_eq!(store.parent_span_id, request.span_id);
    assert!(find("hostile").parent_span_id.is_empty());
}
