//! WebSocket (RFC 6455), server side: the handshake, and a WebSocket as a stream of bytes.

use crate::Io;
use bytes::Bytes;
use futures::{SinkExt, Stream, StreamExt};
use http::{HeaderMap, Response, StatusCode};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};

/// The longest message that is taken from a client.
const MAX_MESSAGE: usize = 1024 * 1024;
/// The most bytes sent in one message.
const CHUNK: usize = 32 * 1024;

/// Port-forward in a WebSocket: its binary messages, joined, are a SPDY/3.1 connection.
pub const PORT_FORWARD_TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// Why a request is no WebSocket handshake; answered with 400.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HandshakeError {
    /// It lacks or garbles one of the handshake's headers.
    #[error("not a WebSocket handshake: {0}")]
    Malformed(&'static str),
    /// It offers only sub-protocols that are not served here.
    #[error("unable to negotiate websocket protocol: none of the offered ones is supported")]
    NoProtocol,
}

/// Whether a request asks for a WebSocket.
pub fn is_websocket(headers: &HeaderMap) -> bool {
    let has = |name, word: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .any(|v| v.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
    };
    has("connection", "upgrade") && has("upgrade", "websocket")
}

/// The sub-protocols a client offers, in its order; what carries a bearer token is left out.
pub fn offered(headers: &HeaderMap) -> Vec<&str> {
    headers
        .get_all("sec-websocket-protocol")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .filter(|p| !p.is_empty() && !p.starts_with("base64url.bearer.authorization.k8s.io."))
        .collect()
}

/// Agrees on the first offered sub-protocol that is in `supported` (empty text there: a client may offer none), and makes
/// the 101 response. The connection becomes a WebSocket once that is sent: [`Socket::new`].
pub fn handshake<'s>(
    headers: &HeaderMap,
    supported: &[&'s str],
) -> Result<(Response<()>, &'s str), HandshakeError> {
    if !is_websocket(headers) {
        return Err(HandshakeError::Malformed("no upgrade to websocket"));
    }
    if headers.get("sec-websocket-version").is_none_or(|v| v != "13") {
        return Err(HandshakeError::Malformed("version is not 13"));
    }
    let key = headers
        .get("sec-websocket-key")
        .ok_or(HandshakeError::Malformed("no key"))?;
    let offered = offered(headers);
    let protocol = if offered.is_empty() {
        supported.iter().find(|s| s.is_empty())
    } else {
        offered.iter().find_map(|o| supported.iter().find(|s| *s == o))
    };
    let protocol = protocol.copied().ok_or(HandshakeError::NoProtocol)?;
    let mut response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-accept", derive_accept_key(key.as_bytes()));
    if !protocol.is_empty() {
        response = response.header("sec-websocket-protocol", protocol);
    }
    let response = response
        .body(())
        .map_err(|_| HandshakeError::Malformed("bad key"))?;
    Ok((response, protocol))
}

/// A WebSocket after its handshake, server side.
pub struct Socket<T>(WebSocketStream<T>);

fn io_error(e: tokio_tungstenite::tungstenite::Error) -> io::Error {
    io::Error::other(e)
}

impl<T: Io> Socket<T> {
    /// Takes over an upgraded connection.
    pub async fn new(io: T) -> Self {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        Self(WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await)
    }

    /// The next message's bytes, text or binary; `None` when the client has closed.
    pub async fn receive(&mut self) -> io::Result<Option<Bytes>> {
        while let Some(message) = self.0.next().await {
            match message.map_err(io_error)? {
                Message::Binary(bytes) => return Ok(Some(bytes)),
                Message::Text(text) => return Ok(Some(Bytes::copy_from_slice(text.as_bytes()))),
                Message::Close(_) => return Ok(None),
                // Pings are answered by the library.
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
        Ok(None)
    }

    /// Sends a binary message.
    pub async fn send(&mut self, bytes: Bytes) -> io::Result<()> {
        self.0.send(Message::Binary(bytes)).await.map_err(io_error)
    }

    /// Sends a text message.
    pub async fn send_text(&mut self, text: String) -> io::Result<()> {
        self.0.send(Message::Text(text.into())).await.map_err(io_error)
    }

    /// Says goodbye normally.
    pub async fn close(&mut self) -> io::Result<()> {
        let frame = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        self.0.close(Some(frame)).await.map_err(io_error)
    }

    /// Sends everything of `source` as binary messages and closes; ends early when the client goes away. What the client
    /// sends meanwhile is dropped. Logs and watches are served this way.
    pub async fn send_all<S: Stream<Item = io::Result<Bytes>> + Unpin>(
        &mut self,
        mut source: S,
    ) -> io::Result<()> {
        loop {
            tokio::select! {
                chunk = source.next() => match chunk {
                    Some(chunk) => self.send(chunk?).await?,
                    None => return self.close().await,
                },
                message = self.receive() => if message?.is_none() {
                    return Ok(());
                },
            }
        }
    }

    /// Joins the WebSocket, as a stream of bytes, with another connection until either ends.
    pub async fn pipe<B: Io>(mut self, other: B) -> io::Result<()> {
        let (mut read, mut write) = tokio::io::split(other);
        let mut buffer = vec![0; CHUNK];
        loop {
            tokio::select! {
                n = read.read(&mut buffer) => match n? {
                    0 => return self.close().await,
                    n => self.send(Bytes::copy_from_slice(&buffer[..n])).await?,
                },
                message = self.receive() => match message? {
                    Some(bytes) => {
                        write.write_all(&bytes).await?;
                        write.flush().await?;
                    }
                    None => return write.shutdown().await,
                },
            }
        }
    }
}
