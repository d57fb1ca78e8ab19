//! Where events come from: the store across all clusters, or one foreign API server.
//!
//! Reconcilers and caches see [`Message`]s and cannot tell the two apart. A stream begins with the present state, is
//! then told [`Message::Synced`], and goes on with changes until it ends; whoever reads it opens a new one.

use crate::key::Key;
use async_trait::async_trait;
use base::ClusterId;
use bytes::Bytes;
use client::{Client, DynApi, ListParams, Resource, WatchEvent, WatchParams};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use store_api::{AcrossMessage, AcrossRequest, EventKind, Store};

/// One message of a source.
#[derive(Clone, Debug)]
pub enum Message {
    /// An object as it is now (before [`Message::Synced`]) or was changed to.
    Put { key: Key, revision: i64, value: Bytes },
    /// The initial state is complete: whatever was not repeated does not exist any more.
    Synced,
    /// An object was deleted.
    Delete { key: Key, revision: i64 },
    /// Nothing else happened up to here.
    Progress { cluster: ClusterId, revision: i64 },
    /// A cluster has gone.
    ClusterGone { cluster: ClusterId },
}

/// Why a stream could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store_api::Error),
    /// The API server refused.
    #[error(transparent)]
    Client(#[from] client::Error),
}

/// Gives one stream for a kind.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// Opens a stream. It ends when it breaks.
    async fn open(&self, resource: &Resource) -> Result<BoxStream<'static, Message>, SourceError>;
}

/// Where a resource's objects are under `/registry/`: for a built-in kind the table knows upstream's storage prefix,
/// a custom resource has its group and plural.
pub fn storage_prefix(resource: &Resource) -> String {
    let known = api::newest()
        .resources
        .iter()
        .find(|r| r.group == resource.group && r.plural == resource.plural);
    known.map_or_else(
        || format!("{}/{}", resource.group, resource.plural),
        |r| r.storage_prefix.into(),
    )
}

/// The store's watch across clusters.
#[derive(Clone)]
pub struct StoreSource {
    store: Arc<dyn Store>,
    prefix: Arc<dyn Fn(&Resource) -> String + Send + Sync>,
}

impl std::fmt::Debug for StoreSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreSource")
    }
}

impl StoreSource {
    /// All clusters of a store, with objects where upstream keeps them ([`storage_prefix`]).
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            prefix: Arc::new(storage_prefix),
        }
    }
}

/// Namespace and name from a path below `/registry/<prefix>/`.
fn local<'a>(path: &'a [u8], prefix: &str, namespaced: bool) -> Option<(&'a str, &'a str)> {
    let path = std::str::from_utf8(path).ok()?;
    let rest = path
        .strip_prefix("/registry/")?
        .strip_prefix(prefix)?
        .strip_prefix('/')?;
    match rest.split_once('/') {
        Some((namespace, name)) if namespaced && !name.contains('/') => Some((namespace, name)),
        None if !namespaced => Some(("", rest)),
        _ => None,
    }
}

#[async_trait]
impl Source for StoreSource {
    async fn open(&self, resource: &Resource) -> Result<BoxStream<'static, Message>, SourceError> {
        let prefix = (self.prefix)(resource);
        let namespaced = resource.namespaced;
        let request = AcrossRequest {
            resource: prefix.clone(),
            slots: u64::MAX,
        };
        let receiver = self.store.watch_across(request).await?;
        let messages =
            futures::stream::unfold(receiver, |mut r| async move { r.recv().await.map(|m| (m, r)) });
        let messages = messages.take_while(|m| {
            let failed = matches!(m, AcrossMessage::Failed(_));
            if let AcrossMessage::Failed(error) = m {
                tracing::info!(%error, "a watch across clusters ended");
            }
            std::future::ready(!failed)
        });
        let key = move |cluster: &ClusterId, path: &[u8]| {
            local(path, &prefix, namespaced).map(|(ns, name)| Key::new(cluster, ns, name))
        };
        let messages = messages.filter_map(move |message| {
            std::future::ready(match message {
                AcrossMessage::Initial { cluster, record } => {
                    key(&cluster, record.key.path()).map(|key| Message::Put {
                        key,
                        revision: record.mod_revision,
                        value: record.value.clone(),
                    })
                }
                AcrossMessage::Synced { .. } => Some(Message::Synced),
                AcrossMessage::Event(change) => {
                    let record = &change.event.record;
                    let revision = record.mod_revision;
                    key(&change.cluster, record.key.path()).map(|key| match change.event.kind {
                        EventKind::Put => Message::Put {
                            key,
                            revision,
                            value: record.value.clone(),
                        },
                        EventKind::Delete => Message::Delete { key, revision },
                    })
                }
                AcrossMessage::ClusterRemoved { cluster } => Some(Message::ClusterGone { cluster }),
                AcrossMessage::Failed(_) => None,
            })
        });
        Ok(messages.boxed())
    }
}

/// List and watch of one API server: the reflector for a foreign cluster.
#[derive(Clone, Debug)]
pub struct RestSource {
    cluster: ClusterId,
    client: Client,
}

/// Objects in one page of the initial list.
const PAGE: u32 = 500;

impl RestSource {
    /// A cluster behind a client; events carry `cluster` as its name.
    pub fn new(cluster: ClusterId, client: Client) -> Self {
        Self { cluster, client }
    }
}

/// What a reflector picks out of an object to name it.
#[derive(serde::Deserialize)]
struct Named {
    metadata: NamedMeta,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct NamedMeta {
    #[serde(default)]
    namespace: String,
    name: String,
    #[serde(default)]
    resource_version: String,
}

fn name(cluster: &ClusterId, value: &[u8]) -> Option<(Key, i64)> {
    let named: Named = serde_json::from_slice(value).ok()?;
    let revision = named.metadata.resource_version.parse().unwrap_or(0);
    Some((
        Key::new(cluster, &named.metadata.namespace, &named.metadata.name),
        revision,
    ))
}

#[async_trait]
impl Source for RestSource {
    async fn open(&self, resource: &Resource) -> Result<BoxStream<'static, Message>, SourceError> {
        let api = DynApi::new(&self.client, resource.clone(), None);
        let cluster = self.cluster.clone();
        let mut initial = Vec::new();
        let mut params = ListParams {
            limit: PAGE,
            ..ListParams::default()
        };
        let version = loop {
            let page = api.list_raw(&params).await?;
            for value in page.items {
                if let Some((key, revision)) = name(&cluster, &value) {
                    // A page's items share its buffer; the cache must not keep the whole page for one of them.
                    initial.push(Message::Put {
                        key,
                        revision,
                        value: Bytes::copy_from_slice(&value),
                    });
                }
            }
            if page.continue_token.is_empty() {
                break page.resource_version;
            }
            params.continue_token = page.continue_token;
        };
        if let Ok(revision) = version.parse() {
            initial.push(Message::Progress {
                cluster: cluster.clone(),
                revision,
            });
        }
        initial.push(Message::Synced);
        let changes = watch(api, cluster, version);
        Ok(futures::stream::iter(initial).chain(changes).boxed())
    }
}

/// Watches, and watches again from where the last one ended, until the server says that the place is too old.
fn watch(api: DynApi, cluster: ClusterId, version: String) -> impl Stream<Item = Message> + Send {
    struct State {
        api: DynApi,
        cluster: ClusterId,
        version: String,
        stream: Option<BoxStream<'static, Result<WatchEvent<Bytes>, client::Error>>>,
        failures: u32,
    }
    let state = State {
        api,
        cluster,
        version,
        stream: None,
        failures: 0,
    };
    futures::stream::unfold(state, |mut s| async move {
        loop {
            let Some(stream) = &mut s.stream else {
                if s.failures > 0 {
                    let pause = Duration::from_millis(100 << s.failures.min(8));
                    tokio::time::sleep(pause).await;
                }
                let params = WatchParams {
                    resource_version: s.version.clone(),
                    bookmarks: true,
                    timeout_seconds: 300,
                    ..WatchParams::default()
                };
                match s.api.watch_raw(&params).await {
                    Ok(stream) => s.stream = Some(stream.boxed()),
                    Err(error) if error.is_transient() && s.failures < 10 => s.failures += 1,
                    Err(_) => return None,
                }
                continue;
            };
            match stream.next().await {
                None => s.stream = None,
                Some(Err(error)) if error.is_transient() && s.failures < 10 => {
                    s.failures += 1;
                    s.stream = None;
                }
                Some(Err(error)) => {
                    tracing::info!(%error, "a watch ended; listing again");
                    return None;
                }
                Some(Ok(event)) => {
                    s.failures = 0;
                    let message = match event {
                        WatchEvent::Bookmark { resource_version, .. } => {
                            let revision = resource_version.parse().unwrap_or(0);
                            s.version = resource_version;
                            Some(Message::Progress {
                                cluster: s.cluster.clone(),
                                revision,
                            })
                        }
                        WatchEvent::Added(value) | WatchEvent::Modified(value) => name(&s.cluster, &value)
                            .map(|(key, revision)| Message::Put { key, revision, value }),
                        WatchEvent::Deleted(value) => {
                            name(&s.cluster, &value).map(|(key, revision)| Message::Delete { key, revision })
                        }
                    };
                    if let Some(message) = message {
                        if let Message::Put { revision, .. } | Message::Delete { revision, .. } = &message {
                            s.version = revision.to_string();
                        }
                        return Some((message, s));
                    }
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(group: &'static str, plural: &'static str) -> Resource {
        Resource {
            group: group.into(),
            version: "v1".into(),
            kind: "".into(),
            plural: plural.into(),
            namespaced: true,
        }
    }

    #[test]
    fn storage_prefixes_are_upstreams() {
        for (group, plural, want) in [
            ("", "pods", "pods"),
            ("", "nodes", "minions"),
            ("", "services", "services/specs"),
            ("apps", "deployments", "deployments"),
            ("networking.k8s.io", "ingresses", "ingress"),
            ("coordination.k8s.io", "leases", "leases"),
            (
                "apiextensions.k8s.io",
                "customresourcedefinitions",
                "apiextensions.k8s.io/customresourcedefinitions",
            ),
            ("stable.example.com", "widgets", "stable.example.com/widgets"),
            (
                "snapshot.storage.k8s.io",
                "volumesnapshots",
                "snapshot.storage.k8s.io/volumesnapshots",
            ),
        ] {
            assert_eq!(storage_prefix(&resource(group, plural)), want);
        }
    }

    #[test]
    fn a_path_gives_namespace_and_name() {
        assert_eq!(local(b"/registry/pods/ns/a", "pods", true), Some(("ns", "a")));
        assert_eq!(local(b"/registry/minions/a", "minions", false), Some(("", "a")));
        assert_eq!(local(b"/registry/pods/ns/a/b", "pods", true), None);
        assert_eq!(local(b"/registry/podsets/ns/a", "pods", true), None);
    }
}
