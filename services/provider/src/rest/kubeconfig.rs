//! `…/kubeconfig` and `…/credential`: how kubectl gets in.
//!
//! A kubeconfig holds no secret by default: kubectl asks the `marina` command, which asks for a short-lived client
//! certificate with the user's API key. With `embed=true` such a certificate stands in the file, for CI.

use super::App;
use super::authentication::Caller;
use super::clusters::{endpoint, find};
use super::reply::{Failure, Reply};
use crate::records::ClusterRecord;
use auth::{Cluster, Directory};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde::Deserialize;
use serde_json::{Value, json};
use service_api::{Credential, ErrorBody, ErrorCode};
use std::sync::Arc;
use std::time::Duration;

/// A credential lives this long unless asked otherwise.
const DEFAULT_TTL: u64 = 3600;
/// Client certificates of people live a day at most.
const TTL: std::ops::RangeInclusive<u64> = 60..=24 * 3600;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Wish {
    /// Put a credential into the file.
    #[serde(default)]
    embed: bool,
    /// Seconds the credential lives.
    ttl_seconds: Option<u64>,
}

/// A kubeconfig for the cluster, as JSON (which is YAML too).
#[utoipa::path(get, path = "/v1/projects/{project}/clusters/{cluster}/kubeconfig", tag = "clusters",
    params(("project" = String, Path,), ("cluster" = String, Path,), ("embed" = Option<bool>, Query,),
        ("ttlSeconds" = Option<u64>, Query,)),
    responses((status = 200, body = Object), (status = 404, body = ErrorBody)))]
pub(super) async fn kubeconfig(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((project, name)): Path<(String, String)>,
    wish: Result<Query<Wish>, QueryRejection>,
) -> Reply<Json<Value>> {
    caller.project(&app, &project).await?;
    let Query(wish) = wish?;
    let (record, cluster) = active(&app, &project, &name).await?;
    let user = if wish.embed {
        let credential = issue(&app, &cluster, wish.ttl_seconds)?;
        json!({
            "client-certificate-data": BASE64_STANDARD.encode(credential.client_certificate),
            "client-key-data": BASE64_STANDARD.encode(credential.client_key),
        })
    } else {
        json!({ "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "marina",
            "args": ["credential", "--project", &project, &name],
            "interactiveMode": "Never",
            "provideClusterInfo": false,
            "installHint": "put marina on the PATH; see Marina's README",
        } })
    };
    let context = format!("marina-{project}-{name}");
    Ok(Json(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": context, "cluster": {
            "server": endpoint(&app, &record),
            "certificate-authority-data": BASE64_STANDARD.encode(&cluster.keys.ca_pem),
        } }],
        "users": [{ "name": context, "user": user }],
        "contexts": [{ "name": context, "context": { "cluster": context, "user": context } }],
        "current-context": context,
    })))
}

/// A short-lived client certificate, for the credential plugin.
#[utoipa::path(post, path = "/v1/projects/{project}/clusters/{cluster}/credential", tag = "clusters",
    params(("project" = String, Path,), ("cluster" = String, Path,), ("ttlSeconds" = Option<u64>, Query,)),
    responses((status = 200, body = Credential), (status = 404, body = ErrorBody)))]
pub(super) async fn credential(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((project, name)): Path<(String, String)>,
    wish: Result<Query<Wish>, QueryRejection>,
) -> Reply<Json<Credential>> {
    caller.project(&app, &project).await?;
    let (_, cluster) = active(&app, &project, &name).await?;
    Ok(Json(issue(&app, &cluster, wish?.0.ttl_seconds)?))
}

async fn active(app: &App, project: &str, name: &str) -> Reply<(ClusterRecord, Arc<Cluster>)> {
    let record = find(app, project, name).await?.value;
    match app.directory.cluster(&record.id) {
        Some(cluster) => Ok((record, cluster)),
        None => {
            let why = format!("cluster {name:?} cannot be used in its present state");
            Err(Failure(ErrorCode::Conflict.because(why)))
        }
    }
}

fn issue(app: &App, cluster: &Cluster, ttl: Option<u64>) -> Reply<Credential> {
    let ttl = ttl.unwrap_or(DEFAULT_TTL);
    if !TTL.contains(&ttl) {
        let why = format!("between {} and {} seconds", TTL.start(), TTL.end());
        return Err(Failure(ErrorCode::InvalidArgument.at("ttlSeconds", why)));
    }
    let now = app.clock.now();
    let ttl = Duration::from_secs(ttl);
    let subject = pki::Subject::new("marina:admin", &[auth::user::MASTERS]);
    let made = cluster.keys.issue_client(subject, ttl, now);
    let made = made.map_err(|error| {
        tracing::error!(%error, "cannot issue a client certificate");
        Failure(ErrorCode::Internal.because("the credential could not be made"))
    })?;
    Ok(Credential {
        client_certificate: made.cert_pem(),
        client_key: made.key_pem(),
        expires_at: base::clock::rfc3339(now.saturating_add(ttl).unwrap_or(jiff::Timestamp::MAX)),
    })
}
