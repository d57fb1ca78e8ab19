//! ServiceAccount: every pod runs as a service account that exists, gets its token mounted, and its pull secrets.

use super::{Attempt, Operation, Plugin, pods};
use crate::kind::Kind;
use crate::registry::meta::generate_name;
use crate::status::{ApiError, Result};
use async_trait::async_trait;
use machinery::quote::go_quote;
use machinery::{Value, value};
use std::time::Duration;

/// Where programs in a container look for the token, the CA and the namespace.
const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// What the volume's name begins with.
const VOLUME: &str = "kube-api-access-";
/// How long a token lives: an hour, and seven seconds by which upstream tells its own requests from others.
const TOKEN_SECONDS: i64 = 3607;
/// How often the account `default` is looked for: a controller makes it just after its namespace.
const DEFAULT_TRIES: u32 = 10;
const DEFAULT_PAUSE: Duration = Duration::from_millis(100);

/// The plugin.
pub(super) struct ServiceAccount;

#[async_trait]
impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn handles(&self, operation: Operation, kind: &Kind, subresource: &str) -> bool {
        pods::is_create(operation, kind, subresource)
    }

    async fn mutate(&self, attempt: &mut Attempt<'_>) -> Result<()> {
        if pods::is_mirror(&attempt.object) {
            return mirror(attempt);
        }
        let name = match attempt.object.str_at(&["spec", "serviceAccountName"]) {
            Some(name) if !name.is_empty() => name.to_owned(),
            _ => "default".to_owned(),
        };
        let account = account(attempt, &name).await?;
        let generated = generate_name(VOLUME);
        let spec = &attempt.object["spec"];
        let wanted = spec["automountServiceAccountToken"]
            .as_bool()
            .or_else(|| account["automountServiceAccountToken"].as_bool())
            .unwrap_or(true);
        let own_pull_secrets = !spec.list_at(&["imagePullSecrets"]).is_empty();
        let spec = attempt.object.at_mut(&["spec"]);
        spec.insert("serviceAccountName", name.clone());
        // The old name of the field, kept for old clients.
        spec.insert("serviceAccount", name);
        if wanted {
            mount_token(spec, generated);
        }
        let secrets = account.list_at(&["imagePullSecrets"]);
        if !own_pull_secrets && !secrets.is_empty() {
            spec.insert("imagePullSecrets", Value::List(secrets.to_vec()));
        }
        Ok(())
    }
}

fn mirror(attempt: &Attempt<'_>) -> Result<()> {
    let refused = match pods::referenced_object(&attempt.object["spec"]) {
        Some("serviceaccounts") => "a mirror pod may not reference service accounts",
        Some("secrets") => "a mirror pod may not reference secrets",
        _ => return Ok(()),
    };
    Err(attempt.forbidden(refused))
}

async fn account(attempt: &Attempt<'_>, name: &str) -> Result<Value> {
    let tries = if name == "default" { DEFAULT_TRIES } else { 1 };
    for n in 0..tries {
        if n > 0 {
            tokio::time::sleep(DEFAULT_PAUSE).await;
        }
        let reader = attempt.reader;
        let mut found = reader.get("", "serviceaccounts", attempt.namespace, name).await?;
        if found.is_none() {
            found = reader
                .get_live("", "serviceaccounts", attempt.namespace, name)
                .await?;
        }
        if let Some(found) = found {
            return Ok(found);
        }
    }
    let missing: ApiError = attempt.forbidden(&format!(
        "error looking up service account {}/{name}: serviceaccount {} not found",
        attempt.namespace,
        go_quote(name)
    ));
    Err(missing)
}

/// Mounts the token into every container that has nothing there yet.
fn mount_token(spec: &mut machinery::Map, generated: String) {
    let existing = spec.get("volumes").and_then(Value::as_list).into_iter().flatten();
    let existing = existing
        .filter_map(|v| v.str_at(&["name"]))
        .find(|n| n.starts_with(VOLUME));
    let known = existing.map(str::to_owned);
    let name = known.clone().unwrap_or(generated);
    let mut used = false;
    for list in ["initContainers", "containers"] {
        let Some(Value::List(containers)) = spec.get_mut(list) else {
            continue;
        };
        for container in containers {
            let Value::Map(container) = container else {
                continue;
            };
            let mounts = container.entry("volumeMounts", || Value::List(Vec::new()));
            let Value::List(mounts) = mounts else { continue };
            if mounts.iter().any(|m| m.str_at(&["mountPath"]) == Some(MOUNT)) {
                continue;
            }
            mounts.push(value!({"name": (name.clone()), "readOnly": true, "mountPath": MOUNT}));
            used = true;
        }
    }
    if used
        && known.is_none()
        && let Value::List(volumes) = spec.entry("volumes", || Value::List(Vec::new()))
    {
        volumes.push(value!({
            "name": name,
            "projected": {
                "defaultMode": 420,
                "sources": [
                    {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                    {"downwardAPI": {"items": [{
                        "path": "namespace",
                        "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
                    }]}}
                ]
            }
        }));
    }
}
