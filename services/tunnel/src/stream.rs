//! One stream of a tunnel.

use crate::frame::{Frame, MAX_PAYLOAD};
use crate::mux::Shared;
use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::PollSender;

/// Bytes that a sender may have under way on one stream.
pub(crate) const WINDOW: u32 = 256 * 1024;

/// What the reading task and the stream's user share.
pub(crate) struct State(Mutex<Inner>);

struct Inner {
    queue: VecDeque<Bytes>,
    queued: usize,
    peer_done: bool,
    reset: bool,
    /// The peer reads no more.
    stopped: bool,
    credit: u32,
    /// Bytes taken by the user and not yet granted anew.
    taken: u32,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl State {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner {
            queue: VecDeque::new(),
            queued: 0,
            peer_done: false,
            reset: false,
            stopped: false,
            credit: WINDOW,
            taken: 0,
            reader: None,
            writer: None,
        })))
    }

    /// Data from the peer; `false` if it sent more than it was granted.
    pub(crate) fn deliver(&self, data: Bytes) -> bool {
        let mut inner = self.0.lock();
        inner.queued += data.len();
        if inner.queued > WINDOW as usize || inner.peer_done {
            return false;
        }
        inner.queue.push_back(data);
        wake(&mut inner.reader);
        true
    }

    pub(crate) fn grant(&self, bytes: u32) {
        let mut inner = self.0.lock();
        inner.credit = inner.credit.saturating_add(bytes).min(2 * WINDOW);
        wake(&mut inner.writer);
    }

    pub(crate) fn finish(&self) {
        let mut inner = self.0.lock();
        inner.peer_done = true;
        wake(&mut inner.reader);
    }

    pub(crate) fn stop(&self) {
        let mut inner = self.0.lock();
        inner.stopped = true;
        wake(&mut inner.writer);
    }

    pub(crate) fn reset(&self) {
        let mut inner = self.0.lock();
        inner.reset = true;
        wake(&mut inner.reader);
        wake(&mut inner.writer);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// A stream: readable, writable, finished in each direction by itself. Dropping it before both ends are done resets it.
pub struct MuxStream {
    id: u32,
    state: Arc<State>,
    shared: Arc<Shared>,
    out: PollSender<Frame>,
    shut: bool,
}

impl MuxStream {
    pub(crate) fn new(id: u32, state: Arc<State>, shared: Arc<Shared>) -> Self {
        let out = PollSender::new(shared.out.clone());
        Self {
            id,
            state,
            shared,
            out,
            shut: false,
        }
    }
}

fn broken() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl AsyncRead for MuxStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.state.0.lock();
        let Some(front) = inner.queue.front_mut() else {
            if inner.peer_done {
                return Poll::Ready(Ok(()));
            }
            if inner.reset {
                return Poll::Ready(Err(broken()));
            }
            inner.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let n = front.len().min(buf.remaining());
        buf.put_slice(&front[..n]);
        front.advance(n);
        if front.is_empty() {
            inner.queue.pop_front();
        }
        inner.queued -= n;
        inner.taken += n as u32;
        if inner.taken >= WINDOW / 4 && !inner.peer_done {
            let bytes = std::mem::take(&mut inner.taken);
            drop(inner);
            self.shared.control.grant(self.id, bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MuxStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(self.out.poll_reserve(cx)).map_err(|_| broken())?;
        let n = {
            let mut inner = self.state.0.lock();
            if inner.reset || inner.stopped {
                drop(inner);
                self.out.abort_send();
                return Poll::Ready(Err(broken()));
            }
            if inner.credit == 0 {
                inner.writer = Some(cx.waker().clone());
                drop(inner);
                // The place in the queue goes to a stream that may send.
                self.out.abort_send();
                return Poll::Pending;
            }
            let n = buf.len().min(MAX_PAYLOAD).min(inner.credit as usize);
            inner.credit -= n as u32;
            n
        };
        let frame = Frame::Data {
            id: self.id,
            data: Bytes::copy_from_slice(&buf[..n]),
        };
        self.out.send_item(frame).map_err(|_| broken())?;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            ready!(self.out.poll_reserve(cx)).map_err(|_| broken())?;
            let fin = Frame::Fin { id: self.id };
            self.out.send_item(fin).map_err(|_| broken())?;
            self.shut = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for MuxStream {
    fn drop(&mut self) {
        let (reset, peer_done) = {
            let inner = self.state.0.lock();
            (inner.reset, inner.peer_done)
        };
        self.shared.forget(self.id);
        let id = self.id;
        if reset || (peer_done && self.shut) {
            return;
        }
        if self.shut {
            // What was sent and finished must still arrive, so this is no reset.
            self.shared.control.end(id, Frame::Stop { id });
        } else if let Err(full) = self.shared.out.try_send(Frame::Reset { id }) {
            // Behind what was sent if there is room, else before it: an unfinished stream promises nothing.
            self.shared.control.end(id, full.into_inner());
        }
    }
}
