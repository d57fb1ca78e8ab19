//! Where clusters lie in one etcd.

use base::ClusterId;
use bytes::{BufMut, Bytes, BytesMut};
use store_api::{Error, Key, Span};

/// Where clusters lie in one etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The etcd holds exactly this cluster; keys are as upstream's API server writes them.
    One(ClusterId),
    /// Keys of cluster `c` begin with this prefix, `c` and a colon, which no id contains.
    Prefix(Bytes),
}

impl Layout {
    fn root(&self, cluster: &ClusterId) -> Result<Bytes, Error> {
        match self {
            Self::One(only) if only == cluster => Ok(Bytes::new()),
            Self::One(only) => Err(Error::Other(format!(
                "this etcd holds cluster {only}, not {cluster}"
            ))),
            Self::Prefix(prefix) => {
                let mut root = BytesMut::from(&prefix[..]);
                root.put_slice(cluster.as_str().as_bytes());
                root.put_u8(b':');
                Ok(root.freeze())
            }
        }
    }

    fn join(root: &Bytes, path: &Bytes) -> Bytes {
        if root.is_empty() {
            path.clone()
        } else {
            [&root[..], &path[..]].concat().into()
        }
    }

    /// A key as etcd knows it.
    pub(crate) fn key(&self, key: &Key) -> Result<Bytes, Error> {
        Ok(Self::join(&self.root(&key.cluster)?, key.path()))
    }

    /// A span as etcd knows it: key and range end.
    pub(crate) fn span(&self, span: &Span) -> Result<(Bytes, Bytes), Error> {
        let root = self.root(&span.cluster)?;
        let start = Self::join(&root, &span.start);
        let end = match &span.end {
            Some(end) => Self::join(&root, end),
            None => self.all_of(&span.cluster)?.1,
        };
        // An empty key means something else to etcd; zero is the first key there can be.
        let start = if start.is_empty() {
            Bytes::from_static(b"\0")
        } else {
            start
        };
        Ok((start, end))
    }

    /// Everything of a cluster.
    pub(crate) fn all_of(&self, cluster: &ClusterId) -> Result<(Bytes, Bytes), Error> {
        let root = self.root(cluster)?;
        Ok(if root.is_empty() { zero() } else { prefix(&root) })
    }

    /// Everything of every cluster.
    pub(crate) fn all(&self) -> (Bytes, Bytes) {
        match self {
            Self::One(_) => zero(),
            Self::Prefix(p) if p.is_empty() => zero(),
            Self::Prefix(p) => prefix(p),
        }
    }

    /// Whose key this is, and its path there; `None` if it is nobody's.
    pub(crate) fn read(&self, key: &Bytes) -> Option<Key> {
        match self {
            Self::One(only) => Some(Key::stored(only, key.clone())),
            Self::Prefix(prefix) => {
                let rest = key.strip_prefix(&prefix[..])?;
                let colon = rest.iter().position(|b| *b == b':')?;
                let cluster: ClusterId = std::str::from_utf8(&rest[..colon]).ok()?.parse().ok()?;
                Some(Key::stored(&cluster, key.slice(prefix.len() + colon + 1..)))
            }
        }
    }
}

/// "From the first key to the last" in etcd's words.
fn zero() -> (Bytes, Bytes) {
    (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"))
}

fn prefix(root: &Bytes) -> (Bytes, Bytes) {
    let span = Span::prefix(&ClusterId::management(), root.clone());
    (
        root.clone(),
        span.end.unwrap_or_else(|| Bytes::from_static(b"\0")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_clusters_never_overlap() {
        let layout = Layout::Prefix(Bytes::from_static(b"/marina/"));
        let (a, ab): (ClusterId, ClusterId) = ("a".parse().unwrap(), "ab".parse().unwrap());
        let (from, to) = layout.all_of(&a).unwrap();
        let key = Key::stored(&ab, Bytes::from_static(b"/registry/x"));
        let stored = layout.key(&key).unwrap();
        assert!(stored < from || stored >= to);
        assert_eq!(layout.read(&stored), Some(key));
        assert_eq!(layout.read(&Bytes::from_static(b"/marina/NO:x")), None);
        assert!(
            Layout::One(a)
                .key(&Key::stored(&ab, Bytes::from_static(b"/x")))
                .is_err()
        );
    }
}
