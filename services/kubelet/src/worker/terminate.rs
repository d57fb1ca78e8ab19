//! The end of a pod that was deleted: stop everything, say how it ended, free what it held, let the API forget it.

use super::{Worker, start};
use crate::k8s::{Pod, name, namespace, uid};
use crate::{config, pods};
use client::{Api, DeleteParams};
use jiff::{SignedDuration, Timestamp};

/// How long to wait before asking an API server again that did not take the deletion.
const RETRY: SignedDuration = SignedDuration::from_secs(1);

impl Worker {
    /// One step towards the end. `None` when the pod is gone; else when to look again.
    pub(super) async fn terminate(&mut self) -> Option<Option<Timestamp>> {
        let now = self.cx.clock.now();
        self.sync = None;
        self.probing.stopping();
        // A pod that is removed by force gets as little time as was asked for.
        let grace = config::container::grace_period(&self.pod);
        let grace = if self.removed && pods::is_deleted(&self.pod) && grace == 0 {
            1
        } else {
            grace
        };
        if !self.busy.contains("teardown") {
            // Nothing may be started behind the teardown's back.
            self.abort_children().await;
        } else if self.teardown_grace.is_some_and(|before| grace < before) {
            // The grace period was shortened.
            self.abort_children().await;
        }
        if let Err(status) = self.observe().await {
            tracing::warn!(pod = %start::summary(&self.pod), "runtime not answering: {}", status.message());
            self.dirty = true;
            return Some(Some(now + RETRY));
        }
        if self.busy.contains("teardown") {
            self.report(now, false);
            return Some(None);
        }
        if self.observed.anything_running() {
            self.teardown(grace);
            self.report(now, false);
            return Some(self.retry_at.filter(|at| *at > now));
        }
        self.probing.sync(
            &self.cx.clone(),
            &self.pod.clone(),
            &self.observed.clone(),
            &mut self.memory,
        );
        self.report(now, true);
        if let Err(error) = self.cx.volumes.remove(uid(&self.pod.metadata)).await {
            tracing::warn!(pod = %start::summary(&self.pod), "volumes stay: {error}");
            return Some(Some(now + RETRY));
        }
        if !self.removed && !pods::is_static(&self.pod) {
            self.cx.status.settled(uid(&self.pod.metadata)).await;
            if !self.delete().await {
                return Some(Some(now + RETRY));
            }
        }
        self.clean().await;
        None
    }

    /// Ends all child tasks and waits for their end.
    async fn abort_children(&mut self) {
        if self.tasks.is_empty() {
            self.busy.clear();
            return;
        }
        self.tasks.shutdown().await;
        self.busy.clear();
        self.dirty = true;
    }

    /// Has the API forget the pod. Returns whether it has.
    async fn delete(&self) -> bool {
        let meta = &self.pod.metadata;
        let api = Api::<Pod>::namespaced(self.cx.objects.client(), namespace(meta));
        let params = DeleteParams::now().uid(uid(meta));
        match api.delete(name(meta), &params).await {
            // With finalizers left it stays in the API; its node has nothing more to do with it.
            Ok(_) => true,
            Err(e) if e.is_not_found() || e.is_conflict() => true,
            Err(error) => {
                tracing::warn!(pod = %start::summary(&self.pod), "not deleted: {error}");
                false
            }
        }
    }

    /// Removes what is left on the node: sandboxes with their containers, the control group, logs.
    async fn clean(&mut self) {
        for sandbox in &self.observed.sandboxes {
            if let Err(status) = self.cx.engine.remove_sandbox(&sandbox.id).await {
                tracing::warn!(sandbox = sandbox.id, "not removed: {}", status.message());
            }
        }
        self.cx.status.forget(uid(&self.pod.metadata));
        let (cx, pod, observed) = (self.cx.clone(), self.pod.clone(), self.observed.clone());
        let removed = tokio::task::spawn_blocking(move || {
            if let Some(groups) = &cx.cgroups {
                groups.remove_pod(&pod);
            }
            for instance in &observed.instances {
                // The link may never have been made.
                let _absent = std::fs::remove_file(cx.paths.log_link(&pod, &instance.name, &instance.id));
            }
            std::fs::remove_dir_all(cx.paths.pod_log_dir(&pod))
        });
        if let Ok(Err(error)) = removed.await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(pod = %start::summary(&self.pod), "logs stay: {error}");
        }
    }
}
