//! What a running process tells its operator: logs and traces for every binary, figures of the process itself.
//!
//! Traces are exported by OTLP over gRPC if `OTEL_EXPORTER_OTLP_ENDPOINT` (or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`) is set, or
//! else to [`Options::endpoint`]; the other variables of OpenTelemetry's specification hold too (headers, sampler, service
//! name). Without an endpoint no layer is installed, and a span costs one atomic load. Which spans are made is chosen by
//! `MARINA_TRACE`, as `MARINA_LOG` chooses log lines.
//!
//! A span whose target ends in `::log` is context of log lines and never exported: one that lives as long as what it tells
//! of (a pod, a connection) would be the parent of everything, and would arrive when it is all over.

mod endpoint;
mod otlp;
pub mod process;

pub use base::telemetry::Format;
pub use endpoint::{Endpoint, EndpointError};
pub use otlp::{Guard, SetupError};

/// What a process says of itself, and to whom.
#[derive(Clone, Debug)]
pub struct Options {
    /// `service.name` of its spans.
    pub service: &'static str,
    /// How log lines look.
    pub format: Format,
    /// Which log lines are written if the environment does not say.
    pub filter: &'static str,
    /// Where traces go if the environment does not say; checked as an [`Endpoint`].
    pub endpoint: Option<String>,
    /// More attributes of the process, named as OpenTelemetry's conventions name them.
    pub resource: Vec<(&'static str, String)>,
}

impl Options {
    /// Text, at level info, and no traces if the environment asks for none.
    pub fn new(service: &'static str) -> Self {
        Self {
            service,
            format: Format::Text,
            filter: "info",
            endpoint: None,
            resource: Vec::new(),
        }
    }
}

/// Sets up logs, and traces if they are asked for. Call it inside the tokio runtime, once; keep the guard until the
/// process ends, since dropping it sends what is left, for at most three seconds.
///
/// # Errors
/// If traces are asked for in a way that makes no sense. Logs are set up all the same.
pub fn init(options: &Options) -> Result<Guard, SetupError> {
    let provider = if otlp::wanted() || options.endpoint.is_some() {
        otlp::provider(options).map(Some)
    } else {
        Ok(None)
    };
    match provider {
        Ok(Some(provider)) => {
            otlp::install(&provider, options.format, options.filter);
            Ok(Guard::new(provider))
        }
        Ok(None) => {
            base::telemetry::init(options.format, options.filter);
            Ok(Guard::none())
        }
        Err(error) => {
            base::telemetry::init(options.format, options.filter);
            Err(error)
        }
    }
}
