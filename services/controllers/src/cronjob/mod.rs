//! CronJobs: a Job at each time of a schedule.
//!
//! The name of a Job is made from its scheduled minute, so that two controllers, or one that forgot, cannot start the
//! same one twice. Schedules are those of `robfig/cron` v3 ([`schedule`]), in a time zone of their own or UTC.

mod plan;
mod schedule;

use crate::common::claim::is_controlled_by;
use crate::common::{Object, until};
use crate::kinds::{CronJob, Job};
use async_trait::async_trait;
use client::DeleteParams;
use runtime::{Controller, Cx, Error, EventType, Key, Next, Wiring};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct CronJobs;

#[async_trait]
impl Controller for CronJobs {
    fn name(&self) -> &'static str {
        "cronjob-controller"
    }

    fn queue(&self) -> &'static str {
        "cronjob"
    }

    fn wire(&self, w: &mut Wiring) {
        w.primary::<CronJob>().owns::<CronJob, Job>();
        w.writes::<Job>(&["create", "delete"])
            .writes::<CronJob>(&["update"]);
    }

    async fn reconcile(&self, cx: &Cx, key: &Key) -> Result<Next, Error> {
        let Some(cron) = cx.this::<CronJob>()? else {
            return Ok(Next::Done);
        };
        let jobs: Vec<Job> = cx.owned(cron.uid())?;
        let jobs: Vec<Job> = jobs
            .into_iter()
            .filter(|j| is_controlled_by(j, cron.uid()) && j.namespace() == &*key.namespace)
            .collect();
        let mut plan = plan::decide(&cron, &jobs, cx.now());
        for (kind, reason, message) in plan.events.drain(..) {
            cx.event(&cron, kind, reason, message);
        }
        for job in plan.delete.iter().chain(&plan.replace) {
            cx.delete(job, DeleteParams::background()).await?;
            cx.event(
                &cron,
                EventType::Normal,
                "SuccessfulDelete",
                format!("Deleted job {}", job.name()),
            );
        }
        if let Some(job) = plan.create.take() {
            match cx.create(&*job).await {
                Ok(made) => {
                    cx.event(
                        &cron,
                        EventType::Normal,
                        "SuccessfulCreate",
                        format!("Created job {}", made.name()),
                    );
                    plan.started(&made);
                }
                // Started before; only the status was not written.
                Err(e) if e.is_already_exists() => {}
                Err(e) if e.is_namespace_terminating() => return Ok(Next::Done),
                Err(e) => {
                    cx.event(
                        &cron,
                        EventType::Warning,
                        "FailedCreate",
                        format!("Error creating job: {e}"),
                    );
                    return Err(e.into());
                }
            }
        }
        if cron.status.clone().unwrap_or_default() != plan.status {
            let mut new = cron.clone();
            new.status = Some(plan.status);
            cx.replace_status(&new).await?;
        }
        Ok(plan
            .look_at
            .map_or(Next::Done, |at| Next::After(until(at, cx.now()))))
    }
}
