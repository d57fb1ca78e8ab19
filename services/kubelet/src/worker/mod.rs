//! One task for each pod: observe, decide, act, report; then wait for news.
//!
//! Acting is done by child tasks (a pull or a grace period may take long), so that the worker always answers to
//! deletion and shows a current status. What is under way is remembered by name and left out of the next plan.
//! Everything else is observed again, so a step may be repeated at any time and a restarted kubelet goes on.

pub mod inbox;
mod message;
mod probing;
mod start;
mod stop;
mod terminate;

use crate::context::Context;
use crate::events::Level;
use crate::k8s::{Pod, uid};
use crate::observed::Observed;
use crate::plan::{KillReason, Memory, Plan, plan};
use crate::status::{Inputs, compute};
use crate::volumes::{PodVolumes, Volumes};
use crate::{config, pods, trace};
use inbox::{Imposed, Inbox};
use jiff::{SignedDuration, Timestamp};
use probing::Probing;
use start::{Start, StartError, Up};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tracing::Span;

/// How often volumes made from API objects are brought up to date.
const REFRESH: SignedDuration = SignedDuration::from_secs(30);
/// Waiting after a sandbox or a volume failed: doubles from the first to the last.
const RETRY: (SignedDuration, SignedDuration) =
    (SignedDuration::from_millis(500), SignedDuration::from_secs(30));

/// What a child task brought about.
enum Done {
    Volumes(Result<PodVolumes, (String, String)>),
    Sandbox(Result<Up, String>),
    Started(String, Result<Box<crate::observed::Instance>, StartError>),
    Hook {
        instance: String,
        container: String,
        result: Result<(), String>,
    },
    Stopped(String),
    TornDown(Result<(), String>),
}

/// One pod's worker.
pub struct Worker {
    cx: Arc<Context>,
    inbox: Inbox,
    pod: Arc<Pod>,
    observed: Arc<Observed>,
    memory: Memory,
    probing: Probing,
    waiting: HashMap<String, (String, String)>,
    image_waits: HashMap<String, Timestamp>,
    volumes: Option<Arc<PodVolumes>>,
    volumes_at: Timestamp,
    tasks: JoinSet<Done>,
    /// What is under way: `sandbox`, `volumes`, `teardown`, `start <name>`, `stop <id>`.
    busy: HashSet<String>,
    hooks: HashSet<String>,
    retry_at: Option<Timestamp>,
    retry_wait: SignedDuration,
    start_time: Timestamp,
    imposed: Option<Imposed>,
    removed: bool,
    dirty: bool,
    cleaned: bool,
    teardown_grace: Option<i64>,
    /// When the kubelet saw the pod, until it runs. For a pod that ran before, nothing is measured.
    starting: Option<std::time::Instant>,
    /// The span of what is being started, from its first step until nothing of it is under way.
    sync: Option<Span>,
}

impl Worker {
    /// A worker for `pod`. `fresh` says that the runtime is known to have nothing of it.
    pub fn new(cx: Arc<Context>, inbox: Inbox, pod: Arc<Pod>, fresh: bool) -> Self {
        let now = cx.clock.now();
        let start_time = pod
            .status
            .as_ref()
            .and_then(|s| s.start_time.as_ref())
            .map_or(now, |t| t.0);
        Self {
            probing: Probing::new(inbox.clone()),
            cx,
            inbox,
            pod,
            observed: Arc::default(),
            memory: Memory::default(),
            waiting: HashMap::new(),
            image_waits: HashMap::new(),
            volumes: None,
            volumes_at: now,
            tasks: JoinSet::new(),
            busy: HashSet::new(),
            hooks: HashSet::new(),
            retry_at: None,
            retry_wait: RETRY.0,
            start_time,
            imposed: None,
            removed: false,
            dirty: !fresh,
            cleaned: false,
            teardown_grace: None,
            starting: fresh.then(base::clock::stopwatch),
            sync: None,
        }
    }

    /// Works until the pod is gone from the API and from the node. Dropping the future leaves the pod running.
    pub async fn run(mut self) {
        tracing::debug!(pod = %start::summary(&self.pod), "worker begins");
        loop {
            self.take_news();
            let next = if pods::is_deleted(&self.pod) || self.removed {
                match self.terminate().await {
                    None => break,
                    Some(wake) => wake,
                }
            } else {
                self.step().await
            };
            self.wait(next).await;
        }
        tracing::debug!(pod = %start::summary(&self.pod), "worker ends");
    }

    fn take_news(&mut self) {
        let news = self.inbox.take();
        if let Some(pod) = news.pod {
            self.pod = pod;
        }
        self.dirty |= news.runtime;
        self.removed |= news.removed;
        if news.imposed.is_some() && self.imposed.is_none() {
            self.imposed = news.imposed;
        }
        for report in news.probes.into_values() {
            self.probing.apply(&report, &mut self.memory);
        }
        if news.refresh {
            self.volumes_at = Timestamp::UNIX_EPOCH;
        }
    }

    /// Waits for news, for a child task, or until `wake`.
    async fn wait(&mut self, wake: Option<Timestamp>) {
        let now = self.cx.clock.now();
        let pause = wake.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO));
        let sleep = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.inbox.wait() => {}
            Some(done) = self.tasks.join_next() => match done {
                Ok(done) => self.take_done(done),
                Err(e) if e.is_cancelled() => {}
                Err(e) => {
                    // A child task that panicked: what it did is found by observing.
                    tracing::error!("a task of pod {} failed: {e}", start::summary(&self.pod));
                    self.busy.clear();
                    self.dirty = true;
                }
            },
            () = sleep => {}
        }
    }

    fn take_done(&mut self, done: Done) {
        let now = self.cx.clock.now();
        match done {
            Done::Volumes(result) => {
                self.busy.remove("volumes");
                match result {
                    Ok(volumes) => {
                        self.volumes = Some(Arc::new(volumes));
                        self.retry_wait = RETRY.0;
                    }
                    Err((volume, why)) => {
                        let text = format!("MountVolume.SetUp failed for volume {volume:?} : {why}");
                        self.cx
                            .events
                            .pod(&self.pod, None, Level::Warning, "FailedMount", text);
                        self.retry_later(now);
                    }
                }
                self.volumes_at = now;
            }
            Done::Sandbox(result) => {
                self.busy.remove("sandbox");
                match result {
                    Ok(up) => {
                        Arc::make_mut(&mut self.observed).add_sandbox(up.sandbox);
                        self.retry_wait = RETRY.0;
                    }
                    Err(why) => {
                        let text = format!("Failed to create pod sandbox: {why}");
                        self.cx
                            .events
                            .pod(&self.pod, None, Level::Warning, "FailedCreatePodSandBox", text);
                        self.dirty = true;
                        self.retry_later(now);
                    }
                }
            }
            Done::Started(name, result) => {
                self.busy.remove(&format!("start {name}"));
                self.take_start(name, result, now);
            }
            Done::Hook {
                instance,
                container,
                result,
            } => {
                self.hooks.remove(&instance);
                match result {
                    Ok(()) => self.probing.hook_done(&instance),
                    Err(why) => {
                        let text = format!("PostStartHook failed: {why}");
                        self.cx.events.pod(
                            &self.pod,
                            Some(&container),
                            Level::Warning,
                            "FailedPostStartHook",
                            text,
                        );
                        self.memory.hook_failed.insert(instance);
                    }
                }
            }
            Done::Stopped(id) => {
                self.busy.remove(&format!("stop {id}"));
                self.dirty = true;
            }
            Done::TornDown(result) => {
                self.busy.remove("teardown");
                let failed = result.is_err();
                if let Err(why) = result {
                    self.cx.events.pod(
                        &self.pod,
                        None,
                        Level::Warning,
                        "FailedKillPod",
                        format!("error killing pod: {why}"),
                    );
                }
                // A runtime that says it stopped everything and did not is not asked again at once, either.
                if failed || self.ends() {
                    self.retry_later(now);
                }
                self.dirty = true;
            }
        }
    }

    fn take_start(
        &mut self,
        name: String,
        result: Result<Box<crate::observed::Instance>, StartError>,
        now: Timestamp,
    ) {
        match result {
            Ok(instance) => {
                self.waiting.remove(&name);
                self.image_waits.remove(&name);
                self.memory.start_failed.remove(&name);
                let id = instance.id.clone();
                Arc::make_mut(&mut self.observed).add_instance(*instance);
                self.post_start(&name, &id);
            }
            Err(error) => {
                match error.until {
                    Some(until) => drop(self.image_waits.insert(name.clone(), until)),
                    // A pull that failed is tried again as soon as its own back-off says; the first time at once,
                    // which then shows the back-off.
                    None if matches!(error.reason, "ErrImagePull") => {
                        self.image_waits
                            .insert(name.clone(), now + SignedDuration::from_secs(1));
                    }
                    None => {
                        self.memory.start_failed.insert(name.clone(), now);
                        // Configuration may be mended any moment: looked at again soon. Others wait longer each time.
                        if matches!(
                            error.reason,
                            "CreateContainerConfigError" | "InvalidImageName" | "ErrImageNeverPull"
                        ) {
                            self.image_waits
                                .insert(name.clone(), now + SignedDuration::from_secs(5));
                            if error.reason == "CreateContainerConfigError" {
                                let text = format!("Error: {}", error.message);
                                self.cx
                                    .events
                                    .pod(&self.pod, Some(&name), Level::Warning, "Failed", text);
                            }
                        } else {
                            self.memory.backoff.next(&name, now);
                        }
                    }
                }
                self.waiting
                    .insert(name, (error.reason.to_owned(), error.message));
                self.dirty = true;
            }
        }
    }

    fn post_start(&mut self, name: &str, id: &str) {
        let Some(container) = config::container::find(&self.pod, name) else {
            return;
        };
        let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.post_start.clone()) else {
            return;
        };
        self.hooks.insert(id.to_owned());
        self.probing.hook_begins(id);
        let (cx, id, name) = (self.cx.clone(), id.to_owned(), name.to_owned());
        let ip = start::pod_ips(&cx, &self.pod, &self.observed)
            .first()
            .cloned()
            .unwrap_or_default();
        self.tasks.spawn(async move {
            let result = stop::hook(&cx, &hook, &container, &id, &ip).await;
            Done::Hook {
                instance: id,
                container: name,
                result,
            }
        });
    }

    fn retry_later(&mut self, now: Timestamp) {
        self.retry_at = now.checked_add(self.retry_wait).ok();
        self.retry_wait = (self.retry_wait + self.retry_wait).min(RETRY.1);
    }

    /// Whether nothing of the pod should run any more.
    fn ends(&self) -> bool {
        pods::is_deleted(&self.pod) || self.removed || self.is_over()
    }

    /// Whether the pod has run its course; it may stay in the API.
    fn is_over(&self) -> bool {
        self.imposed.is_some() || pods::is_terminal(&self.pod)
    }

    /// Looks at the runtime again if there is reason to.
    async fn observe(&mut self) -> Result<(), tonic::Status> {
        if !self.dirty {
            return Ok(());
        }
        let before = self.observed.clone();
        let mut seen = self.cx.engine.observe(uid(&self.pod.metadata), &before).await?;
        for instance in &mut seen.instances {
            let known = before
                .instances
                .iter()
                .find(|b| b.id == instance.id)
                .is_some_and(|b| b.state == instance.state);
            if !known {
                message::fill(instance);
            }
        }
        self.observed = Arc::new(seen);
        self.dirty = false;
        Ok(())
    }

    /// One step of a pod that should run. Returns when to look again at the latest.
    async fn step(&mut self) -> Option<Timestamp> {
        let now = self.cx.clock.now();
        if let Err(status) = self.observe().await {
            tracing::warn!(pod = %start::summary(&self.pod), "runtime not answering: {}", status.message());
            self.dirty = true;
            return Some(now + SignedDuration::from_secs(1));
        }
        self.deadline(now);
        self.probing
            .sync(&self.cx, &self.pod, &self.observed, &mut self.memory);
        let over = self.is_over();
        let mut wake = None;
        if over {
            self.end_pod();
        } else {
            wake = self.act(now);
        }
        self.report(now, over && !self.observed.anything_running());
        if !self.busy.iter().any(|what| is_start(what)) {
            self.sync = None;
        }
        earliest(wake, self.deadline_at())
    }

    /// Makes a span below that of the pod's start, which begins here if it has not.
    fn in_sync(&mut self, make: impl FnOnce() -> Span) -> Span {
        let pod = &self.pod;
        self.sync
            .get_or_insert_with(|| trace::sync_pod(pod))
            .in_scope(make)
    }

    fn measure_start(&mut self, now: Timestamp) {
        let Some(seen) = self.starting.take() else { return };
        let created = self.pod.metadata.creation_timestamp.as_ref().map_or(now, |t| t.0);
        let since_created = Duration::try_from(now.duration_since(created)).unwrap_or(Duration::ZERO);
        let took = seen.elapsed();
        self.cx.metrics.pod_started(took, since_created.max(took));
        tracing::info!(pod = %start::summary(&self.pod), ms = took.as_millis(), "runs");
    }

    fn deadline_at(&self) -> Option<Timestamp> {
        if self.imposed.is_some() {
            return None;
        }
        let seconds = self.pod.spec.as_ref().and_then(|s| s.active_deadline_seconds)?;
        self.start_time
            .checked_add(SignedDuration::from_secs(seconds))
            .ok()
    }

    fn deadline(&mut self, now: Timestamp) {
        if !pods::is_terminal(&self.pod) && self.deadline_at().is_some_and(|at| at <= now) {
            let text = "Pod was active on the node longer than the specified deadline".to_owned();
            self.cx
                .events
                .pod(&self.pod, None, Level::Normal, "DeadlineExceeded", text.clone());
            self.imposed = Some(("Failed".to_owned(), "DeadlineExceeded".to_owned(), text));
        }
    }

    /// Ends everything that still runs of a pod that is over, then frees what it held.
    fn end_pod(&mut self) {
        if self.observed.anything_running() {
            let grace = config::container::grace_period(&self.pod);
            self.teardown(grace);
        } else if !self.busy.contains("teardown") {
            self.free();
        }
    }

    /// Frees the volumes and the control group of a pod that is over; its logs stay until it is deleted.
    fn free(&mut self) {
        if self.cleaned || !self.busy.is_empty() {
            return;
        }
        self.cleaned = true;
        self.volumes = None;
        let (cx, pod) = (self.cx.clone(), self.pod.clone());
        tokio::spawn(async move {
            if let Err(error) = cx.volumes.remove(uid(&pod.metadata)).await {
                tracing::warn!(pod = %start::summary(&pod), "volumes stay: {error}");
            }
            if let Some(groups) = cx.cgroups.clone() {
                let removed = tokio::task::spawn_blocking(move || groups.remove_pod(&pod)).await;
                tracing::trace!(?removed, "control group removed");
            }
        });
    }

    fn teardown(&mut self, grace: i64) {
        if self.busy.contains("teardown") || self.retry_at.is_some_and(|at| at > self.cx.clock.now()) {
            return;
        }
        self.busy.insert("teardown".to_owned());
        self.teardown_grace = Some(grace);
        let work = stop::pod(self.cx.clone(), self.pod.clone(), self.observed.clone(), grace);
        let work = trace::noted(trace::sync_terminating_pod(&self.pod), work);
        self.tasks.spawn(async move { Done::TornDown(work.await) });
    }

    /// Does what the plan says. Returns when to look again.
    fn act(&mut self, now: Timestamp) -> Option<Timestamp> {
        let plan = plan(&self.pod, &self.observed, &self.memory, now);
        let mut wake = plan.waiting.iter().map(|(_, at)| *at).min();
        self.note_waits(&plan);
        let resting = self.retry_at.filter(|at| *at > now);
        if self.retry_at.is_some() && resting.is_none() {
            self.retry_at = None;
        }
        if plan.kill_pod && !self.busy.contains("sandbox") {
            let grace = config::container::grace_period(&self.pod);
            if self.observed.anything_running() {
                self.teardown(grace);
            } else if plan.create_sandbox.is_none() && self.busy.is_empty() {
                self.free();
            }
            return earliest(wake, resting);
        }
        if self.busy.contains("teardown") {
            return wake;
        }
        let needs_volumes = plan.create_sandbox.is_some() || !plan.start.is_empty();
        let stale =
            self.volumes.is_some() && Volumes::refreshes(&self.pod) && self.volumes_at + REFRESH <= now;
        if (needs_volumes && self.volumes.is_none() && resting.is_none() || stale)
            && self.busy.insert("volumes".to_owned())
        {
            let (cx, pod) = (self.cx.clone(), self.pod.clone());
            let facts = cx.facts_for(&start::pod_ips(&cx, &pod, &self.observed));
            // Bringing the volumes of a running pod up to date starts nothing.
            let span = if needs_volumes {
                self.in_sync(trace::mount_volumes)
            } else {
                Span::none()
            };
            let work = async move {
                let mounted = cx.volumes.mount(&pod, &facts).await;
                mounted.map_err(|(volume, e)| (volume, e.to_string()))
            };
            let work = trace::noted(span, work);
            self.tasks.spawn(async move { Done::Volumes(work.await) });
        }
        if let Some(attempt) = plan.create_sandbox {
            if resting.is_none() && self.busy.insert("sandbox".to_owned()) {
                if attempt > 0 {
                    let text = "Pod sandbox changed, it will be killed and re-created.";
                    self.cx
                        .events
                        .pod(&self.pod, None, Level::Normal, "SandboxChanged", text);
                }
                let work = start::sandbox(self.cx.clone(), self.pod.clone(), attempt);
                let work = trace::noted(self.in_sync(|| trace::create_sandbox(attempt)), work);
                self.tasks.spawn(async move { Done::Sandbox(work.await) });
            }
            return earliest(wake, resting);
        }
        for (id, name, reason) in &plan.kill {
            self.kill(id, name, *reason);
        }
        if let Some(volumes) = self.volumes.clone() {
            for name in &plan.start {
                wake = earliest(wake, self.start(name, &volumes, now));
            }
        }
        if self.volumes.is_some() && Volumes::refreshes(&self.pod) {
            wake = earliest(wake, self.volumes_at.checked_add(REFRESH).ok());
        }
        earliest(wake, resting)
    }

    /// What containers wait for, from the plan: crash loops. Other reasons were noted when a start failed.
    fn note_waits(&mut self, plan: &Plan) {
        for (name, _) in &plan.waiting {
            let failed_start = self.memory.start_failed.contains_key(name);
            let wait = self.memory.backoff.wait(name).as_secs();
            let text = format!(
                "back-off {} restarting failed container={name} pod={}",
                human(wait),
                crate::names::pod_text(&self.pod)
            );
            let known = self
                .waiting
                .get(name)
                .is_some_and(|(reason, _)| reason == "CrashLoopBackOff");
            if !failed_start {
                if !known {
                    let text = format!(
                        "Back-off restarting failed container {name} in pod {}",
                        crate::names::pod_text(&self.pod)
                    );
                    self.cx
                        .events
                        .pod(&self.pod, Some(name), Level::Warning, "BackOff", text);
                }
                self.waiting
                    .insert(name.clone(), ("CrashLoopBackOff".to_owned(), text));
            }
        }
    }

    fn start(&mut self, name: &str, volumes: &Arc<PodVolumes>, now: Timestamp) -> Option<Timestamp> {
        if let Some(at) = self.image_waits.get(name) {
            if *at > now {
                return Some(*at);
            }
            self.image_waits.remove(name);
        }
        let container = config::container::find(&self.pod, name)?;
        // The previous instance may still be stopping, its hook running.
        let previous = self
            .observed
            .newest(name)
            .map(|i| i.id.clone())
            .unwrap_or_default();
        if self.busy.contains(&format!("stop {previous}")) || !self.busy.insert(format!("start {name}")) {
            return None;
        }
        if self.observed.newest(name).is_some() {
            // A restart: the next one waits.
            self.memory.backoff.next(name, now);
        }
        let start = Start {
            cx: self.cx.clone(),
            pod: self.pod.clone(),
            container,
            observed: self.observed.clone(),
            volumes: volumes.clone(),
        };
        let name = name.to_owned();
        let span = self.in_sync(|| trace::start_container(&name));
        let metrics = start.cx.metrics.clone();
        let work = trace::noted(span, start::container(start));
        self.tasks.spawn(async move {
            let result = work.await.map(Box::new);
            metrics.container_started(result.is_ok());
            Done::Started(name, result)
        });
        None
    }

    fn kill(&mut self, id: &str, name: &str, reason: KillReason) {
        if !self.busy.insert(format!("stop {id}")) {
            return;
        }
        let container = config::container::find(&self.pod, name);
        let mut grace = config::container::grace_period(&self.pod);
        let message = match reason {
            KillReason::Unhealthy => {
                let probe = self.probing.failed_probe(id);
                let own = container
                    .as_ref()
                    .and_then(|c| probe.of(c))
                    .and_then(|p| p.termination_grace_period_seconds);
                grace = own.unwrap_or(grace);
                let kind = probe.as_str().to_ascii_lowercase();
                format!("Container {name} failed {kind} probe, will be restarted")
            }
            KillReason::Changed => format!("Container {name} definition changed, will be restarted"),
            KillReason::HookFailed => "FailedPostStartHook".to_owned(),
            KillReason::Unknown => {
                format!("Container {name} is in unknown state, try killing it before restart")
            }
            KillReason::NotNeeded => format!("Stopping container {name}"),
        };
        let ip = start::pod_ips(&self.cx, &self.pod, &self.observed)
            .first()
            .cloned()
            .unwrap_or_default();
        let (cx, pod, id) = (self.cx.clone(), self.pod.clone(), id.to_owned());
        self.tasks.spawn(async move {
            if let Err(why) = stop::container(&cx, &pod, container.as_ref(), &id, &ip, grace, message).await {
                tracing::warn!(container = id, "not stopped: {why}");
            }
            Done::Stopped(id)
        });
    }

    /// Computes the status and hands it to the writer.
    fn report(&mut self, now: Timestamp, finished: bool) {
        for (name, (reason, _)) in self.waiting.clone() {
            // A container that runs again waits for nothing.
            if self
                .observed
                .newest(&name)
                .is_some_and(crate::observed::Instance::running)
                && reason != "ImagePullBackOff"
            {
                self.waiting.remove(&name);
            }
        }
        let previous = self
            .cx
            .status
            .get(uid(&self.pod.metadata))
            .or_else(|| self.pod.status.clone());
        let host_ips = self.cx.host_ips();
        let status = compute(&Inputs {
            pod: &self.pod,
            observed: &self.observed,
            previous: previous.as_ref(),
            waiting: &self.waiting,
            started: &self.memory.started,
            ready: self.probing.ready(),
            host_ips: &host_ips,
            start_time: self.start_time,
            now,
            finished,
            imposed: self.imposed.as_ref(),
        });
        if status.phase.as_deref() == Some("Running") {
            self.measure_start(now);
        }
        let set = || self.cx.status.set(&self.pod, status);
        match &self.sync {
            Some(span) => span.in_scope(set),
            None => set(),
        }
    }
}

/// Whether what is under way starts something; see [`Worker::busy`].
fn is_start(busy: &str) -> bool {
    matches!(busy, "volumes" | "sandbox") || busy.starts_with("start ")
}

fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// `10s`, `1m20s`, `5m0s`: as Go writes durations.
fn human(seconds: i64) -> String {
    if seconds < 60 {
        format!("{seconds}s")
    } else {
        format!("{}m{}s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn durations_are_written_as_people_know_them_from_kubernetes() {
        assert_eq!(
            [super::human(10), super::human(80), super::human(300)],
            ["10s", "1m20s", "5m0s"]
        );
    }
}
