//! The listener, over TLS on loopback: which cluster a connection is for, and who the client is.

use apiserver::Listener;
use base::Clock;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use world::World;

/// A listener on a port of its own, and its end.
async fn listen(world: &World) -> (std::net::SocketAddr, tokio::task::JoinHandle<()>) {
    let socket = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback can be bound");
    let address = socket.local_addr().expect("it is bound");
    let running = tokio::spawn(Listener::new(world.server.clone(), socket).run(world.shutdown.clone()));
    (address, running)
}

/// One HTTP/1.1 request over TLS: the whole answer as text.
async fn ask(
    address: std::net::SocketAddr,
    name: &str,
    config: rustls::ClientConfig,
    path: &str,
) -> std::io::Result<String> {
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).expect("a valid name");
    let stream = TcpStream::connect(address).await?;
    let mut tls = connector.connect(name, stream).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    tls.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    tls.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn config(ca: &str, identity: Option<&pki::Issued>) -> rustls::ClientConfig {
    let identity = identity
        .map(|i| pki::client_identity(&i.cert_pem(), &i.key_pem()).expect("a fresh certificate parses"));
    pki::client_config(ca, identity, &[b"http/1.1"]).expect("a valid configuration")
}

#[tokio::test]
async fn the_server_name_says_which_cluster_and_its_own_ca_says_who() {
    let world = World::on(Clock::system(), apiserver::Options::default());
    let (a, b) = (world.cluster("a").await, world.cluster("b").await);
    let (address, _running) = listen(&world).await;
    let issue = |t: &world::Tenant| {
        let subject = pki::Subject::new("admin", &[auth::user::MASTERS]);
        t.cluster
            .keys
            .issue_client(subject, Duration::from_secs(3600), world.clock.now())
            .expect("a CA signs")
    };
    let (of_a, of_b) = (issue(&a), issue(&b));
    let path = "/api/v1/namespaces";

    let own = ask(
        address,
        "a.marina.test",
        config(&a.cluster.keys.ca_pem, Some(&of_a)),
        path,
    )
    .await;
    assert!(
        own.as_ref().is_ok_and(|t| t.starts_with("HTTP/1.1 200")),
        "{own:?}"
    );
    // The neighbour's certificate passes TLS and is refused by authentication.
    let foreign = ask(
        address,
        "a.marina.test",
        config(&a.cluster.keys.ca_pem, Some(&of_b)),
        path,
    )
    .await;
    assert!(
        foreign.as_ref().is_ok_and(|t| t.starts_with("HTTP/1.1 401")),
        "{foreign:?}"
    );
    let nobody = ask(
        address,
        "a.marina.test",
        config(&a.cluster.keys.ca_pem, None),
        path,
    )
    .await;
    assert!(
        nobody.as_ref().is_ok_and(|t| t.starts_with("HTTP/1.1 401")),
        "{nobody:?}"
    );
    let health = ask(
        address,
        "a.marina.test",
        config(&a.cluster.keys.ca_pem, None),
        "/livez",
    )
    .await;
    assert!(
        health.as_ref().is_ok_and(|t| t.starts_with("HTTP/1.1 200")),
        "{health:?}"
    );

    let unknown = ask(
        address,
        "c.marina.test",
        config(&a.cluster.keys.ca_pem, None),
        path,
    )
    .await;
    let text = unknown.expect_err("no such cluster").to_string();
    assert!(
        text.contains("UnrecognizedName") || text.contains("UnrecognisedName"),
        "{text}"
    );
}

#[tokio::test]
async fn a_stop_ends_watches_and_the_listener() {
    let world = World::on(Clock::system(), apiserver::Options::default());
    let t = world.cluster("a").await;
    let (address, running) = listen(&world).await;
    let subject = pki::Subject::new("admin", &[auth::user::MASTERS]);
    let issued = t
        .cluster
        .keys
        .issue_client(subject, Duration::from_secs(3600), world.clock.now())
        .expect("a CA signs");
    let config = config(&t.cluster.keys.ca_pem, Some(&issued));
    let watching =
        tokio::spawn(
            async move { ask(address, "a.marina.test", config, "/api/v1/namespaces?watch=true").await },
        );
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.shutdown.trigger();
    let answer = watching.await.expect("no panic");
    assert!(
        answer.as_ref().is_ok_and(|t| t.contains("\"type\":\"ADDED\"")),
        "{answer:?}"
    );
    tokio::time::timeout(Duration::from_secs(5), running)
        .await
        .expect("it ends")
        .expect("no panic");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_connections_that_are_kept_for_later() {
    let world = World::on(Clock::system(), apiserver::Options::default());
    let t = world.cluster("a").await;
    let (address, running) = listen(&world).await;
    let config = config(&t.cluster.keys.ca_pem, None);
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let name = rustls::pki_types::ServerName::try_from("a.marina.test").expect("a valid name");
    let stream = TcpStream::connect(address).await.expect("it listens");
    let mut kept = connector.connect(name, stream).await.expect("the name is known");
    kept.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .expect("it is open");
    let mut answer = [0; 1024];
    let read = kept.read(&mut answer).await.expect("an answer");
    assert!(answer[..read].starts_with(b"HTTP/1.1 200"));

    world.shutdown.trigger();
    tokio::time::timeout(Duration::from_secs(5), running)
        .await
        .expect("it ends")
        .expect("no panic");
    assert_eq!(kept.read(&mut answer).await.expect("a clean end"), 0);
}
