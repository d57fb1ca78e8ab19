//! Writes pod statuses to the API server: the newest only, one write at a time for each pod, none when nothing changed.
//!
//! A pod's status may change faster than it can be written; what was overtaken is never sent. There is a task for a
//! pod only while it has something to write.

use super::patch::patch;
use crate::k8s::{Pod, PodStatus, name, namespace, uid};
use client::{Api, Client, Patch};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tracing::{Instrument, Span};

/// Writes at the same time, for all pods.
const PARALLEL: usize = 16;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(10);

struct Slot {
    namespace: String,
    name: String,
    /// The object to write to: a static pod's is its mirror's.
    target: Option<String>,
    written: Option<PodStatus>,
    wanted: PodStatus,
    busy: bool,
}

struct Inner {
    client: Client,
    slots: Mutex<HashMap<String, Slot>>,
    permits: Semaphore,
    quiet: Notify,
}

/// Writes pod statuses. Cheap to clone.
#[derive(Clone)]
pub struct StatusWriter(Arc<Inner>);

impl std::fmt::Debug for StatusWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StatusWriter").finish_non_exhaustive()
    }
}

impl StatusWriter {
    /// Writes through `client`.
    pub fn new(client: Client) -> Self {
        Self(Arc::new(Inner {
            client,
            slots: Mutex::default(),
            permits: Semaphore::new(PARALLEL),
            quiet: Notify::new(),
        }))
    }

    /// The status a pod should have. A static pod's waits until [`Self::mirror`] says where it goes.
    pub fn set(&self, pod: &Pod, status: PodStatus) {
        let key = uid(&pod.metadata).to_owned();
        let is_static = crate::pods::is_static(pod);
        {
            let mut slots = self.0.slots.lock();
            let slot = slots.entry(key.clone()).or_insert_with(|| Slot {
                namespace: namespace(&pod.metadata).to_owned(),
                name: name(&pod.metadata).to_owned(),
                target: (!is_static).then(|| key.clone()),
                written: if is_static { None } else { pod.status.clone() },
                wanted: PodStatus::default(),
                busy: false,
            });
            slot.wanted = status;
        }
        self.kick(&key);
    }

    /// The API object that shows a static pod; a new one has no status yet.
    pub fn mirror(&self, pod_uid: &str, mirror_uid: &str) {
        {
            let mut slots = self.0.slots.lock();
            let Some(slot) = slots.get_mut(pod_uid) else {
                return;
            };
            if slot.target.as_deref() == Some(mirror_uid) {
                return;
            }
            slot.target = Some(mirror_uid.to_owned());
            slot.written = None;
        }
        self.kick(pod_uid);
    }

    /// The status last asked for.
    pub fn get(&self, pod_uid: &str) -> Option<PodStatus> {
        self.0.slots.lock().get(pod_uid).map(|s| s.wanted.clone())
    }

    /// Forgets a pod that is gone.
    pub fn forget(&self, pod_uid: &str) {
        self.0.slots.lock().remove(pod_uid);
        self.0.quiet.notify_waiters();
    }

    /// Waits until what was asked for is written, or the pod is gone from the API.
    pub async fn settled(&self, pod_uid: &str) {
        loop {
            let notified = self.0.quiet.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.0.slots.lock().get(pod_uid).is_none_or(|s| !s.busy) {
                return;
            }
            notified.await;
        }
    }

    fn kick(&self, key: &str) {
        {
            let mut slots = self.0.slots.lock();
            let Some(slot) = slots.get_mut(key) else { return };
            let Some(target) = &slot.target else { return };
            if slot.busy || patch(target, slot.written.as_ref(), &slot.wanted).is_none() {
                return;
            }
            slot.busy = true;
        }
        // What is being started may wait for this; this may wait for the API server, for hours. So the span is a child by
        // name and does not hold its parent open.
        let span = base::trace::traceparent().map_or_else(Span::none, |parent| {
            let span = crate::trace::write_status();
            base::trace::accept(&span, &parent);
            span
        });
        let (this, key) = (self.clone(), key.to_owned());
        tokio::spawn(async move { this.write(&key).await }.instrument(span));
    }

    /// Writes until what is wanted is written.
    async fn write(&self, key: &str) {
        let mut pause = FIRST_PAUSE;
        loop {
            let job = {
                let mut slots = self.0.slots.lock();
                slots.get_mut(key).and_then(|slot| {
                    let patch = slot
                        .target
                        .as_ref()
                        .and_then(|t| patch(t, slot.written.as_ref(), &slot.wanted));
                    slot.busy = patch.is_some();
                    patch.map(|p| {
                        (
                            slot.namespace.clone(),
                            slot.name.clone(),
                            p,
                            slot.wanted.clone(),
                            slot.target.clone(),
                        )
                    })
                })
            };
            let Some((namespace, name, patch, wanted, target)) = job else {
                break;
            };
            let Ok(_permit) = self.0.permits.acquire().await else {
                break;
            };
            let result = Api::<Pod>::namespaced(&self.0.client, &namespace)
                .patch_status(&name, &Patch::Strategic(patch))
                .await;
            match result {
                Ok(_) => {
                    pause = FIRST_PAUSE;
                    if let Some(slot) = self.0.slots.lock().get_mut(key).filter(|s| s.target == target) {
                        slot.written = Some(wanted);
                    }
                }
                // Gone, or another pod of the same name: nothing to write to.
                Err(e) if e.is_not_found() || e.is_conflict() => {
                    let mut slots = self.0.slots.lock();
                    if let Some(slot) = slots.get_mut(key) {
                        slot.busy = false;
                        if crate::pods::same_uid(slot.target.as_deref(), key) {
                            slot.target = None;
                        }
                    }
                    break;
                }
                Err(error) => {
                    tracing::warn!(pod = %format!("{namespace}/{name}"), "status not written: {error}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
        self.0.quiet.notify_waiters();
    }
}
