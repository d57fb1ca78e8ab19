//! The node's Lease in `kube-node-lease`: renewed every ten seconds, it is how the control plane knows the node lives.

use crate::k8s::{Lease, LeaseSpec, MicroTime, ObjectMeta};
use base::{Clock, Shutdown};
use client::{Api, Client, Error};
use std::time::Duration;

/// How long a Lease holds, seconds.
const DURATION: i32 = 40;
const RENEW: Duration = Duration::from_secs(10);
/// After a failure.
const RETRY: Duration = Duration::from_secs(1);
const NAMESPACE: &str = "kube-node-lease";

/// Renews until `shutdown`.
pub async fn run(client: Client, node: String, clock: Clock, shutdown: Shutdown) {
    let api = Api::<Lease>::namespaced(&client, NAMESPACE);
    let work = async {
        let mut last: Option<Lease> = None;
        loop {
            let pause = match renew(&api, &node, last.take(), &clock).await {
                Ok(lease) => {
                    last = Some(lease);
                    RENEW
                }
                Err(error) => {
                    tracing::warn!("lease not renewed: {error}");
                    RETRY
                }
            };
            tokio::time::sleep(pause).await;
        }
    };
    shutdown.run_until(work).await;
}

async fn renew(api: &Api<Lease>, node: &str, last: Option<Lease>, clock: &Clock) -> Result<Lease, Error> {
    let now = MicroTime(clock.now());
    let known = match last {
        Some(lease) => Some(lease),
        None => api.get_opt(node).await?,
    };
    match known {
        Some(mut lease) => {
            let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
            spec.holder_identity = Some(node.to_owned());
            spec.lease_duration_seconds = Some(DURATION);
            spec.renew_time = Some(now);
            api.replace(&lease).await
        }
        None => {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(node.to_owned()),
                    namespace: Some(NAMESPACE.to_owned()),
                    ..Default::default()
                },
                spec: Some(LeaseSpec {
                    holder_identity: Some(node.to_owned()),
                    lease_duration_seconds: Some(DURATION),
                    renew_time: Some(now),
                    ..Default::default()
                }),
            };
            api.create(&lease).await
        }
    }
}
