//! Keys and spans of keys. A key always names its cluster.
//!
//! Inside a cluster a key is the path that upstream's API server uses in etcd
//! (`/registry/<resource>/<namespace>/<name>`), so that both can share an etcd and a cluster can be imported from an
//! etcd snapshot. The parts are checked before they are joined: no part may be empty, `.`, `..` or hold a `/`.

use base::ClusterId;
use bytes::Bytes;
use std::fmt;

/// The longest path in bytes.
pub(crate) const MAX_PATH: usize = 4096;

/// One key of one cluster.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Whose key.
    pub cluster: ClusterId,
    /// The path inside the cluster. Never empty.
    path: Bytes,
}

/// Parts that make no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot be part of a key")]
pub struct KeyError(String);

fn check(part: &str) -> Result<&str, KeyError> {
    let bad = part.is_empty() || part == "." || part == ".." || part.contains('/') || part.contains('\0');
    if bad {
        Err(KeyError(part.chars().take(80).collect()))
    } else {
        Ok(part)
    }
}

fn collection(resource: &str, namespace: Option<&str>) -> Result<String, KeyError> {
    let mut path = String::with_capacity(96);
    path.push_str("/registry/");
    for part in resource.split('/') {
        path.push_str(check(part)?);
        path.push('/');
    }
    if let Some(ns) = namespace {
        path.push_str(check(ns)?);
        path.push('/');
    }
    Ok(path)
}

impl Key {
    /// The key of an object. `resource` is upstream's storage prefix for the kind, such as `pods`, `deployments`,
    /// `services/specs` or `<group>/<plural>` for custom resources.
    pub fn object(
        cluster: &ClusterId,
        resource: &str,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Self, KeyError> {
        let mut path = collection(resource, namespace)?;
        path.push_str(check(name)?);
        Ok(Self {
            cluster: cluster.clone(),
            path: path.into(),
        })
    }

    /// A key as an etcd client wrote it. For the etcd door alone, which takes the cluster from the connection.
    pub fn etcd(cluster: &ClusterId, path: Bytes) -> Result<Self, KeyError> {
        if path.is_empty() || path.len() > MAX_PATH {
            return Err(KeyError(format!("a path of {} bytes", path.len())));
        }
        Ok(Self {
            cluster: cluster.clone(),
            path,
        })
    }

    /// A key that a store gives back: its path was checked when it was written.
    pub fn stored(cluster: &ClusterId, path: Bytes) -> Self {
        Self {
            cluster: cluster.clone(),
            path,
        }
    }

    /// The path inside the cluster.
    pub fn path(&self) -> &Bytes {
        &self.path
    }

    /// The last part of the path: an object's name.
    pub fn name(&self) -> &str {
        let s = std::str::from_utf8(&self.path).unwrap_or("");
        s.rsplit('/').next().unwrap_or("")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.cluster, String::from_utf8_lossy(&self.path))
    }
}

/// A half-open interval of keys of one cluster, `[start, end)`; without an end, everything from `start` on.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Span {
    /// Whose keys.
    pub cluster: ClusterId,
    /// The first path.
    pub start: Bytes,
    /// The path before which it ends; `None`: no end inside the cluster.
    pub end: Option<Bytes>,
}

impl Span {
    /// All objects of a kind, or those of one namespace.
    pub fn collection(
        cluster: &ClusterId,
        resource: &str,
        namespace: Option<&str>,
    ) -> Result<Self, KeyError> {
        Ok(Self::prefix(cluster, collection(resource, namespace)?.into()))
    }

    /// All keys that begin with `prefix`.
    pub fn prefix(cluster: &ClusterId, prefix: Bytes) -> Self {
        let mut end = prefix.to_vec();
        while let Some(last) = end.pop() {
            if last < 0xff {
                end.push(last + 1);
                break;
            }
        }
        let end = if end.is_empty() { None } else { Some(end.into()) };
        Self {
            cluster: cluster.clone(),
            start: prefix,
            end,
        }
    }

    /// Exactly one key.
    pub fn one(key: &Key) -> Self {
        let mut end = key.path.to_vec();
        end.push(0);
        Self {
            cluster: key.cluster.clone(),
            start: key.path.clone(),
            end: Some(end.into()),
        }
    }

    /// The same span from the first key after `path` on: how a paged list goes on.
    pub fn after(&self, path: &[u8]) -> Self {
        let mut start = path.to_vec();
        start.push(0);
        Self {
            cluster: self.cluster.clone(),
            start: start.into(),
            end: self.end.clone(),
        }
    }

    /// Whether a path lies inside.
    pub fn contains(&self, path: &[u8]) -> bool {
        path >= &self.start[..] && self.end.as_ref().is_none_or(|end| path < &end[..])
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.end.as_ref().map(|e| String::from_utf8_lossy(e).into_owned());
        write!(
            f,
            "{}:[{}, {:?})",
            self.cluster,
            String::from_utf8_lossy(&self.start),
            end
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn c() -> ClusterId {
        "a".parse().unwrap()
    }

    #[test]
    fn a_part_can_never_widen_a_key() {
        for bad in ["", ".", "..", "a/b", "a\0"] {
            assert!(Key::object(&c(), "pods", Some(bad), "x").is_err());
            assert!(Key::object(&c(), "pods", Some("ns"), bad).is_err());
        }
        assert!(Key::object(&c(), "apps/../pods", Some("ns"), "x").is_err());
    }

    #[test]
    fn a_namespace_is_not_the_prefix_of_another() {
        let span = Span::collection(&c(), "pods", Some("a")).unwrap();
        let inside = Key::object(&c(), "pods", Some("a"), "x").unwrap();
        let outside = Key::object(&c(), "pods", Some("ab"), "x").unwrap();
        assert!(span.contains(inside.path()) && !span.contains(outside.path()));
        assert!(!span.after(inside.path()).contains(inside.path()));
        assert!(Span::one(&inside).contains(inside.path()));
    }

    #[test]
    fn a_prefix_of_ff_has_no_end() {
        assert_eq!(Span::prefix(&c(), Bytes::from_static(b"\xff\xff")).end, None);
        assert_eq!(
            Span::prefix(&c(), Bytes::from_static(b"a\xff")).end,
            Some(Bytes::from_static(b"b"))
        );
    }
}
