//! Streams over one connection: either end opens them, each has its own window, and all have limits.
//!
//! Rejected: HTTP/2 CONNECT, which only one end can start; yamux, whose crates bring another set of I/O traits.

use crate::frame::Frame;
use crate::stream::{MuxStream, State};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Streams that may be open at once.
const MAX_STREAMS: usize = 1024;
/// How long the peer may take to open a stream (it may have to dial).
const OPEN: Duration = Duration::from_secs(15);
/// How often the dialling end asks whether the other is there.
const PING: Duration = Duration::from_secs(15);
/// Silence after which a connection is dead.
const SILENCE: Duration = Duration::from_secs(50);
/// The longest name of a target and the longest reason.
const MAX_TEXT: usize = 512;

/// Which end this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The end that made the connection: opens odd streams and sends pings.
    Dialled,
    /// The end that accepted it.
    Accepted,
}

/// Why a stream could not be opened.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum OpenError {
    /// The connection has ended.
    #[error("the tunnel is closed")]
    Closed,
    /// The other end could not, or would not.
    #[error("{0}")]
    Refused(String),
    /// No answer.
    #[error("timed out")]
    TimedOut,
    /// Too many streams are open already, or the target's name is too long.
    #[error("too many streams")]
    TooMany,
}

/// Frames that must not wait behind data, merged so that they stay few.
#[derive(Default)]
pub(crate) struct Control {
    pending: Mutex<Pending>,
    notify: Notify,
}

#[derive(Default)]
struct Pending {
    credits: HashMap<u32, u32>,
    /// `Reset` and `Stop` of streams that are gone here.
    ends: Vec<Frame>,
    answers: Vec<Frame>,
    ping: bool,
    pong: bool,
}

impl Control {
    pub(crate) fn grant(&self, id: u32, bytes: u32) {
        *self.pending.lock().credits.entry(id).or_default() += bytes;
        self.notify.notify_one();
    }
    /// Ends a stream that is gone here.
    pub(crate) fn end(&self, id: u32, frame: Frame) {
        let mut pending = self.pending.lock();
        pending.credits.remove(&id);
        pending.ends.push(frame);
        self.notify.notify_one();
    }
    fn answer(&self, frame: Frame) {
        self.pending.lock().answers.push(frame);
        self.notify.notify_one();
    }
    fn ping(&self) {
        self.pending.lock().ping = true;
        self.notify.notify_one();
    }
    fn pong(&self) {
        self.pending.lock().pong = true;
        self.notify.notify_one();
    }
    /// How many frames wait that a peer can cause without limit.
    fn answers_waiting(&self) -> usize {
        let pending = self.pending.lock();
        pending.answers.len() + pending.ends.len()
    }
    fn drain(&self, out: &mut BytesMut) {
        let pending = std::mem::take(&mut *self.pending.lock());
        for frame in pending.answers {
            frame.encode(out);
        }
        for (id, bytes) in pending.credits {
            Frame::Credit { id, bytes }.encode(out);
        }
        for frame in pending.ends {
            frame.encode(out);
        }
        if pending.ping {
            Frame::Ping.encode(out);
        }
        if pending.pong {
            Frame::Pong.encode(out);
        }
    }
}

type Answer = Result<(), String>;

#[derive(Default)]
struct Table {
    streams: HashMap<u32, Arc<State>>,
    opening: HashMap<u32, oneshot::Sender<Answer>>,
    closed: bool,
}

/// What the connection's tasks and its streams share.
pub(crate) struct Shared {
    table: Mutex<Table>,
    pub(crate) control: Control,
    pub(crate) out: mpsc::Sender<Frame>,
}

impl Shared {
    pub(crate) fn forget(&self, id: u32) {
        let mut table = self.table.lock();
        table.streams.remove(&id);
        table.opening.remove(&id);
    }
}

/// A stream that the peer wants to open. Dropping it refuses it.
pub struct Request {
    id: u32,
    target: String,
    state: Arc<State>,
    shared: Arc<Shared>,
    answered: bool,
}

impl Request {
    /// Where the peer wants it to lead.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Opens it.
    pub fn accept(mut self) -> MuxStream {
        self.answered = true;
        self.shared.control.answer(Frame::Accept { id: self.id });
        MuxStream::new(self.id, self.state.clone(), self.shared.clone())
    }

    /// Refuses it, and says why.
    pub fn refuse(mut self, why: &str) {
        self.answered = true;
        self.shared.forget(self.id);
        let why = Bytes::copy_from_slice(&why.as_bytes()[..why.len().min(MAX_TEXT)]);
        self.shared.control.answer(Frame::Refuse { id: self.id, why });
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if !self.answered {
            self.shared.forget(self.id);
            self.shared.control.answer(Frame::Refuse {
                id: self.id,
                why: Bytes::from_static(b"not served"),
            });
        }
    }
}

/// A connection that carries streams. It ends when this value is dropped, or when the peer ends it.
pub struct Mux {
    shared: Arc<Shared>,
    requests: tokio::sync::Mutex<mpsc::Receiver<Request>>,
    next_id: AtomicU32,
    ended: CancellationToken,
    _alive: DropGuard,
}

impl Mux {
    /// Starts on a connection.
    pub fn start<T: AsyncRead + AsyncWrite + Send + 'static>(io: T, role: Role) -> Self {
        let (read, write) = tokio::io::split(io);
        let (out, frames) = mpsc::channel(64);
        let (requests_tx, requests) = mpsc::channel(MAX_STREAMS);
        let shared = Arc::new(Shared {
            table: Mutex::default(),
            control: Control::default(),
            out,
        });
        let ended = CancellationToken::new();
        tokio::spawn({
            let (shared, ended) = (shared.clone(), ended.clone());
            async move {
                let work = async {
                    tokio::select! {
                        r = read_frames(read, &shared, &requests_tx, role) => r,
                        r = write_frames(write, frames, &shared) => r,
                        r = ping(&shared, role) => r,
                    }
                };
                if let Some(Err(e)) = ended.run_until_cancelled(work).await {
                    tracing::debug!(error = %e, "tunnel ended");
                }
                let mut table = shared.table.lock();
                table.closed = true;
                table.streams.drain().for_each(|(_, s)| s.reset());
                table.opening.clear();
                drop(table);
                ended.cancel();
            }
        });
        let next_id = AtomicU32::new(if role == Role::Dialled { 1 } else { 2 });
        let _alive = ended.clone().drop_guard();
        Self {
            shared,
            requests: tokio::sync::Mutex::new(requests),
            next_id,
            ended,
            _alive,
        }
    }

    /// Opens a stream to a target of the other end.
    pub async fn open(&self, target: &str) -> Result<MuxStream, OpenError> {
        if target.len() > MAX_TEXT {
            return Err(OpenError::TooMany);
        }
        let permit = self.shared.out.reserve().await.map_err(|_| OpenError::Closed)?;
        let state = State::new();
        let (answer, answered) = oneshot::channel();
        let id = {
            let mut table = self.shared.table.lock();
            if table.closed {
                return Err(OpenError::Closed);
            }
            if table.streams.len() >= MAX_STREAMS {
                return Err(OpenError::TooMany);
            }
            // Numbers may come round after four thousand million streams; one that is still in use is skipped.
            let mut id = self.next_id.fetch_add(2, Ordering::Relaxed);
            while table.streams.contains_key(&id) {
                id = self.next_id.fetch_add(2, Ordering::Relaxed);
            }
            table.streams.insert(id, state.clone());
            table.opening.insert(id, answer);
            permit.send(Frame::Open {
                id,
                target: Bytes::copy_from_slice(target.as_bytes()),
            });
            id
        };
        // From here on dropping the stream (also by cancellation) resets it.
        let stream = MuxStream::new(id, state, self.shared.clone());
        match tokio::time::timeout(OPEN, answered).await {
            Ok(Ok(Ok(()))) => Ok(stream),
            Ok(Ok(Err(why))) => Err(OpenError::Refused(why)),
            Ok(Err(_)) => Err(OpenError::Closed),
            Err(_) => Err(OpenError::TimedOut),
        }
    }

    /// The next stream that the peer wants to open; `None` when the connection has ended.
    pub async fn accept(&self) -> Option<Request> {
        let mut requests = self.requests.lock().await;
        tokio::select! {
            request = requests.recv() => request,
            () = self.ended.cancelled() => None,
        }
    }

    /// Completes when the connection has ended.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Whether the connection has ended.
    pub fn is_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Ends the connection.
    pub fn close(&self) {
        self.ended.cancel();
    }
}

async fn ping(shared: &Shared, role: Role) -> io::Result<()> {
    if role == Role::Accepted {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(PING).await;
        shared.control.ping();
    }
}

async fn write_frames<W: AsyncWrite + Unpin>(
    mut io: W,
    mut frames: mpsc::Receiver<Frame>,
    shared: &Shared,
) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(64 * 1024);
    loop {
        tokio::select! {
            biased;
            () = shared.control.notify.notified() => {}
            frame = frames.recv() => match frame {
                Some(frame) => frame.encode(&mut buffer),
                None => return Ok(()),
            },
        }
        shared.control.drain(&mut buffer);
        while buffer.len() < 48 * 1024
            && let Ok(frame) = frames.try_recv()
        {
            frame.encode(&mut buffer);
        }
        io.write_all(&buffer).await?;
        io.flush().await?;
        buffer.clear();
    }
}

async fn read_frames<R: AsyncRead + Unpin>(
    mut io: R,
    shared: &Arc<Shared>,
    requests: &mpsc::Sender<Request>,
    role: Role,
) -> io::Result<()> {
    let bad = |why| Err(io::Error::new(io::ErrorKind::InvalidData, why));
    let mut io = tokio::io::BufReader::with_capacity(32 * 1024, &mut io);
    loop {
        let frame = match tokio::time::timeout(SILENCE, Frame::read(&mut io)).await {
            Ok(frame) => frame?,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        };
        let Some(frame) = frame else { return Ok(()) };
        let find = |id: u32| shared.table.lock().streams.get(&id).cloned();
        match frame {
            Frame::Open { id, target } => {
                if (id % 2 == 1) != (role == Role::Accepted) {
                    return bad("a stream with a number of the other end");
                }
                if shared.control.answers_waiting() > 4 * MAX_STREAMS {
                    return bad("the peer opens streams and does not read the answers");
                }
                let state = State::new();
                let over = {
                    let mut table = shared.table.lock();
                    let over = table.streams.len() >= MAX_STREAMS;
                    if !over && table.streams.insert(id, state.clone()).is_some() {
                        return bad("a stream was opened twice");
                    }
                    over
                };
                let target = String::from_utf8_lossy(&target).into_owned();
                let request = Request {
                    id,
                    target,
                    state,
                    shared: shared.clone(),
                    answered: false,
                };
                if over {
                    request.refuse("too many streams");
                } else if let Err(e) = requests.try_send(request) {
                    drop(e.into_inner());
                }
            }
            Frame::Accept { id } => answer(shared, id, Ok(())),
            Frame::Refuse { id, why } => answer(shared, id, Err(String::from_utf8_lossy(&why).into_owned())),
            Frame::Data { id, data } => {
                if let Some(state) = find(id)
                    && !state.deliver(data)
                {
                    return bad("the peer sent more than it was granted");
                }
            }
            Frame::Credit { id, bytes } => {
                if let Some(state) = find(id) {
                    state.grant(bytes);
                }
            }
            Frame::Fin { id } => {
                if let Some(state) = find(id) {
                    state.finish();
                }
            }
            Frame::Reset { id } => {
                if let Some(state) = find(id) {
                    state.reset();
                }
                shared.forget(id);
            }
            Frame::Stop { id } => {
                if let Some(state) = find(id) {
                    state.stop();
                }
            }
            Frame::Ping => shared.control.pong(),
            Frame::Pong => {}
        }
    }
}

fn answer(shared: &Shared, id: u32, answer: Answer) {
    let waiting = shared.table.lock().opening.remove(&id);
    if let Some(waiting) = waiting {
        let _nobody_waits = waiting.send(answer);
    }
}
