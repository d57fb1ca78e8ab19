//! The API of Kubernetes as this program serves it: the table of facts, and typed access to objects.
//!
//! The table is imported by `cargo xtask import-api` and committed; nothing here was copied from upstream's code or
//! prose. A [`Catalog`] is made from it once for each minor version and lives as long as the process.

mod kinds;
mod object;
pub mod openapi;
pub mod table;

use std::sync::OnceLock;

pub use machinery::codec::DecodeError;
pub use machinery::{Catalog, Resource, TypeId};
pub use object::Object;

// The types of `k8s-openapi`, so that other crates name only this one: `api::core::v1::Pod`, `api::meta::v1::Condition`.
pub use k8s_openapi;
pub use k8s_openapi::api::{
    admissionregistration, apps, authentication, authorization, autoscaling, batch, certificates,
    coordination, core, discovery, events, flowcontrol, networking, node, policy, rbac, resource, scheduling,
    storage, storagemigration,
};
pub use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions;
pub use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
pub use k8s_openapi::apimachinery::pkg::apis::meta;
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    Condition, LabelSelector, LabelSelectorRequirement, MicroTime, ObjectMeta, OwnerReference, Time,
};
pub use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
pub use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
pub use k8s_openapi::kube_aggregator::pkg::apis::apiregistration;
pub use k8s_openapi::{ByteString, api, apimachinery};

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
    fn typed_objects_are_the_same_in_json_and_protobuf() {
        let text = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","namespace":"b","labels":{"x":"y"},
            "creationTimestamp":"2026-01-02T03:04:05Z"},"spec":{"containers":[{"name":"c","resources":{"limits":
            {"cpu":"1500m"}},"ports":[{"containerPort":80,"protocol":"TCP"}]}],"nodeName":"n","hostNetwork":true},
            "status":{"phase":"Running"}}"#;
        let pod = core::v1::Pod::decode(text.as_bytes()).expect("a pod");
        assert_eq!(
            (pod.name(), pod.namespace(), core::v1::Pod::PLURAL),
            ("a", "b", "pods")
        );
        assert_eq!(pod.spec.as_ref().and_then(|s| s.node_name.as_deref()), Some("n"));
        let bytes = pod.encode_proto().expect("protobuf");
        assert!(bytes.starts_with(b"k8s\0"));
        assert_eq!(core::v1::Pod::decode(&bytes).expect("a pod"), pod);
        assert_eq!(core::v1::Pod::decode(&pod.encode_json()).expect("a pod"), pod);
        assert!(core::v1::Node::decode(&bytes).is_err());
        assert!(core::v1::Pod::decode(b"{\"spec\":{\"containers\":5}}").is_err());
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
