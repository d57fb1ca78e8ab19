//! `/metrics` on the REST port, for the operator's key: every cluster's figures with a `cluster` label, and the process's own.

use apiserver::ApiServer;
use apiserver::audit::Files;
use axum::Router;
use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use std::fmt::Write;
use std::sync::Arc;

/// The routes.
pub(crate) fn routes(server: ApiServer, audit: Option<Arc<Files>>) -> Router {
    let answer = async move || text(&server, audit.as_deref());
    Router::new().route("/metrics", get(answer))
}

fn text(server: &ApiServer, audit: Option<&Files>) -> ([(HeaderName, &'static str); 1], String) {
    let mut all = apiserver::metrics::classic(&server.metrics_text());
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
