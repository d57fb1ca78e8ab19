//! The API objects a node fetches for its pods: ConfigMaps, Secrets, service account tokens.
//!
//! Read when a pod starts and again when its volumes are refreshed. Rejected: one watch for each referenced object (as
//! upstream does): an idle pod would own a stream in the API server.

use crate::k8s::{ConfigMap, Pod, Secret, name, namespace, uid};
use base::Clock;
use client::{Api, Client, Error};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;

/// Lifetime asked for when a token volume names none, seconds.
const TOKEN_LIFE: i64 = 3600;
/// A token is renewed after this part of its life, in percent, or after a day.
const RENEW_AFTER: i64 = 80;

/// A service account token and until when it is used.
#[derive(Clone, Debug)]
pub struct Token {
    /// The token.
    pub text: String,
    /// When to ask for the next one.
    pub renew: Timestamp,
}

/// Fetches objects for pods. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Objects {
    client: Client,
    clock: Clock,
    tokens: Arc<Mutex<HashMap<TokenKey, Token>>>,
}

/// Pod UID, service account, audience, lifetime.
type TokenKey = (String, String, String, i64);

impl Objects {
    /// Fetches through `client`.
    pub fn new(client: Client, clock: Clock) -> Self {
        Self {
            client,
            clock,
            tokens: Arc::default(),
        }
    }

    /// A ConfigMap; `None` if it does not exist.
    pub async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<ConfigMap>, Error> {
        Api::<ConfigMap>::namespaced(&self.client, namespace)
            .get_opt(name)
            .await
    }

    /// A Secret; `None` if it does not exist.
    pub async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>, Error> {
        Api::<Secret>::namespaced(&self.client, namespace)
            .get_opt(name)
            .await
    }

    /// A token of the pod's service account, bound to the pod; kept until it is time to renew it.
    pub async fn token(&self, pod: &Pod, audience: &str, seconds: Option<i64>) -> Result<Token, Error> {
        let account = pod
            .spec
            .as_ref()
            .and_then(|s| s.service_account_name.as_deref())
            .filter(|s| !s.is_empty());
        let account = account.unwrap_or("default");
        let life = seconds.unwrap_or(TOKEN_LIFE);
        let key = (
            uid(&pod.metadata).to_owned(),
            account.to_owned(),
            audience.to_owned(),
            life,
        );
        let now = self.clock.now();
        if let Some(token) = self.tokens.lock().get(&key).filter(|t| t.renew > now) {
            return Ok(token.clone());
        }
        let audiences: Vec<&str> = if audience.is_empty() {
            Vec::new()
        } else {
            vec![audience]
        };
        let body = json!({
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": account, "namespace": namespace(&pod.metadata)},
            "spec": {
                "audiences": audiences,
                "expirationSeconds": life,
                "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": name(&pod.metadata), "uid": uid(&pod.metadata)},
            },
        });
        let api = Api::<crate::k8s::ServiceAccount>::namespaced(&self.client, namespace(&pod.metadata));
        let answer = api.create_subresource(account, "token", &body).await?;
        let text = answer["status"]["token"].as_str().filter(|t| !t.is_empty());
        let text =
            text.ok_or_else(|| Error::Decode("a token request was answered without a token".to_owned()))?;
        let expires = answer["status"]["expirationTimestamp"]
            .as_str()
            .and_then(|t| t.parse::<Timestamp>().ok());
        let real = expires.map_or(life, |e| e.duration_since(now).as_secs()).max(1);
        let wait = SignedDuration::from_secs((real * RENEW_AFTER / 100).min(24 * 3600));
        let token = Token {
            text: text.to_owned(),
            renew: now.saturating_add(wait).unwrap_or(Timestamp::MAX),
        };
        self.tokens.lock().insert(key, token.clone());
        Ok(token)
    }

    /// Forgets the tokens of a pod.
    pub fn forget(&self, pod_uid: &str) {
        self.tokens.lock().retain(|key, _| key.0 != pod_uid);
    }

    /// The client, for one-off calls.
    pub fn client(&self) -> &Client {
        &self.client
    }
}
