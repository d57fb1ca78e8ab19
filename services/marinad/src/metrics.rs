//! `/metrics` on the REST port, for the operator's key: every cluster's figures with a `cluster` label, and the process's own.

use apiserver::ApiServer;
use apiserver::audit::Files;
use axum::Router;
use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use runtime::QueueMetrics;
use std::fmt::Write;
use std::sync::Arc;

/// What the parts of the process besides the API server count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Components {
    pub(crate) queues: QueueMetrics,
    pub(crate) scheduler: scheduler::Metrics,
}

impl Components {
    fn registry(&self) -> Registry {
        let mut registry = Registry::default();
        self.queues.register(&mut registry);
        self.scheduler.register(&mut registry);
        registry
    }
}

/// The routes.
pub(crate) fn routes(server: ApiServer, audit: Option<Arc<Files>>, components: &Components) -> Router {
    let registry = Arc::new(components.registry());
    let answer = async move || text(&server, &registry, audit.as_deref());
    Router::new().route("/metrics", get(answer))
}

fn text(
    server: &ApiServer,
    registry: &Registry,
    audit: Option<&Files>,
) -> ([(HeaderName, &'static str); 1], String) {
    let mut all = apiserver::metrics::classic(&server.metrics_text());
    let mut parts = String::new();
    if let Err(error) = encode(&mut parts, registry) {
        tracing::warn!(%error, "the metrics of the controllers and the scheduler cannot be written");
    }
    all.push_str(&apiserver::metrics::classic(&parts));
    all.push_str(&telemetry::process::text());
    if let Some((taken, dropped)) = audit.map(Files::counts) {
        let _infallible = write!(
            all,
            "# HELP apiserver_audit_event_total Audit events taken\n# TYPE apiserver_audit_event_total counter\n\
             apiserver_audit_event_total {taken}\n\
             # HELP apiserver_audit_error_total Audit events dropped because the disk is too slow\n\
             # TYPE apiserver_audit_error_total counter\napiserver_audit_error_total{{plugin=\"log\"}} {dropped}\n"
        );
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], all)
}
