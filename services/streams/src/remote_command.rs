//! One exec or attach session: standard input, output and error, an error channel that carries the exit status as a
//! `metav1.Status`, and terminal sizes.
//!
//! A server sees a [`Session`] and need not know whether SPDY or a WebSocket carries it; [`Peer`] is the other half, as a
//! client of the next hop. [`bridge`] joins them. Protocol facts: `v4.channel.k8s.io` (status as JSON) and
//! `v5.channel.k8s.io` (channel 255 ends another channel) of upstream's `remotecommand`.

use crate::Io;
use crate::spdy::{Connection, Limits, Role, SpdyError, SpdyStream};
use crate::websocket::Socket;
use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use std::io;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

/// WebSocket and SPDY: status as JSON on the error channel, terminal sizes.
pub const V4: &str = "v4.channel.k8s.io";
/// WebSocket only: as version 4, and each channel can be ended.
pub const V5: &str = "v5.channel.k8s.io";

/// How long the client may take to open all streams.
const OPEN_ALL: Duration = Duration::from_secs(30);
/// Bytes that may wait in each channel.
const BUFFER: usize = 64 * 1024;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// A readable half.
pub type Reader = Pin<Box<dyn AsyncRead + Send>>;
/// A writable half.
pub type Writer = Pin<Box<dyn AsyncWrite + Send>>;

/// Which streams a request asks for (`stdin`, `stdout`, `stderr`, `tty` of its query).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error; a terminal has none.
    pub stderr: bool,
    /// A terminal, which can be resized.
    pub tty: bool,
}

impl Want {
    /// Reads the query of a request; `1`, `true` and their kin are yes.
    pub fn from_query(query: &str) -> Self {
        let mut want = Self::default();
        for pair in query.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let yes = !matches!(value, "0" | "false");
            match key {
                "stdin" => want.stdin = yes,
                "stdout" => want.stdout = yes,
                "stderr" => want.stderr = yes,
                "tty" => want.tty = yes,
                _ => {}
            }
        }
        want.stderr &= !want.tty;
        want
    }

    /// Stream types in the order in which clients open them.
    fn types(self) -> Vec<&'static str> {
        let optional = [
            ("stdin", self.stdin),
            ("stdout", self.stdout),
            ("stderr", self.stderr),
            ("resize", self.tty),
        ];
        let mut types = vec!["error"];
        types.extend(
            optional
                .into_iter()
                .filter(|(_, want)| *want)
                .map(|(name, _)| name),
        );
        types
    }
}

/// A session as the serving end sees it.
pub struct Session {
    /// What the client types.
    pub stdin: Option<Reader>,
    /// What the client sees.
    pub stdout: Option<Writer>,
    /// What the client sees on its standard error.
    pub stderr: Option<Writer>,
    /// Takes one `metav1.Status` as JSON when the command has ended.
    pub error: Writer,
    /// Terminal sizes: a sequence of `{"Width":80,"Height":24}`.
    pub resize: Option<Reader>,
    /// Cancelled when the client has gone away.
    pub gone: CancellationToken,
}

/// A session as the asking end sees it.
pub struct Peer {
    /// To the command.
    pub stdin: Option<Writer>,
    /// From the command.
    pub stdout: Option<Reader>,
    /// From the command.
    pub stderr: Option<Reader>,
    /// The status at the end.
    pub error: Reader,
    /// Terminal sizes.
    pub resize: Option<Writer>,
    /// Keeps the connection.
    _connection: Connection,
}

/// Why a session did not come about.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SessionError {
    /// A stream could not be opened.
    #[error(transparent)]
    Spdy(#[from] SpdyError),
    /// The client did not open all streams in time, or went away.
    #[error("timed out waiting for client to create streams")]
    Incomplete,
    /// The client opened a stream that was not asked for, or one twice.
    #[error("unexpected stream type {0:?}")]
    Unexpected(String),
}

/// Serves a session on an upgraded SPDY connection: waits until the client has opened every stream.
pub async fn accept_spdy<T: Io>(io: T, want: Want) -> Result<Session, SessionError> {
    let connection = Connection::start(
        io,
        Role::Server,
        Limits {
            streams: 8,
            ..Limits::default()
        },
    );
    let types = want.types();
    let mut found: Vec<Option<SpdyStream>> = types.iter().map(|_| None).collect();
    let all = async {
        while found.iter().any(Option::is_none) {
            let stream = connection.accept().await.ok_or(SessionError::Incomplete)?;
            let kind = stream.header("streamtype").unwrap_or_default().to_owned();
            match types.iter().position(|t| *t == kind) {
                Some(at) if found[at].is_none() => found[at] = Some(stream),
                _ => return Err(SessionError::Unexpected(kind)),
            }
        }
        Ok(())
    };
    tokio::time::timeout(OPEN_ALL, all)
        .await
        .map_err(|_| SessionError::Incomplete)??;
    let mut take = |kind: &str| {
        types
            .iter()
            .position(|t| *t == kind)
            .and_then(|at| found[at].take())
    };
    let error = take("error").ok_or(SessionError::Incomplete)?;
    let (stdin, stdout, stderr, resize) = (take("stdin"), take("stdout"), take("stderr"), take("resize"));
    let gone = CancellationToken::new();
    // The connection's end is the client's: no stream is accepted any more.
    tokio::spawn({
        let gone = gone.clone();
        async move {
            while let Some(extra) = connection.accept().await {
                drop(extra);
            }
            gone.cancel();
        }
    });
    Ok(Session {
        stdin: stdin.map(|s| Box::pin(s) as Reader),
        stdout: stdout.map(|s| Box::pin(s) as Writer),
        stderr: stderr.map(|s| Box::pin(s) as Writer),
        error: Box::pin(error),
        resize: resize.map(|s| Box::pin(s) as Reader),
        gone,
    })
}

/// Asks for a session on an upgraded SPDY connection.
pub async fn connect_spdy<T: Io>(io: T, want: Want) -> Result<Peer, SessionError> {
    let connection = Connection::start(
        io,
        Role::Client,
        Limits {
            streams: 8,
            ..Limits::default()
        },
    );
    let open = |kind: &'static str, wanted: bool| {
        let connection = &connection;
        async move {
            if !wanted {
                return Ok(None);
            }
            let headers = vec![("streamtype".to_owned(), kind.to_owned())];
            connection.open(headers).await.map(Some)
        }
    };
    let (error, stdin, stdout, stderr, resize) = tokio::try_join!(
        open("error", true),
        open("stdin", want.stdin),
        open("stdout", want.stdout),
        open("stderr", want.stderr),
        open("resize", want.tty),
    )?;
    Ok(Peer {
        stdin: stdin.map(|s| Box::pin(s) as Writer),
        stdout: stdout.map(|s| Box::pin(s) as Reader),
        stderr: stderr.map(|s| Box::pin(s) as Reader),
        error: Box::pin(error.ok_or(SpdyError::Closed)?),
        resize: resize.map(|s| Box::pin(s) as Writer),
        _connection: connection,
    })
}

/// Serves a session on a WebSocket of version 4 or 5. A task moves bytes until the session's writers are finished or the
/// client goes away.
pub async fn accept_websocket<T: Io>(io: T, want: Want) -> Session {
    let mut socket = Socket::new(io).await;
    let gone = CancellationToken::new();
    let input = |wanted: bool| -> (Option<DuplexStream>, Option<Reader>) {
        if !wanted {
            return (None, None);
        }
        let (near, far) = tokio::io::duplex(BUFFER);
        (Some(near), Some(Box::pin(far) as Reader))
    };
    let mut outputs = Vec::new();
    let mut output = |channel: u8| -> Writer {
        let (near, far) = tokio::io::duplex(BUFFER);
        outputs.push(ReaderStream::with_capacity(near, 32 * 1024).map(move |b| (channel, b)));
        Box::pin(far)
    };
    let (mut stdin_tx, stdin) = input(want.stdin);
    let (mut resize_tx, resize) = input(want.tty);
    let stdout = want.stdout.then(|| output(STDOUT));
    let stderr = want.stderr.then(|| output(STDERR));
    let error = output(ERROR);
    let mut outputs = futures::stream::select_all(outputs);
    let cancel = gone.clone();
    tokio::spawn(async move {
        let _cancel = cancel.drop_guard();
        let work = async {
            loop {
                tokio::select! {
                    out = outputs.next() => match out {
                        Some((channel, bytes)) => socket.send(framed(channel, &bytes?)).await?,
                        None => return socket.close().await,
                    },
                    message = socket.receive() => match message? {
                        Some(message) => deliver(message, &mut stdin_tx, &mut resize_tx).await,
                        None => return Ok(()),
                    },
                }
            }
        };
        if let Err(e) = work.await {
            let e: io::Error = e;
            tracing::debug!(error = %e, "remote command: client connection lost");
        }
    });
    Session {
        stdin,
        stdout,
        stderr,
        error,
        resize,
        gone,
    }
}

fn framed(channel: u8, bytes: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(bytes.len() + 1);
    message.put_u8(channel);
    message.put_slice(bytes);
    message.freeze()
}

/// Hands a client's message to its channel. A channel whose reader is gone is forgotten, and so are unknown ones.
async fn deliver(mut message: Bytes, stdin: &mut Option<DuplexStream>, resize: &mut Option<DuplexStream>) {
    if message.is_empty() {
        return;
    }
    let channel = message.split_to(1)[0];
    let to = match channel {
        STDIN => stdin,
        RESIZE => resize,
        CLOSE => {
            match message.first() {
                Some(&STDIN) => *stdin = None,
                Some(&RESIZE) => *resize = None,
                _ => {}
            }
            return;
        }
        _ => return,
    };
    if let Some(pipe) = to
        && pipe.write_all(&message).await.is_err()
    {
        *to = None;
    }
}

async fn copy_and_finish(from: Option<Reader>, to: Option<Writer>) {
    if let (Some(mut from), Some(mut to)) = (from, to) {
        // Either side going away ends this direction; the others show whether the session is over.
        let _either_side_is_gone = tokio::io::copy(&mut from, &mut to).await;
        let _already_gone = to.shutdown().await;
    }
}

/// Joins a client's session with the next hop's, until the command's output and status have been delivered or the client
/// has gone away.
pub async fn bridge(session: Session, peer: Peer) {
    let Session {
        stdin,
        stdout,
        stderr,
        error,
        resize,
        gone,
    } = session;
    let outputs = async {
        tokio::join!(
            copy_and_finish(peer.stdout, stdout),
            copy_and_finish(peer.stderr, stderr),
            copy_and_finish(Some(peer.error), Some(error)),
        );
    };
    let inputs = async {
        tokio::join!(
            copy_and_finish(stdin, peer.stdin),
            copy_and_finish(resize, peer.resize)
        );
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = outputs => {}
        () = inputs => {}
        () = gone.cancelled() => {}
    }
}

/// The status of a command that ended with code 0.
pub fn status_success() -> Vec<u8> {
    br#"{"metadata":{},"status":"Success"}"#.to_vec()
}

/// The status of a command that ended with another code.
pub fn status_exit_code(code: i32) -> Vec<u8> {
    serde_json::json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
    .to_string()
    .into_bytes()
}

/// The status of a command that could not be run.
pub fn status_error(message: &str) -> Vec<u8> {
    serde_json::json!({
        "metadata": {}, "status": "Failure", "reason": "InternalError",
        "message": format!("Internal error occurred: {message}"),
        "details": {"causes": [{"message": message}]}, "code": 500,
    })
    .to_string()
    .into_bytes()
}
