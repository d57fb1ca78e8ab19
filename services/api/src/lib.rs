//! The API of Kubernetes as this program serves it: the table of facts, and typed access to objects.
//!
//! The table is imported by `cargo xtask import-api` and committed; nothing here was copied from upstream's code or
//! prose. A [`Catalog`] is made from it once for each minor version and lives as long as the process.

mod object;
pub mod table;

use std::sync::OnceLock;

pub use k8s_openapi;
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
pub use machinery::{Catalog, Resource, TypeId};
pub use object::{DecodeError, Object};

static TABLE: &str = include_str!("../table/kubernetes.txt");

/// The oldest minor version that clusters can have.
pub const OLDEST_MINOR: u32 = 36;
/// The newest minor version that clusters can have.
pub const NEWEST_MINOR: u32 = 37;

/// What a minor version serves; `None` if it is not supported. Read at the first call, then shared.
pub fn catalog(minor: u32) -> Option<&'static Catalog> {
    static CATALOGS: [OnceLock<Catalog>; (NEWEST_MINOR - OLDEST_MINOR + 1) as usize] =
        [const { OnceLock::new() }; (NEWEST_MINOR - OLDEST_MINOR + 1) as usize];
    let slot = CATALOGS.get(minor.checked_sub(OLDEST_MINOR)? as usize)?;
    Some(slot.get_or_init(|| table::read(TABLE, minor).expect("a test reads the committed table")))
}

/// The newest catalog.
pub fn newest() -> &'static Catalog {
    catalog(NEWEST_MINOR).expect("the newest minor version is supported")
}

/// All catalogs, oldest first.
pub fn catalogs() -> impl Iterator<Item = &'static Catalog> {
    (OLDEST_MINOR..=NEWEST_MINOR).filter_map(catalog)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_minor_version_reads_and_knows_its_pods() {
        assert_eq!(table::minors(TABLE), Some(OLDEST_MINOR..=NEWEST_MINOR));
        for catalog in catalogs() {
            let pods = catalog.resource("", "v1", "pods").expect("pods");
            assert_eq!(catalog.ty(pods.ty).name, "io.k8s.api.core.v1.Pod");
            assert!(
                pods.subresources
                    .iter()
                    .any(|s| s.name == "eviction" && s.group == "policy")
            );
            let spec = catalog.ty(catalog.by_name["io.k8s.api.core.v1.PodSpec"]);
            assert_eq!(
                spec.field("containers")
                    .map(|f| (f.number, f.omit_empty, f.map_keys.clone())),
                Some((Some(2), false, vec!["name"]))
            );
            assert_eq!(spec.field("nothing").map(|f| f.name), None);
        }
    }

    #[test]
    fn newer_resources_and_fields_are_only_in_newer_minor_versions() {
        let (old, new) = (catalog(36).expect("36"), catalog(37).expect("37"));
        let trust = |c: &Catalog| {
            c.resource("certificates.k8s.io", "v1", "clustertrustbundles")
                .is_some()
        };
        assert!(!trust(old) && trust(new));
        let field = |c: &Catalog| {
            c.ty(c.by_name["io.k8s.api.core.v1.PodSpec"])
                .field("evictionResponders")
                .is_some()
        };
        assert!(!field(old) && field(new));
        assert!(catalog(12).is_none() && catalog(99).is_none());
    }
}
