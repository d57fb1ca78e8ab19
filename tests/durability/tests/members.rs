//! Three `marinad store` processes over mutual TLS: the leader is killed, writes go on, nothing is lost.

use base::ClusterId;
use durability::{Process, free_port, program};
use etcd_door::identity;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store_api::{Consistency, Error, Key, Op, Range, Span, Store, Txn};
use store_etcd::{EtcdStore, Layout};
use tokio::net::TcpStream;
use tonic::transport::Endpoint;

/// How long anything may take; what it took is printed, not judged.
const PATIENCE: Duration = Duration::from_secs(60);
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Certificate and key, as files `name.pem` and `name.key`.
    fn issue(&self, dir: &Path, name: &str, names: Vec<SanType>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.subject_alt_names = names;
        let certificate = params.signed_by(&key, &self.0).unwrap();
        std::fs::write(dir.join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

fn cluster() -> ClusterId {
    "tenant".parse().unwrap()
}

/// What every member shares: certificates, and who listens where.
struct Group {
    dir: tempfile::TempDir,
    marinad: std::path::PathBuf,
    doors: BTreeMap<u64, u16>,
}

impl Group {
    fn new(marinad: std::path::PathBuf) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (members, clients) = (Authority::new(), Authority::new());
        for (name, authority) in [("members", &members), ("clients", &clients)] {
            std::fs::write(dir.path().join(format!("{name}.pem")), authority.0.pem()).unwrap();
        }
        let ports: BTreeMap<u64, u16> = (1..=3).map(|id| (id, free_port())).collect();
        let doors: BTreeMap<u64, u16> = (1..=3).map(|id| (id, free_port())).collect();
        let list: String = ports
            .iter()
            .map(|(id, port)| format!("{id} = \"{HOST}:{port}\"\n"))
            .collect();
        for id in 1..=3 {
            members.issue(
                dir.path(),
                &format!("member-{id}"),
                vec![SanType::IpAddress(HOST)],
            );
            clients.issue(dir.path(), &format!("door-{id}"), vec![SanType::IpAddress(HOST)]);
            let (port, door) = (ports[&id], doors[&id]);
            let text = format!(
                "member = {id}\ndir = \"store-{id}\"\nlisten = \"{HOST}:{port}\"\n[members]\n{list}\
                 [tls]\ncertificate = \"member-{id}.pem\"\nkey = \"member-{id}.key\"\nauthority = \"members.pem\"\n\
                 [etcd]\nlisten = \"{HOST}:{door}\"\nurl = \"https://{HOST}:{door}\"\ncertificate = \"door-{id}.pem\"\n\
                 key = \"door-{id}.key\"\nclient_authority = \"clients.pem\"\n"
            );
            std::fs::write(dir.path().join(format!("{id}.toml")), text).unwrap();
        }
        clients.issue(
            dir.path(),
            "client",
            vec![SanType::URI(identity::uri(&cluster()).try_into().unwrap())],
        );
        Self { dir, marinad, doors }
    }

    fn start(&self, id: u64) -> Process {
        let mut command = Command::new(&self.marinad);
        command
            .arg("store")
            .arg("--config")
            .arg(self.dir.path().join(format!("{id}.toml")));
        Process::start(&mut command, &self.dir.path().join(format!("{id}.log")))
    }

    /// A client of the cluster at one member's door; it connects again by itself.
    fn client(&self, id: u64) -> EtcdStore {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject;
        let path = |name: &str| self.dir.path().join(name);
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(path("clients.pem")).unwrap())
            .unwrap();
        let chain = vec![CertificateDer::from_pem_file(path("client.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(path("client.key")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = config
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let door = (HOST, self.doors[&id]);
        let connect = tower::service_fn(move |_| {
            let connector = connector.clone();
            async move {
                let tcp = TcpStream::connect(door).await?;
                tcp.set_nodelay(true)?;
                connector
                    .connect(ServerName::from(HOST), tcp)
                    .await
                    .map(TokioIo::new)
            }
        });
        EtcdStore::new(
            Endpoint::from_static("http://door").connect_with_connector_lazy(connect),
            Layout::One(cluster()),
        )
    }
}

fn key(n: u64) -> Key {
    Key::object(&cluster(), "configmaps", Some("default"), &format!("n-{n}")).unwrap()
}

async fn put(store: &EtcdStore, n: u64) -> Result<(), Error> {
    let then = vec![Op::put(key(n), n.to_string().into())];
    let cluster = cluster();
    let txn = store.txn(
        &cluster,
        Txn {
            then,
            ..Txn::default()
        },
    );
    let answer = tokio::time::timeout(Duration::from_secs(5), txn).await;
    answer
        .unwrap_or_else(|_| Err(Error::Unavailable("no answer".into())))
        .map(drop)
}

/// Writes until it is acknowledged: on a busy machine a leader may be replaced at any time.
async fn must_put(store: &EtcdStore, n: u64) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = put(store, n).await {
        assert!(Instant::now() < deadline, "write {n} is not taken: {error}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn count(store: &EtcdStore, consistency: Consistency) -> usize {
    let span = Span::collection(&cluster(), "configmaps", None).unwrap();
    store
        .range(Range {
            span,
            at: None,
            limit: 0,
            consistency,
        })
        .await
        .map_or(0, |r| r.records.len())
}

/// The member that said last that it leads.
fn leader(running: &BTreeMap<u64, Process>) -> Option<u64> {
    let leads = |log: &str| {
        log.rfind("this member leads")
            .is_some_and(|at| !log[at..].contains("leads no longer"))
    };
    running
        .iter()
        .find(|(_, process)| leads(&process.log()))
        .map(|(id, _)| *id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_is_killed_and_writes_go_on_without_a_loss() {
    let Some(marinad) = program("marinad") else { return };
    let group = Group::new(marinad);
    let mut running: BTreeMap<u64, Process> = (1..=3).map(|id| (id, group.start(id))).collect();
    let clients: BTreeMap<u64, EtcdStore> = (1..=3).map(|id| (id, group.client(id))).collect();
    let deadline = Instant::now() + PATIENCE;
    let first = loop {
        if let Some(id) = leader(&running) {
            break id;
        }
        assert!(Instant::now() < deadline, "nobody leads: {}", running[&1].log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    for n in 0..200 {
        must_put(&clients[&(1 + n % 3)], n).await;
    }
    running.get_mut(&first).unwrap().kill();
    let killed = Instant::now();
    let others: Vec<u64> = (1..=3).filter(|id| *id != first).collect();
    let mut n = 200;
    while let Err(error) = put(&clients[&others[n as usize % 2]], n).await {
        assert!(
            killed.elapsed() < PATIENCE,
            "no writes after the leader's end: {error}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
        n += 1;
    }
    let gap = killed.elapsed();
    println!("member {first} led and was killed; the next write was acknowledged {gap:.2?} later");
    for n in 1_000_000..1_000_100 {
        must_put(&clients[&others[n as usize % 2]], n).await;
    }
    for id in &others {
        // Failed tries may have been written all the same: at least what was acknowledged is there.
        let found = count(&clients[id], Consistency::Linearizable).await;
        assert!(found >= 301, "member {id} has {found} of 301 acknowledged writes");
    }
    running.insert(first, group.start(first));
    let complete = count(&clients[&others[0]], Consistency::Linearizable).await;
    let deadline = Instant::now() + PATIENCE;
    while count(&clients[&first], Consistency::Local).await < complete {
        assert!(Instant::now() < deadline, "the killed member does not catch up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    must_put(&clients[&first], 2_000_000).await;
    println!("member {first} came back and caught up");
}
