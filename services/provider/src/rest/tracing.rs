//! A span around each REST request, a child of the caller's own if the request says so (W3C Trace Context).

use ::tracing::{Instrument, debug_span, field::Empty};
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use base::trace::TRACEPARENT;

pub(super) async fn span(request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("", MatchedPath::as_str);
    let span =
        debug_span!("rest", method = %request.method(), route, path = request.uri().path(), code = Empty);
    if let Some(parent) = request.headers().get(TRACEPARENT).and_then(|v| v.to_str().ok()) {
        base::trace::accept(&span, parent);
    }
    let response = next.run(request).instrument(span.clone()).await;
    span.record("code", response.status().as_u16());
    response
}
