//! A span around each call that is part of a trace, and `traceparent` for the runtime, as upstream's kubelet does with
//! otelgrpc: named `runtime.v1.RuntimeService/RunPodSandbox`, with OpenTelemetry's `rpc.*` attributes.
//!
//! A call outside of a trace makes none: a kubelet asks its runtime all the time, and every question would be a trace of
//! its own.

use base::trace::{TRACEPARENT, traceparent};
use http::HeaderValue;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::codegen::Service;
use tracing::field::Empty;
use tracing::{Instrument, Span};

/// A gRPC transport whose calls are traced.
#[derive(Clone, Debug)]
pub struct Traced<S>(pub(crate) S);

fn span(path: &str) -> Span {
    if traceparent().is_none() {
        return Span::none();
    }
    let name = path.trim_start_matches('/');
    let (service, method) = name.split_once('/').unwrap_or((name, ""));
    tracing::debug_span!(
        "rpc",
        otel.name = name,
        otel.kind = "client",
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = Empty,
    )
}

impl<S, Q, A> Service<http::Request<Q>> for Traced<S>
where
    S: Service<http::Request<Q>, Response = http::Response<A>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Q>) -> Self::Future {
        let span = span(request.uri().path());
        if let Some(value) = span.in_scope(traceparent)
            && let Ok(value) = HeaderValue::from_str(&value)
        {
            request.headers_mut().insert(TRACEPARENT, value);
        }
        let reply = self.0.call(request).instrument(span.clone());
        Box::pin(async move {
            let reply = reply.await;
            // A call that fails has its status in the head: the answer is nothing but trailers.
            let code = match &reply {
                Ok(answer) => answer.headers().get("grpc-status").and_then(|v| v.to_str().ok()),
                Err(_) => Some("14"),
            };
            if let Some(code) = code.filter(|c| *c != "0") {
                span.record("rpc.grpc.status_code", code);
                span.record("otel.status_code", "ERROR");
            }
            reply
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::trace::{Propagation, Propagator};
    use tonic::codegen::BoxFuture;
    use tracing_subscriber::layer::SubscriberExt;

    /// Every span is in a trace, and its header is its name.
    struct Names;

    impl Propagator for Names {
        fn accept(&self, _: &Span, _: &str) {}
        fn traceparent(&self, span: &Span) -> Option<String> {
            span.metadata().map(|m| m.name().to_owned())
        }
    }

    /// Answers with the headers of the request.
    struct Echo;

    impl Service<http::Request<()>> for Echo {
        type Response = http::Response<()>;
        type Error = std::convert::Infallible;
        type Future = BoxFuture<http::Response<()>, Self::Error>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, request: http::Request<()>) -> Self::Future {
            let mut answer = http::Response::new(());
            *answer.headers_mut() = request.headers().clone();
            Box::pin(async { Ok(answer) })
        }
    }

    #[tokio::test]
    async fn a_call_inside_a_trace_is_a_span_and_tells_the_runtime_so() {
        let subscriber = tracing_subscriber::registry().with(Propagation::new(Names));
        tracing::subscriber::set_global_default(subscriber).expect("no other test here sets one");
        let mut runtime = Traced(Echo);
        let request = || {
            http::Request::get("/runtime.v1.RuntimeService/Version")
                .body(())
                .unwrap()
        };
        let outside = runtime.call(request()).await.unwrap();
        assert!(outside.headers().get(TRACEPARENT).is_none(), "no trace, no span");
        let inside = tracing::info_span!("syncPod").in_scope(|| runtime.call(request()));
        let inside = inside.await.unwrap();
        assert_eq!(
            inside.headers()[TRACEPARENT],
            "rpc",
            "the call's own span is the parent"
        );
    }
}
