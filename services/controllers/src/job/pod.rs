//! A Job's pod, with its index if it has one.

use super::TRACKING;
use crate::common::{Meta, Object, hash};
use crate::kinds::{Job, Pod};
use crate::replicaset::pod_of;
use api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector};

pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
const VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// The index of a pod.
pub(super) fn index(pod: &Pod) -> Option<i32> {
    pod.annotation(INDEX)?.parse().ok()
}

/// How often the index failed before this pod.
pub(super) fn failures(pod: &Pod) -> i32 {
    pod.annotation(FAILURES).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// A pod of the Job; `index` with the number of failures of that index so far, which are told if they are limited.
pub(super) fn make(job: &Job, index: Option<(i32, Option<i32>)>) -> Pod {
    let template = job.spec.as_ref().map(|s| s.template.clone()).unwrap_or_default();
    let mut pod = pod_of(job, &template);
    let finalizers = pod.metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|f| f == TRACKING) {
        finalizers.push(TRACKING.into());
    }
    let Some((index, failures)) = index else {
        return pod;
    };
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(INDEX.into(), index.to_string());
    if let Some(failures) = failures {
        annotations.insert(FAILURES.into(), failures.to_string());
    }
    pod.metadata
        .labels
        .get_or_insert_default()
        .insert(INDEX.into(), index.to_string());
    let stem = format!("{}-{index}", job.name());
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(format!("{}-{}", &stem[..stem.len().min(57)], hash::suffix(5)));
    let spec = pod.spec.get_or_insert_default();
    if spec.hostname.as_deref().is_none_or(str::is_empty) && stem.len() <= 63 {
        spec.hostname = Some(stem);
    }
    let variable = EnvVar {
        name: VARIABLE.into(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: None,
                field_path: format!("metadata.annotations['{INDEX}']"),
            }),
            ..EnvVarSource::default()
        }),
    };
    for container in spec
        .init_containers
        .iter_mut()
        .flatten()
        .chain(&mut spec.containers)
    {
        let env = container.env.get_or_insert_default();
        if !env.iter().any(|e| e.name == VARIABLE) {
            env.push(variable.clone());
        }
    }
    pod
}
