//! Finished Jobs go when their `ttlSecondsAfterFinished` is over.

use crate::common::{Meta, plus, until};
use crate::job::is_finished;
use crate::kinds::Job;
use async_trait::async_trait;
use client::{DeleteParams, Propagation};
use jiff::Timestamp;
use runtime::{Controller, Cx, Error, Key, Next, Wiring};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct TtlAfterFinished;

#[async_trait]
impl Controller for TtlAfterFinished {
    fn name(&self) -> &'static str {
        "ttl-after-finished-controller"
    }

    fn queue(&self) -> &'static str {
        "ttl_jobs_to_delete"
    }

    fn wire(&self, w: &mut Wiring) {
        w.primary::<Job>().writes::<Job>(&["delete"]);
    }

    async fn reconcile(&self, cx: &Cx, key: &Key) -> Result<Next, Error> {
        let Some(at) = cx.this::<Job>()?.as_ref().and_then(expiry) else {
            return Ok(Next::Done);
        };
        if at > cx.now() {
            return Ok(Next::After(until(at, cx.now())));
        }
        // The cache may not show yet that the time was changed.
        let Some(fresh) = cx.api::<Job>(&key.namespace).get_opt(&key.name).await? else {
            return Ok(Next::Done);
        };
        match expiry(&fresh) {
            Some(at) if at <= cx.now() => {
                let version = fresh.metadata.resource_version.clone().unwrap_or_default();
                let params = DeleteParams {
                    propagation_policy: Some(Propagation::Foreground),
                    ..DeleteParams::default()
                };
                cx.delete(&fresh, params.version(version)).await?;
                Ok(Next::Done)
            }
            Some(at) => Ok(Next::After(until(at, cx.now()))),
            None => Ok(Next::Done),
        }
    }
}

/// When a finished Job goes.
fn expiry(job: &Job) -> Option<Timestamp> {
    let seconds = job.spec.as_ref()?.ttl_seconds_after_finished?;
    if !is_finished(job) || job.deleting() {
        return None;
    }
    let status = job.status.as_ref()?;
    let ended = status
        .conditions
        .iter()
        .flatten()
        .find(|c| matches!(c.type_.as_str(), "Complete" | "Failed") && c.status == "True")?;
    Some(plus(ended.last_transition_time.as_ref()?.0, seconds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, object};

    #[test]
    fn the_time_runs_from_the_end_of_the_job() {
        let job = |conditions: &str| {
            object::<Job>(&format!(
                r#"{{"metadata":{{"name":"j"}},"spec":{{"ttlSecondsAfterFinished":60,"template":{{}}}},"status":{{"conditions":[{conditions}]}}}}"#
            ))
        };
        assert_eq!(expiry(&job("")), None);
        let done = r#"{"type":"Failed","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}"#;
        assert_eq!(expiry(&job(done)), Some(at("2026-01-01T00:01:00Z")));
    }
}
