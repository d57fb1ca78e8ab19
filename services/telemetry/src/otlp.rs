//! Spans to an OTLP collector.

use crate::{Endpoint, EndpointError, Options};
use base::telemetry::{Format, filter};
use base::trace::{Propagation, Propagator, TRACEPARENT};
use opentelemetry::KeyValue;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::time::Duration;
use tracing::Span;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// How long the last spans may take to leave.
const FLUSH: Duration = Duration::from_secs(3);
/// Spans of our own crates; not those of the HTTP stack, which would trace their own export.
const SPANS: &str = "off,marinad=trace,marina_node=trace,apiserver=trace,provider=trace,scheduler=trace,controllers=trace,\
    cloud_controllers=trace,runtime=trace,kubelet=trace,store_raft=trace,tunnel=trace,client=trace,cri=trace";

/// Why traces cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Endpoint, headers or TLS settings that make no sense.
    #[error("cannot export traces: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The endpoint that the process was given.
    #[error("cannot export traces: {0}")]
    Endpoint(#[from] EndpointError),
}

/// Sends what is left when it is dropped.
#[derive(Debug)]
pub struct Guard(Option<SdkTracerProvider>);

impl Guard {
    pub(crate) fn none() -> Self {
        Self(None)
    }

    pub(crate) fn new(provider: SdkTracerProvider) -> Self {
        Self(Some(provider))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take()
            && let Err(error) = provider.shutdown_with_timeout(FLUSH)
        {
            eprintln!("the last traces were not sent: {error}");
        }
    }
}

/// Whether the environment asks for traces.
pub(crate) fn wanted() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    set("OTEL_EXPORTER_OTLP_ENDPOINT") || set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
}

/// An exporter that the environment describes, or else the options. Spans wait in a bounded queue and are dropped beyond it.
pub(crate) fn provider(options: &Options) -> Result<SdkTracerProvider, SetupError> {
    let mut exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic();
    if let Some(endpoint) = options.endpoint.as_deref().filter(|_| !wanted()) {
        exporter = exporter.with_endpoint(endpoint.parse::<Endpoint>()?.to_string());
    }
    let exporter = exporter.build()?;
    let mut resource = Resource::builder();
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name(options.service);
    }
    let more = options.resource.iter();
    resource = resource.with_attributes(more.map(|(key, value)| KeyValue::new(*key, value.clone())));
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.build())
        .build())
}

/// Makes logs and spans go where they belong.
pub(crate) fn install(provider: &SdkTracerProvider, format: Format, default_filter: &str) {
    let spans = EnvFilter::try_from_env("MARINA_TRACE").unwrap_or_else(|_| EnvFilter::new(SPANS));
    let traces = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("marina"))
        .with_location(false)
        .with_threads(false)
        .with_filter(spans.and(filter_fn(|span| !span.target().ends_with("::log"))));
    let propagation = Propagation::new(W3c(TraceContextPropagator::new())).with_filter(LevelFilter::OFF);
    let registry = tracing_subscriber::registry().with(traces).with(propagation);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let _already_set = match format {
        Format::Text => registry
            .with(lines.with_filter(filter(default_filter)))
            .try_init(),
        Format::Json => registry
            .with(lines.json().with_filter(filter(default_filter)))
            .try_init(),
    };
}

struct W3c(TraceContextPropagator);

struct One<'a>(&'a str);

impl Extractor for One<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT).then_some(self.0)
    }
    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

struct Taken(Option<String>);

impl Injector for Taken {
    fn set(&mut self, key: &str, value: String) {
        if key == TRACEPARENT {
            self.0 = Some(value);
        }
    }
}

impl Propagator for W3c {
    fn accept(&self, span: &Span, traceparent: &str) {
        let remote = self.0.extract(&One(traceparent));
        if remote.span().span_context().is_valid() {
            // It fails for spans that were entered already: those keep the parent they have.
            let _kept = span.set_parent(remote);
        }
    }

    fn traceparent(&self, span: &Span) -> Option<String> {
        let mut taken = Taken(None);
        self.0.inject_context(&span.context(), &mut taken);
        taken.0
    }
}
