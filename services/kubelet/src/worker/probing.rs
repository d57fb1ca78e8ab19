//! The probes of a pod's containers: which run, and what they say.

use super::inbox::Inbox;
use crate::context::Context;
use crate::k8s::{Pod, uid};
use crate::observed::{Instance, Observed};
use crate::plan::Memory;
use crate::probes::{self, Kind, Report, Target};
use crate::resources::is_restartable_init;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// A probe's task; dropping it ends it.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The probes of one pod.
pub(super) struct Probing {
    inbox: Inbox,
    tasks: HashMap<(String, Kind), Task>,
    ready: HashSet<String>,
    /// Instances whose postStart hook has not ended: not started yet.
    hooked: HashSet<String>,
    /// Which probe failed, by instance.
    failed: HashMap<String, Kind>,
    /// Instances seen before.
    seen: HashSet<String>,
}

impl Probing {
    pub(super) fn new(inbox: Inbox) -> Self {
        Self {
            inbox,
            tasks: HashMap::new(),
            ready: HashSet::new(),
            hooked: HashSet::new(),
            failed: HashMap::new(),
            seen: HashSet::new(),
        }
    }

    /// Ids of instances that are ready.
    pub(super) fn ready(&self) -> &HashSet<String> {
        &self.ready
    }

    pub(super) fn hook_begins(&mut self, instance: &str) {
        self.hooked.insert(instance.to_owned());
    }

    pub(super) fn hook_done(&mut self, instance: &str) {
        self.hooked.remove(instance);
    }

    /// The probe for which an instance is stopped.
    pub(super) fn failed_probe(&self, instance: &str) -> Kind {
        self.failed.get(instance).copied().unwrap_or(Kind::Liveness)
    }

    /// Takes a verdict in.
    pub(super) fn apply(&mut self, report: &Report, memory: &mut Memory) {
        let id = &report.instance;
        match (report.kind, report.healthy) {
            (Kind::Readiness, true) => drop(self.ready.insert(id.clone())),
            (Kind::Readiness, false) => drop(self.ready.remove(id)),
            (Kind::Startup, true) => drop(memory.started.insert(id.clone())),
            (Kind::Liveness, true) => {}
            (kind, false) => {
                self.failed.insert(id.clone(), kind);
                memory.unhealthy.insert(id.clone());
            }
        }
    }

    /// Ends all probes but readiness, when the pod is being stopped.
    pub(super) fn stopping(&mut self) {
        self.tasks.retain(|(_, kind), _| *kind == Kind::Readiness);
    }

    /// Ends the probes of instances that do not run, begins those of instances that do.
    pub(super) fn sync(
        &mut self,
        cx: &Arc<Context>,
        pod: &Arc<Pod>,
        observed: &Observed,
        memory: &mut Memory,
    ) {
        let running: HashMap<&str, &Instance> = observed
            .instances
            .iter()
            .filter(|i| i.running())
            .map(|i| (i.id.as_str(), i))
            .collect();
        self.tasks.retain(|(id, _), _| running.contains_key(id.as_str()));
        self.ready.retain(|id| running.contains_key(id.as_str()));
        memory.unhealthy.retain(|id| running.contains_key(id.as_str()));
        memory.hook_failed.retain(|id| running.contains_key(id.as_str()));
        memory.started.retain(|id| running.contains_key(id.as_str()));
        self.failed.retain(|id, _| running.contains_key(id.as_str()));
        self.seen.retain(|id| running.contains_key(id.as_str()));
        let ip = super::start::pod_ips(cx, pod, observed)
            .first()
            .cloned()
            .unwrap_or_default();
        for instance in running.into_values() {
            if self.hooked.contains(&instance.id) {
                continue;
            }
            let Some(container) = crate::config::container::find(pod, &instance.name) else {
                continue;
            };
            let ordinary_init = pod
                .spec
                .iter()
                .flat_map(|s| s.init_containers.iter().flatten())
                .any(|c| c.name == instance.name && !is_restartable_init(c));
            if ordinary_init {
                continue;
            }
            if self.seen.insert(instance.id.clone()) {
                self.adopt(cx, pod, instance, memory);
            }
            if container.startup_probe.is_none() {
                memory.started.insert(instance.id.clone());
            }
            let started = memory.started.contains(&instance.id);
            if container.readiness_probe.is_none() && started {
                self.ready.insert(instance.id.clone());
            }
            let kinds: &[Kind] = if started {
                &[Kind::Liveness, Kind::Readiness]
            } else {
                &[Kind::Startup]
            };
            for kind in kinds {
                let key = (instance.id.clone(), *kind);
                if kind.of(&container).is_none()
                    || self.tasks.contains_key(&key)
                    || self.failed.contains_key(&instance.id)
                {
                    continue;
                }
                let began = instance.started.unwrap_or(instance.created);
                let target = Target {
                    pod: pod.clone(),
                    container: container.clone(),
                    instance: instance.id.clone(),
                    pod_ip: ip.clone(),
                    running_for: Duration::try_from(cx.clock.now().duration_since(began))
                        .unwrap_or(Duration::ZERO),
                };
                let (inbox, asker, events, kind) =
                    (self.inbox.clone(), cx.asker.clone(), cx.events.clone(), *kind);
                let work = async move {
                    let report =
                        |r: Report| inbox.tell(|n| drop(n.probes.insert((r.instance.clone(), r.kind), r)));
                    probes::run(kind, target, asker, events, report).await;
                };
                self.tasks.insert(key, Task(tokio::spawn(work)));
            }
        }
    }

    /// An instance that ran before this kubelet did keeps what the API says of it, so that a restart of the kubelet
    /// makes nothing unready.
    fn adopt(&mut self, cx: &Context, pod: &Pod, instance: &Instance, memory: &mut Memory) {
        if cx.status.get(uid(&pod.metadata)).is_some() {
            return;
        }
        let id = crate::status::containers::container_id(&instance.id);
        let Some(status) = &pod.status else { return };
        let lists = [&status.container_statuses, &status.init_container_statuses];
        let Some(known) = lists
            .into_iter()
            .flatten()
            .flatten()
            .find(|c| c.container_id.as_ref() == Some(&id))
        else {
            return;
        };
        if known.started == Some(true) {
            memory.started.insert(instance.id.clone());
        }
        if known.ready {
            self.ready.insert(instance.id.clone());
        }
    }
}
