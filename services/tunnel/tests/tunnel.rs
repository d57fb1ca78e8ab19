//! Streams over one connection, and an agent against a server over loopback TCP with real certificates.

use async_trait::async_trait;
use base::{Clock, ClusterId, Shutdown};
use pki::{ClusterKeys, ServingNames, Subject};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream};
use tunnel::mux::{Mux, OpenError, Role};
use tunnel::*;

fn pair() -> (Mux, Arc<Mux>) {
    let (a, b) = duplex(64 * 1024);
    (
        Mux::start(a, Role::Dialled),
        Arc::new(Mux::start(b, Role::Accepted)),
    )
}

/// Accepts every stream to `echo` and sends back what comes; swallows nothing of `deaf`; refuses the rest.
fn serve(mux: Arc<Mux>) {
    tokio::spawn(async move {
        let mut deaf = Vec::new();
        while let Some(request) = mux.accept().await {
            match request.target() {
                "echo" => {
                    let (mut r, mut w) = tokio::io::split(request.accept());
                    tokio::spawn(async move {
                        tokio::io::copy(&mut r, &mut w).await.unwrap();
                        w.shutdown().await.unwrap();
                    });
                }
                "deaf" => deaf.push(request.accept()),
                other => {
                    let why = format!("no {other} here");
                    request.refuse(&why);
                }
            }
        }
    });
}

#[tokio::test]
async fn streams_carry_much_both_ways_at_once_and_end_one_way_at_a_time() {
    let (a, b) = pair();
    serve(b);
    let data: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
    let one = async || {
        let (mut r, mut w) = tokio::io::split(a.open("echo").await.unwrap());
        let write = async {
            w.write_all(&data).await.unwrap();
            w.shutdown().await.unwrap();
        };
        let mut back = Vec::new();
        let (_, read) = tokio::join!(write, r.read_to_end(&mut back));
        read.unwrap();
        assert!(back == data);
    };
    tokio::join!(one(), one(), one());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_reads_holds_up_no_other() {
    let (a, b) = pair();
    serve(b);
    let mut deaf = a.open("deaf").await.unwrap();
    let flood = tokio::time::timeout(Duration::from_secs(1), deaf.write_all(&[0; 1_000_000])).await;
    assert!(flood.is_err(), "the window is full");
    let mut echo = a.open("echo").await.unwrap();
    echo.write_all(b"hello").await.unwrap();
    let mut back = [0; 5];
    echo.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hello");
}

#[tokio::test(start_paused = true)]
async fn the_other_end_may_refuse_and_may_vanish() {
    let (a, b) = pair();
    serve(b.clone());
    assert_eq!(
        a.open("nothing").await.err(),
        Some(OpenError::Refused("no nothing here".into()))
    );
    let mut echo = a.open("echo").await.unwrap();
    b.close();
    assert!(
        echo.read_u8().await.is_err(),
        "an abrupt end is an error, not an end of data"
    );
    assert_eq!(a.open("echo").await.err(), Some(OpenError::Closed));
    a.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_given_up_and_a_quiet_one_is_not() {
    let (io, silent) = duplex(1024);
    let dead = Mux::start(io, Role::Accepted);
    let (quiet, _other) = pair();
    tokio::time::timeout(Duration::from_secs(60), dead.ended())
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(!quiet.is_ended());
    drop(silent);
}

#[tokio::test]
async fn a_peer_that_breaks_the_protocol_is_cut_off() {
    let frame = |kind: u8, id: u32, len: u32| {
        let mut f = vec![kind];
        f.extend(id.to_be_bytes());
        f.extend(len.to_be_bytes());
        f
    };
    let mut flood = frame(1, 1, 0);
    for _ in 0..17 {
        flood.extend(frame(4, 1, 16384));
        flood.extend(vec![0; 16384]);
    }
    let mut twice = frame(1, 1, 0);
    twice.extend(frame(1, 1, 0));
    for bad in [
        frame(99, 0, 0),
        frame(4, 1, 1 << 30),
        frame(1, 2, 0),
        twice,
        flood,
    ] {
        let (mut a, b) = duplex(1024 * 1024);
        let mux = Mux::start(b, Role::Accepted);
        a.write_all(&bad).await.unwrap();
        tokio::time::timeout(Duration::from_secs(5), mux.ended())
            .await
            .expect("cut off");
    }
}

struct Echo;

#[async_trait]
impl Inbound for Echo {
    /// Says which cluster the connection came from.
    async fn serve(&self, cluster: &ClusterId, mut io: BoxIo) {
        io.write_all(cluster.as_str().as_bytes()).await.unwrap();
        io.shutdown().await.unwrap();
    }
}

#[derive(Debug)]
struct Certificate(Arc<rustls::sign::CertifiedKey>);
impl rustls::server::ResolvesServerCert for Certificate {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// A door like `marinad`'s: TLS with this cluster's certificate, then the node's name from the client certificate.
async fn door(cluster: ClusterId, keys: Arc<ClusterKeys>, tunnels: TunnelServer) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let config = pki::server_config(Arc::new(Certificate(keys.serving().unwrap())), &[ALPN]).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let (acceptor, keys, tunnels, cluster) =
                (acceptor.clone(), keys.clone(), tunnels.clone(), cluster.clone());
            tokio::spawn(async move {
                let tls = acceptor.accept(tcp).await.unwrap();
                let chain = tls.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
                if let Ok(node) = node_of(&keys, &chain, Clock::system().now()) {
                    tunnels
                        .serve(cluster, node, Box::new(tls), Arc::new(Echo), &Shutdown::new())
                        .await;
                }
            });
        }
    });
    at
}

fn keys() -> Arc<ClusterKeys> {
    let names = ServingNames::cluster("cluster.local", &[], &[]);
    Arc::new(ClusterKeys::generate(&names, Clock::system().now()).unwrap())
}

fn agent(
    server: SocketAddr,
    listen: SocketAddr,
    kubelet: SocketAddr,
    trusted: &ClusterKeys,
    own: &ClusterKeys,
    who: Subject,
) -> Agent {
    let me = own
        .issue_client(who, Duration::from_secs(3600), Clock::system().now())
        .unwrap();
    let (ca, cert, key) = (trusted.ca_pem.clone(), me.cert_pem(), me.key_pem());
    Agent::new(AgentOptions {
        servers: vec![server.to_string()],
        server_name: "localhost".try_into().unwrap(),
        tls: Arc::new(move || {
            let identity = pki::client_identity(&cert, &key).map_err(std::io::Error::other)?;
            pki::client_config(&ca, Some(identity), &[]).map_err(std::io::Error::other)
        }),
        kubelet,
        listen: vec![listen],
    })
}

async fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

#[tokio::test]
async fn a_node_reaches_its_api_server_and_is_reached_and_no_other_cluster_reaches_it() {
    let (a, b): (ClusterId, ClusterId) = ("a".parse().unwrap(), "b".parse().unwrap());
    let (keys_a, keys_b) = (keys(), keys());
    let tunnels = TunnelServer::new();
    let server = door(a.clone(), keys_a.clone(), tunnels.clone()).await;
    let kubelet = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let kubelet_at = kubelet.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = kubelet.accept().await {
            tcp.write_all(b"kubelet").await.unwrap();
        }
    });
    let listen = free_port().await;
    let good = agent(server, listen, kubelet_at, &keys_a, &keys_a, Subject::node("n1"));
    let shutdown = Shutdown::new();
    let run = tokio::spawn({
        let (good, shutdown) = (good.clone(), shutdown.clone());
        async move { good.run(shutdown).await }
    });
    good.connected().await;

    // Node to API server.
    let mut text = String::new();
    TcpStream::connect(listen)
        .await
        .unwrap()
        .read_to_string(&mut text)
        .await
        .unwrap();
    assert_eq!(text, "a");

    // API server to node; the kubelet's address is the agent's own, whatever is asked for.
    while tunnels.nodes(&a).is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let elsewhere = Target::Kubelet("203.0.113.1:1".parse().unwrap());
    for node in [Some("n1"), None] {
        let mut text = String::new();
        tunnels
            .dial(&a, node, &elsewhere)
            .await
            .unwrap()
            .read_to_string(&mut text)
            .await
            .unwrap();
        assert_eq!(text, "kubelet");
    }
    let forbidden = Target::Tcp(kubelet_at);
    assert!(
        matches!(
            tunnels.dial(&a, Some("n1"), &forbidden).await,
            Err(DialError::Refused(_))
        ),
        "loopback"
    );
    let metadata = Target::Tcp("169.254.169.254:80".parse().unwrap());
    assert!(tunnels.dial(&a, Some("n1"), &metadata).await.is_err());
    for (cluster, node) in [(&b, Some("n1")), (&b, None), (&a, Some("n2"))] {
        assert!(matches!(
            tunnels.dial(cluster, node, &elsewhere).await,
            Err(DialError::NotConnected(_))
        ));
    }

    // Who is no node of this cluster gets no tunnel.
    let masters = Subject::new("root", &["system:masters"]);
    for (own, who) in [(&keys_b, Subject::node("n2")), (&keys_a, masters)] {
        let bad = agent(server, free_port().await, kubelet_at, &keys_a, own, who);
        let stop = Shutdown::new();
        let task = tokio::spawn({
            let (bad, stop) = (bad.clone(), stop.clone());
            async move { bad.run(stop).await }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(tunnels.nodes(&a), ["n1"]);
        stop.trigger();
        task.await.unwrap().unwrap();
    }

    // A tunnel that is cut comes back by itself.
    tunnels.disconnect(&a);
    tokio::time::timeout(Duration::from_secs(5), async {
        loop {
            if tunnels.dial(&a, Some("n1"), &elsewhere).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("reconnected");
    shutdown.trigger();
    run.await.unwrap().unwrap();
    assert!(!good.is_connected());
}
