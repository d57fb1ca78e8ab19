//! What the kubelet asks the runtime for: a pod's specification as CRI configurations. Pure.

pub mod container;
pub(crate) mod pause_profile;
pub mod sandbox;
pub mod security;

use std::collections::HashMap;

/// Grace period of a pod that names none, seconds (default of `terminationGracePeriodSeconds`).
pub const DEFAULT_GRACE: i64 = 30;

/// The three labels by which every sandbox and container is found again.
pub(crate) fn pod_labels(pod: &crate::k8s::Pod) -> HashMap<String, String> {
    use crate::{k8s, names};
    HashMap::from([
        (names::POD_NAME.to_owned(), k8s::name(&pod.metadata).to_owned()),
        (
            names::POD_NAMESPACE.to_owned(),
            k8s::namespace(&pod.metadata).to_owned(),
        ),
        (names::POD_UID.to_owned(), k8s::uid(&pod.metadata).to_owned()),
    ])
}

/// FNV-1a, 32 bits, hexadecimal: short, stable over versions and machines.
pub fn fnv(parts: &[&str]) -> String {
    let mut hash: u32 = 0x811c_9dc5;
    for part in parts {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    }
    format!("{hash:08x}")
}
