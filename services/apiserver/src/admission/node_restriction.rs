//! NodeRestriction: a kubelet writes its own node and the pods on it, and takes tokens for those pods only.
//!
//! What nodes may read is narrowed by the Node authorizer. Facts: Kubernetes documentation, "NodeRestriction".

use super::{Attempt, Operation, Plugin, certificates, pods};
use crate::kind::Kind;
use crate::status::{ApiError, Result};
use async_trait::async_trait;
use machinery::Value;
use machinery::quote::go_quote;
use std::collections::BTreeSet;

/// The plugin.
pub(super) struct NodeRestriction;

/// Labels under `kubernetes.io` and `k8s.io` that a kubelet may set on its own node.
const KUBELET_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];
/// Prefixes whose labels a kubelet may set.
const KUBELET_PREFIXES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
/// The prefix that is kept from kubelets so that workloads can be isolated by it.
const RESTRICTED: &str = "node-restriction.kubernetes.io";

#[async_trait]
impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn handles(&self, _operation: Operation, kind: &Kind, subresource: &str) -> bool {
        matches!(
            (kind.group(), kind.plural(), subresource),
            ("", "pods", "" | "status" | "eviction" | "resize")
                | ("", "nodes", _)
                | ("", "persistentvolumeclaims", "status")
                | ("", "serviceaccounts", "token")
                | ("coordination.k8s.io", "leases", "")
                | ("storage.k8s.io", "csinodes", "")
                | ("resource.k8s.io", "resourceslices", "")
                | ("certificates.k8s.io", "certificatesigningrequests", "")
        )
    }

    async fn validate(&self, attempt: &Attempt<'_>) -> Result<()> {
        let Some(node) = attempt.cx.user.node_name() else {
            return Ok(());
        };
        if node.is_empty() {
            let why = format!(
                "could not determine node from user {}",
                go_quote(&attempt.cx.user.name)
            );
            return Err(attempt.forbidden(&why));
        }
        let no = |why: String| Err(attempt.forbidden(&why));
        match (attempt.kind.plural(), attempt.subresource, attempt.operation) {
            ("pods", "", Operation::Create) => create_pod(attempt, node).await,
            ("pods", "", Operation::Delete) if on_node(attempt.old, node) => Ok(()),
            ("pods", "", Operation::Delete) => no(format!(
                "node {} can only delete pods with spec.nodeName set to itself",
                go_quote(node)
            )),
            ("pods", "status", Operation::Update) => pod_status(attempt, node),
            ("pods", "eviction", _) => evict(attempt, node).await,
            ("pods", _, operation) => no(format!(
                "unexpected operation {}, node {} can only create and delete mirror pods",
                go_quote(operation.as_str()),
                go_quote(node)
            )),
            ("nodes", ..) => own_node(attempt, node),
            ("persistentvolumeclaims", ..) => claim_status(attempt, node),
            ("serviceaccounts", ..) => token(attempt, node).await,
            ("leases", ..) => lease(attempt, node),
            ("csinodes", ..) if attempt.name == node => Ok(()),
            ("csinodes", ..) => no(format!(
                "can only access CSINode with the same name as the requesting node: {}",
                go_quote(node)
            )),
            ("resourceslices", ..) => slice(attempt, node),
            ("certificatesigningrequests", "", Operation::Create) => signing_request(attempt, node),
            _ => Ok(()),
        }
    }
}

fn on_node(pod: &Value, node: &str) -> bool {
    pod.str_at(&["spec", "nodeName"]) == Some(node)
}

async fn create_pod(attempt: &Attempt<'_>, node: &str) -> Result<()> {
    let no = |why: String| Err(attempt.forbidden(&why));
    let (pod, quoted) = (&attempt.object, go_quote(node));
    if !pods::is_mirror(pod) {
        let mirror = go_quote(pods::MIRROR);
        return no(format!(
            "pod does not have {mirror} annotation, node {quoted} can only create mirror pods"
        ));
    }
    if !on_node(pod, node) {
        return no(format!(
            "node {quoted} can only create pods with spec.nodeName set to itself"
        ));
    }
    let [owner] = pod.list_at(&["metadata", "ownerReferences"]) else {
        return no(format!(
            "node {quoted} can only create pods with a single owner reference set to itself"
        ));
    };
    let is = |field: &'static str, text: &str| owner.str_at(&[field]) == Some(text);
    if !(is("apiVersion", "v1") && is("kind", "Node") && is("name", node)) {
        return no(format!(
            "node {quoted} can only create pods with an owner reference set to itself"
        ));
    }
    if owner["controller"].as_bool() != Some(true) {
        return no(format!(
            "node {quoted} can only create pods with a controller owner reference set to itself"
        ));
    }
    if owner["blockOwnerDeletion"].as_bool() == Some(true) {
        return no(format!(
            "node {quoted} must not set blockOwnerDeletion on an owner reference"
        ));
    }
    let Some(own) = attempt.reader.get("", "nodes", "", node).await? else {
        return Err(ApiError::not_found("", "nodes", node));
    };
    let (given, actual) = (
        owner.str_at(&["uid"]).unwrap_or_default(),
        own.str_at(&["metadata", "uid"]),
    );
    if Some(given) != actual {
        let actual = actual.unwrap_or_default();
        return no(format!("node {node} UID mismatch: expected {given} got {actual}"));
    }
    match pods::referenced_object(&pod["spec"]) {
        Some(plural) => no(format!(
            "node {quoted} can not create pods that reference {plural}"
        )),
        None => Ok(()),
    }
}

fn pod_status(attempt: &Attempt<'_>, node: &str) -> Result<()> {
    let quoted = go_quote(node);
    if !on_node(attempt.old, node) {
        let why =
            format!("node {quoted} can only update pod status for pods with spec.nodeName set to itself");
        return Err(attempt.forbidden(&why));
    }
    if labels(&attempt.object) != labels(attempt.old) {
        return Err(attempt.forbidden(&format!("node {quoted} cannot update labels through pod status")));
    }
    let claims = |pod: &Value| pod.at(&["status", "resourceClaimStatuses"]).clone();
    if claims(&attempt.object) != claims(attempt.old) {
        return Err(attempt.forbidden(&format!("node {quoted} cannot update resource claim statuses")));
    }
    Ok(())
}

async fn evict(attempt: &Attempt<'_>, node: &str) -> Result<()> {
    let pod = attempt
        .reader
        .get("", "pods", attempt.namespace, attempt.name)
        .await?;
    let Some(pod) = pod else {
        return Err(ApiError::not_found("", "pods", attempt.name));
    };
    if on_node(&pod, node) {
        return Ok(());
    }
    let why = format!(
        "node {} can only evict pods with spec.nodeName set to itself",
        go_quote(node)
    );
    Err(attempt.forbidden(&why))
}

type Labels<'v> = std::collections::BTreeMap<&'v str, &'v str>;

fn labels(object: &Value) -> Labels<'_> {
    let map = object.at(&["metadata", "labels"]).as_map();
    map.into_iter()
        .flat_map(machinery::Map::iter)
        .filter_map(|(k, v)| Some((k, v.as_str()?)))
        .collect()
}

/// Labels that differ and that a kubelet may not set.
fn forbidden_labels<'v>(new: &Labels<'v>, old: &Labels<'v>) -> BTreeSet<&'v str> {
    let keys: BTreeSet<&str> = new.keys().chain(old.keys()).copied().collect();
    keys.into_iter()
        .filter(|k| new.get(k) != old.get(k))
        .filter(|k| is_forbidden(k))
        .collect()
}

fn is_forbidden(label: &str) -> bool {
    let Some((namespace, _)) = label.split_once('/') else {
        return false;
    };
    let under = |domain: &str| {
        namespace == domain
            || namespace
                .strip_suffix(domain)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    if under(RESTRICTED) {
        return true;
    }
    (under("kubernetes.io") || under("k8s.io"))
        && !KUBELET_LABELS.contains(&label)
        && !KUBELET_PREFIXES.iter().any(|p| under(p))
}

fn own_node(attempt: &Attempt<'_>, node: &str) -> Result<()> {
    let no = |why: String| Err(attempt.forbidden(&why));
    let quoted = go_quote(node);
    if attempt.name != node {
        return no(format!(
            "node {quoted} is not allowed to modify node {}",
            go_quote(attempt.name)
        ));
    }
    let (new, old) = (&attempt.object, attempt.old);
    let list = |set: BTreeSet<&str>| set.into_iter().collect::<Vec<_>>().join(", ");
    match attempt.operation {
        Operation::Create => {
            if !new.at(&["spec", "configSource"]).is_null() {
                return no(format!(
                    "node {quoted} is not allowed to create pods with a non-nil configSource"
                ));
            }
            let bad = forbidden_labels(&labels(new), &Labels::new());
            if !bad.is_empty() {
                return no(format!(
                    "node {quoted} is not allowed to set the following labels: {}",
                    list(bad)
                ));
            }
        }
        Operation::Update => {
            let config = new.at(&["spec", "configSource"]);
            if !config.is_null() && config != old.at(&["spec", "configSource"]) {
                return no(format!(
                    "node {quoted} is not allowed to update configSource to a new non-nil configSource"
                ));
            }
            if new.list_at(&["spec", "taints"]) != old.list_at(&["spec", "taints"]) {
                return no(format!("node {quoted} is not allowed to modify taints"));
            }
            let owners = ["metadata", "ownerReferences"];
            if new.list_at(&owners) != old.list_at(&owners) {
                return no(format!("node {quoted} is not allowed to modify ownerReferences"));
            }
            let bad = forbidden_labels(&labels(new), &labels(old));
            if !bad.is_empty() {
                return no(format!("is not allowed to modify labels: {}", list(bad)));
            }
        }
        Operation::Delete | Operation::Connect => {}
    }
    Ok(())
}

fn claim_status(attempt: &Attempt<'_>, node: &str) -> Result<()> {
    let bare = |object: &Value| {
        let mut object = object.clone();
        let status = object.at_mut(&["status"]);
        for field in [
            "capacity",
            "conditions",
            "allocatedResourceStatuses",
            "allocatedResources",
        ] {
            status.remove(field);
        }
        let meta = object.at_mut(&["metadata"]);
        meta.remove("resourceVersion");
        meta.remove("managedFields");
        object
    };
    if bare(&attempt.object) == bare(attempt.old) {
        return Ok(());
    }
    Err(attempt.forbidden(&format!(
        "node {} is not allowed to update fields other than status.quantity and status.conditions",
        go_quote(node)
    )))
}

async fn token(attempt: &Attempt<'_>, node: &str) -> Result<()> {
    let no = |why: &str| Err(attempt.forbidden(why));
    let bound = attempt.object.at(&["spec", "boundObjectRef"]);
    let text = |field: &'static str| bound.str_at(&[field]).unwrap_or_default();
    if text("apiVersion") != "v1" || text("kind") != "Pod" || text("name").is_empty() {
        return no("node requested token not bound to a pod");
    }
    if text("uid").is_empty() {
        return no("node requested token with a pod binding without a uid");
    }
    let Some(pod) = attempt
        .reader
        .get("", "pods", attempt.namespace, text("name"))
        .await?
    else {
        return Err(ApiError::not_found("", "pods", text("name")));
    };
    let uid = text("uid");
    if pod.str_at(&["metadata", "uid"]) != Some(uid) {
        return no(&format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have \
             been deleted and then recreated"
        ));
    }
    if !on_node(&pod, node) {
        return no("node requested token bound to a pod scheduled on a different node");
    }
    Ok(())
}

fn lease(attempt: &Attempt<'_>, node: &str) -> Result<()> {
    if attempt.namespace != "kube-node-lease" {
        return Err(attempt.forbidden("can only access leases in the \"kube-node-lease\" system namespace"));
    }
    if attempt.name != node {
        let why = format!(
            "can only access node lease with the same name as the requesting node: {}",
            go_quote(node)
        );
        return Err(attempt.forbidden(&why));
    }
    Ok(())
}

fn slice(attempt: &Attempt<'_>, node: &str) -> Result<()> {
    let seen = if attempt.operation == Operation::Delete {
        attempt.old
    } else {
        &attempt.object
    };
    if on_node(seen, node) {
        return Ok(());
    }
    Err(attempt.forbidden("can only access ResourceSlice with the same spec.nodeName as the requesting node"))
}

fn signing_request(attempt: &Attempt<'_>, node: &str) -> Result<()> {
    let signer = attempt.object.str_at(&["spec", "signerName"]).unwrap_or_default();
    if ![pki::SIGNER_KUBELET_CLIENT, pki::SIGNER_KUBELET_SERVING].contains(&signer) {
        return Ok(());
    }
    let wanted = format!("system:node:{node}");
    match certificates::parse(&attempt.object) {
        None => Err(attempt.forbidden("unable to parse csr")),
        Some(csr) if csr.subject.common_name == wanted => Ok(()),
        Some(_) => Err(attempt.forbidden(&format!("can only create a node CSR with CN={wanted}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::is_forbidden;

    #[test]
    fn kubelets_set_their_own_labels_and_no_others_of_kubernetes() {
        for ok in [
            "a",
            "example.com/x",
            "kubernetes.io/os",
            "node.kubernetes.io/anything",
            "x.kubelet.kubernetes.io/y",
        ] {
            assert!(!is_forbidden(ok), "{ok}");
        }
        for bad in [
            "node-restriction.kubernetes.io/x",
            "a.node-restriction.kubernetes.io/x",
            "kubernetes.io/role",
            "node-role.kubernetes.io/control-plane",
            "x.k8s.io/y",
        ] {
            assert!(is_forbidden(bad), "{bad}");
        }
        assert!(!is_forbidden("notkubernetes.io/x"));
    }
}
