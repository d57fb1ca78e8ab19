//! Tags mark whose a resource is; tokens make creation repeatable.

use std::collections::BTreeMap;

/// Key and value pairs on a resource. Clouds limit both to 128 and 256 characters and a resource to 50 of them.
pub type Tags = BTreeMap<String, String>;

/// The tag that holds the id of the cluster a resource belongs to.
pub const TAG_CLUSTER: &str = "marina.dev/cluster";

/// The tag that holds the name of the node pool an instance belongs to.
pub const TAG_NODE_POOL: &str = "marina.dev/node-pool";

/// An idempotency token: chosen by the caller, committed before the call, unique for each intended resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Token(pub String);

impl From<&str> for Token {
    fn from(s: &str) -> Self {
        Self(s.to_owned())
    }
}

/// Whether `tags` has every pair of `filter`. An empty filter matches everything.
pub fn matches_tags(tags: &Tags, filter: &Tags) -> bool {
    filter.iter().all(|(k, v)| tags.get(k) == Some(v))
}
