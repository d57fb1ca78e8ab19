//! A collector of OpenTelemetry spans for tests: OTLP over gRPC on a real socket, and the spans as plain values.
//!
//! It runs on a thread of its own, so that tests need no runtime for it. Only tests depend on this crate, of any layer.

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

/// The most spans that are kept; what comes later is refused.
const MOST: usize = 100_000;

/// A span as it arrived. Identifiers are lower-case hexadecimal; what is absent is empty.
#[derive(Clone, Debug, Default)]
pub struct Span {
    /// Attributes of the process that made it; `service.name` among them.
    pub resource: BTreeMap<String, String>,
    /// Its name.
    pub name: String,
    /// The trace.
    pub trace: String,
    /// Its own identifier.
    pub id: String,
    /// The span it is a child of.
    pub parent: String,
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// Whether it ended with an error.
    pub failed: bool,
}

impl Span {
    /// The program that made it.
    pub fn service(&self) -> &str {
        self.resource.get("service.name").map_or("", String::as_str)
    }

    /// An attribute.
    pub fn attribute(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }
}

type Spans = Arc<Mutex<Vec<Span>>>;

/// A running collector; dropping it closes its door.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    spans: Spans,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    /// Listens at an address; port 0 is any that is free.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub fn start(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let spans = Spans::default();
        let service = TraceServiceServer::new(Service(spans.clone()));
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let Ok(socket) = tokio::net::TcpListener::from_std(socket) else {
                    return;
                };
                let incoming = tokio_stream::wrappers::TcpListenerStream::new(socket);
                let server = tonic::transport::Server::builder()
                    .add_service(service)
                    .serve_with_incoming(incoming);
                tokio::select! {
                    _ended = server => {}
                    _dropped = stopped => {}
                }
            });
        });
        Ok(Self {
            address,
            spans,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has arrived until now.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

struct Service(Spans);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut spans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for from in request.into_inner().resource_spans {
            let resource = attributes(from.resource.map(|r| r.attributes).unwrap_or_default());
            for span in from.scope_spans.into_iter().flat_map(|s| s.spans) {
                if spans.len() >= MOST {
                    return Err(Status::resource_exhausted("the test makes too many spans"));
                }
                spans.push(Span {
                    resource: resource.clone(),
                    name: span.name,
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    attributes: attributes(span.attributes),
                    // STATUS_CODE_ERROR.
                    failed: span.status.is_some_and(|s| s.code == 2),
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn attributes(list: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<Value>| match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::BoolValue(flag)) => flag.to_string(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        _ => String::new(),
    };
    list.into_iter()
        .map(|a| (a.key, text(a.value.and_then(|v| v.value))))
        .collect()
}
