//! From a client over TLS through the API server and a node's tunnel to a kubelet, and from a pod back to the API server.

use apiserver::{Body, Listener, Options};
use base::{Clock, Shutdown};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use machinery::value;
use pki::{ServingNames, Subject};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use streams::remote_command::{self, Session, Want};
use streams::spdy::{Connection, Limits, Role};
use streams::websocket::PORT_FORWARD_TUNNEL;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role as WsRole};
use tunnel::{Agent, AgentOptions, TunnelServer};
use world::{Tenant, World};

const HOUR: Duration = Duration::from_secs(3600);

#[derive(Debug)]
struct Certificate(Arc<rustls::sign::CertifiedKey>);

impl rustls::server::ResolvesServerCert for Certificate {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(self.0.clone())
    }
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A command that copies its input in capitals and ends with code 3.
async fn shout(session: Session) {
    let Session {
        stdin,
        stdout,
        mut error,
        ..
    } = session;
    let (mut stdin, mut stdout) = (stdin.unwrap(), stdout.unwrap());
    let mut input = String::new();
    stdin.read_to_string(&mut input).await.unwrap();
    stdout.write_all(input.to_uppercase().as_bytes()).await.unwrap();
    error
        .write_all(&remote_command::status_exit_code(3))
        .await
        .unwrap();
    stdout.shutdown().await.unwrap();
    error.shutdown().await.unwrap();
}

/// Each stream says which port it was opened for.
async fn ports<T: streams::Io>(io: T) {
    let connection = Connection::start(io, Role::Server, Limits::default());
    while let Some(mut stream) = connection.accept().await {
        let port = stream.header("port").unwrap_or_default().to_owned();
        if stream.header("streamtype") == Some("data") {
            stream.write_all(port.as_bytes()).await.unwrap();
        }
        stream.shutdown().await.unwrap();
    }
}

async fn kubelet(mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let uri = request.uri().to_string();
    let switch = |protocol: &str| {
        Response::builder()
            .status(101)
            .header("connection", "Upgrade")
            .header("upgrade", "SPDY/3.1")
            .header("x-stream-protocol-version", protocol)
            .body(empty())
            .unwrap()
    };
    assert!(
        request.headers().get("authorization").is_none(),
        "credentials end at the API server"
    );
    Ok(match uri.as_str() {
        "/containerLogs/default/web/c?tailLines=2" => Response::new(
            Full::from("one\ntwo\n")
                .map_err(|never| match never {})
                .boxed_unsync(),
        ),
        "/containerLogs/default/web/c?tailLines=7" => {
            let told = request.headers().get("traceparent").cloned();
            let told = told.map_or_else(String::new, |v| v.to_str().unwrap().to_owned());
            Response::new(Full::from(told).map_err(|never| match never {}).boxed_unsync())
        }
        "/exec/default/web/c?command=tr&command=a%20b&input=1&output=1" => {
            let on = hyper::upgrade::on(&mut request);
            let want = Want {
                stdin: true,
                stdout: true,
                ..Want::default()
            };
            tokio::spawn(async move {
                let io = TokioIo::new(on.await.unwrap());
                shout(remote_command::accept_spdy(io, want).await.unwrap()).await;
            });
            switch("v4.channel.k8s.io")
        }
        "/portForward/default/web?" => {
            let on = hyper::upgrade::on(&mut request);
            tokio::spawn(async move { ports(TokioIo::new(on.await.unwrap())).await });
            switch("portforward.k8s.io")
        }
        _ => {
            let mut response = Response::new(Full::from(uri).map_err(|never| match never {}).boxed_unsync());
            *response.status_mut() = http::StatusCode::BAD_REQUEST;
            response
        }
    })
}

/// A kubelet's door: TLS with a certificate for the node's name, and only the API server's client certificate.
async fn kubelet_door(tenant: &Tenant) -> SocketAddr {
    let keys = tenant.cluster.keys.clone();
    let names = ServingNames {
        dns: vec!["n1".into()],
        ips: vec![],
    };
    let issued = keys
        .issue_serving(Subject::node("n1"), &names, HOUR, Clock::system().now())
        .unwrap();
    let key = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&issued.key.to_rustls()).unwrap();
    let certified = Arc::new(rustls::sign::CertifiedKey::new(vec![issued.cert], key));
    let acceptor = TlsAcceptor::from(Arc::new(
        pki::server_config(Arc::new(Certificate(certified)), &[]).unwrap(),
    ));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = socket.accept().await {
            let (acceptor, keys) = (acceptor.clone(), keys.clone());
            tokio::spawn(async move {
                let Ok(tls) = acceptor.accept(tcp).await else {
                    return;
                };
                let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
                let who = keys
                    .verify_client(chain, Clock::system().now())
                    .expect("the API server is known");
                assert_eq!(who.subject.common_name, "kube-apiserver-kubelet-client");
                let _ends_with_the_test = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(tls), service_fn(kubelet))
                    .with_upgrades()
                    .await;
            });
        }
    });
    at
}

struct Scene {
    world: World,
    a: Tenant,
    server: SocketAddr,
    tunnels: TunnelServer,
    /// Where pods of the node reach the API server.
    inside: SocketAddr,
}

impl Scene {
    async fn new() -> Self {
        let tunnels = TunnelServer::new();
        let options = Options {
            dialer: Some(Arc::new(tunnels.clone())),
            ..Options::default()
        };
        let world = World::on(Clock::system(), options);
        let a = world.cluster("a").await;
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = socket.local_addr().unwrap();
        let listener = Listener::new(world.server.clone(), socket).tunnels(tunnels.clone());
        tokio::spawn(listener.run(world.shutdown.clone()));
        let node = value!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.1.2.3"}]}
        });
        a.post("/api/v1/nodes", &node).await.ok();
        let pod = value!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}
        });
        a.post("/api/v1/namespaces/default/pods", &pod).await.ok();
        let kubelet = kubelet_door(&a).await;
        let inside = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let me = a
            .cluster
            .keys
            .issue_client(Subject::node("n1"), HOUR, Clock::system().now())
            .unwrap();
        let (ca, cert, key) = (a.cluster.keys.ca_pem.clone(), me.cert_pem(), me.key_pem());
        let agent = Agent::new(AgentOptions {
            servers: vec![server.to_string()],
            server_name: "a.marina.test".try_into().unwrap(),
            tls: Arc::new(move || {
                let identity = pki::client_identity(&cert, &key).map_err(std::io::Error::other)?;
                pki::client_config(&ca, Some(identity), &[]).map_err(std::io::Error::other)
            }),
            kubelet,
            listen: vec![inside],
        });
        let shutdown: Shutdown = world.shutdown.clone();
        tokio::spawn({
            let agent = agent.clone();
            async move { agent.run(shutdown).await.unwrap() }
        });
        agent.connected().await;
        while tunnels.nodes(&a.cluster.id).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self {
            world,
            a,
            server,
            tunnels,
            inside,
        }
    }

    /// A client with a certificate of this cluster, at this address, asking for this name.
    async fn client(
        &self,
        tenant: &Tenant,
        at: SocketAddr,
        name: &str,
        groups: &[&str],
    ) -> SendRequest<Full<Bytes>> {
        let keys = &tenant.cluster.keys;
        let me = keys
            .issue_client(Subject::new("jane", groups), HOUR, Clock::system().now())
            .unwrap();
        let identity = pki::client_identity(&me.cert_pem(), &me.key_pem()).unwrap();
        let config = pki::client_config(&keys.ca_pem, Some(identity), &[b"http/1.1"]).unwrap();
        let tcp = TcpStream::connect(at).await.unwrap();
        let name = name.to_owned().try_into().unwrap();
        let tls = TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
            .unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls))
            .await
            .unwrap();
        tokio::spawn(connection.with_upgrades());
        sender
    }

    async fn admin(&self) -> SendRequest<Full<Bytes>> {
        self.client(&self.a, self.server, "a.marina.test", &["system:masters"])
            .await
    }
}

fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(uri).header("host", "x");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::default()).unwrap()
}

async fn text(response: Response<Incoming>) -> (u16, String) {
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (code, String::from_utf8(bytes.to_vec()).unwrap())
}

const POD: &str = "/api/v1/namespaces/default/pods/web";
const SPDY: [(&str, &str); 3] = [
    ("connection", "Upgrade"),
    ("upgrade", "SPDY/3.1"),
    ("x-stream-protocol-version", "v4.channel.k8s.io"),
];
const EXEC: &str = "exec?container=c&command=tr&command=a%20b&stdin=true&stdout=true";

fn websocket(protocol: &str) -> [(&'static str, String); 5] {
    [
        ("connection", "Upgrade".into()),
        ("upgrade", "websocket".into()),
        ("sec-websocket-version", "13".into()),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==".into()),
        ("sec-websocket-protocol", protocol.into()),
    ]
}

fn borrowed<'a>(headers: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    headers.iter().map(|(k, v)| (*k, v.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_and_commands_reach_the_kubelet_over_every_protocol() {
    let scene = Scene::new().await;
    let (code, log) = text(
        scene
            .admin()
            .await
            .send_request(request("GET", &format!("{POD}/log?tailLines=2"), &[]))
            .await
            .unwrap(),
    )
    .await;
    assert_eq!((code, log.as_str()), (200, "one\ntwo\n"));
    let (code, refused) = text(
        scene
            .admin()
            .await
            .send_request(request("GET", &format!("{POD}/log?previous=true"), &[]))
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(code, 400, "{refused}");
    assert!(refused.contains("\"kind\":\"Status\""), "{refused}");

    // SPDY, passed on.
    let answer = scene
        .admin()
        .await
        .send_request(request("POST", &format!("{POD}/{EXEC}"), &SPDY))
        .await
        .unwrap();
    assert_eq!(answer.status(), 101);
    let io = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    let want = Want {
        stdin: true,
        stdout: true,
        ..Want::default()
    };
    let mut peer = remote_command::connect_spdy(io, want).await.unwrap();
    let mut stdin = peer.stdin.take().unwrap();
    stdin.write_all(b"hello").await.unwrap();
    stdin.shutdown().await.unwrap();
    let mut out = String::new();
    peer.stdout
        .take()
        .unwrap()
        .read_to_string(&mut out)
        .await
        .unwrap();
    assert_eq!(out, "HELLO");

    // WebSocket of version 5, translated.
    let headers = websocket("v5.channel.k8s.io");
    let answer = scene
        .admin()
        .await
        .send_request(request("GET", &format!("{POD}/{EXEC}"), &borrowed(&headers)))
        .await
        .unwrap();
    assert_eq!(answer.status(), 101);
    let io = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    let mut ws = WebSocketStream::from_raw_socket(io, WsRole::Client, None).await;
    ws.send(Message::Binary(Bytes::from_static(b"\x00hello")))
        .await
        .unwrap();
    ws.send(Message::Binary(Bytes::from_static(b"\xff\x00")))
        .await
        .unwrap();
    let mut seen = vec![String::new(); 4];
    while let Some(Ok(Message::Binary(b))) = ws.next().await {
        seen[usize::from(b[0])].push_str(std::str::from_utf8(&b[1..]).unwrap());
    }
    assert_eq!(seen[1], "HELLO");
    assert!(seen[3].contains("ExitCode"), "{seen:?}");

    // Port-forward inside a WebSocket.
    let headers = websocket(PORT_FORWARD_TUNNEL);
    let answer = scene
        .admin()
        .await
        .send_request(request("GET", &format!("{POD}/portforward"), &borrowed(&headers)))
        .await
        .unwrap();
    assert_eq!(answer.status(), 101);
    let io = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    let mut ws = WebSocketStream::from_raw_socket(io, WsRole::Client, None).await;
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        let spdy = Connection::start(near, Role::Client, Limits::default());
        let open = |kind: &str| {
            spdy.open(vec![
                ("streamtype".into(), kind.into()),
                ("port".into(), "80".into()),
            ])
        };
        let _errors = open("error").await.unwrap();
        let mut data = open("data").await.unwrap();
        let mut got = String::new();
        data.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "80");
    });
    let mut buffer = vec![0; 4096];
    loop {
        tokio::select! {
            n = far.read(&mut buffer) => match n.unwrap() {
                0 => break,
                n => ws.send(Message::Binary(Bytes::copy_from_slice(&buffer[..n]))).await.unwrap(),
            },
            message = ws.next() => match message {
                Some(Ok(Message::Binary(b))) => far.write_all(&b).await.unwrap(),
                _ => break,
            },
        }
    }

    // Not an upgrade; nobody's right; a node that is not connected.
    let (code, _) = text(
        scene
            .admin()
            .await
            .send_request(request("POST", &format!("{POD}/{EXEC}"), &[]))
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(code, 400);
    let mut nobody = scene.client(&scene.a, scene.server, "a.marina.test", &[]).await;
    assert_eq!(
        nobody
            .send_request(request("POST", &format!("{POD}/{EXEC}"), &SPDY))
            .await
            .unwrap()
            .status(),
        403
    );
    scene.tunnels.disconnect(&scene.a.cluster.id);
    let answer = scene
        .admin()
        .await
        .send_request(request("POST", &format!("{POD}/{EXEC}"), &SPDY))
        .await
        .unwrap();
    assert!(
        answer.status() == 101 || answer.status() == 500,
        "reconnected already, or an honest error"
    );
    scene.world.shutdown.trigger();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_reaches_its_own_api_server_and_only_as_who_it_is() {
    let scene = Scene::new().await;
    let b = scene.world.cluster("b").await;
    // By the Service's name and with a certificate of its own cluster.
    let mut pod = scene
        .client(
            &scene.a,
            scene.inside,
            "kubernetes.default.svc",
            &["system:masters"],
        )
        .await;
    let (code, body) = text(pod.send_request(request("GET", POD, &[])).await.unwrap()).await;
    assert_eq!(code, 200, "{body}");
    // Being in the tunnel is no credential.
    let keys = &scene.a.cluster.keys;
    let config = pki::client_config(&keys.ca_pem, None, &[]).unwrap();
    let tcp = TcpStream::connect(scene.inside).await.unwrap();
    let name = "kubernetes.default.svc".try_into().unwrap();
    let tls = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls))
        .await
        .unwrap();
    tokio::spawn(connection);
    assert_eq!(
        sender
            .send_request(request("GET", POD, &[]))
            .await
            .unwrap()
            .status(),
        401
    );
    // Another cluster's name leads nowhere else: the tunnel's cluster answers, and its certificate does not fit.
    let config = pki::client_config(&b.cluster.keys.ca_pem, None, &[]).unwrap();
    let tcp = TcpStream::connect(scene.inside).await.unwrap();
    let name = "b.marina.test".try_into().unwrap();
    assert!(
        TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
            .is_err()
    );
    scene.world.shutdown.trigger();
}

/// Every span is recorded; the header tells its name.
struct Names;

impl base::trace::Propagator for Names {
    fn accept(&self, _: &tracing::Span, _: &str) {}
    fn traceparent(&self, span: &tracing::Span) -> Option<String> {
        span.metadata().map(|m| format!("child-of-{}", m.name()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_a_kubelet_is_a_child_of_the_request() {
    use tracing_subscriber::layer::SubscriberExt;
    let subscriber = tracing_subscriber::registry().with(base::trace::Propagation::new(Names));
    tracing::subscriber::set_global_default(subscriber).expect("no other test here sets one");
    let scene = Scene::new().await;
    let client_s_own = [(
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )];
    let answer = scene
        .admin()
        .await
        .send_request(request("GET", &format!("{POD}/log?tailLines=7"), &client_s_own))
        .await
        .unwrap();
    assert_eq!(text(answer).await, (200, "child-of-request".to_owned()));
}
