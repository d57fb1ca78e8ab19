//! Election by a Lease object in a foreign cluster, as client-go's `leaderelection` does it.
//!
//! Whoever holds `coordination.k8s.io/v1` Lease acts; the others look every retry period and take over when the
//! holder has not renewed for a lease duration, measured by their own clock from when they saw the record change (so
//! that clocks need not agree). There is no fencing here: upstream has none.

use super::{Claim, Leadership};
use base::clock::rfc3339_micro;
use base::{Clock, ClusterId, Shutdown};
use client::{Client, DynApi, Resource};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How to elect. The defaults are upstream's.
#[derive(Clone, Debug)]
pub struct LeaseOptions {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name, e.g. `kube-controller-manager`.
    pub name: String,
    /// This process.
    pub identity: String,
    /// How long a silent leader stays leader.
    pub duration: Duration,
    /// How long a leader tries to renew before it steps down.
    pub renew_deadline: Duration,
    /// Between two tries.
    pub retry: Duration,
}

impl LeaseOptions {
    /// Upstream's times: 15 s, 10 s, 2 s, in `kube-system`.
    pub fn new(name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: "kube-system".into(),
            name: name.into(),
            identity: identity.into(),
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// Leadership by one Lease for everything in the cluster.
#[derive(Debug)]
pub struct LeaseElection {
    api: DynApi,
    options: LeaseOptions,
    clock: Clock,
    mask: watch::Sender<u64>,
}

impl Leadership for LeaseElection {
    fn claim(&self, _cluster: &ClusterId) -> Claim {
        if *self.mask.borrow() == 0 {
            Claim::NotMine
        } else {
            Claim::Mine(None)
        }
    }
    fn slots(&self) -> watch::Receiver<u64> {
        self.mask.subscribe()
    }
}

impl LeaseElection {
    /// Not leader until [`LeaseElection::run`].
    pub fn new(client: &Client, options: LeaseOptions, clock: Clock) -> Arc<Self> {
        let resource = Resource {
            group: "coordination.k8s.io".into(),
            version: "v1".into(),
            kind: "Lease".into(),
            plural: "leases".into(),
            namespaced: true,
        };
        let client = client.clone().with_deadline(options.renew_deadline / 2);
        let api = DynApi::new(&client, resource, Some(&options.namespace));
        Arc::new(Self {
            api,
            options,
            clock,
            mask: watch::Sender::new(0),
        })
    }

    fn spec(&self, old: Option<&Value>) -> Value {
        let now = rfc3339_micro(self.clock.now());
        let kept = old.filter(|o| o["holderIdentity"] == self.options.identity.as_str());
        let changes = old.and_then(|o| o["leaseTransitions"].as_i64()).unwrap_or(0);
        json!({
            "holderIdentity": self.options.identity,
            "leaseDurationSeconds": self.options.duration.as_secs(),
            "acquireTime": kept.map_or(json!(now), |o| o["acquireTime"].clone()),
            "renewTime": now,
            "leaseTransitions": if kept.is_some() || old.is_none() { changes } else { changes + 1 },
        })
    }

    /// One try. `seen` is the holder's record and when it last changed.
    async fn attempt(&self, seen: &mut Option<(Value, Instant)>) -> Result<bool, client::Error> {
        let mut lease = match self.api.get(&self.options.name).await {
            Ok(lease) => lease,
            Err(e) if e.is_not_found() => {
                let lease = json!({
                    "apiVersion": "coordination.k8s.io/v1",
                    "kind": "Lease",
                    "metadata": { "name": self.options.name, "namespace": self.options.namespace },
                    "spec": self.spec(None),
                });
                return self.api.create(&lease).await.map(|_| true);
            }
            Err(e) => return Err(e),
        };
        let spec = lease["spec"].take();
        let since = match seen {
            Some((old, at)) if *old == spec => *at,
            _ => {
                let now = Instant::now();
                *seen = Some((spec.clone(), now));
                now
            }
        };
        let holder = spec["holderIdentity"].as_str().unwrap_or("");
        let seconds = spec["leaseDurationSeconds"]
            .as_u64()
            .unwrap_or(self.options.duration.as_secs());
        if !holder.is_empty()
            && holder != self.options.identity
            && since.elapsed() < Duration::from_secs(seconds)
        {
            return Ok(false);
        }
        lease["spec"] = self.spec(Some(&spec));
        self.api
            .replace(&self.options.name, "", &lease)
            .await
            .map(|_| true)
    }

    /// Takes part in the election until `shutdown`, then gives the lease back.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let mut seen = None;
        let mut renewed = Instant::now();
        loop {
            let leads = *self.mask.borrow() != 0;
            match self.attempt(&mut seen).await {
                Ok(true) => {
                    renewed = Instant::now();
                    self.mask
                        .send_if_modified(|m| std::mem::replace(m, u64::MAX) == 0);
                }
                Ok(false) => {
                    self.mask.send_if_modified(|m| std::mem::take(m) != 0);
                }
                Err(error) => {
                    tracing::debug!(%error, lease = self.options.name, "leader election");
                    if leads && renewed.elapsed() >= self.options.renew_deadline {
                        self.mask.send_if_modified(|m| std::mem::take(m) != 0);
                    }
                }
            }
            if shutdown
                .run_until(tokio::time::sleep(self.options.retry))
                .await
                .is_none()
            {
                break;
            }
        }
        if self.mask.send_replace(0) != 0
            && let Ok(mut lease) = self.api.get(&self.options.name).await
            && lease["spec"]["holderIdentity"] == self.options.identity.as_str()
        {
            lease["spec"]["holderIdentity"] = json!("");
            lease["spec"]["leaseDurationSeconds"] = json!(1);
            let _best_effort = self.api.replace(&self.options.name, "", &lease).await;
        }
    }
}
