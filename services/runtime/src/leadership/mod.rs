//! Who may act on which cluster.
//!
//! Inside Marina clusters hash into 64 slots, and each slot has one owner for each role ([`StoreSlots`]); towards a
//! foreign API server it is upstream's Lease ([`LeaseElection`]). Controllers ask before each reconciliation and
//! look at everything again when they gain a slot.

mod lease;
mod slots;

pub use lease::{LeaseElection, LeaseOptions};
pub use slots::{SlotOptions, StoreSlots};

use base::ClusterId;
use store_api::Guard;
use tokio::sync::watch;

/// The answer to "may I act on this cluster?"
#[derive(Clone, Debug)]
pub enum Claim {
    /// No: somebody else does, or nobody yet.
    NotMine,
    /// Yes; writes carry the guard, if there is one.
    Mine(Option<Guard>),
}

/// See the module.
pub trait Leadership: Send + Sync + 'static {
    /// Whether a cluster is ours at this moment.
    fn claim(&self, cluster: &ClusterId) -> Claim;
    /// The slots that are ours, as bits; changes are seen through the receiver.
    fn slots(&self) -> watch::Receiver<u64>;
}

/// A process that is the only one of its role.
#[derive(Debug)]
pub struct Alone(watch::Sender<u64>);

impl Default for Alone {
    fn default() -> Self {
        Self(watch::Sender::new(u64::MAX))
    }
}

impl Leadership for Alone {
    fn claim(&self, _cluster: &ClusterId) -> Claim {
        Claim::Mine(None)
    }
    fn slots(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}
