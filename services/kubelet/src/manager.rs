//! The pods of this node: who they are, and the worker of each.
//!
//! Sources (API server, manifests) put pods in and take them out; the runtime's events wake workers. A pod that has
//! ended and has nothing left on the node owns no worker until it is deleted.

use crate::admission::{Rejection, Room, admit};
use crate::context::Context;
use crate::k8s::{Pod, PodStatus, ResourceList, Time, name, namespace, uid};
use crate::pods;
use crate::reflect::Change;
use crate::status::conditions::OWNED;
use crate::worker::Worker;
use crate::worker::inbox::{Imposed, Inbox};
use base::Shutdown;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use tracing::Instrument;

struct Entry {
    pod: Arc<Pod>,
    inbox: Inbox,
    /// Whether a worker runs.
    working: bool,
}

/// The pods of this node. Cheap to clone.
#[derive(Clone)]
pub struct Manager(Arc<Inner>);

struct Inner {
    cx: Arc<Context>,
    shutdown: Shutdown,
    entries: Mutex<HashMap<String, Entry>>,
    /// UIDs that the runtime knew when the kubelet began: their workers have to look.
    inherited: Mutex<HashSet<String>>,
    /// Mirror pods by `namespace/name`: their UID and the hash of the static pod they show.
    mirrors: Mutex<HashMap<String, (String, String)>>,
    labels: BTreeMap<String, String>,
    allocatable: ResourceList,
    mirrors_changed: tokio::sync::Notify,
}

impl std::fmt::Debug for Manager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Manager")
            .field("pods", &self.0.entries.lock().len())
            .finish()
    }
}

impl Manager {
    /// No pods yet. `inherited` are the UIDs that the runtime has something of.
    pub fn new(
        cx: Arc<Context>,
        inherited: HashSet<String>,
        labels: BTreeMap<String, String>,
        allocatable: ResourceList,
        shutdown: Shutdown,
    ) -> Self {
        Self(Arc::new(Inner {
            cx,
            shutdown,
            entries: Mutex::default(),
            inherited: Mutex::new(inherited),
            mirrors: Mutex::default(),
            labels,
            allocatable,
            mirrors_changed: tokio::sync::Notify::new(),
        }))
    }

    /// Takes a change of the API server in.
    pub fn apply(&self, change: Change<Pod>) {
        match change {
            Change::Put(pod) if pods::is_mirror(&pod) => {
                let hash = pod
                    .metadata
                    .annotations
                    .as_ref()
                    .and_then(|a| a.get(crate::names::CONFIG_MIRROR))
                    .cloned();
                let key = crate::reflect::key(&pod);
                let shown = self.static_uid(&key);
                self.0
                    .mirrors
                    .lock()
                    .insert(key, (uid(&pod.metadata).to_owned(), hash.unwrap_or_default()));
                if let Some(shown) = shown {
                    self.0.cx.status.mirror(&shown, uid(&pod.metadata));
                }
                self.0.mirrors_changed.notify_one();
            }
            Change::Put(pod) => self.put(pod),
            Change::Gone(key) => {
                if self.0.mirrors.lock().remove(&key).is_some() {
                    self.0.mirrors_changed.notify_one();
                }
                self.remove(&key, false);
            }
            Change::Synced => {}
        }
    }

    fn static_uid(&self, key: &str) -> Option<String> {
        let entries = self.0.entries.lock();
        let found = entries
            .values()
            .find(|e| pods::is_static(&e.pod) && crate::reflect::key(&*e.pod) == key);
        found.map(|e| uid(&e.pod.metadata).to_owned())
    }

    /// Takes a pod on, or its new version.
    pub fn put(&self, pod: Pod) {
        let pod = Arc::new(pod);
        let id = uid(&pod.metadata).to_owned();
        let key = crate::reflect::key(&*pod);
        let mut entries = self.0.entries.lock();
        if let Some(entry) = entries.get_mut(&id) {
            entry.pod = pod.clone();
            if entry.working {
                entry.inbox.tell(|n| n.pod = Some(pod));
                return;
            }
        } else {
            // Another pod of the same name is history.
            for old in entries.values().filter(|e| crate::reflect::key(&*e.pod) == key) {
                old.inbox.tell(|n| n.removed = true);
            }
            if let Err(rejection) = self.judge(&pod, &entries) {
                self.reject(&pod, rejection);
            }
        }
        let inherited = self.0.inherited.lock().remove(&id);
        if pods::is_static(&pod) {
            self.0.mirrors_changed.notify_one();
        }
        let entry = entries.entry(id.clone()).or_insert_with(|| Entry {
            pod: pod.clone(),
            inbox: Inbox::default(),
            working: false,
        });
        let ended = self
            .0
            .cx
            .status
            .get(&id)
            .and_then(|s| s.phase)
            .is_some_and(|p| p == "Failed")
            && !inherited;
        if (pods::is_terminal(&pod) || ended) && !inherited && !pods::is_deleted(&pod) {
            return;
        }
        entry.working = true;
        let span = tracing::info_span!(target: "kubelet::log", "pod", pod = key, uid = id);
        let worker = Worker::new(self.0.cx.clone(), entry.inbox.clone(), pod, !inherited);
        let this = self.clone();
        drop(entries);
        tokio::spawn(async move {
            let ended = this
                .0
                .shutdown
                .run_until(worker.run().instrument(span))
                .await
                .is_some();
            if ended {
                this.0.entries.lock().remove(&id);
                this.0.mirrors_changed.notify_one();
            }
        });
    }

    fn judge(&self, pod: &Pod, entries: &HashMap<String, Entry>) -> Result<(), Rejection> {
        let began = pod.status.as_ref().is_some_and(|s| s.start_time.is_some());
        if began || pods::is_deleted(pod) || pods::is_terminal(pod) {
            return Ok(());
        }
        let others: Vec<Arc<Pod>> = entries
            .values()
            .filter(|e| e.working && !pods::is_terminal(&e.pod))
            .map(|e| e.pod.clone())
            .collect();
        admit(
            pod,
            &Room {
                labels: &self.0.labels,
                allocatable: &self.0.allocatable,
                others: &others,
            },
        )
    }

    fn reject(&self, pod: &Pod, r: Rejection) {
        let cx = &self.0.cx;
        // An event's reason is one of a closed set here; the details are in its text.
        cx.events.pod(
            pod,
            None,
            crate::events::Level::Warning,
            "Rejected",
            format!("{}: {}", r.reason, r.message),
        );
        let now = cx.clock.now();
        let condition = |kind: &&str| crate::k8s::PodCondition {
            type_: (*kind).to_owned(),
            status: if *kind == "PodScheduled" { "True" } else { "False" }.to_owned(),
            reason: (*kind != "PodScheduled").then(|| "PodFailed".to_owned()),
            last_transition_time: Some(Time(now)),
            observed_generation: pod.metadata.generation,
            ..Default::default()
        };
        let status = PodStatus {
            phase: Some("Failed".to_owned()),
            reason: Some(r.reason),
            message: Some(r.message),
            start_time: Some(Time(now)),
            conditions: Some(OWNED.iter().map(condition).collect()),
            observed_generation: pod.metadata.generation,
            qos_class: pod
                .spec
                .as_ref()
                .map(|s| crate::resources::qos(s).as_str().to_owned()),
            ..Default::default()
        };
        cx.status.set(pod, status);
    }

    /// Forgets a pod of a source: its worker ends it.
    pub fn remove(&self, key: &str, is_static: bool) {
        let mut entries = self.0.entries.lock();
        let fits = |e: &Entry| crate::reflect::key(&*e.pod) == key && pods::is_static(&e.pod) == is_static;
        let ids: Vec<String> = entries
            .iter()
            .filter(|(_, e)| fits(e))
            .map(|(id, _)| id.clone())
            .collect();
        for id in ids {
            let working = entries.get(&id).is_some_and(|e| e.working);
            if working {
                if let Some(entry) = entries.get(&id) {
                    entry.inbox.tell(|n| n.removed = true);
                }
            } else {
                entries.remove(&id);
                self.0.cx.status.forget(&id);
            }
        }
    }

    /// The runtime has news of a pod.
    pub fn wake(&self, pod_uid: &str) {
        if let Some(entry) = self.0.entries.lock().get(pod_uid) {
            entry.inbox.tell(|n| n.runtime = true);
        }
    }

    /// The runtime may have news of any pod.
    pub fn wake_all(&self) {
        for entry in self.0.entries.lock().values() {
            entry.inbox.tell(|n| n.runtime = true);
        }
    }

    /// Ends a pod for a reason of the node's.
    pub fn evict(&self, pod_uid: &str, imposed: Imposed) {
        if let Some(entry) = self.0.entries.lock().get(pod_uid) {
            entry.inbox.tell(|n| n.imposed = Some(imposed));
        }
    }

    /// All pods.
    pub fn pods(&self) -> Vec<Arc<Pod>> {
        self.0.entries.lock().values().map(|e| e.pod.clone()).collect()
    }

    /// A pod by name.
    pub fn find(&self, ns: &str, pod: &str) -> Option<Arc<Pod>> {
        let entries = self.0.entries.lock();
        entries
            .values()
            .find(|e| namespace(&e.pod.metadata) == ns && name(&e.pod.metadata) == pod)
            .map(|e| e.pod.clone())
    }

    /// Whether a pod is here.
    pub fn knows(&self, pod_uid: &str) -> bool {
        self.0.entries.lock().contains_key(pod_uid)
    }

    /// Mirror pods by `namespace/name`: UID and hash.
    pub fn mirrors(&self) -> HashMap<String, (String, String)> {
        self.0.mirrors.lock().clone()
    }

    /// Waits until mirror pods or static pods may need work.
    pub async fn mirrors_changed(&self) {
        self.0.mirrors_changed.notified().await;
    }

    /// UIDs that the runtime had at the start and that no source has claimed.
    pub fn take_unclaimed(&self) -> HashSet<String> {
        std::mem::take(&mut *self.0.inherited.lock())
    }
}
