//! Logs for every binary: one call in `main`, standard error, filtered by `MARINA_LOG` (or `RUST_LOG`).

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Which log lines are written: what the environment says, else `default`.
pub fn filter(default: &str) -> EnvFilter {
    EnvFilter::try_from_env("MARINA_LOG")
        .or_else(|_| EnvFilter::try_from_default_env())
        .unwrap_or_else(|_| EnvFilter::new(default))
}

/// Sets up logging for the process. Calling it twice is harmless: the first call wins.
pub fn init(format: Format, default_filter: &str) {
    let registry = tracing_subscriber::registry().with(filter(default_filter));
    let _already_set = match format {
        Format::Text => registry
            .with(fmt::layer().with_writer(std::io::stderr))
            .try_init(),
        Format::Json => registry
            .with(fmt::layer().json().with_writer(std::io::stderr))
            .try_init(),
    };
}
