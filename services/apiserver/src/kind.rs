//! The kinds that a cluster version serves, ready to be looked up by path.

use kinds::Rules;
use machinery::{Catalog, Resource, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// One resource in one version, with everything that serving it needs.
#[derive(Clone)]
pub struct Kind {
    /// What discovery says of it.
    pub resource: &'static Resource,
    /// Its rules.
    pub rules: &'static dyn Rules,
    /// The catalog it belongs to.
    pub catalog: &'static Catalog,
    /// The same resource in the version that it is stored in (mostly itself).
    pub storage: &'static Resource,
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.resource.api_version(), self.resource.plural)
    }
}

impl Kind {
    /// API group.
    pub fn group(&self) -> &'static str {
        self.resource.group
    }
    /// Plural.
    pub fn plural(&self) -> &'static str {
        self.resource.plural
    }
    /// Kind.
    pub fn kind(&self) -> &'static str {
        self.resource.kind
    }
    /// Whether this is `group`'s `plural`, in any version.
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.resource.group == group && self.resource.plural == plural
    }
    /// Whether stored objects are in this very version.
    pub fn is_stored_version(&self) -> bool {
        std::ptr::eq(self.resource, self.storage)
    }
    /// Whether discovery lists a verb for the resource or, if not empty, for its sub-resource.
    pub fn allows(&self, subresource: &str, verb: &str) -> bool {
        if subresource.is_empty() {
            return self.resource.verbs.contains(&verb);
        }
        self.subresource(subresource)
            .is_some_and(|s| s.verbs.contains(&verb))
    }
    /// A sub-resource by name.
    pub fn subresource(&self, name: &str) -> Option<&'static machinery::Subresource> {
        self.resource.subresources.iter().find(|s| s.name == name)
    }
    /// What the rules may know.
    pub fn rules_cx<'a>(&self, subresource: &'a str, now: jiff::Timestamp) -> kinds::Cx<'a> {
        kinds::Cx {
            resource: self.resource,
            subresource,
            now,
            minor: self.catalog.minor,
        }
    }
    /// Sets `apiVersion` and `kind` to those of the request's version.
    pub fn stamp(&self, object: &mut Value) {
        if let Value::Map(map) = object {
            map.insert("apiVersion", self.resource.api_version());
            map.insert("kind", self.resource.kind);
        }
    }
}

/// All kinds of one minor version.
#[derive(Debug)]
pub struct KindTable {
    /// The catalog.
    pub catalog: &'static Catalog,
    /// By plural; few groups share one.
    by_plural: HashMap<&'static str, Vec<Arc<Kind>>>,
}

impl KindTable {
    /// Builds the table of a catalog.
    pub fn new(catalog: &'static Catalog) -> Self {
        let mut by_plural: HashMap<&'static str, Vec<Arc<Kind>>> = HashMap::new();
        for resource in &catalog.resources {
            let storage = catalog
                .resources
                .iter()
                .find(|r| {
                    r.storage_prefix == resource.storage_prefix && r.api_version() == resource.storage_version
                })
                .unwrap_or(resource);
            let kind = Arc::new(Kind {
                resource,
                rules: crate::codec::rules(resource),
                catalog,
                storage,
            });
            by_plural.entry(resource.plural).or_default().push(kind);
        }
        Self { catalog, by_plural }
    }

    /// By group, version and plural.
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.by_plural
            .get(plural)?
            .iter()
            .find(|k| k.resource.group == group && k.resource.version == version)
    }

    /// By group and plural, in the version that is stored.
    pub fn stored(&self, group: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.by_plural
            .get(plural)?
            .iter()
            .find(|k| k.resource.group == group && k.is_stored_version())
    }

    /// Whether a group and version has any resource.
    pub fn has_version(&self, group: &str, version: &str) -> bool {
        self.by_plural
            .values()
            .flatten()
            .any(|k| k.resource.group == group && k.resource.version == version)
    }
}
