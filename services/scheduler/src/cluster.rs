//! The scheduler's view of one cluster: what is placed where, and who waits.

use crate::metrics::Metrics;
use crate::queue::{Attempt, Queue};
use machinery::Value;
use scheduling::framework::Events;
use scheduling::{Budget, Framework, Pod, PodKey, Preemption, Snapshot, Unschedulable, preemption};
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
    /// Pods for which others were sent away: their room is kept from whoever matters less.
    nominated: HashMap<PodKey, Nomination>,
    /// Disruption budgets, which preemption spares where it can.
    budgets: HashMap<PodKey, Budget>,
    metrics: Metrics,
}

#[derive(Debug)]
struct Nomination {
    pod: Arc<Pod>,
    node: String,
    victims: Vec<PodKey>,
}

/// What was decided about a pod.
#[derive(Debug)]
pub(crate) enum Decision {
    /// Bind it there; the snapshot has it there already.
    Bind {
        pod: Arc<Pod>,
        node: String,
        attempt: Attempt,
    },
    /// No node will do.
    Refused {
        pod: Arc<Pod>,
        /// For users: the event's and the condition's message.
        message: String,
        /// Pods that are sent away for it.
        preemption: Option<Preemption>,
    },
}

/// What happened, as upstream's metric of queues calls it.
const POD_ASSIGNED: &str = "AssignedPodAdd";
const POD_DELETED: &str = "AssignedPodDelete";

impl Cluster {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self {
            queue: Queue::new(metrics.clone()),
            metrics,
            ..Self::default()
        }
    }

    /// Whether there is nothing to remember.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
            && self.snapshot.nodes().is_empty()
            && self.assumed.is_empty()
            && self.budgets.is_empty()
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
                if !pod.nominated.is_empty() && !self.nominated.contains_key(&pod.key) {
                    // Somebody before us sent others away for it.
                    self.nominate(&pod, pod.nominated.clone(), Vec::new());
                }
                self.queue.offer(pod, now);
            }
            return;
        }
        self.assumed.remove(&pod.key);
        self.nominated.remove(&pod.key);
        self.queue.forget(&pod.key);
        let (node, finished, key) = (pod.node_name.clone(), pod.finished, pod.key.clone());
        let was = self.snapshot.place_of(&key).is_some();
        self.snapshot.place(pod, &node);
        let (events, event) = if finished {
            (Events::POD_GONE, POD_DELETED)
        } else {
            (Events::POD_PLACED, POD_ASSIGNED)
        };
        if finished == was {
            self.queue.hear(events, event, now);
        }
    }

    /// A pod is no more.
    pub(crate) fn pod_gone(&mut self, key: &PodKey, now: Instant) {
        self.assumed.remove(key);
        self.nominated.remove(key);
        self.queue.forget(key);
        if self.snapshot.displace(key) {
            self.queue.hear(Events::POD_GONE, POD_DELETED, now);
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
        let after = facts(&self.snapshot);
        if after != before {
            let event = match (&before, &after) {
                (Some(b), Some(a)) if a.3 != b.3 => "NodeUpdateNodeAllocatable",
                (Some(b), Some(a)) if a.0 != b.0 => "NodeUpdateNodeLabel",
                (Some(_), Some(_)) => "NodeUpdateNodeTaint",
                _ => "NodeAdd",
            };
            self.queue.hear(Events::NODE, event, now);
        }
    }

    /// A node is no more.
    pub(crate) fn node_gone(&mut self, name: &str) {
        self.snapshot.remove_node(name);
    }

    /// A PodDisruptionBudget as it is now.
    pub(crate) fn budget(&mut self, object: &Value) {
        let budget = Budget::read(object);
        self.budgets.insert(budget.key.clone(), budget);
    }

    /// A PodDisruptionBudget is no more.
    pub(crate) fn budget_gone(&mut self, key: &PodKey) {
        self.budgets.remove(key);
    }

    /// Decides on the next active pod.
    pub(crate) fn decide(
        &mut self,
        framework: &Framework,
        dice: &mut dyn FnMut(usize) -> usize,
        now: Instant,
    ) -> Option<Decision> {
        let (pod, attempt) = self.queue.take(now)?;
        let guests = self.keep_room(&pod);
        let placed = self.place(framework, &pod, dice);
        let preempted = match &placed {
            Err(why) if why.nodes > 0 => {
                self.metrics.preempting();
                Some(self.preempt(framework, &pod))
            }
            _ => None,
        };
        for key in &guests {
            self.snapshot.displace(key);
        }
        match placed {
            Ok(node) => {
                self.nominated.remove(&pod.key);
                self.assumed.insert(pod.key.clone(), pod.uid.clone());
                self.snapshot.place(pod.clone(), &node);
                self.queue.hear(Events::POD_PLACED, POD_ASSIGNED, now);
                Some(Decision::Bind { pod, node, attempt })
            }
            Err(why) => {
                let mut message = why.message();
                let mut wakes_on = why.wakes_on;
                let mut preemption = None;
                match preempted {
                    Some(Ok(found)) => {
                        let victims = found.victims.iter().map(|v| v.key.clone()).collect();
                        self.nominate(&pod, found.node.clone(), victims);
                        wakes_on = wakes_on.and(Events::POD_GONE);
                        preemption = Some(found);
                    }
                    // The words of upstream's plugins that are asked in turn.
                    Some(Err(hopeless)) => message += &format!(" no new claims to deallocate, {hopeless}"),
                    None => {}
                }
                self.queue.park(&pod.key, wakes_on, now);
                Some(Decision::Refused {
                    pod,
                    message,
                    preemption,
                })
            }
        }
    }

    fn nominate(&mut self, pod: &Arc<Pod>, node: String, victims: Vec<PodKey>) {
        let nomination = Nomination {
            pod: pod.clone(),
            node,
            victims,
        };
        self.nominated.insert(pod.key.clone(), nomination);
    }

    /// Counts pods that wait for their victims to go as if they were there already, for pods that do not matter more.
    fn keep_room(&mut self, pod: &Pod) -> Vec<PodKey> {
        let counts = |(key, n): &(&PodKey, &Nomination)| **key != pod.key && n.pod.priority >= pod.priority;
        let guests: Vec<_> = self
            .nominated
            .iter()
            .filter(counts)
            .map(|(_, n)| (n.pod.clone(), n.node.clone()))
            .collect();
        guests
            .into_iter()
            .map(|(guest, node)| {
                let key = guest.key.clone();
                self.snapshot.place(guest, &node);
                key
            })
            .collect()
    }

    /// The node kept for the pod if it will do by now, else the best one.
    fn place(
        &mut self,
        framework: &Framework,
        pod: &Pod,
        dice: &mut dyn FnMut(usize) -> usize,
    ) -> Result<String, Unschedulable> {
        if let Some(nomination) = self.nominated.get(&pod.key)
            && let Some(node) = self.snapshot.node(&nomination.node).filter(|n| n.known)
            && framework.fits(pod, &self.snapshot, node).is_ok()
        {
            return Ok(nomination.node.clone());
        }
        framework
            .place(pod, &self.snapshot, &mut self.turn, dice)
            .map(|o| o.node)
    }

    fn preempt(&mut self, framework: &Framework, pod: &Pod) -> Result<Preemption, String> {
        if let Some(n) = self.nominated.get(&pod.key)
            && preemption::is_clearing(framework, pod, &self.snapshot, &n.node, &n.victims)
        {
            return Err("preemption: not eligible due to a terminating pod on the nominated node.".into());
        }
        preemption::find(framework, pod, &mut self.snapshot, self.budgets.values())
    }

    /// The victims could not be sent away: the pod has no claim to the node.
    pub(crate) fn not_preempted(&mut self, pod: &Pod, now: Instant) {
        if self.nominated.remove(&pod.key).is_some() {
            self.queue.retry(&pod.key, now);
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
        self.queue.hear(Events::POD_GONE, POD_DELETED, now);
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
        let Some(Decision::Bind {
            pod: first, node: at, ..
        }) = decide(&mut cluster)
        else {
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
    async fn room_that_victims_leave_is_kept_for_whom_they_left() {
        let (mut cluster, now) = (Cluster::default(), Instant::now());
        let important = |name, priority: i64| {
            let mut pod = pod(name);
            pod.at_mut(&["spec"]).insert("priority", priority);
            pod
        };
        cluster.node(&node("n"), now);
        let mut low = important("low", 1);
        low.at_mut(&["spec"]).insert("nodeName", "n");
        cluster.pod(&low, US, now);
        cluster.pod(&important("high", 10), US, now);
        let Some(Decision::Refused {
            preemption: Some(found),
            ..
        }) = decide(&mut cluster)
        else {
            panic!("nobody is sent away")
        };
        assert_eq!(
            (found.node.as_str(), found.victims[0].key.name.as_str()),
            ("n", "low")
        );
        // The victim is still there: no second one is looked for.
        cluster.node(
            &value!({"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "1100m", "pods": "10"}}}),
            now,
        );
        let Some(Decision::Refused {
            preemption: None,
            message,
            ..
        }) = decide(&mut cluster)
        else {
            panic!("it is not its turn")
        };
        assert!(
            message.ends_with("preemption: not eligible due to a terminating pod on the nominated node.")
        );
        cluster.pod(&important("late", 5), US, now);
        cluster.pod_gone(
            &PodKey {
                namespace: "d".into(),
                name: "low".into(),
            },
            now,
        );
        assert!(
            matches!(decide(&mut cluster), Some(Decision::Refused { pod, .. }) if pod.key.name == "late")
        );
        cluster.queue.tick(now + std::time::Duration::from_secs(60));
        assert!(matches!(decide(&mut cluster), Some(Decision::Bind { pod, .. }) if pod.key.name == "high"));
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
