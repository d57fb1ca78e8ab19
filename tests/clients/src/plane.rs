//! The cluster.

use apiserver::{InProcess, Listener, Options};
use auth::User;
use base::{Clock, ClusterId};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use client::Client;
use controllers::PodRange;
use runtime::leadership::{Alone, Leadership};
use runtime::{Clients, Identity, Informers, ManagerDeps, Recorder, StoreSource};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use world::{Tenant, World};

/// A cluster with three fake nodes behind a socket on loopback. Dropping it stops everything.
pub struct Plane {
    /// The administrator, in process: to look at what a client left.
    pub admin: Tenant,
    world: World,
    folder: tempfile::TempDir,
}

/// Clients of the components, as the accounts that they have in a real cluster.
struct Components(apiserver::ApiServer);

impl Clients for Components {
    fn client(&self, cluster: &ClusterId, identity: &Identity, guard: Option<store_api::Guard>) -> Client {
        let user = match identity.role {
            "kubelet" => world::admin(),
            role if identity.component == role || role == "kube-scheduler" => {
                User::in_process(&format!("system:{role}"))
            }
            _ => {
                let name = format!("system:serviceaccount:kube-system:{}", identity.component);
                let mut user = User::in_process(&name);
                user.groups.extend([
                    "system:serviceaccounts".into(),
                    "system:serviceaccounts:kube-system".into(),
                ]);
                user
            }
        };
        let mut transport = InProcess::new(self.0.clone(), cluster.clone(), user);
        if let Some(guard) = guard {
            transport = transport.fenced(guard);
        }
        Client::new(Arc::new(transport)).with_user_agent(identity.role)
    }
}

impl Plane {
    /// Starts a cluster and waits for nothing.
    pub async fn start() -> Self {
        let world = World::on(Clock::system(), Options::default());
        let admin = world.cluster("clients").await;
        components(&world, &admin);
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback can be bound");
        let address = socket.local_addr().expect("it is bound");
        tokio::spawn(Listener::new(world.server.clone(), socket).run(world.shutdown.clone()));
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let plane = Self { admin, world, folder };
        std::fs::write(plane.kubeconfig(), plane.config(address)).expect("the folder can be written");
        plane
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder().join("kubeconfig")
    }

    /// A folder of this cluster's own for files of a client.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn config(&self, address: std::net::SocketAddr) -> String {
        let keys = &self.admin.cluster.keys;
        let subject = pki::Subject::new("admin", &[auth::user::MASTERS]);
        let issued = keys
            .issue_client(subject, Duration::from_secs(86_400), self.world.clock.now())
            .expect("a CA signs");
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: it\nclusters:\n- name: it\n  cluster:\n    server: https://{address}\n    \
             certificate-authority-data: {}\ncontexts:\n- name: it\n  context: {{cluster: it, user: admin}}\nusers:\n- name: admin\n  \
             user:\n    client-certificate-data: {}\n    client-key-data: {}\n",
            STANDARD.encode(&keys.ca_pem),
            STANDARD.encode(issued.cert_pem()),
            STANDARD.encode(issued.key_pem())
        )
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.world.shutdown.trigger();
    }
}

fn components(world: &World, tenant: &Tenant) {
    let shutdown = &world.shutdown;
    let source = Arc::new(StoreSource::new(Arc::new(world.store.clone())));
    let informers = Informers::new(source.clone(), shutdown.clone());
    let clients: Arc<dyn Clients> = Arc::new(Components(world.server.clone()));
    let leadership: Arc<dyn Leadership> = Arc::new(Alone::default());
    let clock = world.clock.clone();
    let role = |role: &'static str| {
        let (recorder, writer) = Recorder::new(clients.clone(), role, clock.clone());
        tokio::spawn(writer.run(shutdown.clone()));
        ManagerDeps {
            informers: informers.clone(),
            clients: clients.clone(),
            leadership: leadership.clone(),
            recorder,
            clock: clock.clone(),
            role,
            metrics: runtime::QueueMetrics::default(),
        }
    };
    let schedules = role("kube-scheduler");
    let schedules = scheduler::Deps {
        informers: schedules.informers,
        clients: schedules.clients,
        leadership: schedules.leadership,
        recorder: schedules.recorder,
        clock: schedules.clock,
        metrics: scheduler::Metrics::default(),
    };
    tokio::spawn(scheduler::run(
        scheduler::Options::default(),
        schedules,
        shutdown.clone(),
    ));
    let ca = tenant.cluster.keys.ca_pem.clone();
    let list = controllers::all(&controllers::Deps {
        source,
        clients: clients.clone(),
        leadership: leadership.clone(),
        ca: Arc::new(move |_| Some(ca.clone())),
        pod_ranges: Arc::new(|_| {
            vec![PodRange {
                base: [10, 64, 0, 0].into(),
                prefix: 12,
                node_prefix: 24,
            }]
        }),
        clock: clock.clone(),
        metrics: runtime::QueueMetrics::default(),
    });
    tokio::spawn(runtime::manager::run(
        role("kube-controller-manager"),
        list,
        shutdown.clone(),
    ));
    let deps = fake_node::Deps {
        informers,
        clients,
        clock,
    };
    let fleet = fake_node::Fleet::spawn(fake_node::Options::default(), deps, shutdown.clone());
    for number in 1..=3 {
        fleet.add(
            tenant.id(),
            fake_node::NodeSpec {
                name: format!("n{number}"),
                zone: "a".into(),
                instance_type: "small".into(),
                pool: "web".into(),
                provider_id: format!("sim:///a/{number}"),
                address: format!("10.0.0.{number}"),
                milli_cpu: 2000,
                memory: 4 << 30,
                max_pods: 110,
            },
        );
    }
}
