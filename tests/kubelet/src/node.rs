//! A cluster with one node: API server in process, kubelet and network of the node, and what tests ask of them.

use crate::machine::Machine;
use anyhow::{Context, Result};
use api::core::v1::{ContainerStatus, Event, Node as NodeObject, Pod};
use auth::User;
use base::{Clock, Shutdown};
use client::{Api, Auth, Client, Config, DeleteParams, HttpTransport, ListParams, Patch, Transport};
use http::Request;
use hyper_util::rt::TokioIo;
use runtime::{Informers, RestSource};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use streams::remote_command::{Want, connect_spdy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use world::{Tenant, World};

const NAME: &str = "n1";
const POD_CIDR: &str = "10.64.1.0/24";
const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long a pod may take to become what is expected.
const PATIENCE: Duration = Duration::from_secs(240);

struct Running {
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

/// The node under test.
pub struct Node {
    machine: Machine,
    _world: World,
    tenant: Tenant,
    client: Client,
    kubelet_api: Arc<HttpTransport>,
    tls: kubelet::server::Tls,
    running: Mutex<Running>,
    network: Shutdown,
}

impl Node {
    /// Brings everything up and waits until the node is Ready.
    pub async fn start(machine: Machine) -> Result<Self> {
        let clock = Clock::system();
        let world = World::on(clock.clone(), apiserver::Options::default());
        let tenant = world.cluster("t1").await;
        let client = Client::new(Arc::new(tenant.transport.clone()));
        let keys = &tenant.cluster.keys;
        let now = clock.now();
        let names = pki::ServingNames {
            dns: vec![NAME.into()],
            ips: vec!["127.0.0.1".parse()?],
        };
        let serving = keys.issue_serving(pki::Subject::node(NAME), &names, DAY, now)?;
        let caller = keys.issue_client(pki::Subject::new("kube-apiserver", &[]), DAY, now)?;
        let tls = kubelet::server::Tls {
            cert_pem: serving.cert_pem().into_bytes(),
            key_pem: serving.key_pem().into_bytes(),
            client_ca_pem: keys.ca_pem.clone().into_bytes(),
            allowed_users: vec!["kube-apiserver".into()],
        };
        let config = Config {
            server: "https://127.0.0.1:10250".into(),
            ca_pem: keys.ca_pem.clone().into_bytes(),
            tls_server_name: None,
            auth: Auth::Certificate {
                cert_pem: caller.cert_pem().into_bytes(),
                key_pem: caller.key_pem().into_bytes(),
            },
            namespace: None,
        };
        let kubelet_api = Arc::new(HttpTransport::new(config, clock.clone())?);
        // What a controller makes in every namespace, and every pod mounts.
        let root_ca = machinery::value!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt"},
            "data": {"ca.crt": (keys.ca_pem.clone())}});
        tenant
            .post("/api/v1/namespaces/default/configmaps", &root_ca)
            .await;
        let running = run_kubelet(&machine, &tenant, &tls).await?;
        let network = Shutdown::new();
        let node = Self {
            running: Mutex::new(running),
            machine,
            _world: world,
            client,
            kubelet_api,
            tls,
            tenant,
            network,
        };
        node.run_network().await?;
        node.wait_ready().await?;
        Ok(node)
    }

    /// The node's name.
    pub fn name(&self) -> &'static str {
        NAME
    }

    /// The machine's disk.
    pub fn dir(&self) -> PathBuf {
        self.machine.dir().to_owned()
    }

    /// The runtime.
    pub fn runtime(&self) -> cri::Runtime {
        cri::Runtime::connect(Machine::SOCKET).expect("an absolute path")
    }

    /// What containerd has to say.
    pub fn containerd_log(&self) -> String {
        self.machine.containerd_log()
    }

    /// An administrator's client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(&self.client, "default")
    }

    async fn run_network(&self) -> Result<()> {
        let nodes = Api::<NodeObject>::all(&self.client);
        let patch = Patch::Merge(json!({"spec": {"podCIDR": POD_CIDR, "podCIDRs": [POD_CIDR]}}));
        let deadline = Instant::now() + PATIENCE;
        // The kubelet registers the node; a controller would give it its range.
        while let Err(error) = nodes.patch(NAME, &patch).await {
            anyhow::ensure!(error.is_not_found() && Instant::now() < deadline, "{error}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let id = self.tenant.id().clone();
        let client = as_node(&self.tenant);
        let informers = Informers::new(
            Arc::new(RestSource::new(id.clone(), client)),
            self.network.clone(),
        );
        let agent = node_network::Agent::build(
            node_network::Options {
                cluster: id,
                node: NAME.into(),
                pod_cidr: "10.64.0.0/12".into(),
                service_cidr: "10.96.0.0/16".into(),
                mtu: 1500,
                cni_dir: self.machine.dir().join("cni/conf"),
                cni_bin_dir: self.machine.dir().join("cni/bin"),
            },
            &informers,
        )?;
        informers.start();
        let shutdown = self.network.clone();
        tokio::spawn(async move {
            agent.run(shutdown).await;
            drop(informers);
        });
        Ok(())
    }

    async fn wait_ready(&self) -> Result<()> {
        let nodes = Api::<NodeObject>::all(&self.client);
        let started = Instant::now();
        loop {
            let node = nodes.get(NAME).await?;
            let conditions = node.status.and_then(|s| s.conditions).unwrap_or_default();
            let ready = conditions.iter().find(|c| c.type_ == "Ready");
            if ready.is_some_and(|c| c.status == "True") {
                println!("the node is Ready after {} ms", started.elapsed().as_millis());
                return Ok(());
            }
            anyhow::ensure!(started.elapsed() < PATIENCE, "the node is not Ready: {ready:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends the kubelet, as an upgrade does, and starts another.
    pub async fn restart_kubelet(&self) -> Result<()> {
        let mut running = self.running.lock().await;
        running.shutdown.trigger();
        (&mut running.task).await.context("the kubelet")?;
        *running = run_kubelet(&self.machine, &self.tenant, &self.tls).await?;
        Ok(())
    }

    /// Creates an object at a path such as `configmaps`.
    pub async fn create(&self, plural: &str, object: &Value) {
        let bytes = serde_json::to_vec(object).expect("plain data");
        let path = format!("/api/v1/namespaces/default/{plural}");
        let answer = self
            .tenant
            .call("POST", &path, &[("content-type", "application/json")], bytes)
            .await;
        let problem = String::from_utf8_lossy(&answer.bytes).into_owned();
        assert!(answer.code < 300, "{plural}: {problem}");
    }

    /// Creates a pod of this spec on the node.
    pub async fn run(&self, name: &str, mut spec: Value) {
        spec["nodeName"] = NAME.into();
        if spec["terminationGracePeriodSeconds"].is_null() {
            spec["terminationGracePeriodSeconds"] = 1.into();
        }
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec});
        self.create("pods", &pod).await;
    }

    /// The pod now.
    pub async fn pod(&self, name: &str) -> Option<Pod> {
        self.pods().get_opt(name).await.expect("the API server answers")
    }

    /// Waits until the pod is as expected; panics with its status if it takes too long.
    pub async fn until(&self, name: &str, what: &str, fits: impl Fn(&Pod) -> bool) -> Pod {
        let started = Instant::now();
        loop {
            let pod = self.pod(name).await;
            if let Some(pod) = pod.as_ref().filter(|p| fits(p)) {
                return pod.clone();
            }
            if started.elapsed() > PATIENCE {
                let status = pod.and_then(|p| p.status);
                let text = serde_json::to_string_pretty(&status).unwrap_or_default();
                panic!("pod {name} is not {what}: {text}\n{}", self.events(name).await);
            }
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
    }

    /// Waits until the pod is Ready.
    pub async fn until_ready(&self, name: &str) -> Pod {
        self.until(name, "Ready", is_ready).await
    }

    /// Waits until the pod is in this phase.
    pub async fn until_phase(&self, name: &str, phase: &str) -> Pod {
        self.until(name, phase, |p| phase_of(p) == phase).await
    }

    /// Deletes the pod and waits until it is gone; how long that took.
    pub async fn delete(&self, name: &str) -> Duration {
        let started = Instant::now();
        self.pods()
            .delete(name, &DeleteParams::default())
            .await
            .expect("a pod can be deleted");
        while self.pod(name).await.is_some() {
            assert!(started.elapsed() < PATIENCE, "pod {name} is not gone");
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        started.elapsed()
    }

    /// Reasons and messages of a pod's events, a line each.
    pub async fn events(&self, name: &str) -> String {
        let events = Api::<Event>::namespaced(&self.client, "default")
            .list(&ListParams::default())
            .await;
        let items = events.map(|l| l.items).unwrap_or_default();
        let of_pod = items
            .into_iter()
            .filter(|e| e.involved_object.name.as_deref() == Some(name));
        let lines = of_pod.map(|e| {
            format!(
                "{}: {}",
                e.reason.unwrap_or_default(),
                e.message.unwrap_or_default()
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// A GET of the kubelet's API, as the API server asks.
    pub async fn kubelet(&self, path: &str) -> String {
        let client = Client::new(self.kubelet_api.clone());
        let mut call = client::Call::get(path.to_owned());
        call.accept = "*/*";
        match client.call(call).await {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// The same as part of a trace; the status.
    pub async fn kubelet_traced(&self, path: &str, traceparent: &str) -> u16 {
        let request = Request::get(path)
            .header("traceparent", traceparent)
            .body(bytes::Bytes::new())
            .expect("a well-formed request");
        let answer = self.kubelet_api.send(request).await;
        answer.expect("the kubelet answers").status().as_u16()
    }

    /// The log of a container `c`.
    pub async fn log(&self, name: &str) -> String {
        self.kubelet(&format!("/containerLogs/default/{name}/c")).await
    }

    /// Runs a command in container `c` as `kubectl exec -i` does: output, error, status.
    pub async fn exec(&self, name: &str, command: &[&str], input: &[u8]) -> (String, String, Value) {
        let words: Vec<String> = command.iter().map(|w| format!("command={}", escape(w))).collect();
        let want = Want {
            stdin: true,
            stdout: true,
            stderr: true,
            tty: false,
        };
        let uri = format!(
            "/exec/default/{name}/c?{}&input=1&output=1&error=1",
            words.join("&")
        );
        let request = Request::post(uri)
            .header("connection", "Upgrade")
            .header("upgrade", "SPDY/3.1")
            .header("x-stream-protocol-version", "v4.channel.k8s.io")
            .body(bytes::Bytes::new())
            .expect("a well-formed request");
        let (answer, stream) = self
            .kubelet_api
            .upgrade(request)
            .await
            .expect("the kubelet answers");
        let stream = stream.unwrap_or_else(|| panic!("exec: {}", answer.status()));
        let mut peer = connect_spdy(TokioIo::new(stream), want)
            .await
            .expect("streams open");
        let (mut out, mut err, mut status) = (String::new(), String::new(), String::new());
        let mut stdin = peer.stdin.take().expect("was asked for");
        stdin.write_all(input).await.expect("the command reads");
        stdin.shutdown().await.expect("the stream can be closed");
        let (mut stdout, mut stderr) = (
            peer.stdout.take().expect("was asked for"),
            peer.stderr.take().expect("was asked for"),
        );
        let (a, b, c) = tokio::join!(
            stdout.read_to_string(&mut out),
            stderr.read_to_string(&mut err),
            peer.error.read_to_string(&mut status)
        );
        a.and(b).and(c).expect("the streams end well");
        (out, err, serde_json::from_str(&status).unwrap_or_default())
    }
}

fn escape(word: &str) -> String {
    word.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

fn as_node(tenant: &Tenant) -> Client {
    let mut user = User::in_process("system:node:n1");
    user.groups.push("system:nodes".into());
    Client::new(Arc::new(tenant.as_user(user).transport))
}

async fn run_kubelet(machine: &Machine, tenant: &Tenant, tls: &kubelet::server::Tls) -> Result<Running> {
    let dir = machine.dir();
    let mut options = kubelet::Options::new(NAME);
    options.root_dir = dir.join("kubelet");
    options.pod_logs = dir.join("log/pods");
    options.container_logs = dir.join("log/containers");
    options.manifests = Some(dir.join("manifests"));
    options.addresses = vec!["192.168.7.1".parse()?];
    options.cluster_dns = vec!["10.96.0.10".parse()?];
    std::fs::create_dir_all(dir.join("manifests"))?;
    let service = kubelet::Service::build(
        options,
        kubelet::Deps {
            client: Some(as_node(tenant)),
            runtime: cri::Runtime::connect(Machine::SOCKET)?,
            clock: Clock::system(),
            tls: Some(tls.clone()),
        },
    )?;
    let shutdown = Shutdown::new();
    let own = shutdown.clone();
    let task = tokio::spawn(async move {
        service.run(own).await.expect("the kubelet's port is free");
    });
    Ok(Running { shutdown, task })
}

/// `status.phase`.
pub fn phase_of(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|s| s.phase.as_deref())
        .unwrap_or_default()
}

/// Whether the condition Ready is True.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref());
    conditions
        .unwrap_or_default()
        .iter()
        .any(|c| c.type_ == "Ready" && c.status == "True")
}

/// The status of container `c`.
pub fn container(pod: &Pod) -> Option<&ContainerStatus> {
    let list = pod.status.as_ref()?.container_statuses.as_ref()?;
    list.iter().find(|c| c.name == "c")
}
