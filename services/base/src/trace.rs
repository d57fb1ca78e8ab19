//! W3C trace context at the borders of a process, without knowing who exports spans.
//!
//! Parts make spans with `tracing` and call [`accept`] and [`traceparent`] where a request comes in or goes out. The exporter
//! (crate `telemetry`) puts a [`Propagation`] layer among the subscriber's layers; without one both calls do nothing, so
//! that a process without tracing pays for one look-up on requests that carry the header, and for nothing else.
//! Rejected: the OpenTelemetry crates below the binaries, which every crate would then compile.

use tracing::{Dispatch, Span, Subscriber, dispatcher};
use tracing_subscriber::Layer;

/// The header's name (W3C Trace Context, level 1).
pub const TRACEPARENT: &str = "traceparent";

/// Reads and writes `traceparent` for spans.
pub trait Propagator: Send + Sync + 'static {
    /// Makes the span a child of the remote span that the header names; a malformed header changes nothing.
    fn accept(&self, span: &Span, traceparent: &str);
    /// The header for calls made inside the span; `None` if the span is not recorded.
    fn traceparent(&self, span: &Span) -> Option<String>;
}

/// The layer by which a subscriber carries its propagator. It looks at no span and no event.
pub struct Propagation(Box<dyn Propagator>);

impl Propagation {
    /// With this propagator.
    pub fn new(propagator: impl Propagator) -> Self {
        Self(Box::new(propagator))
    }
}

impl<S: Subscriber> Layer<S> for Propagation {}

fn with<T>(f: impl FnOnce(&dyn Propagator) -> Option<T>) -> Option<T> {
    let mut f = Some(f);
    dispatcher::get_default(|dispatch: &Dispatch| {
        let layer = dispatch.downcast_ref::<Propagation>()?;
        f.take().and_then(|f| f(&*layer.0))
    })
}

/// Makes a span, which nothing has entered yet, a child of the caller's span.
pub fn accept(span: &Span, traceparent: &str) {
    if !span.is_disabled() {
        with(|p| {
            p.accept(span, traceparent);
            Some(())
        });
    }
}

/// The `traceparent` to send along with a call made in the current span.
pub fn traceparent() -> Option<String> {
    with(|p| p.traceparent(&Span::current()))
}
