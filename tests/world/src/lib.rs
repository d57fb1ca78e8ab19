//! The real API server in process: memory store, no sockets, a clock that a paused runtime moves.
//!
//! This is the test double of a cluster that everything else is tested against; it is not a mock of anything.

mod directory;

pub use directory::Clusters;

use apiserver::bootstrap::BootstrapOptions;
use apiserver::{ApiServer, Body, Deps, InProcess, Options, StoreDecoder};
use auth::{AnonymousPolicy, Authenticator, Authorizer, Cluster, Objects, User};
use base::{Clock, ClusterId, Shutdown};
use bytes::Bytes;
use client::Transport;
use http_body_util::BodyExt;
use machinery::Value;
use std::sync::Arc;
use store_api::Store;
use store_mem::{EngineOptions, MemStore};

/// A process with an API server and no clusters yet.
pub struct World {
    /// The API server.
    pub server: ApiServer,
    /// Its store.
    pub store: MemStore,
    /// Its clusters.
    pub clusters: Arc<Clusters>,
    /// Its clock.
    pub clock: Clock,
    /// Stops it.
    pub shutdown: Shutdown,
}

/// When every world begins.
const BEGINNING: &str = "2026-01-01T00:00:00Z";

impl World {
    /// A world with the default options. Call it inside a (paused) runtime.
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    /// A world with an API server of these options.
    pub fn with(options: Options) -> Self {
        let clock = Clock::virtual_from(BEGINNING.parse().expect("a valid timestamp"));
        Self::on(clock, options)
    }

    /// A world on the operating system's clock, for real sockets.
    pub fn on(clock: Clock, options: Options) -> Self {
        let store = MemStore::new(EngineOptions::default(), clock.clone());
        let shared: Arc<dyn Store> = Arc::new(store.clone());
        let clusters = Arc::new(Clusters::default());
        let decoder = StoreDecoder::new(clusters.clone());
        let objects = Objects::new(shared.clone(), decoder);
        let shutdown = Shutdown::new();
        let server = ApiServer::builder(Deps {
            store: shared,
            directory: clusters.clone(),
            authenticator: Arc::new(Authenticator::new(
                objects.clone(),
                clock.clone(),
                AnonymousPolicy::default(),
            )),
            authorizer: Arc::new(Authorizer::new(objects)),
            clock: clock.clone(),
            shutdown: shutdown.clone(),
        })
        .options(options)
        .build();
        Self {
            server,
            store,
            clusters,
            clock,
            shutdown,
        }
    }

    /// A new cluster of the newest version, with everything that a cluster begins with.
    pub async fn cluster(&self, id: &str) -> Tenant {
        let cluster = self.clusters.add(id, &self.clock);
        self.server
            .bootstrap(&cluster, BootstrapOptions { endpoint: None })
            .await
            .expect("a memory store takes the first objects");
        let tenant = self.tenant(cluster, admin());
        // What a controller makes in every namespace; without it no pod is admitted.
        let account = machinery::value!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        tenant
            .post("/api/v1/namespaces/default/serviceaccounts", &account)
            .await
            .ok();
        tenant
    }

    /// A caller in a cluster.
    pub fn tenant(&self, cluster: Arc<Cluster>, user: User) -> Tenant {
        let transport = InProcess::new(self.server.clone(), cluster.id.clone(), user);
        Tenant {
            cluster,
            transport,
            server: self.server.clone(),
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// Somebody who may do everything in a cluster.
pub fn admin() -> User {
    let mut user = User::in_process("admin");
    user.groups.push(auth::user::MASTERS.into());
    user
}

/// A caller in one cluster.
#[derive(Clone)]
pub struct Tenant {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// The caller's transport.
    pub transport: InProcess,
    server: ApiServer,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status code.
    pub code: u16,
    /// Headers.
    pub headers: http::HeaderMap,
    /// The body.
    pub bytes: Bytes,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        machinery::codec::json::parse(&self.bytes).unwrap_or_default()
    }

    /// The body, if the answer is a success; panics with it otherwise.
    pub fn ok(self) -> Value {
        assert!(
            self.code < 300,
            "{}: {}",
            self.code,
            String::from_utf8_lossy(&self.bytes)
        );
        self.json()
    }

    /// The message of a Status.
    pub fn message(&self) -> String {
        self.json().str_at(&["message"]).unwrap_or_default().to_owned()
    }

    /// The reason of a Status.
    pub fn reason(&self) -> String {
        self.json().str_at(&["reason"]).unwrap_or_default().to_owned()
    }
}

impl Tenant {
    /// The same cluster, seen by another user.
    pub fn as_user(&self, user: User) -> Self {
        let transport = InProcess::new(self.server.clone(), self.cluster.id.clone(), user);
        Self {
            cluster: self.cluster.clone(),
            transport,
            server: self.server.clone(),
        }
    }

    /// The cluster's id.
    pub fn id(&self) -> &ClusterId {
        &self.cluster.id
    }

    /// Sends a request and returns the answer with its body still streaming.
    pub async fn send(&self, request: http::Request<Bytes>) -> http::Response<Body> {
        self.transport
            .send(request)
            .await
            .expect("the cluster is in the directory")
    }

    /// Sends a request with these headers and reads the whole answer.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).expect("a well-formed request");
        let response = self.send(request).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.map(|c| c.to_bytes()).unwrap_or_default();
        Answer {
            code: parts.status.as_u16(),
            headers: parts.headers,
            bytes,
        }
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], Bytes::new()).await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, object: &Value) -> Answer {
        self.call("POST", path, &[], machinery::codec::json::to_vec(object))
            .await
    }

    /// PUT of JSON.
    pub async fn put(&self, path: &str, object: &Value) -> Answer {
        self.call("PUT", path, &[], machinery::codec::json::to_vec(object))
            .await
    }

    /// PATCH; `kind` is `merge`, `strategic-merge` or `json`.
    pub async fn patch(&self, path: &str, kind: &str, patch: &Value) -> Answer {
        let ty = format!("application/{kind}-patch+json");
        self.call(
            "PATCH",
            path,
            &[("content-type", &ty)],
            machinery::codec::json::to_vec(patch),
        )
        .await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, &[], Bytes::new()).await
    }

    /// Begins a JSON watch.
    pub async fn watch(&self, path: &str) -> WatchLines {
        let request = http::Request::get(path)
            .body(Bytes::new())
            .expect("a well-formed request");
        let response = self.send(request).await;
        let code = response.status().as_u16();
        WatchLines {
            code,
            body: response.into_body(),
            buffer: Vec::new(),
        }
    }
}

/// The events of a JSON watch.
pub struct WatchLines {
    /// HTTP status code.
    pub code: u16,
    body: Body,
    buffer: Vec<u8>,
}

impl WatchLines {
    /// The next event; `None` when the watch ends.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return machinery::codec::json::parse(&line).ok();
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }

    /// The next event's type and the name of its object.
    pub async fn step(&mut self) -> Option<(String, String)> {
        let event = self.next().await?;
        let ty = event.str_at(&["type"])?.to_owned();
        let name = event
            .str_at(&["object", "metadata", "name"])
            .unwrap_or_default()
            .to_owned();
        Some((ty, name))
    }
}
