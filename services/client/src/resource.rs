//! Calls on one resource, on bytes: what the typed and the dynamic access share.

use crate::client::{Call, Client, JSON};
use crate::error::Error;
use crate::params::{DeleteParams, ListParams, Patch, Query, WatchParams, escape};
use crate::transport::Body;
use bytes::Bytes;
use http::{Method, Response};
use std::borrow::Cow;
use std::fmt;

/// A resource of the API: what discovery says and a path needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    /// API group; empty for core.
    pub group: Cow<'static, str>,
    /// API version.
    pub version: Cow<'static, str>,
    /// Kind of its objects.
    pub kind: Cow<'static, str>,
    /// Plural, as paths have it.
    pub plural: Cow<'static, str>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
}

impl Resource {
    /// The resource of a typed kind.
    pub const fn of<K: api::Object>() -> Self {
        Self {
            group: Cow::Borrowed(K::GROUP),
            version: Cow::Borrowed(K::VERSION),
            kind: Cow::Borrowed(K::KIND),
            plural: Cow::Borrowed(K::PLURAL),
            namespaced: K::NAMESPACED,
        }
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The path of a collection, an object or a sub-resource.
    pub fn path(&self, namespace: Option<&str>, name: Option<&str>, sub: &str) -> String {
        let mut path = String::with_capacity(96);
        if self.group.is_empty() {
            path.push_str("/api/");
        } else {
            path.push_str("/apis/");
            escape(&mut path, &self.group);
            path.push('/');
        }
        escape(&mut path, &self.version);
        if let (true, Some(namespace)) = (self.namespaced, namespace) {
            path.push_str("/namespaces/");
            escape(&mut path, namespace);
        }
        path.push('/');
        escape(&mut path, &self.plural);
        if let Some(name) = name {
            path.push('/');
            escape(&mut path, name);
        }
        if !sub.is_empty() {
            path.push('/');
            path.push_str(sub);
        }
        path
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            write!(f, "{}", self.plural)
        } else {
            write!(f, "{}.{}", self.plural, self.group)
        }
    }
}

/// A resource, perhaps in one namespace, through one client; everything as encoded bytes.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) client: Client,
    pub(crate) resource: Resource,
    pub(crate) namespace: Option<String>,
}

impl Endpoint {
    fn at(&self, name: &str, sub: &str) -> Result<String, Error> {
        if name.is_empty() || name == "." || name == ".." {
            return Err(Error::Call(format!("{:?} is no name of {}", name, self.resource)));
        }
        if self.resource.namespaced && self.namespace.is_none() {
            return Err(Error::Call(format!("{} {name} needs a namespace", self.resource)));
        }
        Ok(self.resource.path(self.namespace.as_deref(), Some(name), sub))
    }

    fn collection(&self) -> String {
        self.resource.path(self.namespace.as_deref(), None, "")
    }

    pub(crate) async fn get(&self, name: &str, sub: &str, accept: &str) -> Result<Bytes, Error> {
        self.client
            .call(Call {
                accept,
                ..Call::get(self.at(name, sub)?)
            })
            .await
    }

    pub(crate) async fn list(&self, params: &ListParams, accept: &str) -> Result<Bytes, Error> {
        let mut q = Query::new(self.collection());
        params.query(&mut q);
        self.client
            .call(Call {
                accept,
                ..Call::get(q.finish())
            })
            .await
    }

    pub(crate) async fn watch(&self, params: &WatchParams, accept: &str) -> Result<Response<Body>, Error> {
        let mut q = Query::new(self.collection());
        params.query(&mut q);
        self.client
            .open(Call {
                accept,
                ..Call::get(q.finish())
            })
            .await
    }

    pub(crate) async fn create(&self, body: Bytes, content_type: &str) -> Result<Bytes, Error> {
        if self.resource.namespaced && self.namespace.is_none() {
            return Err(Error::Call(format!(
                "creating {} needs a namespace",
                self.resource
            )));
        }
        let uri = self.collection();
        self.client
            .call(Call {
                method: Method::POST,
                uri,
                content_type,
                accept: JSON,
                body,
            })
            .await
    }

    pub(crate) async fn post(&self, name: &str, sub: &str, body: Bytes) -> Result<Bytes, Error> {
        let uri = self.at(name, sub)?;
        self.client
            .call(Call {
                method: Method::POST,
                uri,
                content_type: JSON,
                accept: JSON,
                body,
            })
            .await
    }

    pub(crate) async fn replace(&self, name: &str, sub: &str, body: Bytes) -> Result<Bytes, Error> {
        let uri = self.at(name, sub)?;
        self.client
            .call(Call {
                method: Method::PUT,
                uri,
                content_type: JSON,
                accept: JSON,
                body,
            })
            .await
    }

    pub(crate) async fn patch(
        &self,
        name: &str,
        sub: &str,
        patch: &Patch,
        accept: &str,
    ) -> Result<Bytes, Error> {
        let mut q = Query::new(self.at(name, sub)?);
        patch.query(&mut q);
        let content_type = patch.content_type();
        let body = patch.body().into();
        self.client
            .call(Call {
                method: Method::PATCH,
                uri: q.finish(),
                content_type,
                accept,
                body,
            })
            .await
    }

    pub(crate) async fn delete(&self, name: &str, params: &DeleteParams) -> Result<Bytes, Error> {
        let uri = self.at(name, "")?;
        let body = params.body().into();
        self.client
            .call(Call {
                method: Method::DELETE,
                uri,
                content_type: JSON,
                accept: JSON,
                body,
            })
            .await
    }

    pub(crate) async fn delete_collection(
        &self,
        params: &DeleteParams,
        which: &ListParams,
    ) -> Result<Bytes, Error> {
        let mut q = Query::new(self.collection());
        which.query(&mut q);
        let body = params.body().into();
        self.client
            .call(Call {
                method: Method::DELETE,
                uri: q.finish(),
                content_type: JSON,
                accept: JSON,
                body,
            })
            .await
    }

    pub(crate) async fn log(&self, name: &str, params: &crate::LogParams) -> Result<Response<Body>, Error> {
        let mut q = Query::new(self.at(name, "log")?);
        params.query(&mut q);
        self.client
            .open(Call {
                accept: "text/plain, */*",
                ..Call::get(q.finish())
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_leaves_its_segment() {
        let pods = Resource {
            group: "".into(),
            version: "v1".into(),
            kind: "Pod".into(),
            plural: "pods".into(),
            namespaced: true,
        };
        assert_eq!(
            pods.path(Some("a/b"), Some("x?y"), "status"),
            "/api/v1/namespaces/a%2Fb/pods/x%3Fy/status"
        );
        assert_eq!(pods.path(None, None, ""), "/api/v1/pods");
    }
}
