//! Watch: one store watch for each client watch, events encoded once for all of them.
//!
//! A watch is a stream that is polled by its connection; there is no task behind it. It lives on the store's ordered, gap-free
//! messages; selectors turn a change into ADDED or DELETED when an object comes into or leaves the selection.
//! What must stay true: the resourceVersions of a stream never go back, and a bookmark is sent only for a revision up to
//! which everything was delivered.

use super::Op;
use super::list::ListQuery;
use crate::encode::event::{EventEncoder, EventType};
use crate::kind::Kind;
use crate::selection::Selection;
use crate::status::{ApiError, Result};
use crate::storage;
use base::Shutdown;
use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use rand::Rng;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use store_api::{Error, Event, EventKind, Record, Revision, Watch, WatchMessage, WatchRequest};
use tokio::time::Instant;

/// How often a client that asked for bookmarks gets one when nothing happens (upstream: about a minute).
const BOOKMARK: Duration = Duration::from_secs(60);
/// A watch without a timeout of its own ends between this and twice this.
const MIN_TIMEOUT: Duration = Duration::from_secs(1800);
/// Events that wait are sent in pieces of about this size.
const PIECE: usize = 64 * 1024;

/// A running watch, to be polled for frames.
pub struct WatchStream {
    kind: Arc<Kind>,
    selection: Selection,
    encoder: EventEncoder,
    initial: VecDeque<Arc<Record>>,
    /// The revision of the initial state, if its end is to be marked.
    initial_end: Option<Revision>,
    watch: Option<Watch>,
    /// Changes up to here were delivered, or were part of the initial state.
    seen: Revision,
    ready: VecDeque<Bytes>,
    deadline: Instant,
    bookmark: Option<Instant>,
    shutdown: Shutdown,
    sent: Counter,
    over: bool,
}

impl Op<'_> {
    /// Begins a watch. `kind` is shared with the stream, which outlives the request.
    pub async fn watch(
        &self,
        kind: Arc<Kind>,
        query: ListQuery,
        encoder: EventEncoder,
    ) -> Result<WatchStream> {
        let bookmarks = self.cx.query.flag("allowWatchBookmarks");
        let timeout = match self
            .cx
            .query
            .get("timeoutSeconds")
            .and_then(|v| v.parse::<u64>().ok())
        {
            Some(n) if n > 0 => Duration::from_secs(n.min(86_400)),
            _ => rand::rng().random_range(MIN_TIMEOUT..MIN_TIMEOUT * 2),
        };
        let now = Instant::now();
        let mut stream = WatchStream {
            kind,
            selection: query.selection.clone(),
            encoder,
            initial: VecDeque::new(),
            initial_end: None,
            watch: None,
            seen: 0,
            ready: VecDeque::new(),
            deadline: now + timeout,
            bookmark: bookmarks.then(|| now + BOOKMARK),
            shutdown: self.server.shutdown().clone(),
            sent: self
                .server
                .0
                .metrics
                .watch_events(self.cx.cluster_id(), self.kind.resource),
            over: false,
        };
        let version = query.version.unwrap_or(0);
        let wants_state = query.initial_events.unwrap_or(version == 0);
        let from = if wants_state {
            let state = ListQuery {
                limit: 0,
                token: None,
                ..query.clone()
            };
            let page = self.list(&state).await?;
            if query.initial_events == Some(true) && bookmarks {
                stream.initial_end = Some(page.revision);
            }
            stream.initial = page.records.into();
            page.revision
        } else if version == 0 {
            let position = self
                .server
                .store()
                .revision(self.cx.cluster_id(), store_api::Consistency::Linearizable);
            position
                .await
                .map_err(|e| storage::store_error(e, self.kind, "watch"))?
                .revision
        } else {
            version
        };
        stream.seen = from;
        let (span, _) = query.span(self)?;
        match self
            .server
            .store()
            .watch(WatchRequest {
                span,
                from: Some(from + 1),
            })
            .await
        {
            Ok(watch) => stream.watch = Some(watch),
            Err(e) => stream.fail(e, from),
        }
        Ok(stream)
    }
}

impl WatchStream {
    /// The next bytes to send; `None` ends the answer.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.ready.is_empty() {
                self.take_what_waits();
                return Some(self.piece());
            }
            if self.over {
                return None;
            }
            if !self.initial.is_empty() {
                self.encode_initial();
                continue;
            }
            if let Some(revision) = self.initial_end.take() {
                self.ready
                    .push_back(self.encoder.bookmark(&self.kind, revision, true));
                continue;
            }
            let Some(watch) = &mut self.watch else { return None };
            let wake = self.bookmark.map_or(self.deadline, |at| at.min(self.deadline));
            tokio::select! {
                message = watch.messages.recv() => match message {
                    Some(message) => self.hear(message),
                    None => self.over = true,
                },
                () = tokio::time::sleep_until(wake) => {
                    let now = Instant::now();
                    if now >= self.deadline {
                        self.over = true;
                    } else if self.bookmark.is_some_and(|at| now >= at) {
                        self.bookmark = Some(now + BOOKMARK);
                        // A full queue means that a request is under way already.
                        let _asked = watch.progress.try_send(());
                    }
                }
                () = self.shutdown.triggered() => self.over = true,
            }
        }
    }

    fn hear(&mut self, message: WatchMessage) {
        match message {
            WatchMessage::Events { revision, events } => self.deliver(revision, &events),
            WatchMessage::Progress { revision } => self.mark(revision),
            WatchMessage::Failed(error) => self.fail(error, self.seen),
        }
    }

    /// Takes what has come meanwhile, so that a burst is sent in few pieces: sealing and sending cost more than copying.
    fn take_what_waits(&mut self) {
        if !self.initial.is_empty() || self.initial_end.is_some() {
            return;
        }
        let mut size: usize = self.ready.iter().map(Bytes::len).sum();
        while size < PIECE && !self.over {
            let Some(message) = self.watch.as_mut().and_then(|w| w.messages.try_recv().ok()) else {
                return;
            };
            let before = self.ready.len();
            self.hear(message);
            size += self.ready.iter().skip(before).map(Bytes::len).sum::<usize>();
        }
    }

    /// The next frames in one piece; a frame alone is not copied.
    fn piece(&mut self) -> Bytes {
        let Some(first) = self.ready.pop_front() else {
            return Bytes::new();
        };
        if self.ready.is_empty() {
            return first;
        }
        let mut piece = Vec::with_capacity(PIECE);
        piece.extend_from_slice(&first);
        while let Some(next) = self.ready.front()
            && piece.len() + next.len() <= PIECE
        {
            piece.extend_from_slice(next);
            self.ready.pop_front();
        }
        piece.into()
    }

    fn encode_initial(&mut self) {
        let mut piece = Vec::new();
        while piece.len() < PIECE {
            let Some(record) = self.initial.pop_front() else {
                break;
            };
            match self
                .encoder
                .record(&self.kind, EventType::Added, &record.value, record.mod_revision)
            {
                Ok(bytes) => {
                    self.sent.inc();
                    piece.extend_from_slice(&bytes);
                }
                Err(e) => return self.fail_with(&e),
            }
        }
        self.ready.push_back(piece.into());
    }

    fn deliver(&mut self, revision: Revision, events: &[Arc<Event>]) {
        if revision <= self.seen {
            return;
        }
        self.seen = revision;
        for event in events {
            let Some(ty) = judge(event, &self.selection, &self.kind) else {
                continue;
            };
            match self.encoder.event(&self.kind, ty, event, revision) {
                Ok(bytes) => {
                    self.sent.inc();
                    self.ready.push_back(bytes);
                }
                Err(e) => return self.fail_with(&e),
            }
        }
    }

    fn mark(&mut self, revision: Revision) {
        if self.bookmark.is_some() && revision >= self.seen {
            self.seen = revision;
            self.ready
                .push_back(self.encoder.bookmark(&self.kind, revision, false));
        }
    }

    fn fail(&mut self, error: Error, from: Revision) {
        let error = match error {
            Error::Compacted { compacted } => {
                ApiError::expired(format!("too old resource version: {from} ({})", compacted + 1))
            }
            other => storage::store_error(other, &self.kind, "watch"),
        };
        self.fail_with(&error);
    }

    fn fail_with(&mut self, error: &ApiError) {
        self.ready.push_back(self.encoder.error(error, &self.kind));
        self.over = true;
    }
}

/// What a change means for a selection.
fn judge(event: &Event, selection: &Selection, kind: &Kind) -> Option<EventType> {
    let before = event.previous.as_ref();
    let was = || before.is_some_and(|r| selection.matches(storage::header(r, kind)));
    match event.kind {
        EventKind::Delete if selection.is_everything() => before.map(|_| EventType::Deleted),
        EventKind::Delete => was().then_some(EventType::Deleted),
        EventKind::Put if selection.is_everything() => Some(if before.is_some() {
            EventType::Modified
        } else {
            EventType::Added
        }),
        EventKind::Put => match (was(), selection.matches(storage::header(&event.record, kind))) {
            (true, true) => Some(EventType::Modified),
            (false, true) => Some(EventType::Added),
            (true, false) => Some(EventType::Deleted),
            (false, false) => None,
        },
    }
}
