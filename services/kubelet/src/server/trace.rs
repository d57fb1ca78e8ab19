//! A span around each request, a child of the API server's: named by its route, as upstream's kubelet does with
//! otelrestful, with OpenTelemetry's `http.*` attributes.
//!
//! What must stay true: the header is read only of a caller that may ask, and neither the query (a command may hold
//! secrets) nor a header gets into a span. The span of a stream ends when both sides have agreed to it: a shell may stay open
//! for days, and a span is seen only when it is over. Metrics, statistics and health are asked for all the time and make
//! none.

use base::trace::TRACEPARENT;
use http::{HeaderMap, Method, StatusCode};
use tracing::field::Empty;
use tracing::{Span, debug_span};

/// The route of a path, and the namespace, pod and container that it names.
fn route<'a>(parts: &[&'a str]) -> Option<(&'static str, [&'a str; 3])> {
    Some(match *parts {
        ["pods"] | ["pods", ""] => ("/pods", [""; 3]),
        ["runningpods"] => ("/runningpods", [""; 3]),
        ["containerLogs", ns, pod, c] => (
            "/containerLogs/{podNamespace}/{podID}/{containerName}",
            [ns, pod, c],
        ),
        ["run", ns, pod, .., c] => ("/run/{podNamespace}/{podID}/{containerName}", [ns, pod, c]),
        ["exec", ns, pod, .., c] => ("/exec/{podNamespace}/{podID}/{containerName}", [ns, pod, c]),
        ["attach", ns, pod, .., c] => ("/attach/{podNamespace}/{podID}/{containerName}", [ns, pod, c]),
        ["portForward", ns, pod] | ["portForward", ns, pod, _] => {
            ("/portForward/{podNamespace}/{podID}", [ns, pod, ""])
        }
        _ => return None,
    })
}

/// The span of a request whose caller may ask.
pub(super) fn span(method: &Method, headers: &HeaderMap, parts: &[&str]) -> Span {
    let Some((route, [namespace, pod, container])) = route(parts) else {
        return Span::none();
    };
    let span = debug_span!(
        "server",
        otel.name = route,
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = %method,
        http.route = route,
        http.response.status_code = Empty,
        k8s.namespace.name = namespace,
        k8s.pod.name = pod,
        k8s.container.name = container,
    );
    if let Some(parent) = headers.get(TRACEPARENT).and_then(|v| v.to_str().ok()) {
        base::trace::accept(&span, parent);
    }
    span
}

/// Records the answer. What is the caller's fault is no error of a server (OpenTelemetry's conventions for HTTP).
pub(super) fn outcome(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_all_the_time_has_no_route() {
        for quiet in [
            &["metrics"][..],
            &["metrics", "resource"],
            &["stats", "summary"],
            &["nonsense"],
        ] {
            assert_eq!(route(quiet), None, "{quiet:?}");
        }
        let (name, what) = route(&["exec", "shop", "web", "c1"]).unwrap();
        assert_eq!(
            (name, what),
            (
                "/exec/{podNamespace}/{podID}/{containerName}",
                ["shop", "web", "c1"]
            )
        );
        assert_eq!(
            route(&["exec", "shop", "web", "uid", "c1"]).unwrap().1,
            ["shop", "web", "c1"]
        );
    }
}
