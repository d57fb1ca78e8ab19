//! Two clusters made by the service itself, with the same objects and every sort of credential.

use crate::client::Client;
use apiserver::bootstrap::BootstrapOptions;
use apiserver::{Listener, Options};
use async_trait::async_trait;
use auth::{Cluster, Directory};
use base::{Clock, ClusterId};
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use provider::records::Records;
use provider::{AccessError, ClusterAccess, ClusterDirectory, NewNode, NodeUserData};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use store_api::{Consistency, Range, Span, Store};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;
use tunnel::{Agent, AgentOptions, TunnelServer};
use world::World;

const HOUR: Duration = Duration::from_secs(3600);

/// How the provider reaches clusters here.
pub(crate) struct InWorld {
    server: apiserver::ApiServer,
    clusters: Arc<world::Clusters>,
}

#[async_trait]
impl ClusterAccess for InWorld {
    async fn bootstrap(&self, cluster: &Arc<Cluster>) -> Result<(), AccessError> {
        self.clusters.insert(cluster.clone());
        let done = self
            .server
            .bootstrap(cluster, BootstrapOptions { endpoint: None })
            .await;
        done.map(|_| ()).map_err(|e| AccessError(e.to_string()))
    }
    async fn ready_nodes(&self, _: &Arc<Cluster>) -> Result<Vec<String>, AccessError> {
        Ok(Vec::new())
    }
    async fn delete_node(&self, _: &Arc<Cluster>, _: &str) -> Result<(), AccessError> {
        Ok(())
    }
    fn forget(&self, cluster: &ClusterId) {
        self.clusters.remove(cluster);
        self.server.forget(cluster);
    }
}

pub(crate) struct NoNodes;

impl NodeUserData for NoNodes {
    fn user_data(&self, _: &Cluster, _: &NewNode<'_>) -> Result<Vec<u8>, AccessError> {
        Err(AccessError("there are no machines here".into()))
    }
}

/// What a client shows.
#[derive(Clone)]
pub(crate) enum Shows {
    Certificate { chain: String, key: String },
    Token(String),
}

#[derive(Clone)]
pub(crate) struct Credential {
    pub(crate) sort: &'static str,
    pub(crate) shows: Shows,
    /// Whether it may do everything in its own cluster.
    pub(crate) admin: bool,
}

pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) a: Arc<Cluster>,
    pub(crate) b: Arc<Cluster>,
    pub(crate) at: SocketAddr,
    pub(crate) tunnels: TunnelServer,
    pub(crate) rest: axum::Router,
    pub(crate) key: String,
}

pub(crate) async fn rest(
    router: &axum::Router,
    key: &str,
    method: &str,
    path: &str,
    body: Value,
) -> (u16, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .body(axum::body::Body::from(body.to_string()))
        .unwrap();
    let answer = router.clone().oneshot(request).await.unwrap();
    let code = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&bytes).unwrap_or_default())
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let tunnels = TunnelServer::new();
        let options = Options {
            dialer: Some(Arc::new(tunnels.clone())),
            ..Options::default()
        };
        let world = World::on(Clock::system(), options);
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = socket.local_addr().unwrap();
        let listener = Listener::new(world.server.clone(), socket).tunnels(tunnels.clone());
        tokio::spawn(listener.run(world.shutdown.clone()));

        let store: Arc<dyn Store> = Arc::new(world.store.clone());
        let sim = cloud_sim::SimCloud::new(cloud_sim::Options::default());
        let mut clouds = provider::Clouds::new();
        clouds.insert(service_api::Cloud::Sim, Arc::new(sim));
        let (waker, wakes) = provider::flows::Waker::new();
        let deps = provider::Deps {
            options: provider::Options {
                first_address: Ipv4Addr::new(127, 64, 0, 0),
                addresses: 1 << 16,
                api_port: at.port(),
                default_cloud: service_api::Cloud::Sim,
                default_project: "default".into(),
            },
            store: store.clone(),
            records: Records::new(store),
            directory: Arc::new(ClusterDirectory::new("marina.test")),
            access: Arc::new(InWorld {
                server: world.server.clone(),
                clusters: world.clusters.clone(),
            }),
            user_data: Arc::new(NoNodes),
            images: None,
            clouds,
            node_image: String::new(),
            clock: world.clock.clone(),
            waker,
        };
        let (service, handle) = provider::Service::build(deps, wakes).await.unwrap();
        tokio::spawn(service.run(world.shutdown.clone()));
        let key = handle
            .create_operator_key(jiff::SignedDuration::from_hours(1))
            .await
            .unwrap()
            .secret;
        let router = handle.router(axum::Router::new());
        let mut made = Vec::new();
        for name in ["a", "b"] {
            let path = "/v1/projects/default/clusters";
            let (code, operation) = rest(&router, &key, "POST", path, json!({ "name": name })).await;
            assert_eq!(code, 202, "{operation}");
            let id = operation["id"].as_str().unwrap().to_owned();
            let path = format!("/v1/projects/default/operations/{id}?waitSeconds=30&stage=x");
            let mut state = Value::Null;
            for _ in 0..100 {
                state = rest(&router, &key, "GET", &path, Value::Null).await.1["state"].clone();
                if state == "succeeded" {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(state, "succeeded");
            let (_, cluster) = rest(
                &router,
                &key,
                "GET",
                &format!("/v1/projects/default/clusters/{name}"),
                Value::Null,
            )
            .await;
            let id: ClusterId = cluster["id"].as_str().unwrap().parse().unwrap();
            made.push(world.clusters.cluster(&id).unwrap());
        }
        let b = made.pop().unwrap();
        let a = made.pop().unwrap();
        let scene = Self {
            world,
            a,
            b,
            at,
            tunnels,
            rest: router,
            key,
        };
        for cluster in [&scene.a, &scene.b] {
            scene.seed(cluster).await;
        }
        scene
    }

    /// The same objects in both clusters, so that a request that went astray would find something.
    pub(crate) async fn seed(&self, cluster: &Arc<Cluster>) {
        let tenant = self.world.tenant(cluster.clone(), world::admin());
        let name = json!({ "name": "twin" });
        let objects = [
            (
                "/api/v1/namespaces/default/serviceaccounts",
                json!({"metadata": name}),
            ),
            (
                "/api/v1/namespaces/default/serviceaccounts",
                json!({"metadata": {"name": "default"}}),
            ),
            (
                "/api/v1/namespaces/default/configmaps",
                json!({"metadata": name, "data": {"of": cluster.id.as_str()}}),
            ),
            (
                "/api/v1/namespaces/default/secrets",
                json!({"metadata": name, "stringData": {"of": cluster.id.as_str()}}),
            ),
            (
                "/api/v1/nodes",
                json!({"metadata": name, "status": {"addresses": [{"type": "InternalIP", "address": "10.1.2.3"}]}}),
            ),
            (
                "/api/v1/namespaces/default/pods",
                json!({"metadata": name, "spec": {
                    "nodeName": "twin", "serviceAccountName": "twin", "containers": [{"name": "c", "image": "i"}]
                }}),
            ),
            (
                "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
                json!({
                    "metadata": name,
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
                    "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": "twin"}],
                }),
            ),
        ];
        for (path, object) in objects {
            tenant.call("POST", path, &[], object.to_string()).await.ok();
        }
    }

    /// One credential of each sort that a cluster gives out.
    pub(crate) async fn credentials(&self, of: &Arc<Cluster>, name: &str) -> Vec<Credential> {
        let now = self.world.clock.now();
        let certificate = |issued: pki::Issued| Shows::Certificate {
            chain: issued.cert_pem(),
            key: issued.key_pem(),
        };
        let admin = of
            .keys
            .issue_client(pki::Subject::new("jane", &[auth::user::MASTERS]), HOUR, now)
            .unwrap();
        let node = of
            .keys
            .issue_client(pki::Subject::node("twin"), HOUR, now)
            .unwrap();
        let tenant = self.world.tenant(of.clone(), world::admin());
        let path = "/api/v1/namespaces/default/serviceaccounts/twin/token";
        let token = tenant.call("POST", path, &[], "{}").await.ok();
        let token = token.str_at(&["status", "token"]).unwrap().to_owned();
        let path = format!("/v1/projects/default/clusters/{name}/credential");
        let (code, plugin) = rest(&self.rest, &self.key, "POST", &path, json!({})).await;
        assert_eq!(code, 200, "{plugin}");
        let text = |field: &str| plugin[field].as_str().unwrap().to_owned();
        vec![
            Credential {
                sort: "client certificate",
                shows: certificate(admin),
                admin: true,
            },
            Credential {
                sort: "service account token",
                shows: Shows::Token(token),
                admin: true,
            },
            Credential {
                sort: "kubeconfig credential",
                shows: Shows::Certificate {
                    chain: text("clientCertificate"),
                    key: text("clientKey"),
                },
                admin: true,
            },
            Credential {
                sort: "node certificate",
                shows: certificate(node),
                admin: false,
            },
        ]
    }

    /// Connects to a cluster's own door.
    pub(crate) async fn connect(&self, to: &Cluster, credential: &Credential) -> Client {
        let tcp = TcpStream::connect(self.at).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        Client::over(Box::new(tcp), to, &format!("{}.marina.test", to.id), credential).await
    }

    /// Every key, value and revision of a cluster.
    pub(crate) async fn everything(&self, of: &ClusterId) -> Vec<(Bytes, i64, Bytes)> {
        let range = Range {
            span: Span {
                cluster: of.clone(),
                start: Bytes::from_static(b"/"),
                end: None,
            },
            at: None,
            limit: 0,
            consistency: Consistency::Linearizable,
        };
        let found = self.world.store.range(range).await.unwrap();
        let mut all: Vec<_> = found
            .records
            .iter()
            .map(|r| (r.key.path().clone(), r.mod_revision, r.value.clone()))
            .collect();
        all.push((Bytes::new(), found.revision, Bytes::new()));
        all
    }

    /// A node's agent that keeps a tunnel open to whatever answers at `name`, or tries to.
    pub(crate) fn agent(&self, ca: &str, name: String, credential: &Credential) -> Agent {
        let Shows::Certificate { chain, key } = credential.shows.clone() else {
            panic!("a node has a certificate")
        };
        let ca = ca.to_owned();
        let agent = Agent::new(AgentOptions {
            servers: vec![self.at.to_string()],
            server_name: name.try_into().unwrap(),
            tls: Arc::new(move || {
                let identity = pki::client_identity(&chain, &key).map_err(std::io::Error::other)?;
                pki::client_config(&ca, Some(identity), &[]).map_err(std::io::Error::other)
            }),
            kubelet: "127.0.0.1:1".parse().unwrap(),
            listen: Vec::new(),
        });
        let (running, shutdown) = (agent.clone(), self.world.shutdown.clone());
        tokio::spawn(async move { running.run(shutdown).await });
        agent
    }
}
