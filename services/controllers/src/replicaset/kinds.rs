//! What ReplicaSet and ReplicationController have in common.

use crate::common::{Meta, Object, nz};
use crate::kinds::{
    PodTemplateSpec, ReplicaSet, ReplicaSetCondition, ReplicaSetStatus, ReplicationController,
    ReplicationControllerCondition, ReplicationControllerStatus, Time,
};
use jiff::Timestamp;
use machinery::selector::{Selector, SelectorError};

/// A condition `ReplicaFailure`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) since: Timestamp,
}

/// The counts of a status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplicaStatus {
    pub(crate) replicas: i32,
    pub(crate) fully_labeled: i32,
    pub(crate) ready: i32,
    pub(crate) available: i32,
    pub(crate) terminating: Option<i32>,
    pub(crate) failure: Option<Failure>,
}

/// A kind that keeps a number of pods of one template.
pub(crate) trait Replicated: Object {
    const CONTROLLER: &'static str;
    /// Its queue's name in metrics.
    const QUEUE: &'static str;
    fn replicas(&self) -> i32;
    fn min_ready(&self) -> i32;
    fn template(&self) -> PodTemplateSpec;
    fn selector(&self) -> Result<Selector, SelectorError>;
    fn observed_generation(&self) -> i64;
    fn replica_status(&self) -> ReplicaStatus;
    fn set_replica_status(&mut self, status: ReplicaStatus);
}

impl Replicated for ReplicaSet {
    const CONTROLLER: &'static str = "replicaset-controller";
    const QUEUE: &'static str = "replicaset";
    fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }
    fn min_ready(&self) -> i32 {
        self.spec.min_ready_seconds.unwrap_or(0)
    }
    fn template(&self) -> PodTemplateSpec {
        self.spec.template.clone().unwrap_or_default()
    }
    fn selector(&self) -> Result<Selector, SelectorError> {
        runtime::selector::of(Some(&self.spec.selector))
    }
    fn observed_generation(&self) -> i64 {
        self.status
            .as_ref()
            .and_then(|s| s.observed_generation)
            .unwrap_or(0)
    }
    fn replica_status(&self) -> ReplicaStatus {
        let s = self.status.clone().unwrap_or_default();
        let failure = s
            .conditions
            .into_iter()
            .flatten()
            .find(|c| c.type_.as_deref() == Some("ReplicaFailure"));
        ReplicaStatus {
            replicas: s.replicas,
            fully_labeled: s.fully_labeled_replicas.unwrap_or(0),
            ready: s.ready_replicas.unwrap_or(0),
            available: s.available_replicas.unwrap_or(0),
            terminating: s.terminating_replicas,
            failure: failure.map(|c| Failure {
                reason: c.reason.unwrap_or_default(),
                message: c.message.unwrap_or_default(),
                since: c.last_transition_time.map_or(Timestamp::UNIX_EPOCH, |t| t.0),
            }),
        }
    }
    fn set_replica_status(&mut self, s: ReplicaStatus) {
        let failure = s.failure.map(|f| ReplicaSetCondition {
            type_: Some("ReplicaFailure".into()),
            status: Some("True".into()),
            reason: Some(f.reason),
            message: Some(f.message),
            last_transition_time: Some(Time(f.since)),
        });
        let old = self.status.take().and_then(|s| s.conditions).unwrap_or_default();
        let conditions: Vec<_> = old
            .into_iter()
            .filter(|c| c.type_.as_deref() != Some("ReplicaFailure"))
            .chain(failure)
            .collect();
        self.status = Some(ReplicaSetStatus {
            replicas: s.replicas,
            fully_labeled_replicas: nz(s.fully_labeled),
            ready_replicas: nz(s.ready),
            available_replicas: nz(s.available),
            terminating_replicas: s.terminating,
            observed_generation: Some(self.generation()),
            conditions: (!conditions.is_empty()).then_some(conditions),
        });
    }
}

impl Replicated for ReplicationController {
    const CONTROLLER: &'static str = "replication-controller";
    const QUEUE: &'static str = "replicationmanager";
    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
    }
    fn min_ready(&self) -> i32 {
        self.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0)
    }
    fn template(&self) -> PodTemplateSpec {
        self.spec
            .as_ref()
            .and_then(|s| s.template.clone())
            .unwrap_or_default()
    }
    fn selector(&self) -> Result<Selector, SelectorError> {
        runtime::selector::of_map(self.spec.as_ref().and_then(|s| s.selector.as_ref()))
    }
    fn observed_generation(&self) -> i64 {
        self.status
            .as_ref()
            .and_then(|s| s.observed_generation)
            .unwrap_or(0)
    }
    fn replica_status(&self) -> ReplicaStatus {
        let s = self.status.clone().unwrap_or_default();
        let failure = s
            .conditions
            .into_iter()
            .flatten()
            .find(|c| c.type_ == "ReplicaFailure");
        ReplicaStatus {
            replicas: s.replicas,
            fully_labeled: s.fully_labeled_replicas.unwrap_or(0),
            ready: s.ready_replicas.unwrap_or(0),
            available: s.available_replicas.unwrap_or(0),
            terminating: None,
            failure: failure.map(|c| Failure {
                reason: c.reason.unwrap_or_default(),
                message: c.message.unwrap_or_default(),
                since: c.last_transition_time.map_or(Timestamp::UNIX_EPOCH, |t| t.0),
            }),
        }
    }
    fn set_replica_status(&mut self, s: ReplicaStatus) {
        let failure = s.failure.map(|f| ReplicationControllerCondition {
            type_: "ReplicaFailure".into(),
            status: "True".into(),
            reason: Some(f.reason),
            message: Some(f.message),
            last_transition_time: Some(Time(f.since)),
        });
        let old = self.status.take().and_then(|s| s.conditions).unwrap_or_default();
        let conditions: Vec<_> = old
            .into_iter()
            .filter(|c| c.type_ != "ReplicaFailure")
            .chain(failure)
            .collect();
        self.status = Some(ReplicationControllerStatus {
            replicas: s.replicas,
            fully_labeled_replicas: nz(s.fully_labeled),
            ready_replicas: nz(s.ready),
            available_replicas: nz(s.available),
            observed_generation: Some(self.generation()),
            conditions: (!conditions.is_empty()).then_some(conditions),
        });
    }
}
