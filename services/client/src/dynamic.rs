//! Access to kinds that are known only when running: for the garbage collector, namespaces and tools.

use crate::client::{Call, Client, JSON};
use crate::error::Error;
use crate::params::{DeleteParams, ListParams, Patch, WatchParams};
use crate::resource::{Endpoint, Resource};
use crate::typed::{ObjectList, split_list};
use crate::watch::{self, WatchEvent};
use api::ObjectMeta;
use bytes::Bytes;
use futures::Stream;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

const PARTIAL: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const PARTIAL_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// `metav1.PartialObjectMetadata`: any object without its spec and status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Partial {
    /// API version of the object (not of this wrapper), if known.
    pub api_version: String,
    /// Kind of the object, if known.
    pub kind: String,
    /// Its metadata.
    pub metadata: ObjectMeta,
}

/// Calls on one resource whose type is not compiled in. Objects are JSON trees; they should not be kept.
#[derive(Clone, Debug)]
pub struct DynApi {
    endpoint: Endpoint,
}

fn json<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|e| Error::Decode(e.to_string()))
}

impl DynApi {
    /// A resource in one namespace, in all, or without namespaces.
    pub fn new(client: &Client, resource: Resource, namespace: Option<&str>) -> Self {
        let namespace = namespace
            .filter(|ns| resource.namespaced && !ns.is_empty())
            .map(str::to_string);
        Self {
            endpoint: Endpoint {
                client: client.clone(),
                resource,
                namespace,
            },
        }
    }

    /// Reads an object.
    pub async fn get(&self, name: &str) -> Result<serde_json::Value, Error> {
        json(&self.endpoint.get(name, "", JSON).await?)
    }

    /// Reads an object's metadata.
    pub async fn get_partial(&self, name: &str) -> Result<Partial, Error> {
        json(&self.endpoint.get(name, "", PARTIAL).await?)
    }

    /// Reads a page.
    pub async fn list(&self, params: &ListParams) -> Result<ObjectList<serde_json::Value>, Error> {
        Self::page(&self.endpoint.list(params, JSON).await?)
    }

    /// Reads a page of metadata.
    pub async fn list_partial(&self, params: &ListParams) -> Result<ObjectList<Partial>, Error> {
        Self::page(&self.endpoint.list(params, PARTIAL_LIST).await?)
    }

    /// Reads a page and leaves the objects encoded.
    pub async fn list_raw(&self, params: &ListParams) -> Result<ObjectList<Bytes>, Error> {
        split_list(&self.endpoint.list(params, JSON).await?)
    }

    fn page<T: for<'de> Deserialize<'de>>(body: &Bytes) -> Result<ObjectList<T>, Error> {
        let raw = split_list(body)?;
        Ok(ObjectList {
            items: raw.items.iter().map(|b| json(b)).collect::<Result<_, _>>()?,
            resource_version: raw.resource_version,
            continue_token: raw.continue_token,
        })
    }

    /// Watches and leaves the objects encoded.
    pub async fn watch_raw(
        &self,
        params: &WatchParams,
    ) -> Result<impl Stream<Item = Result<WatchEvent<Bytes>, Error>> + Send + use<>, Error> {
        Ok(watch::events(
            self.endpoint.watch(params, JSON).await?.into_body(),
        ))
    }

    /// Creates an object.
    pub async fn create(&self, object: &serde_json::Value) -> Result<serde_json::Value, Error> {
        json(&self.endpoint.create(object.to_string().into(), JSON).await?)
    }

    /// Replaces an object, or one of its sub-resources.
    pub async fn replace(
        &self,
        name: &str,
        sub: &str,
        object: &serde_json::Value,
    ) -> Result<serde_json::Value, Error> {
        json(
            &self
                .endpoint
                .replace(name, sub, object.to_string().into())
                .await?,
        )
    }

    /// Changes an object, or one of its sub-resources.
    pub async fn patch(&self, name: &str, sub: &str, patch: &Patch) -> Result<Partial, Error> {
        json(&self.endpoint.patch(name, sub, patch, PARTIAL).await?)
    }

    /// Deletes an object.
    pub async fn delete(&self, name: &str, params: &DeleteParams) -> Result<(), Error> {
        self.endpoint.delete(name, params).await.map(drop)
    }

    /// Deletes all objects that a list would show.
    pub async fn delete_collection(&self, params: &DeleteParams, which: &ListParams) -> Result<(), Error> {
        self.endpoint.delete_collection(params, which).await.map(drop)
    }
}

/// A resource with its verbs, from discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    /// The resource, in the version its group prefers.
    pub resource: Resource,
    /// What may be done with it.
    pub verbs: Vec<String>,
}

impl Discovered {
    /// Whether a verb is served.
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }
}

/// The resources of a cluster, and whether some group could not be asked.
#[derive(Clone, Debug, Default)]
pub struct Discovery {
    /// Every resource once, in the first (preferred) version that serves it.
    pub resources: Vec<Discovered>,
    /// Group-versions whose server did not answer: their resources may exist but are not listed.
    pub stale: Vec<String>,
}

#[derive(Deserialize)]
struct Groups {
    #[serde(default)]
    items: Vec<Group>,
}
#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    metadata: GroupMeta,
    #[serde(default)]
    versions: Vec<Version>,
}
#[derive(Default, Deserialize)]
struct GroupMeta {
    #[serde(default)]
    name: String,
}
#[derive(Deserialize)]
struct Version {
    version: String,
    #[serde(default)]
    resources: Vec<Entry>,
    #[serde(default)]
    freshness: String,
}
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    resource: String,
    #[serde(default)]
    response_kind: Option<Kind>,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    verbs: Vec<String>,
}
#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    kind: String,
}

/// Asks a cluster what it serves, by aggregated discovery (`apidiscovery.k8s.io/v2`, Kubernetes 1.30 and later).
pub async fn discover(client: &Client) -> Result<Discovery, Error> {
    const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let mut found = Discovery::default();
    for path in ["/api", "/apis"] {
        let body = client
            .call(Call {
                accept: ACCEPT,
                ..Call::get(path.into())
            })
            .await?;
        merge(&mut found, json(&body)?);
    }
    Ok(found)
}

fn merge(found: &mut Discovery, groups: Groups) {
    for group in groups.items {
        let mut seen = std::collections::HashSet::new();
        for version in group.versions {
            if version.freshness == "Stale" {
                found
                    .stale
                    .push(format!("{}/{}", group.metadata.name, version.version));
            }
            for entry in version.resources {
                if !seen.insert(entry.resource.clone()) {
                    continue;
                }
                let resource = Resource {
                    group: Cow::Owned(group.metadata.name.clone()),
                    version: Cow::Owned(version.version.clone()),
                    kind: Cow::Owned(entry.response_kind.map(|k| k.kind).unwrap_or_default()),
                    plural: Cow::Owned(entry.resource),
                    namespaced: entry.scope == "Namespaced",
                };
                found.resources.push(Discovered {
                    resource,
                    verbs: entry.verbs,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discovery_takes_each_resource_once_and_tells_what_is_stale() {
        let text = r#"{"items":[{"metadata":{"name":"apps"},"versions":[
            {"version":"v1","freshness":"Current","resources":[{"resource":"deployments","responseKind":{"kind":"Deployment"},"scope":"Namespaced","verbs":["delete","list"]}]},
            {"version":"v1beta1","freshness":"Stale","resources":[{"resource":"deployments","scope":"Namespaced","verbs":[]}]}]}]}"#;
        let mut found = Discovery::default();
        merge(&mut found, serde_json::from_str(text).unwrap());
        assert_eq!(found.resources.len(), 1);
        assert!(found.resources[0].can("list") && !found.resources[0].can("watch"));
        assert_eq!(found.resources[0].resource.api_version(), "apps/v1");
        assert_eq!(found.stale, ["apps/v1beta1"]);
    }
}
