//! The ground that reconcilers stand on: informers across clusters, queues, leadership, events.
//!
//! One process serves every cluster: one stream and one cache for each kind ([`Informers`]), one queue for each
//! controller with keys of `(cluster, namespace, name)` ([`queue`]), one pool of workers ([`manager`]). An idle cluster
//! owns nothing here but the bytes of its objects. Where events come from ([`source`]) and who may act ([`leadership`])
//! are seams, so that the same controllers run inside `marinad` and against any foreign API server.

pub mod cache;
pub mod clients;
mod controller;
mod cx;
pub mod header;
pub mod informers;
mod key;
pub mod leadership;
pub mod manager;
mod metrics;
mod own_writes;
pub mod queue;
mod recorder;
pub mod selector;
pub mod source;

pub use cache::{Cache, CacheError, Change, Entry};
pub use clients::{Clients, Identity, OneClient};
pub use controller::{Caches, Controller, Error, Handle, Mapper, Next, Wiring};
pub use cx::Cx;
pub use informers::{Informer, Informers};
pub use key::Key;
pub use manager::ManagerDeps;
pub use metrics::QueueMetrics;
pub use queue::Queue;
pub use recorder::{EventType, Recorder, RecorderTask};
pub use source::{RestSource, Source, StoreSource};
