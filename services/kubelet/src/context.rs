//! What all pod workers share.

use crate::cgroups::Cgroups;
use crate::dns::NodeDns;
use crate::downward::NodeFacts;
use crate::engine::Engine;
use crate::events::Events;
use crate::images::Images;
use crate::k8s::Service;
use crate::metrics::Metrics;
use crate::names::Paths;
use crate::objects::Objects;
use crate::probes::ask::Asker;
use crate::status::StatusWriter;
use crate::volumes::Volumes;
use base::Clock;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// How long a pod's start waits for the first list of services, which its environment describes.
const SERVICES_WAIT: Duration = Duration::from_secs(10);

/// What all pod workers share.
#[derive(Debug)]
pub struct Context {
    /// The node's name.
    pub node_name: String,
    /// The container runtime.
    pub engine: Engine,
    /// Images.
    pub images: Images,
    /// Volumes.
    pub volumes: Volumes,
    /// ConfigMaps, Secrets, tokens.
    pub objects: Objects,
    /// Directories.
    pub paths: Paths,
    /// Control groups; `None` where the kubelet does not manage them.
    pub cgroups: Option<Cgroups>,
    /// Writes statuses.
    pub status: StatusWriter,
    /// Records events.
    pub events: Events,
    /// Asks probes and runs hooks.
    pub asker: Asker,
    /// What is counted.
    pub metrics: Metrics,
    /// Wall clock.
    pub clock: Clock,
    /// Name service of the node and the cluster.
    pub dns: NodeDns,
    /// The node's file of host names, for pods on its network.
    pub hosts_file: String,
    /// Addresses and amounts of the node.
    pub facts: RwLock<NodeFacts>,
    /// The node's memory, bytes.
    pub memory_capacity: i64,
    /// The lowest OOM score this machine may set.
    pub oom_floor: i64,
    /// Services, for environment variables.
    pub services: Services,
    /// Turns for making sandboxes. That is work for the CPU: of 30 pods that arrive together the first are ready while
    /// the last wait, where without turns all would be ready last. Starting a container needs none, so that pods that
    /// have begun are finished first; nor does a pull. The call has a time limit, so a turn always comes.
    pub sandbox_turns: Semaphore,
}

impl Context {
    /// The node's facts with a pod's addresses.
    pub fn facts_for(&self, pod_ips: &[String]) -> NodeFacts {
        NodeFacts {
            pod_ips: pod_ips.to_vec(),
            ..self.facts.read().clone()
        }
    }

    /// The node's addresses.
    pub fn host_ips(&self) -> Vec<String> {
        self.facts.read().host_ips.clone()
    }
}

/// The services of the cluster, as last seen.
#[derive(Debug)]
pub struct Services {
    map: RwLock<HashMap<String, Service>>,
    synced: watch::Sender<bool>,
}

impl Default for Services {
    fn default() -> Self {
        Self {
            map: RwLock::default(),
            synced: watch::Sender::new(false),
        }
    }
}

impl Services {
    /// Takes a change in.
    pub fn apply(&self, change: crate::reflect::Change<Service>) {
        use crate::reflect::Change;
        match change {
            Change::Put(service) => drop(self.map.write().insert(crate::reflect::key(&service), service)),
            Change::Gone(key) => drop(self.map.write().remove(&key)),
            Change::Synced => drop(self.synced.send_replace(true)),
        }
    }

    /// Says that there are none to wait for (no API server).
    pub fn none(&self) {
        self.synced.send_replace(true);
    }

    /// The variables for a pod of `namespace`.
    ///
    /// # Errors
    /// If the services have not been listed in time.
    pub async fn variables(&self, namespace: &str, links: bool) -> Result<Vec<(String, String)>, String> {
        let mut synced = self.synced.subscribe();
        let wait = tokio::time::timeout(SERVICES_WAIT, synced.wait_for(|s| *s)).await;
        if !matches!(wait, Ok(Ok(_))) {
            return Err("services have not yet been read at least once, cannot construct envvars".to_owned());
        }
        let relevant: Vec<Service> = {
            let map = self.map.read();
            let of_interest = |s: &&Service| {
                let ns = crate::k8s::namespace(&s.metadata);
                ns == namespace || (ns == "default" && crate::k8s::name(&s.metadata) == "kubernetes")
            };
            map.values().filter(of_interest).cloned().collect()
        };
        Ok(crate::env::service_variables(&relevant, namespace, links))
    }
}
