//! The watchers of one cluster.
//!
//! Whoever applies a change puts it into each matching watcher's bounded queue, and never waits: there is no task for
//! a watch. Watchers with the same span share one test and, mostly, one allocation for each change.
//!
//! # What must stay true
//! * `seen` is the newest revision that was *delivered*, which may lag what was applied by a moment. Progress is
//!   answered from it, so progress never overtakes an event.
//! * One place in each queue is kept back for the last message, so that a reader that was cut off learns why.

use crate::command::Entry;
use bytes::Bytes;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use store_api::{Error, Event, Revision, Span, WatchMessage};
use tokio::sync::mpsc;

/// Watches of one cluster.
const MAX_WATCHERS: usize = 200_000;

type SpanKey = (Bytes, Option<Bytes>);

#[derive(Debug)]
struct Watcher {
    id: u64,
    /// Only changes from this revision on.
    next: Revision,
    /// The revision up to which it was served when it began.
    since: Revision,
    sender: mpsc::Sender<WatchMessage>,
    last: mpsc::OwnedPermit<WatchMessage>,
}

impl Watcher {
    /// Whether it is still there afterwards.
    fn send(&self, message: WatchMessage) -> bool {
        self.sender.try_send(message).is_ok()
    }

    fn cut_off(self, why: Error) {
        self.last.send(WatchMessage::Failed(why));
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    seen: Revision,
    next_id: u64,
    count: usize,
    purge_at: usize,
    /// Spans by the collection that they lie in; those that lie in none are under the empty prefix.
    buckets: HashMap<Bytes, HashMap<SpanKey, Vec<Watcher>>>,
}

/// Where a watcher is found again.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    bucket: Bytes,
    span: SpanKey,
    id: u64,
}

/// `/registry/pods/` of `/registry/pods/default/x`; empty if there are no three slashes.
fn collection(path: &[u8]) -> &[u8] {
    let mut slashes = path.iter().enumerate().filter(|(_, b)| **b == b'/');
    match slashes.nth(2) {
        Some((at, _)) => &path[..=at],
        None => &[],
    }
}

fn bucket(span: &Span) -> &[u8] {
    let prefix = collection(&span.start);
    // The span must end where the collection ends, or before.
    let inside = span.end.as_ref().is_some_and(|end| {
        let n = prefix.len();
        n > 0
            && (end.starts_with(prefix)
                || (end.len() == n && end[..n - 1] == prefix[..n - 1] && end[n - 1] == b'0'))
    });
    if inside { prefix } else { &[] }
}

impl Hub {
    /// Adds a watcher whose queue already holds the changes up to `since`. `last` is a place in the same queue.
    pub(crate) fn add(
        &mut self,
        span: &Span,
        next: Revision,
        since: Revision,
        sender: mpsc::Sender<WatchMessage>,
        last: mpsc::OwnedPermit<WatchMessage>,
    ) -> Result<Place, Error> {
        if self.count >= self.purge_at {
            self.purge();
        }
        if self.count >= MAX_WATCHERS {
            return Err(Error::Unavailable("too many watches on this cluster".into()));
        }
        self.count += 1;
        self.next_id += 1;
        let place = Place {
            bucket: Bytes::copy_from_slice(bucket(span)),
            span: (span.start.clone(), span.end.clone()),
            id: self.next_id,
        };
        let spans = self.buckets.entry(place.bucket.clone()).or_default();
        let watcher = Watcher {
            id: place.id,
            next,
            since,
            sender,
            last,
        };
        spans.entry(place.span.clone()).or_default().push(watcher);
        Ok(place)
    }

    /// Drops watchers that nobody reads any more.
    fn purge(&mut self) {
        self.buckets.retain(|_, spans| {
            spans.retain(|_, watchers| {
                watchers.retain(|w| !w.sender.is_closed());
                !watchers.is_empty()
            });
            !spans.is_empty()
        });
        self.count = self.buckets.values().flat_map(|s| s.values()).map(Vec::len).sum();
        self.purge_at = self.count * 2 + 16;
    }

    /// Hands a change to everyone whom it concerns.
    pub(crate) fn deliver(&mut self, entry: &Entry) {
        self.seen = entry.revision;
        if self.count == 0 {
            return;
        }
        let mut touched: HashSet<&[u8]> = entry
            .events
            .iter()
            .map(|e| collection(e.record.key.path()))
            .collect();
        touched.insert(&[]);
        for prefix in touched {
            let Some(spans) = self.buckets.get_mut(prefix) else {
                continue;
            };
            for ((start, end), watchers) in spans.iter_mut() {
                let inside = |event: &&Arc<Event>| {
                    let path = event.record.key.path();
                    path >= start && end.as_ref().is_none_or(|end| path < end)
                };
                let matching = entry.events.iter().filter(inside).count();
                if matching == 0 {
                    continue;
                }
                let events: Arc<[Arc<Event>]> = if matching == entry.events.len() {
                    entry.events.clone()
                } else {
                    entry.events.iter().filter(inside).cloned().collect()
                };
                let mut at = 0;
                while at < watchers.len() {
                    let message = WatchMessage::Events {
                        revision: entry.revision,
                        events: events.clone(),
                    };
                    if watchers[at].next > entry.revision || watchers[at].send(message) {
                        at += 1;
                    } else {
                        watchers.swap_remove(at).cut_off(slow());
                        self.count -= 1;
                    }
                }
            }
            spans.retain(|_, watchers| !watchers.is_empty());
        }
    }

    /// Tells one watcher how far it is.
    pub(crate) fn progress(&mut self, place: &Place) {
        let Some(watchers) = self
            .buckets
            .get_mut(&place.bucket)
            .and_then(|s| s.get_mut(&place.span))
        else {
            return;
        };
        let Some(at) = watchers.iter().position(|w| w.id == place.id) else {
            return;
        };
        let revision = self.seen.max(watchers[at].since);
        if !watchers[at].send(WatchMessage::Progress { revision }) {
            watchers.swap_remove(at).cut_off(slow());
            self.count -= 1;
        }
    }

    /// Ends every watch.
    pub(crate) fn end(&mut self, why: &Error) {
        for watcher in std::mem::take(&mut self.buckets)
            .into_values()
            .flat_map(HashMap::into_values)
            .flatten()
        {
            watcher.cut_off(why.clone());
        }
        self.count = 0;
    }
}

fn slow() -> Error {
    Error::Unavailable("the reader of this watch is too slow".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_filed_under_its_collection_only_if_it_never_leaves_it() {
        let c: base::ClusterId = "a".parse().unwrap();
        let of = |start: &'static [u8], end: Option<&'static [u8]>| {
            let (start, end) = (Bytes::from_static(start), end.map(Bytes::from_static));
            bucket(&Span {
                cluster: c.clone(),
                start,
                end,
            })
            .to_vec()
        };
        assert_eq!(
            of(b"/registry/pods/", Some(b"/registry/pods0")),
            b"/registry/pods/"
        );
        assert_eq!(
            of(b"/registry/pods/a/", Some(b"/registry/pods/a0")),
            b"/registry/pods/"
        );
        assert_eq!(of(b"/registry/pods/", Some(b"/registry/pods00")), b"");
        assert_eq!(of(b"/registry/pods/", Some(b"/registry/services0")), b"");
        assert_eq!(of(b"/registry/pods/", None), b"");
        assert_eq!(of(b"/registry/", Some(b"/registry0")), b"");
    }
}
