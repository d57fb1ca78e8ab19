//! Who shows these credentials, in one cluster.
//!
//! In order: a bearer token of a service account, a bootstrap token, a token of the managed service; else a client
//! certificate; else nobody. A token that nobody knows is refused (401) even if a certificate came with it, as upstream does
//! for a bad token; a certificate of another cluster's CA is refused, never ignored.

use crate::chain::Chain;
use crate::directory::Cluster;
use crate::objects::{LookupError, Objects};
use crate::user::{AUTHENTICATED, AuthSource, SERVICE_ACCOUNTS, User};
use async_trait::async_trait;
use base::{Clock, ClusterId};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use machinery::Value;
use pki::{BootstrapToken, Claims, ClientIdentity, TokenError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a connection and a request show.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The client's certificate chain as TLS delivered it; trust is decided here.
    pub chain: Arc<Chain>,
    /// The bearer token, if there is one.
    pub bearer: Option<String>,
}

/// The WebSocket sub-protocol that carries a bearer token from browsers.
const WEBSOCKET_BEARER: &str = "base64url.bearer.authorization.k8s.io.";

impl Credentials {
    /// The certificate chain of the connection and the token in `Authorization` or, for browsers, in
    /// `Sec-WebSocket-Protocol`.
    pub fn new(chain: Arc<Chain>, headers: &HeaderMap) -> Self {
        let header = |name| headers.get(name).and_then(|v| v.to_str().ok());
        let mut bearer = header("authorization").and_then(|v| {
            let (scheme, token) = v.trim().split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then(|| token.trim().to_owned())
        });
        if bearer.is_none() {
            let protocols = headers
                .get_all("sec-websocket-protocol")
                .iter()
                .filter_map(|v| v.to_str().ok());
            bearer = protocols
                .flat_map(|v| v.split(','))
                .find_map(|p| p.trim().strip_prefix(WEBSOCKET_BEARER))
                .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
                .and_then(|bytes| String::from_utf8(bytes).ok());
        }
        Self {
            chain,
            bearer: bearer.filter(|t| !t.is_empty()),
        }
    }
}

/// An authenticated user and what the credential is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated {
    /// Who.
    pub user: User,
    /// The audiences of the token that were asked for; empty for other credentials.
    pub audiences: Vec<String>,
}

/// Why nobody was authenticated.
#[derive(Debug, thiserror::Error)]
pub enum Unauthenticated {
    /// 401. The text is for logs and for TokenReview, not for the client.
    #[error("{0}")]
    Refused(String),
    /// 500: it could not be decided.
    #[error(transparent)]
    Lookup(#[from] LookupError),
}

/// Tokens of the managed service (API keys, the `marina` credential plugin) for one cluster.
#[async_trait]
pub trait ServiceTokens: Send + Sync + 'static {
    /// The user that a token stands for in this cluster; `None` if it is no token of the service, or not for this cluster.
    async fn authenticate(&self, cluster: &ClusterId, token: &str) -> Option<User>;
}

/// Certificates that must not be believed any more although their CA and dates are good.
pub trait Revocations: Send + Sync + 'static {
    /// Whether this certificate (lower-case hexadecimal SHA-256) of this cluster was revoked. Asked at each request.
    fn is_revoked(&self, cluster: &ClusterId, fingerprint: &str) -> bool;
}

/// Where a request without credentials is let through as `system:anonymous`. Authorization still decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnonymousPolicy {
    /// Only `/livez`, `/readyz`, `/healthz` (and below) and `/version`; 401 elsewhere (CIS 1.2.1, security reference 2.1).
    #[default]
    HealthPaths,
    /// Everywhere, as upstream does unless it is configured.
    Everywhere,
}

/// The authenticator of every cluster of the process.
pub struct Authenticator {
    objects: Objects,
    clock: Clock,
    anonymous: AnonymousPolicy,
    service: Option<Arc<dyn ServiceTokens>>,
    revocations: Option<Arc<dyn Revocations>>,
}

/// The user that a certificate names.
fn certified(who: ClientIdentity) -> User {
    let mut groups = who.subject.organizations;
    add_authenticated(&mut groups);
    let credential = format!("X509SHA256={}", who.fingerprint);
    User {
        name: who.subject.common_name,
        uid: String::new(),
        groups,
        extra: BTreeMap::from([(CREDENTIAL_ID.to_owned(), vec![credential])]),
        source: AuthSource::Certificate,
    }
}

fn refused(why: impl Into<String>) -> Unauthenticated {
    Unauthenticated::Refused(why.into())
}

impl Authenticator {
    /// An authenticator that looks up accounts through `objects`.
    pub fn new(objects: Objects, clock: Clock, anonymous: AnonymousPolicy) -> Self {
        Self {
            objects,
            clock,
            anonymous,
            service: None,
            revocations: None,
        }
    }

    /// Also accepts tokens of the managed service.
    pub fn with_service_tokens(mut self, service: Arc<dyn ServiceTokens>) -> Self {
        self.service = Some(service);
        self
    }

    /// Also asks a revocation list.
    pub fn with_revocations(mut self, revocations: Arc<dyn Revocations>) -> Self {
        self.revocations = Some(revocations);
        self
    }

    /// Who asks for `path` of this cluster.
    pub async fn authenticate(
        &self,
        cluster: &Cluster,
        credentials: &Credentials,
        path: &str,
    ) -> Result<User, Unauthenticated> {
        if let Some(token) = &credentials.bearer {
            return Ok(self.token(cluster, token, &[]).await?.user);
        }
        if !credentials.chain.certificates().is_empty() {
            return self.certificate(cluster, &credentials.chain);
        }
        let health = ["/livez", "/readyz", "/healthz"];
        let open = path == "/version"
            || health.iter().any(|h| {
                path.strip_prefix(h)
                    .is_some_and(|r| r.is_empty() || r.starts_with('/'))
            });
        match self.anonymous {
            AnonymousPolicy::HealthPaths if !open => Err(refused("no credentials provided")),
            _ => Ok(User::anonymous()),
        }
    }

    /// Who a bearer token speaks for (also TokenReview). Without `audiences` it must be meant for the API server, which
    /// is called by the cluster's issuer.
    pub async fn token(
        &self,
        cluster: &Cluster,
        token: &str,
        audiences: &[String],
    ) -> Result<Authenticated, Unauthenticated> {
        let now = self.clock.now();
        match cluster.keys.verify_token(&cluster.issuer, token, now) {
            Ok(claims) => return self.service_account(cluster, claims, audiences, now).await,
            Err(TokenError::Foreign) => {}
            Err(e) => return Err(refused(e.to_string())),
        }
        // Tokens of other kinds know no audiences: they are meant for the API server.
        let here = audiences.is_empty() || audiences.contains(&cluster.issuer);
        if here {
            let audiences = audiences
                .iter()
                .filter(|a| **a == cluster.issuer)
                .cloned()
                .collect();
            if let Some(bootstrap) = BootstrapToken::parse(token) {
                let user = self.bootstrap(cluster, &bootstrap, now).await?;
                return Ok(Authenticated { user, audiences });
            }
            if let Some(service) = &self.service
                && let Some(user) = service.authenticate(&cluster.id, token).await
            {
                return Ok(Authenticated { user, audiences });
            }
        }
        Err(refused("unknown bearer token"))
    }

    fn certificate(&self, cluster: &Cluster, chain: &Chain) -> Result<User, Unauthenticated> {
        let holder = chain
            .holder(&cluster.keys, self.clock.now(), certified)
            .map_err(|e| refused(e.to_string()))?;
        if self
            .revocations
            .as_ref()
            .is_some_and(|r| r.is_revoked(&cluster.id, &holder.fingerprint))
        {
            return Err(refused("x509: certificate has been revoked"));
        }
        Ok(holder.user.clone())
    }

    async fn service_account(
        &self,
        cluster: &Cluster,
        claims: Claims,
        wanted: &[String],
        now: Timestamp,
    ) -> Result<Authenticated, Unauthenticated> {
        let own = [cluster.issuer.clone()];
        let wanted = if wanted.is_empty() { &own[..] } else { wanted };
        let audiences: Vec<String> = wanted
            .iter()
            .filter(|a| claims.aud.contains(a))
            .cloned()
            .collect();
        if audiences.is_empty() {
            return Err(refused("token audiences are invalid for this request"));
        }
        let k = &claims.kubernetes;
        let namespace = k.namespace.as_str();
        let account = &k.serviceaccount;
        let live = |object: Option<Value>, uid: &str, what: &str| alive(object, uid, now, what);
        let get = |prefix, ns, name| self.objects.get(&cluster.id, prefix, ns, name);
        live(
            get("serviceaccounts", Some(namespace), &account.name).await?,
            &account.uid,
            "service account",
        )?;
        if let Some(secret) = &k.secret {
            live(
                get("secrets", Some(namespace), &secret.name).await?,
                &secret.uid,
                "bound secret",
            )?;
        }
        if let Some(pod) = &k.pod {
            live(
                get("pods", Some(namespace), &pod.name).await?,
                &pod.uid,
                "bound pod",
            )?;
        } else if let Some(node) = &k.node {
            // A token bound to a pod only notes the node; one bound to a node alone dies with it.
            live(get("minions", None, &node.name).await?, &node.uid, "bound node")?;
        }
        let mut extra = BTreeMap::new();
        if !claims.jti.is_empty() {
            extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("JTI={}", claims.jti)]);
        }
        for (kind, object) in [("pod", &k.pod), ("node", &k.node)] {
            if let Some(object) = object {
                extra.insert(
                    format!("authentication.kubernetes.io/{kind}-name"),
                    vec![object.name.clone()],
                );
                extra.insert(
                    format!("authentication.kubernetes.io/{kind}-uid"),
                    vec![object.uid.clone()],
                );
            }
        }
        let mut groups = vec![
            SERVICE_ACCOUNTS.to_owned(),
            format!("{SERVICE_ACCOUNTS}:{namespace}"),
        ];
        add_authenticated(&mut groups);
        let uid = account.uid.clone();
        let user = User {
            name: claims.sub,
            uid,
            groups,
            extra,
            source: AuthSource::ServiceAccountToken,
        };
        Ok(Authenticated { user, audiences })
    }

    /// A bootstrap token is a Secret `bootstrap-token-<id>` of `kube-system` that may be used for authentication.
    async fn bootstrap(
        &self,
        cluster: &Cluster,
        token: &BootstrapToken,
        now: Timestamp,
    ) -> Result<User, Unauthenticated> {
        let unknown = || refused("unknown bootstrap token");
        let name = format!("bootstrap-token-{}", token.id());
        let secret = self
            .objects
            .get(&cluster.id, "secrets", Some("kube-system"), &name)
            .await?;
        let secret = secret.ok_or_else(unknown)?;
        if secret.str_at(&["type"]) != Some("bootstrap.kubernetes.io/token")
            || !secret.at(&["metadata", "deletionTimestamp"]).is_null()
        {
            return Err(unknown());
        }
        let data = |key: &str| {
            let text = secret.str_at(&["data", key])?;
            let bytes = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE]
                .iter()
                .find_map(|e| e.decode(text).ok())?;
            String::from_utf8(bytes).ok()
        };
        let same_id = data("token-id").as_deref() == Some(token.id());
        let same_secret = data("token-secret").is_some_and(|s| token.matches(&s));
        let enabled = data("usage-bootstrap-authentication").as_deref() == Some("true");
        let fresh = match data("expiration") {
            None => true,
            Some(text) => text.parse::<Timestamp>().is_ok_and(|t| t > now),
        };
        if !(same_id && same_secret && enabled && fresh) {
            return Err(unknown());
        }
        let mut groups = vec!["system:bootstrappers".to_owned()];
        let more = data("auth-extra-groups").unwrap_or_default();
        groups.extend(
            more.split(',')
                .filter(|g| g.starts_with("system:bootstrappers:"))
                .map(str::to_owned),
        );
        add_authenticated(&mut groups);
        Ok(User {
            name: format!("system:bootstrap:{}", token.id()),
            uid: String::new(),
            groups,
            extra: BTreeMap::new(),
            source: AuthSource::BootstrapToken,
        })
    }
}

const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

fn add_authenticated(groups: &mut Vec<String>) {
    if !groups.iter().any(|g| g == AUTHENTICATED) {
        groups.push(AUTHENTICATED.into());
    }
}

/// An object that a token depends on must exist with the same uid, and must not have been deleted more than a minute ago.
fn alive(object: Option<Value>, uid: &str, now: Timestamp, what: &str) -> Result<(), Unauthenticated> {
    let object = object.ok_or_else(|| refused(format!("{what} does not exist")))?;
    if object.str_at(&["metadata", "uid"]) != Some(uid) {
        return Err(refused(format!("{what} has another uid")));
    }
    let deleted = object
        .str_at(&["metadata", "deletionTimestamp"])
        .and_then(|t| t.parse::<Timestamp>().ok());
    let limit = now
        .saturating_sub(SignedDuration::from_secs(60))
        .unwrap_or(Timestamp::MIN);
    match deleted {
        Some(at) if at < limit => Err(refused(format!("{what} has been deleted"))),
        _ => Ok(()),
    }
}
