//! What a hostile or broken client sends, over TLS on loopback: each gets its own answer, and the server goes on.

use apiserver::{Listener, Options};
use base::Clock;
use jiff::{SignedDuration, Timestamp};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};
use world::{Tenant, World};

const HOUR: Duration = Duration::from_secs(3600);
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

struct Scene {
    world: World,
    a: Tenant,
    at: SocketAddr,
}

impl Scene {
    async fn new() -> Self {
        let world = World::on(Clock::system(), Options::default());
        let a = world.cluster("a").await;
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = socket.local_addr().unwrap();
        tokio::spawn(Listener::new(world.server.clone(), socket).run(world.shutdown.clone()));
        Self { world, a, at }
    }

    fn certificate(&self, life: Duration, at: Timestamp) -> pki::Issued {
        let subject = pki::Subject::new("jane", &[auth::user::MASTERS]);
        self.a.cluster.keys.issue_client(subject, life, at).unwrap()
    }

    async fn connect(&self, identity: Option<&pki::Issued>) -> TlsStream<TcpStream> {
        let identity = identity.map(|i| pki::client_identity(&i.cert_pem(), &i.key_pem()).unwrap());
        let config = pki::client_config(&self.a.cluster.keys.ca_pem, identity, &[b"http/1.1"]).unwrap();
        let tcp = TcpStream::connect(self.at).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let name = "a.marina.test".try_into().unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
            .unwrap()
    }

    /// Sends bytes and returns the status code and the whole answer.
    async fn raw(&self, identity: Option<&pki::Issued>, bytes: &[u8]) -> (u16, String) {
        let mut tls = self.connect(identity).await;
        // A server that has refused already may have closed its side.
        let _refused_early = tls.write_all(bytes).await;
        let mut answer = Vec::new();
        let read = tls.read_to_end(&mut answer);
        let _reset = tokio::time::timeout(Duration::from_secs(20), read)
            .await
            .expect("an answer in time");
        let text = String::from_utf8_lossy(&answer).into_owned();
        let code = text.split(' ').nth(1).and_then(|c| c.parse().ok()).unwrap_or(0);
        (code, text)
    }

    async fn post(&self, content_type: &str, body: &[u8]) -> (u16, String) {
        let jane = self.certificate(HOUR, self.world.clock.now());
        let mut bytes = format!(
            "POST {CONFIG_MAPS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        self.raw(Some(&jane), &bytes).await
    }

    async fn get(&self, identity: Option<&pki::Issued>, token: &str) -> u16 {
        let token = if token.is_empty() {
            String::new()
        } else {
            format!("authorization: Bearer {token}\r\n")
        };
        let text = format!("GET {CONFIG_MAPS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{token}\r\n");
        self.raw(identity, text.as_bytes()).await.0
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_make_no_sense_get_a_4xx_each_and_change_nothing() {
    let scene = Scene::new().await;
    let before = scene.a.get(CONFIG_MAPS).await.ok();
    let good = br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}}"#;
    let deep = "[".repeat(100_000);
    let bomb = format!(
        "a: &a [{}]\nb: &b [{}]\nc: &c [{}]\nd: &d [{}]\ne: [*d,*d,*d,*d,*d,*d,*d,*d]\n",
        "x,".repeat(50),
        "*a,".repeat(50),
        "*b,".repeat(50),
        "*c,".repeat(50)
    );
    let cases: &[(&str, &[u8], u16)] = &[
        ("application/json", b"{\"apiVersion\":\"v1\",", 400),
        ("application/json", b"", 400),
        ("application/json", b"null", 422),
        ("application/json", b"\xff\xfe\x00", 400),
        (
            "application/json",
            b"{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":7}",
            400,
        ),
        (
            "application/json",
            b"{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"x\"}}",
            400,
        ),
        (
            "application/json",
            b"{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"../x\"}}",
            422,
        ),
        ("application/json", deep.as_bytes(), 400),
        ("application/yaml", b"apiVersion: v1\n kind: [", 400),
        ("application/yaml", bomb.as_bytes(), 400),
        (
            "application/vnd.kubernetes.protobuf",
            b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            400,
        ),
        ("application/vnd.kubernetes.protobuf", b"not protobuf", 400),
        ("application/cbor", b"\xd9\xd9\xf7\xa0", 415),
        ("text/plain", good, 415),
        ("application/xml", b"<a/>", 415),
        ("multipart/form-data; boundary=x", b"--x--", 415),
    ];
    let mut wrong = Vec::new();
    for (content_type, body, wanted) in cases {
        let (code, text) = scene.post(content_type, body).await;
        if code != *wanted || !text.contains("\"kind\":\"Status\"") {
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]);
            wrong.push(format!("{content_type} {shown:?}: {code}, not {wanted}: {text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let (code, text) = scene.post("application/json", &vec![b' '; 4 << 20]).await;
    assert_eq!(code, 413, "{text}");
    assert_eq!(before, scene.a.get(CONFIG_MAPS).await.ok(), "nothing was written");
    assert_eq!(
        scene.post("application/json", good).await.0,
        201,
        "and the server goes on"
    );
    scene.world.shutdown.trigger();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_no_http_end_their_connection_alone() {
    let scene = Scene::new().await;
    let jane = scene.certificate(HOUR, scene.world.clock.now());
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(200_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(50_000));
    let smuggled = "POST /api HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n";
    for bytes in [
        &b"\0\0\0\0\0\0\0\0\0\0\0\0\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /%00/../.. HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        long.as_bytes(),
        many.as_bytes(),
    ] {
        let (code, text) = scene.raw(Some(&jane), bytes).await;
        assert!(code == 0 || (400..500).contains(&code), "{code} {text}");
    }
    let (_, text) = scene.raw(Some(&jane), smuggled.as_bytes()).await;
    assert!(
        text.matches("HTTP/1.1 ").count() <= 1,
        "one request, one answer: {text}"
    );
    assert_eq!(scene.get(Some(&jane), "").await, 200, "and the server goes on");
    scene.world.shutdown.trigger();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_forged_and_mangled_credentials_get_401() {
    let scene = Scene::new().await;
    let now = scene.world.clock.now();
    let ago = now - SignedDuration::from_hours(2);
    assert_eq!(scene.get(Some(&scene.certificate(HOUR, now)), "").await, 200);
    assert_eq!(
        scene.get(Some(&scene.certificate(HOUR, ago)), "").await,
        401,
        "an expired certificate"
    );
    assert_eq!(scene.get(None, "").await, 401, "nobody");

    let account = scene
        .a
        .get("/api/v1/namespaces/default/serviceaccounts/default")
        .await
        .ok();
    let uid = account.str_at(&["metadata", "uid"]).unwrap().to_owned();
    let sign = |at: Timestamp, issuer: &str, uid: &str| {
        let request = pki::TokenRequest {
            issuer,
            audiences: vec![scene.a.cluster.issuer.clone()],
            namespace: "default",
            account: pki::ServiceAccountRef {
                name: "default".into(),
                uid: uid.into(),
            },
            pod: None,
            node: None,
            secret: None,
            seconds: 600,
            warn_after: None,
        };
        scene.a.cluster.keys.sign_token(request, at).unwrap().0
    };
    let issuer = scene.a.cluster.issuer.as_str();
    let good = sign(now, issuer, &uid);
    assert_eq!(scene.get(None, &good).await, 403, "known, without rights");
    assert_eq!(scene.get(None, &sign(ago, issuer, &uid)).await, 401, "expired");
    assert_eq!(
        scene.get(None, &sign(now, "https://elsewhere", &uid)).await,
        401,
        "another issuer"
    );
    assert_eq!(
        scene.get(None, &sign(now, issuer, "not-its-uid")).await,
        401,
        "an account that was made anew"
    );
    let (head, signature) = good.rsplit_once('.').unwrap();
    assert_eq!(scene.get(None, head).await, 401, "no signature");
    assert_eq!(
        scene.get(None, &format!("{head}.")).await,
        401,
        "an empty signature"
    );
    let flipped: String = signature.chars().rev().collect();
    assert_eq!(
        scene.get(None, &format!("{head}.{flipped}")).await,
        401,
        "a wrong signature"
    );
    let (_, claims) = head.split_once('.').unwrap();
    assert_eq!(
        scene.get(None, &format!("eyJhbGciOiJub25lIn0.{claims}.")).await,
        401,
        "algorithm none"
    );
    let admin = scene.certificate(HOUR, now);
    assert_eq!(
        scene.get(Some(&admin), "garbage").await,
        401,
        "a bad token is not made good by a certificate"
    );
    scene.world.shutdown.trigger();
}
