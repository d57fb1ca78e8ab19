//! The objects themselves.
//!
//! Source of names and values: a fresh upstream cluster (priority classes of `pkg/apis/scheduling`, ServiceCIDR and IPAddress of
//! the default allocator, the reconciler of the `kubernetes` Service).

use super::BootstrapOptions;
use crate::alloc::{Cidr, ip_address};
use crate::status::{ApiError, Result};
use auth::Cluster;
use machinery::{Value, value};

/// Group, plural and object.
pub(super) type Object = (&'static str, &'static str, Value);

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// What is the same everywhere.
pub(super) fn of_every_cluster() -> Vec<Object> {
    let mut all: Vec<Object> = Vec::new();
    let priority = |name: &'static str, number: i64, what: &'static str| {
        let object = value!({
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name, "generation": 1},
            "value": number,
            "description": what,
            "preemptionPolicy": "PreemptLowerPriority"
        });
        ("scheduling.k8s.io", "priorityclasses", object)
    };
    all.push(priority(
        "system-cluster-critical",
        2_000_000_000,
        "For pods that the cluster needs, but that may move to another node.",
    ));
    all.push(priority(
        "system-node-critical",
        2_000_001_000,
        "For pods that their node cannot do without.",
    ));
    for b in auth::bootstrap_objects() {
        let mut object = b.object;
        let meta = object.at_mut(&["metadata"]);
        meta.insert("name", b.name);
        if !b.namespace.is_empty() {
            meta.insert("namespace", b.namespace);
        }
        all.push(("rbac.authorization.k8s.io", b.resource, object));
    }
    all.push(("rbac.authorization.k8s.io", "clusterrolebindings", node_proxier()));
    all
}

/// A node is one program: kube-proxy, the pod network and DNS see the cluster by the node's own certificate, where upstream's
/// kube-proxy has an account that every node shares.
fn node_proxier() -> Value {
    value!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "marina:node-proxier"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node-proxier"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:nodes"}]
    })
}

/// What each cluster has for itself.
pub(super) fn of_cluster(cluster: &Cluster, options: BootstrapOptions, now: &str) -> Result<Vec<Object>> {
    let mut all: Vec<Object> = Vec::new();
    for name in NAMESPACES {
        let object = value!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"}
        });
        all.push(("", "namespaces", object));
    }
    let range = Cidr::parse(&cluster.service_cidr)
        .ok_or_else(|| ApiError::internal(format!("bad service range {:?}", cluster.service_cidr)))?;
    let address = range.nth(1);
    let ip = address.to_string();
    all.push((
        "networking.k8s.io",
        "servicecidrs",
        value!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "ServiceCIDR",
            "metadata": {"name": "kubernetes", "finalizers": ["networking.k8s.io/service-cidr-finalizer"]},
            "spec": {"cidrs": [(cluster.service_cidr.clone())]},
            "status": {"conditions": [{
                "type": "Ready", "status": "True", "reason": "", "message": "Kubernetes default Service CIDR is ready",
                "lastTransitionTime": (now.to_owned())
            }]}
        }),
    ));
    all.push((
        "networking.k8s.io",
        "ipaddresses",
        ip_address(&address, "default", "kubernetes", now),
    ));
    all.push((
        "",
        "services",
        value!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "kubernetes", "namespace": "default",
                "labels": {"component": "apiserver", "provider": "kubernetes"}
            },
            "spec": {
                "type": "ClusterIP",
                "clusterIP": (ip.clone()),
                "clusterIPs": [(ip)],
                "ipFamilies": ["IPv4"],
                "ipFamilyPolicy": "SingleStack",
                "internalTrafficPolicy": "Cluster",
                "sessionAffinity": "None",
                "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": (target_port(options))}]
            },
            "status": {"loadBalancer": {}}
        }),
    ));
    if let Some((endpoint, port)) = options.endpoint {
        let endpoint = endpoint.to_string();
        all.push((
            "",
            "endpoints",
            value!({
                "apiVersion": "v1",
                "kind": "Endpoints",
                "metadata": {
                    "name": "kubernetes", "namespace": "default",
                    "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}
                },
                "subsets": [{
                    "addresses": [{"ip": (endpoint.clone())}],
                    "ports": [{"name": "https", "port": (i64::from(port)), "protocol": "TCP"}]
                }]
            }),
        ));
        all.push((
            "discovery.k8s.io",
            "endpointslices",
            value!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": "kubernetes", "namespace": "default",
                    "labels": {"kubernetes.io/service-name": "kubernetes"}
                },
                "addressType": "IPv4",
                "endpoints": [{"addresses": [(endpoint)], "conditions": {"ready": true}}],
                "ports": [{"name": "https", "port": (i64::from(port)), "protocol": "TCP"}]
            }),
        ));
    }
    all.push((
        "",
        "configmaps",
        value!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
            "data": {
                "client-ca-file": (cluster.keys.ca_pem.clone()),
                "requestheader-client-ca-file": (cluster.keys.proxy_ca_pem()),
                "requestheader-allowed-names": "[\"front-proxy-client\"]",
                "requestheader-username-headers": "[\"X-Remote-User\"]",
                "requestheader-group-headers": "[\"X-Remote-Group\"]",
                "requestheader-extra-headers-prefix": "[\"X-Remote-Extra-\"]"
            }
        }),
    ));
    Ok(all)
}

fn target_port(options: BootstrapOptions) -> i64 {
    options.endpoint.map_or(443, |(_, port)| i64::from(port))
}
