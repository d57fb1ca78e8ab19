//! One stream: readable, writable, and finished in each direction by itself.

use super::connection::{Table, lock};
use super::frame::{self, Reset};
use super::headers::Headers;
use bytes::{Buf, Bytes};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::{DropGuard, PollSender};

/// The longest data frame that is sent.
const CHUNK: usize = 32 * 1024;

/// What the writing task sends.
pub(super) enum Wire {
    SynStream { id: u32, headers: Headers },
    SynReply { id: u32 },
    Data { id: u32, fin: bool, data: Bytes },
    Raw(Bytes),
}

/// A stream. Shutting it down ends this direction only; dropping it before that resets it.
pub struct SpdyStream {
    id: u32,
    headers: Headers,
    from_peer: mpsc::Receiver<Bytes>,
    rest: Bytes,
    ended: bool,
    to_peer: PollSender<Wire>,
    wire: mpsc::Sender<Wire>,
    shut: bool,
    table: Table,
    _alive: Arc<DropGuard>,
}

impl SpdyStream {
    pub(super) fn new(
        id: u32,
        headers: Headers,
        from_peer: mpsc::Receiver<Bytes>,
        wire: mpsc::Sender<Wire>,
        table: Table,
        alive: Arc<DropGuard>,
    ) -> Self {
        Self {
            id,
            headers,
            from_peer,
            rest: Bytes::new(),
            ended: false,
            to_peer: PollSender::new(wire.clone()),
            wire,
            shut: false,
            table,
            _alive: alive,
        }
    }

    /// The headers it was opened with.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(k, _)| k.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, frame: impl FnOnce() -> Wire) -> Poll<io::Result<()>> {
        let closed = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        ready!(self.to_peer.poll_reserve(cx)).map_err(closed)?;
        Poll::Ready(self.to_peer.send_item(frame()).map_err(closed))
    }
}

impl AsyncRead for SpdyStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() && !self.ended {
            match ready!(self.from_peer.poll_recv(cx)) {
                Some(data) => self.rest = data,
                None => self.ended = true,
            }
        }
        let n = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest[..n]);
        self.rest.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SpdyStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let n = buf.len().min(CHUNK);
        if n == 0 {
            return Poll::Ready(Ok(0));
        }
        let id = self.id;
        ready!(self.poll_send(cx, || Wire::Data {
            id,
            fin: false,
            data: Bytes::copy_from_slice(&buf[..n])
        }))?;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            let id = self.id;
            ready!(self.poll_send(cx, || Wire::Data {
                id,
                fin: true,
                data: Bytes::new()
            }))?;
            self.shut = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for SpdyStream {
    fn drop(&mut self) {
        lock(&self.table).forget(self.id);
        if !(self.shut && self.ended) {
            // If the queue is full the peer learns it from the end of the connection or its next write.
            let _queue_is_full = self
                .wire
                .try_send(Wire::Raw(frame::reset(self.id, Reset::Cancel)));
        }
    }
}
