//! The runtime's events wake the workers of the pods they are about.
//!
//! After a broken stream everything is looked at once more, since events may have been lost; a rare full look guards
//! against a runtime that forgets to tell.

use crate::engine::Engine;
use crate::manager::Manager;
use crate::names::POD_UID;
use base::Shutdown;
use cri::v1::ContainerEventResponse;
use std::time::Duration;
use tokio_stream::StreamExt;

const RECONNECT: Duration = Duration::from_millis(500);
/// Upstream's period of full looks where events work.
const RELIST: Duration = Duration::from_secs(300);

/// The pod an event is about.
fn pod_uid(event: &ContainerEventResponse) -> Option<&str> {
    let sandbox = event.pod_sandbox_status.as_ref();
    let by_sandbox = sandbox
        .and_then(|s| s.metadata.as_ref())
        .map(|m| m.uid.as_str())
        .filter(|u| !u.is_empty());
    by_sandbox.or_else(|| {
        event
            .containers_statuses
            .first()?
            .labels
            .get(POD_UID)
            .map(String::as_str)
    })
}

/// Passes events on until `shutdown`.
pub async fn run(engine: Engine, manager: Manager, shutdown: Shutdown) {
    let work = async {
        loop {
            match engine.events().await {
                Ok(mut stream) => {
                    manager.wake_all();
                    let mut relist = tokio::time::interval(RELIST);
                    relist.reset();
                    loop {
                        tokio::select! {
                            event = stream.next() => match event {
                                Some(Ok(event)) => match pod_uid(&event) {
                                    Some(uid) => manager.wake(uid),
                                    None => manager.wake_all(),
                                },
                                Some(Err(status)) => {
                                    tracing::warn!("the runtime's events broke off: {}", status.message());
                                    break;
                                }
                                None => break,
                            },
                            _ = relist.tick() => manager.wake_all(),
                        }
                    }
                }
                Err(status) => {
                    tracing::debug!("no events from the runtime: {}", status.message());
                    // Without events (an old runtime, or none yet) looking is all there is.
                    manager.wake_all();
                }
            }
            tokio::time::sleep(RECONNECT).await;
        }
    };
    shutdown.run_until(work).await;
}
