//! Members reach each other over TCP with TLS on both sides. One connection to each member carries many requests at
//! once; it is made when it is needed and again when it broke.
//!
//! A frame is: length (u32, big-endian, of what follows), request number (u64), body. The first frame of a connection
//! carries the number of the member that calls. Who may call is decided by TLS alone: both sides' certificates come
//! from an authority that issues certificates for members of this group and for nobody else.

use crate::transport::{Answer, MemberId, Transport, TransportError};
use async_trait::async_trait;
use base::Shutdown;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

/// Bytes of one frame.
const FRAME: usize = 64 << 20;
/// Requests of one connection that are being answered.
const AT_ONCE: usize = 256;
/// Requests that wait to be sent.
const WAITING: usize = 256;
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(3);
/// Connections of one listener; a group has five members at most.
const CONNECTIONS: usize = 64;

/// Where a member is.
#[derive(Clone, Debug)]
pub struct Peer {
    /// `host:port`.
    pub address: String,
    /// The name in its certificate.
    pub name: ServerName<'static>,
}

type Pending = Arc<Mutex<HashMap<u64, oneshot::Sender<Bytes>>>>;

#[derive(Clone)]
struct Line {
    requests: mpsc::Sender<(u64, Bytes)>,
    pending: Pending,
}

/// Calls other members over TLS.
pub struct TlsTransport {
    me: MemberId,
    /// Each with its connection. One lock each: a member that cannot be reached holds up no call to another.
    peers: BTreeMap<MemberId, (Peer, tokio::sync::Mutex<Option<Line>>)>,
    connector: TlsConnector,
    next: AtomicU64,
}

impl TlsTransport {
    /// `config` shows this member's certificate and trusts the group's authority.
    pub fn new(me: MemberId, peers: BTreeMap<MemberId, Peer>, config: Arc<rustls::ClientConfig>) -> Self {
        let connector = TlsConnector::from(config);
        let peers = peers
            .into_iter()
            .map(|(id, peer)| (id, (peer, tokio::sync::Mutex::default())));
        Self {
            me,
            peers: peers.collect(),
            connector,
            next: AtomicU64::new(1),
        }
    }

    async fn line(&self, to: MemberId) -> Result<Line, TransportError> {
        let unreachable = |why: String| TransportError::Unreachable(to, why);
        let (peer, slot) = self
            .peers
            .get(&to)
            .ok_or_else(|| unreachable("no such member is configured".into()))?;
        let mut slot = slot.lock().await;
        if let Some(line) = slot.as_ref().filter(|l| !l.requests.is_closed()) {
            return Ok(line.clone());
        }
        let connect = async {
            let tcp = TcpStream::connect(&peer.address).await?;
            tcp.set_nodelay(true)?;
            self.connector.connect(peer.name.clone(), tcp).await
        };
        let stream = tokio::time::timeout(CONNECT, connect).await;
        let stream = stream.map_err(|_| unreachable("connecting took too long".into()))?;
        let stream = stream.map_err(|e| unreachable(e.to_string()))?;
        let (requests, queue) = mpsc::channel(WAITING);
        let line = Line {
            requests,
            pending: Pending::default(),
        };
        tokio::spawn(carry(stream, self.me, queue, line.pending.clone()));
        *slot = Some(line.clone());
        Ok(line)
    }
}

#[async_trait]
impl Transport for TlsTransport {
    async fn call(&self, to: MemberId, request: Bytes, patience: Duration) -> Result<Bytes, TransportError> {
        let line = tokio::time::timeout(patience, self.line(to)).await;
        let line = line.map_err(|_| TransportError::Unreachable(to, "connecting took too long".into()))??;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (tx, rx) = oneshot::channel();
        line.pending.lock().insert(number, tx);
        let answer = tokio::time::timeout(patience, async {
            line.requests
                .send((number, request))
                .await
                .map_err(|_| "the connection broke")?;
            rx.await.map_err(|_| "the connection broke")
        });
        match answer.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(why)) => Err(TransportError::NoAnswer(to, why.into())),
            Err(_) => {
                line.pending.lock().remove(&number);
                Err(TransportError::NoAnswer(
                    to,
                    format!("nothing within {patience:?}"),
                ))
            }
        }
    }
}

fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .max_frame_length(FRAME)
        .new_codec()
}

fn frame(number: u64, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(8 + body.len());
    frame.put_u64(number);
    frame.put_slice(body);
    frame.freeze()
}

fn unframe(mut frame: BytesMut) -> io::Result<(u64, Bytes)> {
    if frame.len() < 8 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a frame without a number",
        ));
    }
    let number = frame.get_u64();
    Ok((number, frame.freeze()))
}

/// The calling side of a connection, until it breaks or nobody calls any more.
async fn carry<T: AsyncRead + AsyncWrite + Unpin>(
    stream: T,
    me: MemberId,
    mut queue: mpsc::Receiver<(u64, Bytes)>,
    pending: Pending,
) {
    let mut frames = Framed::new(stream, codec());
    let result: io::Result<()> = async {
        frames.send(frame(me, &[])).await?;
        loop {
            tokio::select! {
                request = queue.recv() => {
                    let Some((number, body)) = request else { return Ok(()) };
                    frames.feed(frame(number, &body)).await?;
                    while let Ok((number, body)) = queue.try_recv() {
                        frames.feed(frame(number, &body)).await?;
                    }
                    SinkExt::<Bytes>::flush(&mut frames).await?;
                }
                answer = frames.next() => {
                    let Some(answer) = answer else { return Ok(()) };
                    let (number, body) = unframe(answer?)?;
                    if let Some(waiting) = pending.lock().remove(&number) {
                        // Whoever asked may have given up.
                        drop(waiting.send(body));
                    }
                }
            }
        }
    }
    .await;
    if let Err(error) = result {
        tracing::debug!(%error, "a connection to a member broke");
    }
    queue.close();
    // Whoever still waits learns that there will be no answer.
    pending.lock().clear();
}

/// Answers other members' calls until it is told to stop. `config` asks for, and checks, their certificates.
pub async fn listen(
    listener: TcpListener,
    config: Arc<rustls::ServerConfig>,
    answer: Arc<dyn Answer>,
    shutdown: Shutdown,
) {
    let acceptor = TlsAcceptor::from(config);
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    while let Some(Ok(permit)) = shutdown.run_until(connections.clone().acquire_owned()).await {
        let stream = match shutdown.run_until(listener.accept()).await {
            Some(Ok((stream, _))) => stream,
            Some(Err(error)) => {
                tracing::warn!(%error, "a member's connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            None => return,
        };
        let (acceptor, answer, shutdown) = (acceptor.clone(), answer.clone(), shutdown.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let serve = async {
                stream.set_nodelay(true)?;
                let tls = tokio::time::timeout(CONNECT, acceptor.accept(stream)).await;
                serve(tls.map_err(io::Error::other)??, answer).await
            };
            if let Some(Err(error)) = shutdown.run_until(serve).await {
                tracing::debug!(%error, "a member's connection broke");
            }
        });
    }
}

/// The answering side of a connection. Requests are answered as they are done, not in order.
async fn serve<T: AsyncRead + AsyncWrite + Unpin>(stream: T, answer: Arc<dyn Answer>) -> io::Result<()> {
    let mut frames = Framed::new(stream, codec());
    let Some(first) = frames.next().await else {
        return Ok(());
    };
    let (from, _) = unframe(first?)?;
    let mut working = futures::stream::FuturesUnordered::new();
    loop {
        tokio::select! {
            request = frames.next(), if working.len() < AT_ONCE => {
                let Some(request) = request else { return Ok(()) };
                let (number, body) = unframe(request?)?;
                let answer = answer.clone();
                working.push(async move { (number, answer.answer(from, body).await) });
            }
            Some((number, body)) = working.next(), if !working.is_empty() => {
                frames.send(frame(number, &body)).await?;
            }
        }
    }
}
