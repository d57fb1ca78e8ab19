//! The store's contract through the wire: the etcd client on the door on the memory store, with and without TLS.

use base::{ClusterId, Shutdown};
use etcd_door::{Io, Options, identity, serve};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use store_api::suite::{self, Traits};
use store_api::{Consistency, Key, Op, Range, Span, Store, Txn};
use store_etcd::{EtcdStore, Layout};
use store_mem::MemStore;
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::{Channel, Endpoint};

/// A client of `cluster` on a fresh door to `store`, over a pipe in memory.
async fn pipe(store: Arc<dyn Store>, cluster: &ClusterId) -> Channel {
    let (client, server) = tokio::io::duplex(1 << 20);
    let connections = tokio_stream::once(Ok(Io::new(server, cluster.clone())));
    // The stream of connections must not end: the server would stop.
    let connections = futures::StreamExt::chain(connections, futures::stream::pending());
    tokio::spawn(serve(
        store,
        vec!["pipe".into()],
        1000,
        connections,
        Shutdown::new(),
    ));
    let mut client = Some(client);
    let connect = tower::service_fn(move |_| {
        let io = client
            .take()
            .map(TokioIo::new)
            .ok_or_else(|| std::io::Error::other("one connection only"));
        async { io }
    });
    Endpoint::from_static("http://pipe")
        .connect_with_connector(connect)
        .await
        .unwrap()
}

#[tokio::test]
async fn an_etcd_client_on_the_door_keeps_the_contract() {
    let traits = Traits {
        own_revisions: false,
        tenancy: false,
        ..Traits::all()
    };
    let store = Arc::new(MemStore::default());
    let cluster: ClusterId = "door".parse().unwrap();
    let channel = pipe(store, &cluster).await;
    let layout = Layout::Prefix("/marina/".into());
    suite::run(traits, async || {
        Arc::new(EtcdStore::new(channel.clone(), layout.clone())) as Arc<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn a_cluster_of_its_own_has_revisions_of_its_own() {
    // Every check has a cluster of its own; here each also has a door of its own.
    let store = Arc::new(MemStore::default());
    let (a, b): (ClusterId, ClusterId) = ("a".parse().unwrap(), "b".parse().unwrap());
    let mine = EtcdStore::new(pipe(store.clone(), &a).await, Layout::One(a.clone()));
    let theirs = EtcdStore::new(pipe(store.clone(), &b).await, Layout::One(b.clone()));
    let put = |cluster: &ClusterId| {
        let key = Key::object(cluster, "pods", Some("ns"), "x").unwrap();
        Txn {
            then: vec![Op::put(key, "1".into())],
            ..Txn::default()
        }
    };
    assert_eq!(mine.txn(&a, put(&a)).await.unwrap().revision, 2);
    assert_eq!(theirs.txn(&b, put(&b)).await.unwrap().revision, 2);
    assert!(
        mine.txn(&b, put(&b)).await.is_err(),
        "another cluster's key is refused before it is sent"
    );
    let range = |c: &ClusterId| Range {
        span: Span::prefix(c, "/".into()),
        at: None,
        limit: 0,
        consistency: Consistency::Linearizable,
    };
    assert_eq!(theirs.range(range(&b)).await.unwrap().count, 1);
    assert_eq!(store.range(range(&a)).await.unwrap().records[0].key.cluster, a);
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, names: Vec<SanType>) -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.subject_alt_names = names;
        (params.signed_by(&key, &self.0).unwrap().der().clone(), key)
    }
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn der(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::try_from(key.serialize_der()).unwrap()
}

async fn connect(
    address: std::net::SocketAddr,
    trusted: &Authority,
    identity: Option<(CertificateDer<'static>, KeyPair)>,
) -> Result<Channel, tonic::transport::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.0.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = config.with_root_certificates(roots);
    let mut config = match identity {
        Some((certificate, key)) => config
            .with_client_auth_cert(vec![certificate], der(&key))
            .unwrap(),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let connect = tower::service_fn(move |_| {
        let connector = connector.clone();
        async move {
            let tcp = TcpStream::connect(address).await?;
            let name = rustls::pki_types::ServerName::try_from("etcd.test").unwrap();
            connector.connect(name, tcp).await.map(TokioIo::new)
        }
    });
    Endpoint::from_static("http://door")
        .connect_with_connector(connect)
        .await
}

#[tokio::test]
async fn the_client_certificate_decides_which_cluster_is_seen() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (certificate, key) = authority.issue(vec![SanType::DnsName("etcd.test".try_into().unwrap())]);
    let mut client_authorities = rustls::RootCertStore::empty();
    client_authorities.add(authority.0.der().clone()).unwrap();
    let options = Options {
        chain: vec![certificate],
        key: Arc::new(der(&key)),
        client_authorities,
        urls: vec!["https://etcd.test".into()],
        streams: 100,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service = options.build(Arc::new(MemStore::default()), listener).unwrap();
    let address = service.address().unwrap();
    let shutdown = Shutdown::new();
    let running = tokio::spawn(service.run(shutdown.clone()));
    let cluster: ClusterId = "tenant".parse().unwrap();
    let reach = async |identity| {
        let channel = connect(address, &authority, identity).await.ok()?;
        let store = EtcdStore::new(channel, Layout::One(cluster.clone()));
        let key = Key::object(&cluster, "pods", Some("ns"), "x").unwrap();
        let txn = Txn {
            then: vec![Op::put(key, "1".into())],
            ..Txn::default()
        };
        store
            .txn(&cluster, txn)
            .await
            .ok()
            .map(|outcome| outcome.revision)
    };
    let mine = identity::uri(&cluster);
    assert_eq!(reach(Some(authority.issue(vec![uri(&mine)]))).await, Some(2));
    assert_eq!(reach(Some(authority.issue(vec![uri(&mine)]))).await, Some(3));
    assert_eq!(
        reach(Some(authority.issue(vec![uri("marina:cluster:other")]))).await,
        Some(2),
        "another cluster"
    );
    assert_eq!(reach(None).await, None, "no certificate");
    assert_eq!(
        reach(Some(stranger.issue(vec![uri(&mine)]))).await,
        None,
        "another authority"
    );
    assert_eq!(
        reach(Some(authority.issue(vec![uri("marina:cluster:NO")]))).await,
        None,
        "no id"
    );
    assert_eq!(
        reach(Some(authority.issue(vec![uri(&mine), uri("marina:cluster:b")]))).await,
        None,
        "two clusters"
    );
    assert_eq!(reach(Some(authority.issue(Vec::new()))).await, None, "no cluster");
    shutdown.trigger();
    running.await.unwrap().unwrap();
}
