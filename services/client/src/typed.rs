//! Typed access to one kind.

use crate::client::{Client, JSON};
use crate::error::Error;
use crate::params::{DeleteParams, ListParams, LogParams, Patch, WatchParams};
use crate::resource::{Endpoint, Resource};
use crate::transport::Body;
use crate::watch::{self, WatchEvent};
use api::Object;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::Response;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::marker::PhantomData;

/// Calls on one kind, in one namespace or across all.
#[derive(Debug)]
pub struct Api<K> {
    endpoint: Endpoint,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Api<K> {
    fn clone(&self) -> Self {
        Self {
            endpoint: self.endpoint.clone(),
            kind: PhantomData,
        }
    }
}

/// A page of objects.
#[derive(Clone, Debug)]
pub struct ObjectList<K> {
    /// The objects.
    pub items: Vec<K>,
    /// The collection's resource version: where a watch goes on.
    pub resource_version: String,
    /// For the next page; empty on the last.
    pub continue_token: String,
}

#[derive(Deserialize)]
struct WireList<'a> {
    #[serde(default)]
    metadata: WireListMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireListMeta {
    resource_version: String,
    #[serde(rename = "continue")]
    token: String,
}

/// Cuts a list into the bytes of its items.
pub(crate) fn split_list(body: &Bytes) -> Result<ObjectList<Bytes>, Error> {
    let list: WireList<'_> = serde_json::from_slice(body).map_err(|e| Error::Decode(e.to_string()))?;
    let items = list.items.unwrap_or_default();
    Ok(ObjectList {
        items: items
            .into_iter()
            .map(|raw| body.slice_ref(raw.get().as_bytes()))
            .collect(),
        resource_version: list.metadata.resource_version,
        continue_token: list.metadata.token,
    })
}

pub(crate) fn decode<K: Object>(body: &[u8]) -> Result<K, Error> {
    K::decode(body).map_err(|e| Error::Decode(format!("{}: {e}", K::KIND)))
}

impl<K: Object> Api<K> {
    /// All namespaces, or a kind without namespaces.
    pub fn all(client: &Client) -> Self {
        let endpoint = Endpoint {
            client: client.clone(),
            resource: Resource::of::<K>(),
            namespace: None,
        };
        Self {
            endpoint,
            kind: PhantomData,
        }
    }

    /// One namespace. For a kind without namespaces it is ignored.
    pub fn namespaced(client: &Client, namespace: &str) -> Self {
        let mut this = Self::all(client);
        this.endpoint.namespace = (K::NAMESPACED && !namespace.is_empty()).then(|| namespace.to_string());
        this
    }

    fn encode(object: &K) -> Result<Bytes, Error> {
        Ok(Bytes::from(object.encode_json()))
    }

    fn name(object: &K) -> Result<&str, Error> {
        let name = object.meta().name.as_deref();
        name.ok_or_else(|| Error::Call(format!("a {} without a name", K::KIND)))
    }

    /// Reads one object.
    pub async fn get(&self, name: &str) -> Result<K, Error> {
        decode(&self.endpoint.get(name, "", JSON).await?)
    }

    /// Reads one object; `None` if there is none.
    pub async fn get_opt(&self, name: &str) -> Result<Option<K>, Error> {
        match self.get(name).await {
            Ok(object) => Ok(Some(object)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Reads a page (all of it if `params.limit` is 0).
    pub async fn list(&self, params: &ListParams) -> Result<ObjectList<K>, Error> {
        let raw = self.list_raw(params).await?;
        Ok(ObjectList {
            items: raw.items.iter().map(|b| decode(b)).collect::<Result<_, _>>()?,
            resource_version: raw.resource_version,
            continue_token: raw.continue_token,
        })
    }

    /// Reads a page and leaves the objects encoded (JSON, without `kind` and `apiVersion`).
    pub async fn list_raw(&self, params: &ListParams) -> Result<ObjectList<Bytes>, Error> {
        split_list(&self.endpoint.list(params, JSON).await?)
    }

    /// Watches. The stream ends when the server ends it; an error is its last item.
    pub async fn watch(
        &self,
        params: &WatchParams,
    ) -> Result<impl Stream<Item = Result<WatchEvent<K>, Error>> + Send + use<K>, Error> {
        let raw = self.watch_raw(params).await?;
        Ok(raw.map(|event| event?.try_map(|bytes| decode(&bytes))))
    }

    /// Watches and leaves the objects encoded.
    pub async fn watch_raw(
        &self,
        params: &WatchParams,
    ) -> Result<impl Stream<Item = Result<WatchEvent<Bytes>, Error>> + Send + use<K>, Error> {
        Ok(watch::events(
            self.endpoint.watch(params, JSON).await?.into_body(),
        ))
    }

    /// Creates an object and returns it as stored.
    pub async fn create(&self, object: &K) -> Result<K, Error> {
        decode(&self.endpoint.create(Self::encode(object)?, JSON).await?)
    }

    /// Replaces an object; with a resource version in it only that version.
    pub async fn replace(&self, object: &K) -> Result<K, Error> {
        self.replace_subresource("", object).await
    }

    /// Replaces an object's status.
    pub async fn replace_status(&self, object: &K) -> Result<K, Error> {
        self.replace_subresource("status", object).await
    }

    /// Replaces through a sub-resource that takes the same kind (`status`, `finalize`, `approval`, `resize`).
    pub async fn replace_subresource(&self, sub: &str, object: &K) -> Result<K, Error> {
        decode(
            &self
                .endpoint
                .replace(Self::name(object)?, sub, Self::encode(object)?)
                .await?,
        )
    }

    /// Changes an object.
    pub async fn patch(&self, name: &str, patch: &Patch) -> Result<K, Error> {
        self.patch_subresource(name, "", patch).await
    }

    /// Changes an object's status.
    pub async fn patch_status(&self, name: &str, patch: &Patch) -> Result<K, Error> {
        self.patch_subresource(name, "status", patch).await
    }

    /// Changes through a sub-resource that takes the same kind.
    pub async fn patch_subresource(&self, name: &str, sub: &str, patch: &Patch) -> Result<K, Error> {
        decode(&self.endpoint.patch(name, sub, patch, JSON).await?)
    }

    /// Deletes an object. `None`: it is gone; `Some`: it is being deleted (finalizers, grace period).
    pub async fn delete(&self, name: &str, params: &DeleteParams) -> Result<Option<K>, Error> {
        let body = self.endpoint.delete(name, params).await?;
        if is_status(&body) {
            return Ok(None);
        }
        let object: K = decode(&body)?;
        let meta = object.meta();
        let stays = meta.deletion_timestamp.is_some()
            && (meta.finalizers.as_ref().is_some_and(|f| !f.is_empty())
                || meta.deletion_grace_period_seconds.unwrap_or(0) > 0);
        Ok(stays.then_some(object))
    }

    /// Deletes all objects that a list would show.
    pub async fn delete_collection(&self, params: &DeleteParams, which: &ListParams) -> Result<(), Error> {
        self.endpoint.delete_collection(params, which).await.map(drop)
    }

    /// Writes any document to a sub-resource and returns the answer as it is.
    pub async fn create_subresource(
        &self,
        name: &str,
        sub: &str,
        body: &serde_json::Value,
    ) -> Result<serde_json::Value, Error> {
        let answer = self.endpoint.post(name, sub, body.to_string().into()).await?;
        serde_json::from_slice(&answer).map_err(|e| Error::Decode(e.to_string()))
    }

    /// Reads a sub-resource as it is, e.g. `scale`.
    pub async fn get_subresource(&self, name: &str, sub: &str) -> Result<serde_json::Value, Error> {
        let answer = self.endpoint.get(name, sub, JSON).await?;
        serde_json::from_slice(&answer).map_err(|e| Error::Decode(e.to_string()))
    }

    /// Evicts a pod: deletes it if its disruption budgets allow (429 otherwise).
    pub async fn evict(&self, name: &str, options: &DeleteParams) -> Result<(), Error> {
        let options = serde_json::to_value(options).map_err(|e| Error::Call(e.to_string()))?;
        let body = serde_json::json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": { "name": name, "namespace": self.endpoint.namespace },
            "deleteOptions": options,
        });
        self.create_subresource(name, "eviction", &body).await.map(drop)
    }

    /// Binds a pod to a node; with a uid only that very pod.
    pub async fn bind(&self, name: &str, uid: Option<&str>, node: &str) -> Result<(), Error> {
        let body = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": { "name": name, "namespace": self.endpoint.namespace, "uid": uid },
            "target": { "apiVersion": "v1", "kind": "Node", "name": node },
        });
        self.create_subresource(name, "binding", &body).await.map(drop)
    }

    /// Reads a pod's log as a stream of bytes.
    pub async fn logs(&self, name: &str, params: &LogParams) -> Result<Response<Body>, Error> {
        self.endpoint.log(name, params).await
    }
}

/// Whether a body is a `metav1.Status` (the answer to a deletion that finished).
fn is_status(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(default, borrow)]
        kind: std::borrow::Cow<'a, str>,
    }
    serde_json::from_slice::<Kind<'_>>(body).is_ok_and(|k| k.kind == "Status")
}
