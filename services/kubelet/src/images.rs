//! Getting images onto the node: pull policies, credentials, one pull for all who want the same, back-off.
//!
//! The messages and reasons are those users know (`ErrImagePull`, `ImagePullBackOff`, `ErrImageNeverPull`,
//! `InvalidImageName`, documentation "Images"). A pull outlives the pod worker that asked for it, so that a pod that
//! is deleted meanwhile does not waste it.

use crate::backoff::Backoff;
use crate::config::security::ImageUser;
use crate::engine::Engine;
use crate::k8s::Secret;
use base::Clock;
use base64::Engine as _;
use cri::v1::{AuthConfig, ImageSpec};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tracing::Instrument;

/// How many pulls run at once.
const PARALLEL: usize = 5;
/// How many images back-off is remembered for.
const MAX_FAILURES: usize = 1000;

/// An image that is on the node.
#[derive(Clone, Debug)]
pub struct Present {
    /// What to name it by when a container is made.
    pub spec: ImageSpec,
    /// Who it runs as.
    pub user: ImageUser,
    /// Whether it had to be fetched.
    pub pulled: Option<std::time::Duration>,
    /// Its size, bytes.
    pub size: u64,
}

/// Why an image is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// It may not be pulled and is not there.
    #[error("Container image {0:?} is not present with pull policy of Never")]
    NeverPull(String),
    /// The name is malformed.
    #[error("Failed to apply default image tag {0:?}: couldn't parse image name")]
    Name(String),
    /// The pull failed.
    #[error("{0}")]
    Pull(String),
    /// It failed before and is not tried again yet.
    #[error("Back-off pulling image {image:?}: {last}")]
    BackOff {
        /// The image.
        image: String,
        /// Why it failed.
        last: String,
        /// When it is tried again.
        until: jiff::Timestamp,
    },
    /// The runtime could not be asked.
    #[error("{0}")]
    Inspect(String),
}

impl ImageError {
    /// The reason shown in the container's waiting state.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NeverPull(_) => "ErrImageNeverPull",
            Self::Name(_) => "InvalidImageName",
            Self::Pull(_) => "ErrImagePull",
            Self::BackOff { .. } => "ImagePullBackOff",
            Self::Inspect(_) => "ImageInspectError",
        }
    }
}

type Pull = Shared<BoxFuture<'static, Result<(), String>>>;

/// The images of a node. Cheap to clone.
#[derive(Clone)]
pub struct Images(Arc<Inner>);

struct Inner {
    engine: Engine,
    clock: Clock,
    slots: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pulls: HashMap<(String, u64), Pull>,
    failures: HashMap<String, (Backoff, jiff::Timestamp, String)>,
}

impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Images").finish_non_exhaustive()
    }
}

impl Images {
    /// The images of the node that `engine` runs.
    pub fn new(engine: Engine, clock: Clock) -> Self {
        let slots = Arc::new(Semaphore::new(PARALLEL));
        Self(Arc::new(Inner {
            engine,
            clock,
            slots,
            state: Mutex::default(),
        }))
    }

    /// Makes sure that `image` is there, as `policy` says. `secrets` are the pod's pull secrets; `pulling` is called
    /// once if the image has to be fetched.
    pub async fn ensure(
        &self,
        image: &str,
        policy: &str,
        secrets: &[Secret],
        sandbox: &cri::v1::PodSandboxConfig,
        handler: &str,
        pulling: impl FnOnce(),
    ) -> Result<Present, ImageError> {
        let Some(name) = with_default_tag(image) else {
            return Err(ImageError::Name(image.to_owned()));
        };
        let spec = ImageSpec {
            image: name.clone(),
            user_specified_image: image.to_owned(),
            runtime_handler: handler.to_owned(),
            ..Default::default()
        };
        if policy != "Always"
            && let Some(present) = self.inspect(&spec).await?
        {
            return Ok(present);
        }
        if policy == "Never" {
            return Err(ImageError::NeverPull(image.to_owned()));
        }
        let now = self.0.clock.now();
        if let Some((backoff, since, last)) = self.0.state.lock().failures.get(&name)
            && let Some(until) = backoff.until(&name, *since, now)
        {
            return Err(ImageError::BackOff {
                image: image.to_owned(),
                last: last.clone(),
                until,
            });
        }
        pulling();
        let started = base::clock::stopwatch();
        let span = crate::trace::pull_image(&name);
        let result = self
            .pull(&name, &spec, credentials(&name, secrets), sandbox)
            .instrument(span.clone())
            .await;
        crate::trace::outcome(&span, &result);
        if let Err(last) = result {
            let now = self.0.clock.now();
            let mut state = self.0.state.lock();
            if state.failures.len() >= MAX_FAILURES {
                state.failures.clear();
            }
            let entry = state
                .failures
                .entry(name.clone())
                .or_insert_with(|| (Backoff::default(), now, String::new()));
            entry.0.next(&name, now);
            entry.1 = now;
            last.clone_into(&mut entry.2);
            return Err(ImageError::Pull(last));
        }
        self.0.state.lock().failures.remove(&name);
        let present = self.inspect(&spec).await?;
        let present =
            present.ok_or_else(|| ImageError::Pull(format!("image {name:?} vanished after its pull")))?;
        Ok(Present {
            pulled: Some(started.elapsed()),
            ..present
        })
    }

    async fn inspect(&self, spec: &ImageSpec) -> Result<Option<Present>, ImageError> {
        let found = self.0.engine.image(spec.clone()).await;
        let found =
            found.map_err(|s| ImageError::Inspect(format!("Failed to inspect image: {}", s.message())))?;
        Ok(found.map(|image| Present {
            // By id, so that the container is made from exactly the image that was checked.
            spec: ImageSpec {
                image: image.id.clone(),
                ..spec.clone()
            },
            user: ImageUser {
                uid: image.uid.map(|u| u.value),
                name: image.username,
            },
            pulled: None,
            size: image.size,
        }))
    }

    /// One pull for all that want the same image with the same credentials.
    async fn pull(
        &self,
        name: &str,
        spec: &ImageSpec,
        auths: Vec<AuthConfig>,
        sandbox: &cri::v1::PodSandboxConfig,
    ) -> Result<(), String> {
        let key = (name.to_owned(), fingerprint(&auths));
        let pull = {
            let mut state = self.0.state.lock();
            state.pulls.get(&key).cloned().unwrap_or_else(|| {
                let (engine, slots) = (self.0.engine.clone(), self.0.slots.clone());
                let (spec, sandbox) = (spec.clone(), sandbox.clone());
                let work = async move {
                    let _slot = slots.acquire().await.map_err(|e| e.to_string())?;
                    pull_with(&engine, &spec, auths, &sandbox).await
                };
                // Part of the trace of whoever asked first.
                let work = tokio::spawn(work.in_current_span());
                let pull: Pull = work
                    .map(|r| r.unwrap_or_else(|e| Err(format!("pull ended: {e}"))))
                    .boxed()
                    .shared();
                state.pulls.insert(key.clone(), pull.clone());
                pull
            })
        };
        let result = pull.await;
        self.0.state.lock().pulls.remove(&key);
        result
    }
}

async fn pull_with(
    engine: &Engine,
    spec: &ImageSpec,
    auths: Vec<AuthConfig>,
    sandbox: &cri::v1::PodSandboxConfig,
) -> Result<(), String> {
    // The credentials in order; without any, once anonymously.
    let tries: Vec<Option<AuthConfig>> = if auths.is_empty() {
        vec![None]
    } else {
        auths.into_iter().map(Some).collect()
    };
    let mut errors = Vec::new();
    for auth in tries {
        match engine.pull(spec.clone(), auth, Some(sandbox.clone())).await {
            Ok(_) => return Ok(()),
            Err(status) => errors.push(status.message().to_owned()),
        }
    }
    Err(errors.join("; "))
}

fn fingerprint(auths: &[AuthConfig]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    for a in auths {
        (
            &a.username,
            &a.password,
            &a.auth,
            &a.identity_token,
            &a.registry_token,
            &a.server_address,
        )
            .hash(&mut hasher);
    }
    hasher.finish()
}

/// The image with `:latest` if it names neither tag nor digest; `None` if it is no image name.
pub fn with_default_tag(image: &str) -> Option<String> {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    if digest.is_some_and(|d| !d.contains(':') || d.len() < 16) {
        return None;
    }
    let last = name.rsplit('/').next()?;
    let (path, tag) = match last.split_once(':') {
        Some((_, tag)) => (&name[..name.len() - tag.len() - 1], Some(tag)),
        None => (name, None),
    };
    let (host, rest) = match path.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
        _ => ("", path),
    };
    let part = |p: &str| {
        !p.is_empty()
            && p.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
            && p.starts_with(|c: char| c.is_ascii_alphanumeric())
            && p.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    let host_ok = host
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']'));
    let tag_ok = tag.is_none_or(|t| {
        (1..=128).contains(&t.len())
            && t.bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
            && !t.starts_with(['.', '-'])
    });
    if !host_ok || !tag_ok || rest.len() > 255 || !rest.split('/').all(part) {
        return None;
    }
    Some(if tag.is_none() && digest.is_none() {
        format!("{image}:latest")
    } else {
        image.to_owned()
    })
}

/// The registry an image comes from.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

/// The credentials in pull secrets that fit an image, the most specific first.
pub fn credentials(image: &str, secrets: &[Secret]) -> Vec<AuthConfig> {
    let mut found: Vec<(usize, AuthConfig)> = Vec::new();
    for secret in secrets {
        let data = secret.data.as_ref();
        let read = |key: &str| data.and_then(|d| d.get(key)).map(|b| b.0.as_slice());
        let parsed: Option<serde_json::Value> = if let Some(bytes) = read(".dockerconfigjson") {
            serde_json::from_slice::<serde_json::Value>(bytes)
                .ok()
                .map(|v| v["auths"].clone())
        } else {
            read(".dockercfg").and_then(|bytes| serde_json::from_slice(bytes).ok())
        };
        for (address, entry) in parsed.as_ref().and_then(|v| v.as_object()).into_iter().flatten() {
            if let Some(weight) = matches_registry(address, image) {
                found.push((weight, auth(address, entry)));
            }
        }
    }
    found.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    found.into_iter().map(|(_, a)| a).collect()
}

fn auth(address: &str, entry: &serde_json::Value) -> AuthConfig {
    let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let (mut username, mut password) = (text("username"), text("password"));
    if username.is_empty() {
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(text("auth").trim())
            .ok();
        if let Some((u, p)) = decoded
            .and_then(|d| String::from_utf8(d).ok())
            .as_deref()
            .and_then(|d| d.split_once(':'))
        {
            username = u.to_owned();
            password = p.to_owned();
        }
    }
    AuthConfig {
        username,
        password,
        identity_token: text("identitytoken"),
        registry_token: text("registrytoken"),
        server_address: address.to_owned(),
        ..Default::default()
    }
}

/// How specifically `address` names the place of `image`: the length of the match, `None` if it does not.
fn matches_registry(address: &str, image: &str) -> Option<usize> {
    let bare = address
        .trim_start_matches("https://")
        .trim_start_matches("http://");
    let bare = bare
        .trim_end_matches('/')
        .trim_end_matches("/v1")
        .trim_end_matches("/v2");
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    let host = if matches!(host, "index.docker.io" | "registry-1.docker.io") {
        "docker.io"
    } else {
        host
    };
    let own = registry(image);
    let labels = |h: &str| h.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (want, have) = (labels(host), labels(own));
    // `*` stands for one label; there is no wildcard in a port.
    let fits = want.len() == have.len()
        && want.iter().zip(&have).all(|(w, h)| {
            w == h
                || w.split_once('*')
                    .is_some_and(|(a, b)| h.len() >= a.len() + b.len() && h.starts_with(a) && h.ends_with(b))
        });
    let rest = image.strip_prefix(own).unwrap_or(image).trim_start_matches('/');
    (fits && rest.starts_with(path)).then_some(bare.len())
}

/// The policy that applies when a container names none: `Always` for the tag `latest`, else `IfNotPresent`.
pub fn default_policy(image: &str) -> &'static str {
    match with_default_tag(image) {
        Some(name) if name.ends_with(":latest") => "Always",
        _ => "IfNotPresent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_get_a_tag_and_malformed_ones_are_refused() {
        let digest = format!("busybox@sha256:{}", "a".repeat(64));
        for (image, want) in [
            ("busybox", Some("busybox:latest")),
            ("busybox:1.36", Some("busybox:1.36")),
            ("localhost:5000/a/b", Some("localhost:5000/a/b:latest")),
            ("registry.k8s.io/pause:3.10", Some("registry.k8s.io/pause:3.10")),
            (digest.as_str(), Some(digest.as_str())),
            ("", None),
            ("INVALID", None),
            ("a b", None),
            ("x:", None),
            ("a//b", None),
            ("x@sha256", None),
        ] {
            assert_eq!(with_default_tag(image).as_deref(), want, "{image}");
        }
        assert_eq!(default_policy("a"), "Always");
        assert_eq!(default_policy("a:1"), "IfNotPresent");
    }

    #[test]
    fn credentials_are_chosen_by_registry_most_specific_first() {
        let secret: Secret = serde_json::from_value(serde_json::json!({"data":{".dockerconfigjson":
            base64::engine::general_purpose::STANDARD.encode(
                r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},"*.example.com":{"username":"w","password":"x"},
                    "reg.example.com/team":{"username":"t","password":"y"}}}"#)}}))
        .unwrap();
        let names = |image: &str| {
            credentials(image, std::slice::from_ref(&secret))
                .into_iter()
                .map(|a| a.username)
                .collect::<Vec<_>>()
        };
        assert_eq!(names("busybox:1"), ["u"]);
        assert_eq!(names("reg.example.com/team/app:1"), ["t", "w"]);
        assert_eq!(names("reg.example.com/other:1"), ["w"]);
        assert!(names("a.reg.example.com/other:1").is_empty());
    }
}
