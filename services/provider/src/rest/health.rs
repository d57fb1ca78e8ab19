//! `/livez`, `/readyz` and `/healthz` of the service, in the form that Kubernetes' API servers answer in: `ok`, or with `?verbose`
//! a line for each check; `/readyz/etcd` asks for one check alone. They need no key and say nothing about tenants.

use super::App;
use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::routing::get;
use base::ClusterId;
use std::time::Duration;
use store_api::Consistency;

/// The store has to answer within this.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn routes(app: App) -> Router {
    let mut router = Router::new();
    for name in ["livez", "readyz", "healthz"] {
        let all =
            move |State(app): State<App>, RawQuery(query): RawQuery| answer(app, name, String::new(), query);
        let one = move |State(app): State<App>, Path(check): Path<String>, RawQuery(query): RawQuery| {
            answer(app, name, check, query)
        };
        router = router
            .route(&format!("/{name}"), get(all))
            .route(&format!("/{name}/{{check}}"), get(one));
    }
    router.with_state(app)
}

async fn answer(app: App, name: &str, only: String, query: Option<String>) -> (StatusCode, String) {
    let mut checks = vec![("ping", Ok(()))];
    if name != "livez" {
        let home = ClusterId::management();
        let revision = app.store.revision(&home, Consistency::Linearizable);
        let store = match tokio::time::timeout(PATIENCE, revision).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err("the store does not answer"),
        };
        checks.push(("etcd", store));
    }
    if !only.is_empty() {
        checks.retain(|(check, _)| *check == only);
        if checks.is_empty() {
            return (StatusCode::NOT_FOUND, "404 page not found\n".into());
        }
    }
    let mut text = String::new();
    for (check, result) in &checks {
        match result {
            Ok(()) => text.push_str(&format!("[+]{check} ok\n")),
            Err(why) => text.push_str(&format!("[-]{check} failed: {why}\n")),
        }
    }
    if checks.iter().any(|(_, result)| result.is_err()) {
        return (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("{text}{name} check failed\n"),
        );
    }
    let query = query.unwrap_or_default();
    if only.is_empty()
        && query
            .split('&')
            .any(|p| p == "verbose" || p.starts_with("verbose="))
    {
        return (StatusCode::OK, format!("{text}{name} check passed\n"));
    }
    (StatusCode::OK, "ok".into())
}
