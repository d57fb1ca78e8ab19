//! List and watch of one kind with a field selector, for as long as the kubelet runs.
//!
//! The controllers' informers keep encoded bytes for many clusters; a kubelet has one cluster and wants its few objects
//! decoded. After a broken watch it goes on from the last version, and lists again when that is too old.

use api::Object;
use base::Shutdown;
use client::{Api, Error, ListParams, WatchEvent, WatchParams};
use futures::StreamExt;
use std::collections::HashSet;
use std::time::Duration;

/// What happened.
#[derive(Debug)]
pub enum Change<K> {
    /// It is there, new or changed.
    Put(K),
    /// It is gone; this was its last state, as far as known. The text is `namespace/name`.
    Gone(String),
    /// Everything there is has been delivered.
    Synced,
}

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// `namespace/name` of an object.
pub fn key<K: Object>(object: &K) -> String {
    let m = object.meta();
    format!(
        "{}/{}",
        m.namespace.as_deref().unwrap_or_default(),
        m.name.as_deref().unwrap_or_default()
    )
}

/// Delivers changes to `on` until `shutdown`.
pub async fn run<K: Object>(
    api: Api<K>,
    fields: String,
    shutdown: Shutdown,
    mut on: impl FnMut(Change<K>) + Send,
) {
    let mut known = HashSet::new();
    let work = async {
        let mut pause = FIRST_PAUSE;
        loop {
            match list(&api, &fields, &mut known, &mut on).await {
                Ok(version) => {
                    pause = FIRST_PAUSE;
                    watch(&api, &fields, version, &mut known, &mut on).await;
                }
                Err(error) => {
                    tracing::warn!(kind = K::KIND, "cannot list: {error}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
    };
    shutdown
        .run_until::<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>>(Box::pin(work))
        .await;
}

async fn list<K: Object>(
    api: &Api<K>,
    fields: &str,
    known: &mut HashSet<String>,
    on: &mut (impl FnMut(Change<K>) + Send),
) -> Result<String, Error> {
    let listed = api
        .list(&ListParams {
            field_selector: fields.to_owned(),
            ..Default::default()
        })
        .await?;
    let mut seen = HashSet::new();
    for item in listed.items {
        seen.insert(key(&item));
        on(Change::Put(item));
    }
    for gone in known.difference(&seen) {
        on(Change::Gone(gone.clone()));
    }
    *known = seen;
    on(Change::Synced);
    Ok(listed.resource_version)
}

/// Watches until the place is too old.
async fn watch<K: Object>(
    api: &Api<K>,
    fields: &str,
    mut version: String,
    known: &mut HashSet<String>,
    on: &mut (impl FnMut(Change<K>) + Send),
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let params = WatchParams {
            field_selector: fields.to_owned(),
            resource_version: version.clone(),
            bookmarks: true,
            timeout_seconds: 480 + rand::random::<u32>() % 120,
            ..Default::default()
        };
        let opened = api.watch(&params).await;
        let mut stream = match opened {
            Ok(stream) => Box::pin(stream),
            Err(error) if error.is_gone() => return,
            Err(error) => {
                tracing::debug!(kind = K::KIND, "cannot watch: {error}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
                continue;
            }
        };
        while let Some(event) = stream.next().await {
            let at = |object: &K| object.meta().resource_version.clone().unwrap_or_default();
            match event {
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    pause = FIRST_PAUSE;
                    version = at(&object);
                    known.insert(key(&object));
                    on(Change::Put(object));
                }
                Ok(WatchEvent::Deleted(object)) => {
                    version = at(&object);
                    known.remove(&key(&object));
                    on(Change::Gone(key(&object)));
                }
                Ok(WatchEvent::Bookmark { resource_version, .. }) => version = resource_version,
                Err(error) if error.is_gone() => return,
                Err(error) => {
                    tracing::debug!(kind = K::KIND, "a watch broke: {error}");
                    break;
                }
            }
        }
        if pause > FIRST_PAUSE {
            tokio::time::sleep(pause).await;
        }
        pause = (pause * 2).min(MAX_PAUSE);
    }
}
