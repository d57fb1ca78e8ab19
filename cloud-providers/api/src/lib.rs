//! What Marina needs from a cloud, and nothing that a cloud cannot give.
//!
//! A [`Cloud`] is a set of capabilities. Each is a getter that answers `None` where the cloud has no such thing, so that
//! callers degrade by looking instead of by trying. Every call may be repeated: creates carry a [`Token`] and a second call
//! with the same token answers with the first one's result; deletes answer [`CloudError::NotFound`] once nothing is left,
//! which is how a deletion loop knows that it has finished.
//!
//! Callers commit their intent and its token before the call (design, section 2, "intent before effect"), so an
//! implementation need not remember anything that the cloud itself does not.
//! Rejected: one wide trait whose methods answer "unsupported" (a caller finds out only at run time, and too late).

mod error;
mod identity;
mod images;
mod instances;
mod load_balancers;
mod routes;
mod tags;
mod volumes;

pub mod conformance;

pub use error::{CloudError, Result};
pub use identity::{Identity, InstanceIdentity};
pub use images::{Image, Images};
pub use instances::{Instance, InstanceSpec, InstanceState, InstanceType, Instances};
pub use load_balancers::{
    HealthCheck, Listener, LoadBalancer, LoadBalancerSpec, LoadBalancers, Protocol, Target,
};
pub use routes::{Route, Routes};
pub use tags::{TAG_CLUSTER, TAG_NODE_POOL, Tags, Token, matches_tags};
pub use volumes::{Snapshot, Volume, VolumeSpec, VolumeState, Volumes};

/// One account at one cloud. Shared by everything that runs in the process.
pub trait Cloud: Send + Sync + 'static {
    /// The provider's name: `local`, `sim`, `aws`. It stands in node pools and in the scheme of provider ids.
    fn name(&self) -> &str;

    /// The zones that instances and volumes can be placed in, at least one, in a stable order.
    fn zones(&self) -> Vec<String>;

    /// Machines.
    fn instances(&self) -> Option<&dyn Instances> {
        None
    }

    /// Layer 4 load balancers.
    fn load_balancers(&self) -> Option<&dyn LoadBalancers> {
        None
    }

    /// Block volumes and their snapshots.
    fn volumes(&self) -> Option<&dyn Volumes> {
        None
    }

    /// Routes of pod ranges to instances. `None` where nodes reach each other without (one layer 2 segment, an overlay).
    fn routes(&self) -> Option<&dyn Routes> {
        None
    }

    /// Images that instances boot from.
    fn images(&self) -> Option<&dyn Images> {
        None
    }

    /// Proof of which instance is speaking, for first boot.
    fn identity(&self) -> Option<&dyn Identity> {
        None
    }
}
