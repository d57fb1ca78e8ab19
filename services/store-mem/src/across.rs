//! Watchers across clusters: one kind, in some slots. Only the system's own informers are here, so they are few.

use base::ClusterId;
use std::collections::HashMap;
use std::sync::Arc;
use store_api::{AcrossEvent, AcrossMessage, Error, Event};
use tokio::sync::mpsc;

#[derive(Debug)]
struct Watcher {
    slots: u64,
    sender: mpsc::Sender<AcrossMessage>,
    last: mpsc::OwnedPermit<AcrossMessage>,
}

/// Watchers by the prefix of their collection.
#[derive(Debug, Default)]
pub(crate) struct Across {
    watchers: HashMap<Box<[u8]>, Vec<Watcher>>,
}

/// The prefixes that a path may be a collection's member of: `/registry/a/` and `/registry/a/b/`.
fn collections(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'/')
        .map(|(at, _)| at);
    slashes.skip(2).take(2).map(|at| &path[..=at])
}

impl Across {
    pub(crate) fn add(
        &mut self,
        prefix: &[u8],
        slots: u64,
        sender: mpsc::Sender<AcrossMessage>,
        last: mpsc::OwnedPermit<AcrossMessage>,
    ) {
        self.watchers.retain(|_, list| {
            list.retain(|w| !w.sender.is_closed());
            !list.is_empty()
        });
        self.watchers
            .entry(prefix.into())
            .or_default()
            .push(Watcher { slots, sender, last });
    }

    pub(crate) fn deliver(&mut self, cursor: u64, cluster: &ClusterId, events: &[Arc<Event>]) {
        if self.watchers.is_empty() {
            return;
        }
        let bit = 1u64 << cluster.slot();
        for event in events {
            for prefix in collections(event.record.key.path()) {
                let Some(list) = self.watchers.get_mut(prefix) else {
                    continue;
                };
                send(list, bit, || {
                    AcrossMessage::Event(AcrossEvent {
                        cursor,
                        cluster: cluster.clone(),
                        event: event.clone(),
                    })
                });
            }
        }
    }

    pub(crate) fn removed(&mut self, cluster: &ClusterId) {
        let bit = 1u64 << cluster.slot();
        for list in self.watchers.values_mut() {
            send(list, bit, || AcrossMessage::ClusterRemoved {
                cluster: cluster.clone(),
            });
        }
    }

    pub(crate) fn end(&mut self, why: &Error) {
        for watcher in std::mem::take(&mut self.watchers).into_values().flatten() {
            watcher.last.send(AcrossMessage::Failed(why.clone()));
        }
    }
}

fn send(list: &mut Vec<Watcher>, bit: u64, message: impl Fn() -> AcrossMessage) {
    let mut at = 0;
    while at < list.len() {
        if list[at].slots & bit == 0 || list[at].sender.try_send(message()).is_ok() {
            at += 1;
        } else {
            let why = Error::Unavailable("the reader of this watch is too slow".into());
            list.swap_remove(at).last.send(AcrossMessage::Failed(why));
        }
    }
}
