//! The scheduler's view of one cluster: what is placed where, and who waits.

use crate::queue::Queue;
use machinery::Value;
use scheduling::framework::Events;
use scheduling::{Framework, Pod, PodKey, Snapshot, Unschedulable};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::Instant;

/// One cluster's state. Nothing in it runs.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    snapshot: Snapshot,
    pub(crate) queue: Queue,
    /// Placements that were decided and are not yet seen in the cluster, with the pod's uid.
    assumed: HashMap<PodKey, String>,
    turn: usize,
}

/// What was decided about a pod.
#[derive(Debug)]
pub(crate) enum Decision {
    /// Bind it there; the snapshot has it there already.
    Bind { pod: Arc<Pod>, node: String },
    /// No node will do.
    Refused { pod: Arc<Pod>, why: Unschedulable },
}

impl Cluster {
    /// Whether there is nothing to remember.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.snapshot.nodes().is_empty() && self.assumed.is_empty()
    }

    /// A pod as it is now.
    pub(crate) fn pod(&mut self, object: &Value, scheduler: &str, now: Instant) {
        let pod = Arc::new(Pod::read(object));
        if pod.node_name.is_empty() {
            if pod.scheduler != scheduler || pod.finished || pod.terminating {
                self.pod_gone(&pod.key, now);
            } else if self.assumed.get(&pod.key) != Some(&pod.uid) {
                // A pod of the same name that was assumed before is another one now.
                if self.assumed.remove(&pod.key).is_some() {
                    self.snapshot.displace(&pod.key);
                }
                self.queue.offer(pod);
            }
            return;
        }
        self.assumed.remove(&pod.key);
        self.queue.forget(&pod.key);
        let (node, finished, key) = (pod.node_name.clone(), pod.finished, pod.key.clone());
        let was = self.snapshot.place_of(&key).is_some();
        self.snapshot.place(pod, &node);
        let events = if finished {
            Events::POD_GONE
        } else {
            Events::POD_PLACED
        };
        if finished == was {
            self.queue.hear(events, now);
        }
    }

    /// A pod is no more.
    pub(crate) fn pod_gone(&mut self, key: &PodKey, now: Instant) {
        self.assumed.remove(key);
        self.queue.forget(key);
        if self.snapshot.displace(key) {
            self.queue.hear(Events::POD_GONE, now);
        }
    }

    /// A node as it is now. Heartbeats change nothing that matters here, and wake nobody.
    pub(crate) fn node(&mut self, object: &Value, now: Instant) {
        let name = object.str_at(&["metadata", "name"]).unwrap_or_default();
        let facts = |s: &Snapshot| {
            s.node(name).filter(|n| n.known).map(|n| {
                (
                    n.labels.clone(),
                    n.taints.clone(),
                    n.unschedulable,
                    n.allocatable.clone(),
                )
            })
        };
        let before = facts(&self.snapshot);
        self.snapshot.set_node(object);
        if facts(&self.snapshot) != before {
            self.queue.hear(Events::NODE, now);
        }
    }

    /// A node is no more.
    pub(crate) fn node_gone(&mut self, name: &str) {
        self.snapshot.remove_node(name);
    }

    /// Decides on the next active pod.
    pub(crate) fn decide(
        &mut self,
        framework: &Framework,
        dice: &mut dyn FnMut(usize) -> usize,
        now: Instant,
    ) -> Option<Decision> {
        let pod = self.queue.take()?;
        match framework.place(&pod, &self.snapshot, &mut self.turn, dice) {
            Ok(outcome) => {
                self.assumed.insert(pod.key.clone(), pod.uid.clone());
                self.snapshot.place(pod.clone(), &outcome.node);
                self.queue.hear(Events::POD_PLACED, now);
                Some(Decision::Bind {
                    pod,
                    node: outcome.node,
                })
            }
            Err(why) => {
                self.queue.park(&pod.key, why.wakes_on, now);
                Some(Decision::Refused { pod, why })
            }
        }
    }

    /// The binding was written: the pod waits no more. The cluster's own news will confirm the place.
    pub(crate) fn bound(&mut self, pod: &Pod) {
        self.queue.forget(&pod.key);
    }

    /// The binding was not written: the placement is taken back, and the pod tried again if it is still wanted.
    pub(crate) fn not_bound(&mut self, pod: &Pod, again: bool, now: Instant) {
        if self.assumed.get(&pod.key) != Some(&pod.uid) {
            return;
        }
        self.assumed.remove(&pod.key);
        self.snapshot.displace(&pod.key);
        if again {
            self.queue.retry(&pod.key, now);
        } else {
            self.queue.forget(&pod.key);
        }
        self.queue.hear(Events::POD_GONE, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::value;

    const US: &str = "default-scheduler";

    fn node(name: &'static str) -> Value {
        value!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "10"}}})
    }

    fn pod(name: &'static str) -> Value {
        value!({"metadata": {"name": name, "namespace": "d", "uid": name},
            "spec": {"schedulerName": US, "containers": [{"resources": {"requests": {"cpu": "600m"}}}]}})
    }

    fn decide(cluster: &mut Cluster) -> Option<Decision> {
        cluster.decide(&Framework::standard(), &mut |_| 0, Instant::now())
    }

    #[tokio::test]
    async fn an_assumed_pod_takes_room_at_once_and_gives_it_back_if_binding_fails() {
        let (mut cluster, now) = (Cluster::default(), Instant::now());
        cluster.node(&node("n"), now);
        cluster.pod(&pod("a"), US, now);
        cluster.pod(&pod("b"), US, now);
        let Some(Decision::Bind { pod: first, node: at }) = decide(&mut cluster) else {
            panic!("no place")
        };
        assert_eq!(at, "n");
        assert!(
            matches!(decide(&mut cluster), Some(Decision::Refused { .. })),
            "there is no room for two"
        );
        // News of the pod that do not show the binding yet do not bring it back into the queue.
        cluster.pod(&pod("a"), US, now);
        assert!(decide(&mut cluster).is_none());
        cluster.not_bound(&first, false, now);
        assert!(matches!(decide(&mut cluster), Some(Decision::Bind { pod, .. }) if pod.key.name == "b"));
    }

    #[tokio::test]
    async fn pods_of_other_schedulers_and_finished_ones_are_left_alone() {
        let (mut cluster, now) = (Cluster::default(), Instant::now());
        let mut other = pod("a");
        other.at_mut(&["spec"]).insert("schedulerName", "other");
        cluster.pod(&other, US, now);
        let mut finished = pod("b");
        finished.at_mut(&["status"]).insert("phase", "Failed");
        cluster.pod(&finished, US, now);
        assert!(cluster.is_empty());
    }

    #[tokio::test]
    async fn a_heartbeat_wakes_nobody_and_a_new_node_does() {
        let (mut cluster, now) = (Cluster::default(), Instant::now());
        cluster.pod(&pod("a"), US, now);
        assert!(matches!(decide(&mut cluster), Some(Decision::Refused { .. })));
        cluster.node(&node("n"), now);
        assert!(matches!(decide(&mut cluster), Some(Decision::Bind { .. })));
        cluster.pod(&pod("b"), US, now);
        assert!(matches!(decide(&mut cluster), Some(Decision::Refused { .. })));
        cluster.node(&node("n"), now);
        assert!(decide(&mut cluster).is_none());
    }
}
