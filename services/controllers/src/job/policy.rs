//! `spec.podFailurePolicy`: what a failed pod means for its Job.

use crate::common::Object;
use crate::kinds::{Job, Pod};
use api::batch::v1::PodFailurePolicyOnExitCodesRequirement;
use api::core::v1::ContainerStatus;

/// What the first rule that matches says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The failure counts, as it does without a policy.
    Count,
    /// It does not count.
    Ignore,
    /// The whole Job fails, for this reason.
    FailJob(String),
    /// The pod's index fails.
    FailIndex,
}

pub(super) fn of(job: &Job, pod: &Pod) -> Action {
    let rules = job
        .spec
        .as_ref()
        .and_then(|s| s.pod_failure_policy.as_ref())
        .map(|p| p.rules.as_slice());
    for (at, rule) in rules.unwrap_or_default().iter().enumerate() {
        let matched = if let Some(codes) = &rule.on_exit_codes {
            exited(pod, codes).map(|(container, code)| {
                format!(
                    "Container {container} for pod {}/{} failed with exit code {code} matching {} rule at index {at}",
                    pod.namespace(),
                    pod.name(),
                    rule.action
                )
            })
        } else {
            let patterns = rule.on_pod_conditions.as_deref().unwrap_or_default();
            let conditions = pod
                .status
                .as_ref()
                .and_then(|s| s.conditions.as_deref())
                .unwrap_or_default();
            let found = conditions.iter().find(|c| {
                patterns
                    .iter()
                    .any(|p| p.type_ == c.type_ && p.status.as_deref().unwrap_or("True") == c.status)
            });
            found.map(|c| {
                format!(
                    "Pod {}/{} has condition {} matching {} rule at index {at}",
                    pod.namespace(),
                    pod.name(),
                    c.type_,
                    rule.action
                )
            })
        };
        let Some(message) = matched else { continue };
        return match rule.action.as_str() {
            "Ignore" => Action::Ignore,
            "FailJob" => Action::FailJob(message),
            "FailIndex" => Action::FailIndex,
            _ => Action::Count,
        };
    }
    Action::Count
}

/// The container whose exit code a requirement names.
fn exited(pod: &Pod, wanted: &PodFailurePolicyOnExitCodesRequirement) -> Option<(String, i32)> {
    let status = pod.status.as_ref()?;
    let all = status
        .container_statuses
        .iter()
        .chain(&status.init_container_statuses)
        .flatten();
    let matches = |c: &&ContainerStatus| {
        let code = c
            .state
            .as_ref()
            .and_then(|s| s.terminated.as_ref())
            .map(|t| t.exit_code)
            .filter(|c| *c != 0);
        let named = wanted.container_name.as_ref().is_none_or(|n| *n == c.name);
        named
            && code.is_some_and(|code| match wanted.operator.as_str() {
                "In" => wanted.values.contains(&code),
                "NotIn" => !wanted.values.contains(&code),
                _ => false,
            })
    };
    let found = all.into_iter().find(matches)?;
    Some((
        found.name.clone(),
        found.state.as_ref()?.terminated.as_ref()?.exit_code,
    ))
}
