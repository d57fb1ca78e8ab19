//! What a running process tells its operator: logs and traces for every binary, figures of the process itself.
//!
//! Traces are exported by OTLP over gRPC if `OTEL_EXPORTER_OTLP_ENDPOINT` (or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`) is set;
//! the other variables of OpenTelemetry's specification hold too (headers, sampler, service name). Without it no layer is installed, and a
//! span costs one atomic load. Which spans are made is chosen by `MARINA_TRACE`, as `MARINA_LOG` chooses log lines.

mod otlp;
pub mod process;

pub use base::telemetry::Format;
pub use otlp::{Guard, SetupError};

/// Sets up logs, and traces if the environment asks for them. Call it inside the tokio runtime, once; keep the guard until the
/// process ends, since dropping it sends what is left.
///
/// # Errors
/// If the environment asks for traces in a way that makes no sense. Logs are set up all the same.
pub fn init(service: &'static str, format: Format, default_filter: &str) -> Result<Guard, SetupError> {
    if !otlp::wanted() {
        base::telemetry::init(format, default_filter);
        return Ok(Guard::none());
    }
    match otlp::provider(service) {
        Ok(provider) => {
            otlp::install(&provider, format, default_filter);
            Ok(Guard::new(provider))
        }
        Err(error) => {
            base::telemetry::init(format, default_filter);
            Err(error)
        }
    }
}
