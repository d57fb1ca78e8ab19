//! What is stored under a key, and how it changes.

use crate::{Key, LeaseId, Revision};
use bytes::Bytes;
use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// One version of one key. Immutable; shared by every reader.
#[derive(Debug)]
pub struct Record {
    /// The key.
    pub key: Key,
    /// The revision that created the key (anew after each deletion).
    pub create_revision: Revision,
    /// The revision that wrote this version: what a Kubernetes client sees as `resourceVersion`.
    pub mod_revision: Revision,
    /// How often the key was written since it was created, beginning with 1.
    pub version: i64,
    /// The lease it is attached to; 0 for none.
    pub lease: LeaseId,
    /// The stored bytes, exactly as written.
    pub value: Bytes,
    /// What a reader made of the value, kept beside it (labels, owner, indexed fields).
    pub derived: Derived,
}

/// A change of one key.
#[derive(Debug)]
pub struct Event {
    /// Put or delete.
    pub kind: EventKind,
    /// After the change. For a deletion: the key, the revision of the deletion as `mod_revision`, an empty value.
    pub record: Arc<Record>,
    /// Before the change; `None` if the key did not exist.
    pub previous: Option<Arc<Record>>,
    /// Encodings of this event that all watchers share; dies with the event.
    pub derived: Derived,
}

/// See [`Event::kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The key was created or changed.
    Put,
    /// The key was deleted.
    Delete,
}

/// A slot that a layer above may fill once, with a value of its own type. It never takes part in equality and is
/// never stored. The first filler decides the type: one process has one such layer (the API server's index header for
/// records, its encodings for events).
#[derive(Default)]
pub struct Derived(OnceLock<Arc<dyn Any + Send + Sync>>);

impl Derived {
    /// The derived value, made by `make` at the first call.
    ///
    /// # Panics
    /// If another type was put there before: two layers share one slot, which is a bug.
    pub fn get_or_init<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> &T {
        self.0
            .get_or_init(|| Arc::new(make()))
            .downcast_ref::<T>()
            .expect("one layer alone fills a record's derived slot")
    }

    /// The derived value, if it was made.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.0.get().and_then(|any| any.downcast_ref())
    }
}

impl fmt::Debug for Derived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "derived" } else { "-" })
    }
}
