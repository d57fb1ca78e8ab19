//! Listens to Services and EndpointSlices and keeps the kernel's table up to date.

use crate::endpoints::Place;
use crate::health::HealthPorts;
use crate::rules::{self, ServiceRules};
use crate::table::{Delta, Table};
use crate::view::{self, ServiceName, ServiceView, SliceView};
use crate::{ProxyError, conntrack};
use api::core::v1::Service;
use api::discovery::v1::EndpointSlice;
use base::Shutdown;
use client::Resource;
use parking_lot::Mutex;
use runtime::{Change, Informer, Informers};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Changes that come together make one transaction.
const SETTLE: Duration = Duration::from_millis(10);
/// After a failure everything is loaded anew after this time.
const RETRY: Duration = Duration::from_secs(1);

/// How the proxy is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The Node object's name.
    pub node: String,
    /// The node's zone, for topology hints.
    pub zone: Option<String>,
    /// Pod addresses of the whole cluster; clients outside are masqueraded.
    pub pod_cidr: String,
    /// Addresses that the node itself answers (DNS): left alone.
    pub node_local: Vec<Ipv4Addr>,
}

/// The part that runs. Made by [`Proxy::build`].
pub struct Proxy {
    options: Options,
    services: Arc<Informer>,
    slices: Arc<Informer>,
    known: Arc<Known>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// What was heard, and what of it is not in the kernel yet.
#[derive(Default)]
struct Known {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    services: HashMap<ServiceName, ServiceView>,
    slices: HashMap<ServiceName, BTreeMap<String, SliceView>>,
    dirty: BTreeSet<ServiceName>,
}

impl Known {
    fn service(&self, change: &Change) {
        let key = &change.entry().key;
        let name = (key.namespace.to_string(), key.name.to_string());
        let new = match &change.new {
            None => None,
            Some(entry) => match entry.decode::<Service>() {
                Ok(object) => view::service(&object),
                Err(error) => {
                    tracing::warn!(%error, "a Service cannot be read");
                    return;
                }
            },
        };
        let mut state = self.state.lock();
        let old = match new.clone() {
            Some(view) => state.services.insert(name.clone(), view),
            None => state.services.remove(&name),
        };
        if old != new {
            state.dirty.insert(name);
            self.changed.notify_one();
        }
    }

    fn slice(&self, change: &Change) {
        // A slice's label may change, so the old owner is told as well.
        let decode = |entry: &Arc<runtime::Entry>| entry.decode::<EndpointSlice>().ok();
        let old = change.old.as_ref().and_then(decode);
        let new = change.new.as_ref().and_then(decode);
        let slice_name = change.entry().key.name.to_string();
        let mut state = self.state.lock();
        let (old_owner, new_owner) = (
            old.as_ref().and_then(view::owner),
            new.as_ref().and_then(view::owner),
        );
        if let Some(owner) = old_owner.filter(|o| new_owner.as_ref() != Some(o)) {
            if let Some(slices) = state.slices.get_mut(&owner) {
                slices.remove(&slice_name);
                if slices.is_empty() {
                    state.slices.remove(&owner);
                }
            }
            state.dirty.insert(owner);
            self.changed.notify_one();
        }
        if let (Some(owner), Some(object)) = (new_owner, &new) {
            let view = view::slice(object);
            let slices = state.slices.entry(owner.clone()).or_default();
            if slices.get(&slice_name) != Some(&view) {
                slices.insert(slice_name, view);
                state.dirty.insert(owner);
                self.changed.notify_one();
            }
        }
    }
}

impl Proxy {
    /// Subscribes to Services and EndpointSlices; the caller starts the informers.
    pub fn build(options: Options, informers: &Informers) -> Result<Self, ProxyError> {
        let range = options.pod_cidr.split_once('/');
        let valid = range
            .is_some_and(|(a, l)| a.parse::<Ipv4Addr>().is_ok() && l.parse::<u8>().is_ok_and(|l| l <= 32));
        if !valid {
            return Err(ProxyError::Invalid(format!(
                "{:?} is no IPv4 range",
                options.pod_cidr
            )));
        }
        let known = Arc::new(Known::default());
        let services = informers.informer(&Resource::of::<Service>(), &[]);
        let slices = informers.informer(&Resource::of::<EndpointSlice>(), &[]);
        let heard = known.clone();
        services.subscribe(Arc::new(move |change: &Change| heard.service(change)));
        let heard = known.clone();
        slices.subscribe(Arc::new(move |change: &Change| heard.slice(change)));
        Ok(Self {
            options,
            services,
            slices,
            known,
        })
    }

    /// Keeps the kernel up to date until shut down; what is in it stays, so that Services go on working.
    pub async fn run(self, shutdown: Shutdown) {
        let synced = async {
            self.services.synced().await;
            self.slices.synced().await;
        };
        if shutdown.run_until(synced).await.is_none() {
            return;
        }
        let (mut table, health) = (Table::default(), HealthPorts::default());
        let mut loaded = false;
        loop {
            let started = base::clock::stopwatch();
            let (delta, ports) = self.next(&mut table, loaded);
            match self.apply(&delta, !loaded).await {
                Ok(()) => {
                    if !loaded {
                        tracing::info!(elapsed = ?started.elapsed(), "Services are in the kernel");
                    }
                    loaded = true;
                }
                Err(error) => {
                    tracing::warn!(%error, "Services could not be changed; all of them are loaded anew");
                    loaded = false;
                }
            }
            health.set(&ports, &shutdown);
            let wait = async {
                if loaded {
                    self.known.changed.notified().await;
                    tokio::time::sleep(SETTLE).await;
                } else {
                    tokio::time::sleep(RETRY).await;
                }
            };
            if shutdown.run_until(wait).await.is_none() {
                return;
            }
        }
    }

    /// Decides what is to be changed, or everything anew, and which health ports there should be.
    fn next(&self, table: &mut Table, loaded: bool) -> (Delta, BTreeMap<u16, (ServiceName, usize)>) {
        let mut state = self.known.state.lock();
        let place = Place {
            node: self.options.node.clone(),
            zone: self.options.zone.clone(),
        };
        let skip: BTreeSet<Ipv4Addr> = self.options.node_local.iter().copied().collect();
        let none = BTreeMap::new();
        let mut dirty = std::mem::take(&mut state.dirty);
        let decide = |name: &ServiceName, before: &ServiceRules| {
            let service = state.services.get(name)?;
            let slices = state.slices.get(name).unwrap_or(&none);
            Some(rules::decide(service, slices.values(), &place, &skip, before))
        };
        let delta = if loaded {
            // What another Service gives up now may be what these wait for.
            dirty.extend(table.take_losers());
            let changes = dirty.into_iter().map(|name| {
                let new = decide(&name, &table.rules(&name));
                (name, new)
            });
            let changes = changes.collect();
            table.change(changes)
        } else {
            let all = state
                .services
                .keys()
                .filter_map(|n| Some((n.clone(), decide(n, &ServiceRules::default())?)));
            let all = all.collect();
            table.full(&self.options.pod_cidr, all)
        };
        let ports = state.services.iter().filter_map(|(name, service)| {
            let port = service.health_port?;
            Some((port, (name.clone(), table.rules(name).local_endpoints)))
        });
        (delta, ports.collect())
    }

    async fn apply(&self, delta: &Delta, first: bool) -> Result<(), ProxyError> {
        if !delta.text.is_empty() {
            conntrack::run("nft", &["-f", "-"], &delta.text).await?;
        }
        conntrack::forget_affinity(&delta.stale_affinity).await?;
        // At the first load nothing is known of what the kernel remembers, and most of it is right.
        if !first {
            conntrack::forget_udp(&delta.stale_udp).await;
        }
        Ok(())
    }
}
