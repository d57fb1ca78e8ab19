//! Both halves against each other, over pipes in memory.

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use streams::remote_command::{self, Session, Want};
use streams::spdy::{Connection, Limits, Role, SpdyError};
use streams::upgrade::{self, Body};
use streams::websocket::{self, Socket};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role as WsRole};

fn headers(kind: &str) -> Vec<(String, String)> {
    vec![("streamType".to_owned(), kind.to_owned())]
}

fn pair(limits: Limits) -> (Connection, Connection) {
    let (a, b) = duplex(64 * 1024);
    (
        Connection::start(a, Role::Client, limits),
        Connection::start(b, Role::Server, limits),
    )
}

#[tokio::test]
async fn spdy_streams_carry_bytes_both_ways_and_end_one_way_at_a_time() {
    let (client, server) = pair(Limits::default());
    let echo = tokio::spawn(async move {
        while let Some(mut stream) = server.accept().await {
            tokio::spawn(async move {
                assert_eq!(stream.header("streamtype"), Some("data"));
                let mut all = Vec::new();
                stream.read_to_end(&mut all).await.unwrap();
                stream.write_all(&all).await.unwrap();
                stream.shutdown().await.unwrap();
            });
        }
    });
    let big: Vec<u8> = (0..1_000_000u32).map(|n| n as u8).collect();
    let one = async |data: &[u8]| {
        let mut stream = client.open(headers("data")).await.unwrap();
        stream.write_all(data).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).await.unwrap();
        assert!(back == data);
    };
    tokio::join!(one(&big), one(b"small"), one(b""));
    drop(client);
    echo.await.unwrap();
}

#[tokio::test]
async fn a_peer_gets_no_more_streams_than_the_limit_and_a_dropped_stream_makes_room() {
    let (client, server) = pair(Limits {
        streams: 2,
        ..Limits::default()
    });
    let far = Connection::open(&client, headers("a"));
    let (first, _near) = tokio::join!(far, server.accept());
    let (_second, _other) = tokio::join!(client.open(headers("b")), server.accept());
    assert_eq!(client.open(headers("c")).await.err(), Some(SpdyError::TooMany));
    drop(first);
    drop(_near);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(client.open(headers("c")).await.is_ok());
}

#[tokio::test]
async fn garbage_ends_the_connection_and_nothing_else() {
    for garbage in [
        &b"\x80\x03\x00\x01\x00\xff\xff\xff"[..],
        b"\x80\x02\x00\x06\x00\x00\x00\x04\x00\x00\x00\x01",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let (mut a, b) = duplex(1024);
        let server = Connection::start(b, Role::Server, Limits::default());
        a.write_all(garbage).await.unwrap();
        a.shutdown().await.unwrap();
        assert!(server.accept().await.is_none());
        assert_eq!(server.open(headers("x")).await.err(), Some(SpdyError::Closed));
    }
}

const ALL: Want = Want {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};

/// A command that copies its input to its output in capitals, complains, and ends with code 3.
async fn shout(session: Session) {
    let Session {
        stdin,
        stdout,
        stderr,
        mut error,
        ..
    } = session;
    let (mut stdin, mut stdout, mut stderr) = (stdin.unwrap(), stdout.unwrap(), stderr.unwrap());
    let mut input = String::new();
    stdin.read_to_string(&mut input).await.unwrap();
    stdout.write_all(input.to_uppercase().as_bytes()).await.unwrap();
    stderr.write_all(b"oh").await.unwrap();
    error
        .write_all(&remote_command::status_exit_code(3))
        .await
        .unwrap();
    for mut w in [stdout, stderr, error] {
        w.shutdown().await.unwrap();
    }
}

async fn text(reader: &mut remote_command::Reader) -> String {
    let mut all = String::new();
    reader.read_to_string(&mut all).await.unwrap();
    all
}

#[tokio::test]
async fn a_command_runs_over_spdy() {
    let (a, b) = duplex(64 * 1024);
    tokio::spawn(async move { shout(remote_command::accept_spdy(b, ALL).await.unwrap()).await });
    let mut peer = remote_command::connect_spdy(a, ALL).await.unwrap();
    let mut stdin = peer.stdin.take().unwrap();
    stdin.write_all(b"hello").await.unwrap();
    stdin.shutdown().await.unwrap();
    assert_eq!(text(peer.stdout.as_mut().unwrap()).await, "HELLO");
    assert_eq!(text(peer.stderr.as_mut().unwrap()).await, "oh");
    assert!(text(&mut peer.error).await.contains("\"ExitCode\""));
}

async fn browser(io: DuplexStream) -> WebSocketStream<DuplexStream> {
    WebSocketStream::from_raw_socket(io, WsRole::Client, None).await
}

#[tokio::test]
async fn a_websocket_of_version_5_is_translated_to_spdy() {
    let (client_io, server_io) = duplex(64 * 1024);
    let (hop_a, hop_b) = duplex(64 * 1024);
    tokio::spawn(async move { shout(remote_command::accept_spdy(hop_b, ALL).await.unwrap()).await });
    let bridge = tokio::spawn(async move {
        let session = remote_command::accept_websocket(server_io, ALL).await;
        let peer = remote_command::connect_spdy(hop_a, ALL).await.unwrap();
        remote_command::bridge(session, peer).await;
    });
    let mut ws = browser(client_io).await;
    for message in [&b"\x00hel"[..], b"\x00lo", b"\x09unknown", b"", b"\xff\x00"] {
        ws.send(Message::Binary(Bytes::copy_from_slice(message)))
            .await
            .unwrap();
    }
    let mut channels = vec![String::new(); 4];
    let mut closed = false;
    while let Some(Ok(message)) = ws.next().await {
        match message {
            Message::Binary(b) => channels[usize::from(b[0])].push_str(std::str::from_utf8(&b[1..]).unwrap()),
            Message::Close(Some(frame)) => closed = u16::from(frame.code) == 1000,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((channels[1].as_str(), channels[2].as_str()), ("HELLO", "oh"));
    assert!(channels[3].contains("NonZeroExitCode") && closed);
    bridge.await.unwrap();
}

#[tokio::test]
async fn a_client_that_vanishes_ends_the_session() {
    let (client_io, server_io) = duplex(64 * 1024);
    let (hop_a, hop_b) = duplex(64 * 1024);
    let far = tokio::spawn(async move { remote_command::accept_spdy(hop_b, ALL).await.unwrap() });
    let bridge = tokio::spawn(async move {
        let session = remote_command::accept_websocket(server_io, ALL).await;
        let peer = remote_command::connect_spdy(hop_a, ALL).await.unwrap();
        remote_command::bridge(session, peer).await;
    });
    let session = far.await.unwrap();
    drop(client_io);
    bridge.await.unwrap();
    session.gone.cancelled().await;
}

#[test]
fn queries_say_which_streams_there_are() {
    let want = Want::from_query("command=ls&stdin=true&stdout=1&stderr=true&tty=true");
    assert_eq!(
        want,
        Want {
            stdin: true,
            stdout: true,
            stderr: false,
            tty: true
        }
    );
    assert_eq!(Want::from_query("stdout=false&stderr=0"), Want::default());
}

/// Serves one connection with a handler.
fn serve<F, R>(io: DuplexStream, handler: F)
where
    F: Fn(Request<Incoming>) -> R + Send + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    tokio::spawn(async move {
        let service = service_fn(move |r| {
            let answer = handler(r);
            async move { Ok::<_, std::convert::Infallible>(answer.await) }
        });
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service);
        let _the_test_sees_what_matters = connection.with_upgrades().await;
    });
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// client → front (passes on) → back (`answer`); returns the client's sender.
async fn chain<F, R>(answer: F) -> hyper::client::conn::http1::SendRequest<Empty<Bytes>>
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    let (client, front) = duplex(64 * 1024);
    serve(front, move |request| {
        let (near, far) = duplex(64 * 1024);
        serve(far, answer.clone());
        let uri = "/exec/ns/pod?stdin=1".parse().unwrap();
        async move {
            match upgrade::pass_on(request, &uri, "node-1", Box::new(near)).await {
                Ok(response) => response,
                Err(e) => {
                    let mut response = Response::new(empty());
                    *response.status_mut() = StatusCode::BAD_GATEWAY;
                    response
                        .headers_mut()
                        .insert("x-error", e.to_string().parse().unwrap());
                    response
                }
            }
        }
    });
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(client))
        .await
        .unwrap();
    tokio::spawn(connection.with_upgrades());
    sender
}

fn ask(upgrade: &str) -> Request<Empty<Bytes>> {
    Request::post("/anything")
        .header("connection", "Upgrade, X-Secret-Hop")
        .header("upgrade", upgrade)
        .header("authorization", "Bearer secret")
        .header("impersonate-user", "root")
        .header("x-remote-group", "system:masters")
        .header("x-secret-hop", "1")
        .header("x-stream-protocol-version", "v4.channel.k8s.io")
        .body(Empty::new())
        .unwrap()
}

#[tokio::test]
async fn an_upgrade_is_passed_on_without_credentials_and_joined() {
    let mut sender = chain(|mut request: Request<Incoming>| async move {
        assert_eq!(request.uri(), "/exec/ns/pod?stdin=1");
        assert_eq!(request.headers()["host"], "node-1");
        assert_eq!(request.headers()["upgrade"], "SPDY/3.1");
        for gone in [
            "authorization",
            "impersonate-user",
            "x-remote-group",
            "x-secret-hop",
        ] {
            assert!(request.headers().get(gone).is_none(), "{gone}");
        }
        let on = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = TokioIo::new(on.await.unwrap());
            let mut line = [0; 5];
            io.read_exact(&mut line).await.unwrap();
            io.write_all(&line).await.unwrap();
            io.shutdown().await.unwrap();
        });
        let answer = Response::builder()
            .status(101)
            .header("connection", "Upgrade")
            .header("upgrade", "SPDY/3.1");
        answer
            .header("x-stream-protocol-version", "v4.channel.k8s.io")
            .body(empty())
            .unwrap()
    })
    .await;
    let answer = sender.send_request(ask("SPDY/3.1")).await.unwrap();
    assert_eq!(answer.status(), 101);
    assert_eq!(answer.headers()["x-stream-protocol-version"], "v4.channel.k8s.io");
    let mut io = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    io.write_all(b"hello").await.unwrap();
    let mut back = Vec::new();
    io.read_to_end(&mut back).await.unwrap();
    assert_eq!(back, b"hello");
}

#[tokio::test]
async fn nothing_is_tunnelled_without_a_101_that_was_asked_for() {
    let mut sender = chain(|_| async {
        let answer = Response::builder()
            .status(302)
            .header("location", "https://169.254.169.254/");
        answer.body(empty()).unwrap()
    })
    .await;
    let answer = sender.send_request(ask("SPDY/3.1")).await.unwrap();
    assert_eq!(answer.status(), 302, "returned, not followed");
    assert!(hyper::upgrade::on(answer).await.is_err());

    let mut sender = chain(|_| async {
        Response::builder()
            .status(101)
            .header("connection", "Upgrade")
            .header("upgrade", "h2c")
            .body(empty())
            .unwrap()
    })
    .await;
    assert_eq!(
        sender.send_request(ask("SPDY/3.1")).await.unwrap().status(),
        502,
        "another protocol"
    );

    let mut sender = chain(|_| async { panic!("is never reached") }).await;
    let answer = sender.send_request(ask("h2c")).await.unwrap();
    assert_eq!(answer.headers()["x-error"], "upgrade to \"h2c\" is not supported");
}

#[tokio::test]
async fn a_websocket_joins_with_a_connection_as_bytes() {
    let (client_io, server_io) = duplex(64 * 1024);
    let (near, mut far) = duplex(64 * 1024);
    let piped = tokio::spawn(async move { Socket::new(server_io).await.pipe(near).await });
    let mut ws = browser(client_io).await;
    ws.send(Message::Binary(Bytes::from_static(b"ping")))
        .await
        .unwrap();
    let mut got = [0; 4];
    far.read_exact(&mut got).await.unwrap();
    far.write_all(b"pong").await.unwrap();
    assert_eq!(ws.next().await.unwrap().unwrap().into_data(), "pong");
    drop(far);
    assert!(matches!(ws.next().await, Some(Ok(Message::Close(_)))));
    drop(ws);
    piped.await.unwrap().unwrap();
}

#[test]
fn a_handshake_agrees_on_a_supported_protocol_and_never_echoes_a_token() {
    let mut request = http::HeaderMap::new();
    for (k, v) in [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        (
            "sec-websocket-protocol",
            "base64url.bearer.authorization.k8s.io.c2VjcmV0, v6, v5.channel.k8s.io",
        ),
    ] {
        request.insert(k, v.parse().unwrap());
    }
    let (response, protocol) = websocket::handshake(&request, &["v5.channel.k8s.io", ""]).unwrap();
    assert_eq!(protocol, "v5.channel.k8s.io");
    assert_eq!(
        response.headers()["sec-websocket-accept"],
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
    assert_eq!(
        websocket::handshake(&request, &["v7"]).err(),
        Some(websocket::HandshakeError::NoProtocol)
    );
    assert_eq!(
        upgrade::forwarded_headers(&request)["sec-websocket-protocol"],
        "v6, v5.channel.k8s.io"
    );
    request.remove("sec-websocket-protocol");
    assert_eq!(
        websocket::handshake(&request, &["binary.k8s.io", ""]).unwrap().1,
        ""
    );
}
