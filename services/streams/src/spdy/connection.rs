//! One connection: a task that reads, a task that writes, and the streams between them.

use super::frame::{self, Incoming, Reset};
use super::headers::{Decoder, Encoder, Headers};
use super::stream::{SpdyStream, Wire};
use bytes::Bytes;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Which end this is: a client opens streams with odd numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The end that asked for the upgrade.
    Client,
    /// The end that accepted it.
    Server,
}

/// What one connection may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Streams that may be open at once; the peer's further ones are refused.
    pub streams: usize,
    /// Chunks of data (each at most 1 MiB, in practice 32 KiB) that may wait for the reader of one stream.
    pub waiting: usize,
    /// How long the peer may take to accept a stream.
    pub open: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 512,
            waiting: 16,
            open: Duration::from_secs(30),
        }
    }
}

/// Why a stream could not be opened.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpdyError {
    /// The connection has ended.
    #[error("the SPDY connection is closed")]
    Closed,
    /// The peer refused the stream.
    #[error("the peer refused the stream")]
    Refused,
    /// The peer did not answer in time.
    #[error("timed out waiting for the stream to be accepted")]
    TimedOut,
    /// Too many streams are open.
    #[error("too many streams")]
    TooMany,
}

/// What the reader knows of a stream.
struct Entry {
    /// Where its data goes; gone once the peer has finished it.
    data: Option<mpsc::Sender<Bytes>>,
    /// Who waits for the peer to accept it.
    accepted: Option<oneshot::Sender<bool>>,
}

pub(super) type Table = Arc<Mutex<State>>;

/// Streams that are open.
#[derive(Default)]
pub(super) struct State {
    streams: HashMap<u32, Entry>,
    closed: bool,
}

pub(super) fn lock(table: &Table) -> MutexGuard<'_, State> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Forgets a stream that both ends are done with.
    pub(super) fn forget(&mut self, id: u32) {
        self.streams.remove(&id);
    }
}

/// A connection. It ends when this value and all its streams are dropped, or when the peer ends it.
pub struct Connection {
    wire: mpsc::Sender<Wire>,
    table: Table,
    incoming: tokio::sync::Mutex<mpsc::Receiver<SpdyStream>>,
    next_id: AtomicU32,
    limits: Limits,
    alive: Arc<DropGuard>,
}

impl Connection {
    /// Starts speaking SPDY on an upgraded connection.
    pub fn start<T: AsyncRead + AsyncWrite + Send + 'static>(io: T, role: Role, limits: Limits) -> Self {
        let (read, write) = tokio::io::split(io);
        let (wire, frames) = mpsc::channel(32);
        let (accept, incoming) = mpsc::channel(limits.streams.max(1));
        let table = Table::default();
        let stop = CancellationToken::new();
        let alive = Arc::new(stop.clone().drop_guard());
        tokio::spawn(write_frames(write, frames));
        let reader = Reader {
            wire: wire.clone(),
            table: table.clone(),
            accept,
            limits,
            alive: Arc::downgrade(&alive),
            peer_is_odd: role == Role::Server,
        };
        tokio::spawn(async move { stop.run_until_cancelled(reader.run(read)).await });
        Self {
            wire,
            table,
            incoming: tokio::sync::Mutex::new(incoming),
            next_id: AtomicU32::new(if role == Role::Client { 1 } else { 2 }),
            limits,
            alive,
        }
    }

    /// Opens a stream and waits until the peer has accepted it; before that the peer would drop its data.
    pub async fn open(&self, headers: Headers) -> Result<SpdyStream, SpdyError> {
        let (data, from_peer) = mpsc::channel(self.limits.waiting.max(1));
        let (accepted, answer) = oneshot::channel();
        // The number is taken and the frame queued under one permit, so that numbers rise on the wire.
        let permit = self.wire.reserve().await.map_err(|_| SpdyError::Closed)?;
        let id = {
            let mut state = lock(&self.table);
            if state.closed {
                return Err(SpdyError::Closed);
            }
            if state.streams.len() >= self.limits.streams {
                return Err(SpdyError::TooMany);
            }
            let id = self.next_id.fetch_add(2, Ordering::Relaxed);
            if id > 0x7fff_ffff {
                return Err(SpdyError::TooMany);
            }
            state.streams.insert(
                id,
                Entry {
                    data: Some(data),
                    accepted: Some(accepted),
                },
            );
            permit.send(Wire::SynStream {
                id,
                headers: headers.clone(),
            });
            id
        };
        let stream = SpdyStream::new(
            id,
            headers,
            from_peer,
            self.wire.clone(),
            self.table.clone(),
            self.alive.clone(),
        );
        match tokio::time::timeout(self.limits.open, answer).await {
            Ok(Ok(true)) => Ok(stream),
            Ok(Ok(false)) => Err(SpdyError::Refused),
            Ok(Err(_)) => Err(SpdyError::Closed),
            Err(_) => Err(SpdyError::TimedOut),
        }
    }

    /// The next stream that the peer opens, already accepted; `None` when the connection has ended.
    pub async fn accept(&self) -> Option<SpdyStream> {
        self.incoming.lock().await.recv().await
    }
}

async fn write_frames<W: AsyncWrite + Unpin>(mut io: W, mut frames: mpsc::Receiver<Wire>) {
    let work = async {
        let mut encoder = Encoder::new().map_err(io::Error::other)?;
        while let Some(frame) = frames.recv().await {
            match frame {
                Wire::SynStream { id, headers } => {
                    let block = encoder.encode(&headers).map_err(io::Error::other)?;
                    io.write_all(&frame::syn_stream(id, &block)).await?;
                }
                Wire::SynReply { id } => {
                    let block = encoder.encode(&[]).map_err(io::Error::other)?;
                    io.write_all(&frame::syn_reply(id, &block)).await?;
                }
                Wire::Data { id, fin, data } => {
                    io.write_all(&frame::data_head(id, fin, data.len())).await?;
                    io.write_all(&data).await?;
                }
                Wire::Raw(bytes) => io.write_all(&bytes).await?,
            }
            if frames.is_empty() {
                io.flush().await?;
            }
        }
        io.write_all(&frame::go_away(0)).await?;
        io.shutdown().await
    };
    if let Err(e) = work.await {
        tracing::debug!(error = %e, "SPDY connection: cannot write");
    }
}

struct Reader {
    wire: mpsc::Sender<Wire>,
    table: Table,
    accept: mpsc::Sender<SpdyStream>,
    limits: Limits,
    alive: std::sync::Weak<DropGuard>,
    peer_is_odd: bool,
}

impl Reader {
    async fn run<R: AsyncRead + Unpin>(self, mut io: R) {
        if let Err(e) = self.read_all(&mut io).await {
            tracing::debug!(error = %e, "SPDY connection: cannot read");
        }
        // Readers see the end of their streams, and nobody waits for an answer any more.
        let mut state = lock(&self.table);
        state.closed = true;
        state.streams.clear();
    }

    async fn read_all<R: AsyncRead + Unpin>(&self, io: &mut R) -> io::Result<()> {
        let mut decoder = Decoder::new();
        let lost = |e| io::Error::new(io::ErrorKind::InvalidData, e);
        while let Some(frame) = frame::read(io).await? {
            match frame {
                Incoming::SynStream { id, fin, block } => {
                    let headers = decoder.decode(&block).map_err(lost)?;
                    self.opened(id, fin, headers).await?;
                }
                Incoming::SynReply { id, fin, block } => {
                    decoder.decode(&block).map_err(lost)?;
                    self.answered(id, true);
                    if fin {
                        self.finished(id);
                    }
                }
                Incoming::Headers { id, fin, block } => {
                    decoder.decode(&block).map_err(lost)?;
                    if fin {
                        self.finished(id);
                    }
                }
                Incoming::Reset { id } => {
                    self.answered(id, false);
                    lock(&self.table).forget(id);
                }
                Incoming::Ping { id } => self.send(Wire::Raw(frame::ping(id))).await?,
                Incoming::Data { id, fin, data } => {
                    let to = lock(&self.table).streams.get(&id).and_then(|e| e.data.clone());
                    if let Some(to) = to
                        && !data.is_empty()
                    {
                        // A stream whose reader is gone drops what comes; one whose reader is slow holds us up.
                        let _reader_is_gone = to.send(data).await;
                    }
                    if fin {
                        self.finished(id);
                    }
                }
                Incoming::GoAway => return Ok(()),
                Incoming::Other => {}
            }
        }
        Ok(())
    }

    async fn send(&self, frame: Wire) -> io::Result<()> {
        self.wire
            .send(frame)
            .await
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    async fn opened(&self, id: u32, fin: bool, headers: Headers) -> io::Result<()> {
        let right_parity = (id % 2 == 1) == self.peer_is_odd;
        let (data, from_peer) = mpsc::channel(self.limits.waiting.max(1));
        let refused = {
            let mut state = lock(&self.table);
            if id == 0 || !right_parity || state.streams.contains_key(&id) {
                Some(Reset::InvalidStream)
            } else if state.streams.len() >= self.limits.streams {
                Some(Reset::RefusedStream)
            } else {
                state.streams.insert(
                    id,
                    Entry {
                        data: (!fin).then_some(data),
                        accepted: None,
                    },
                );
                None
            }
        };
        let (None, Some(alive)) = (refused, self.alive.upgrade()) else {
            return self
                .send(Wire::Raw(frame::reset(id, refused.unwrap_or(Reset::Cancel))))
                .await;
        };
        self.send(Wire::SynReply { id }).await?;
        let stream = SpdyStream::new(
            id,
            headers,
            from_peer,
            self.wire.clone(),
            self.table.clone(),
            alive,
        );
        // Never full: it has room for as many streams as may be open. Dropped if nobody accepts any more.
        let _nobody_accepts = self.accept.try_send(stream);
        Ok(())
    }

    fn answered(&self, id: u32, yes: bool) {
        let waiting = lock(&self.table)
            .streams
            .get_mut(&id)
            .and_then(|e| e.accepted.take());
        if let Some(waiting) = waiting {
            let _nobody_waits = waiting.send(yes);
        }
    }

    fn finished(&self, id: u32) {
        if let Some(entry) = lock(&self.table).streams.get_mut(&id) {
            entry.data = None;
        }
    }
}
