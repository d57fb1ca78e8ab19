//! The Node authorizer: a kubelet reads what its own pods need, and nothing else.
//!
//! Facts: Kubernetes documentation, "Using Node Authorization". Upstream keeps a graph of all pods in memory; here the
//! node's pods are looked up when a node asks, because kubelets ask rarely for each pod and an idle cluster must cost
//! nothing. What a node may write of its own objects is narrowed further by the NodeRestriction admission plugin.

use crate::objects::{LookupError, Objects};
use crate::rbac::{Rule, bootstrap_objects};
use crate::{Attributes, Decision};
use base::ClusterId;
use machinery::Value;
use machinery::quote::go_quote;

/// Marks the API's copy of a pod that the kubelet took from a file; such a pod grants nothing.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The authorizer.
pub(crate) struct NodeAuthorizer {
    /// What every node may do, whatever runs on it: the rules of the role `system:node`.
    rules: Vec<Rule>,
}

/// What a node's pods lead to.
enum Reach {
    Pod,
    Secret,
    ConfigMap,
    Claim,
    ServiceAccount,
    ResourceClaim,
}

fn no(reason: impl Into<String>) -> Decision {
    Decision::NoOpinion(reason.into())
}

fn yes() -> Decision {
    Decision::Allow(String::new())
}

impl NodeAuthorizer {
    pub(crate) fn new() -> Self {
        let role = bootstrap_objects().into_iter().find(|o| o.name == "system:node");
        let rules = role
            .iter()
            .flat_map(|o| o.object.list_at(&["rules"]))
            .map(Rule::from_value)
            .collect();
        Self { rules }
    }

    /// Decides for nodes; has no opinion on others.
    pub(crate) async fn authorize(
        &self,
        objects: &Objects,
        cluster: &ClusterId,
        asked: &Attributes<'_>,
    ) -> Result<Decision, LookupError> {
        let Some(node) = asked.user.node_name() else {
            return Ok(no(""));
        };
        if node.is_empty() {
            return Ok(no(format!(
                "unknown node for user {}",
                go_quote(&asked.user.name)
            )));
        }
        let scope = Scope {
            objects,
            cluster,
            node,
            asked,
        };
        match (asked.group, asked.resource) {
            ("", "secrets") => scope.read(Reach::Secret).await,
            ("", "configmaps") => scope.read(Reach::ConfigMap).await,
            ("", "persistentvolumeclaims") if asked.subresource == "status" => match asked.verb {
                "update" | "patch" => scope.reached(Reach::Claim).await,
                _ => Ok(no("can only get/update/patch this type")),
            },
            ("", "persistentvolumeclaims") => scope.get(Reach::Claim).await,
            ("", "persistentvolumes") => scope.volume().await,
            ("resource.k8s.io", "resourceclaims") => scope.get(Reach::ResourceClaim).await,
            ("resource.k8s.io", "resourceslices") => scope.slice().await,
            ("storage.k8s.io", "volumeattachments") => scope.attachment().await,
            ("", "serviceaccounts") => scope.service_account().await,
            ("coordination.k8s.io", "leases") => Ok(scope.lease()),
            ("storage.k8s.io", "csinodes") => Ok(scope.csi_node()),
            ("", "nodes") => Ok(scope.node()),
            ("", "pods") => scope.pod().await,
            _ if self.rules.iter().any(|r| r.allows(asked)) => Ok(yes()),
            _ => Ok(no("")),
        }
    }
}

struct Scope<'a> {
    objects: &'a Objects,
    cluster: &'a ClusterId,
    node: &'a str,
    asked: &'a Attributes<'a>,
}

impl Scope<'_> {
    fn unrelated(&self) -> Decision {
        no(format!(
            "no relationship found between node '{}' and this object",
            self.node
        ))
    }

    async fn get(&self, what: Reach) -> Result<Decision, LookupError> {
        if self.asked.verb != "get" {
            return Ok(no("can only get individual resources of this type"));
        }
        if !self.asked.subresource.is_empty() {
            return Ok(no("cannot get subresource"));
        }
        self.reached(what).await
    }

    async fn read(&self, what: Reach) -> Result<Decision, LookupError> {
        if !matches!(self.asked.verb, "get" | "list" | "watch") {
            return Ok(no("can only read resources of this type"));
        }
        if !self.asked.subresource.is_empty() {
            return Ok(no("cannot read subresource"));
        }
        if self.asked.namespace.is_empty() {
            return Ok(no("can only read namespaced object of this type"));
        }
        self.reached(what).await
    }

    async fn reached(&self, what: Reach) -> Result<Decision, LookupError> {
        if self.asked.name.is_empty() {
            return Ok(no("No Object name found"));
        }
        let (namespace, name) = (self.asked.namespace, self.asked.name);
        if let Reach::Pod = what {
            let pod = self
                .objects
                .get(self.cluster, "pods", Some(namespace), name)
                .await?;
            let here = pod.is_some_and(|p| p.str_at(&["spec", "nodeName"]) == Some(self.node));
            return Ok(if here { yes() } else { self.unrelated() });
        }
        for pod in self.pods(Some(namespace)).await? {
            if reaches(&pod, &what, name) {
                return Ok(yes());
            }
        }
        if matches!(what, Reach::Secret) && self.volume_secret(namespace, name).await? {
            return Ok(yes());
        }
        Ok(self.unrelated())
    }

    /// The pods of this node, in one namespace or all; mirror pods are left out.
    async fn pods(&self, namespace: Option<&str>) -> Result<Vec<Value>, LookupError> {
        let mut pods = Vec::new();
        for record in self.objects.records(self.cluster, "pods", namespace).await? {
            if self.objects.pod_node(self.cluster, &record).as_deref() != Some(self.node) {
                continue;
            }
            let pod = self.objects.decode(self.cluster, &record)?;
            if pod.at(&["metadata", "annotations", MIRROR]).is_null() {
                pods.push(pod);
            }
        }
        Ok(pods)
    }

    /// Whether a pod of this node uses the claim.
    async fn claim_in_use(&self, namespace: &str, name: &str) -> Result<bool, LookupError> {
        let pods = self.pods(Some(namespace)).await?;
        Ok(pods.iter().any(|p| reaches(p, &Reach::Claim, name)))
    }

    async fn volume(&self) -> Result<Decision, LookupError> {
        if self.asked.verb != "get" {
            return Ok(no("can only get individual resources of this type"));
        }
        if !self.asked.subresource.is_empty() {
            return Ok(no("cannot get subresource"));
        }
        let volume = self
            .objects
            .get(self.cluster, "persistentvolumes", None, self.asked.name)
            .await?;
        let Some(volume) = volume else {
            return Ok(self.unrelated());
        };
        let claim = volume.at(&["spec", "claimRef"]);
        match (claim.str_at(&["namespace"]), claim.str_at(&["name"])) {
            (Some(ns), Some(name)) if self.claim_in_use(ns, name).await? => Ok(yes()),
            _ => Ok(self.unrelated()),
        }
    }

    /// Whether a volume that a pod of this node uses needs the Secret on the node.
    async fn volume_secret(&self, namespace: &str, name: &str) -> Result<bool, LookupError> {
        for record in self
            .objects
            .records(self.cluster, "persistentvolumes", None)
            .await?
        {
            let volume = self.objects.decode(self.cluster, &record)?;
            let claim = volume.at(&["spec", "claimRef"]);
            let (Some(claim_ns), Some(claim_name)) = (claim.str_at(&["namespace"]), claim.str_at(&["name"]))
            else {
                continue;
            };
            let wanted = volume_secrets(&volume, claim_ns).any(|(ns, n)| ns == namespace && n == name);
            if wanted && self.claim_in_use(claim_ns, claim_name).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn attachment(&self) -> Result<Decision, LookupError> {
        if self.asked.verb != "get" || !self.asked.subresource.is_empty() {
            return Ok(no("can only get individual resources of this type"));
        }
        let found = self
            .objects
            .get(self.cluster, "volumeattachments", None, self.asked.name)
            .await?;
        let here = found.is_some_and(|a| a.str_at(&["spec", "nodeName"]) == Some(self.node));
        Ok(if here { yes() } else { self.unrelated() })
    }

    async fn slice(&self) -> Result<Decision, LookupError> {
        if !self.asked.subresource.is_empty() {
            return Ok(no("cannot authorize ResourceSlice subresources"));
        }
        match self.asked.verb {
            // NodeRestriction looks at the node's name in the object.
            "create" => Ok(yes()),
            "get" | "update" | "patch" | "delete" => {
                let found = self
                    .objects
                    .get(self.cluster, "resourceslices", None, self.asked.name)
                    .await?;
                let here = found.is_some_and(|s| s.str_at(&["spec", "nodeName"]) == Some(self.node));
                Ok(if here { yes() } else { self.unrelated() })
            }
            "watch" | "list" | "deletecollection" if self.selects("spec.nodeName") => Ok(yes()),
            _ => Ok(no(
                "can only list/watch/deletecollection resourceslices with nodeName field selector",
            )),
        }
    }

    async fn service_account(&self) -> Result<Decision, LookupError> {
        match (self.asked.verb, self.asked.subresource) {
            ("get", "") => self.read(Reach::ServiceAccount).await,
            ("create", "token") if !self.asked.name.is_empty() => self.reached(Reach::ServiceAccount).await,
            ("create", "token") => Ok(no("can only create tokens for individual service accounts")),
            _ => Ok(no("can only create token subresource of serviceaccount")),
        }
    }

    fn lease(&self) -> Decision {
        if !matches!(self.asked.verb, "get" | "create" | "update" | "patch" | "delete") {
            return no("can only get, create, update, patch, or delete a node lease");
        }
        if self.asked.namespace != "kube-node-lease" {
            return no("can only access leases in the \"kube-node-lease\" system namespace");
        }
        if self.asked.verb != "create" && self.asked.name != self.node {
            return no("can only access node lease with the same name as the requesting node");
        }
        yes()
    }

    fn csi_node(&self) -> Decision {
        if !matches!(self.asked.verb, "get" | "create" | "update" | "patch" | "delete") {
            return no("can only get, create, update, patch, or delete a CSINode");
        }
        if !self.asked.subresource.is_empty() {
            return no("cannot authorize CSINode subresources");
        }
        if self.asked.verb != "create" && self.asked.name != self.node {
            return no("can only access CSINode with the same name as the requesting node");
        }
        yes()
    }

    fn node(&self) -> Decision {
        match (self.asked.subresource, self.asked.verb) {
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => yes(),
            ("", "get" | "list" | "watch") => match self.asked.name {
                name if name == self.node => yes(),
                "" => no(format!(
                    "node '{}' cannot read all nodes, only its own Node object",
                    self.node
                )),
                name => no(format!(
                    "node '{}' cannot read '{name}', only its own Node object",
                    self.node
                )),
            },
            _ => no(""),
        }
    }

    async fn pod(&self) -> Result<Decision, LookupError> {
        match (self.asked.subresource, self.asked.verb) {
            ("", "get") => self.reached(Reach::Pod).await,
            ("", "list" | "watch") if self.selects("spec.nodeName") => Ok(yes()),
            ("", "list" | "watch") if !self.asked.name.is_empty() => self.reached(Reach::Pod).await,
            ("", "list" | "watch") => Ok(no("can only list/watch pods with spec.nodeName field selector")),
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(yes()),
            _ => Ok(no("")),
        }
    }

    /// Whether the field selector narrows `field` to this node.
    fn selects(&self, field: &str) -> bool {
        self.asked.field_selector.split(',').any(|requirement| {
            let Some((name, value)) = requirement.split_once('=') else {
                return false;
            };
            !name.ends_with('!') && name == field && value.strip_prefix('=').unwrap_or(value) == self.node
        })
    }
}

/// Whether a pod's spec leads to an object of its namespace.
fn reaches(pod: &Value, what: &Reach, name: &str) -> bool {
    let spec = &pod["spec"];
    let volumes = spec.list_at(&["volumes"]);
    match what {
        Reach::Pod => pod.str_at(&["metadata", "name"]) == Some(name),
        Reach::ServiceAccount => spec.str_at(&["serviceAccountName"]) == Some(name),
        Reach::ResourceClaim => {
            let from_status = pod.list_at(&["status", "resourceClaimStatuses"]);
            let mut claims = spec.list_at(&["resourceClaims"]).iter().chain(from_status);
            claims.any(|c| c.str_at(&["resourceClaimName"]) == Some(name))
                || pod.str_at(&["status", "extendedResourceClaimStatus", "resourceClaimName"]) == Some(name)
        }
        Reach::Claim => {
            let pod_name = pod.str_at(&["metadata", "name"]).unwrap_or_default();
            volumes.iter().any(|v| {
                v.str_at(&["persistentVolumeClaim", "claimName"]) == Some(name)
                    || !v["ephemeral"].is_null()
                        && v.str_at(&["name"])
                            .is_some_and(|n| format!("{pod_name}-{n}") == name)
            })
        }
        Reach::ConfigMap => {
            volumes.iter().any(|v| {
                v.str_at(&["configMap", "name"]) == Some(name)
                    || v.list_at(&["projected", "sources"])
                        .iter()
                        .any(|s| s.str_at(&["configMap", "name"]) == Some(name))
            }) || environment(spec, "configMapRef", "configMapKeyRef", name)
        }
        Reach::Secret => {
            spec.list_at(&["imagePullSecrets"])
                .iter()
                .any(|s| s.str_at(&["name"]) == Some(name))
                || volumes.iter().any(|v| volume_source_secret(v, name))
                || environment(spec, "secretRef", "secretKeyRef", name)
        }
    }
}

/// Whether an environment variable of any container comes from the object.
fn environment(spec: &Value, from: &str, key: &str, name: &str) -> bool {
    ["initContainers", "containers", "ephemeralContainers"]
        .iter()
        .any(|list| {
            spec.list_at(&[*list]).iter().any(|c| {
                c.list_at(&["envFrom"])
                    .iter()
                    .any(|e| e.str_at(&[from, "name"]) == Some(name))
                    || c.list_at(&["env"])
                        .iter()
                        .any(|e| e.str_at(&["valueFrom", key, "name"]) == Some(name))
            })
        })
}

/// Sources of a pod's volumes that name a Secret of the pod's namespace in `secretRef.name`.
const SECRET_REFS: [&str; 7] = [
    "cephfs",
    "cinder",
    "flexVolume",
    "rbd",
    "scaleIO",
    "iscsi",
    "storageos",
];

fn volume_source_secret(volume: &Value, name: &str) -> bool {
    volume.str_at(&["secret", "secretName"]) == Some(name)
        || volume.str_at(&["azureFile", "secretName"]) == Some(name)
        || volume.str_at(&["csi", "nodePublishSecretRef", "name"]) == Some(name)
        || SECRET_REFS
            .iter()
            .any(|s| volume.str_at(&[*s, "secretRef", "name"]) == Some(name))
        || volume
            .list_at(&["projected", "sources"])
            .iter()
            .any(|s| s.str_at(&["secret", "name"]) == Some(name))
}

/// Namespace and name of the Secrets that a kubelet needs to mount a PersistentVolume.
fn volume_secrets<'v>(
    volume: &'v Value,
    claim_namespace: &'v str,
) -> impl Iterator<Item = (&'v str, &'v str)> {
    let spec = &volume["spec"];
    let named = move |r: &'v Value| {
        let own = r.str_at(&["namespace"]).filter(|ns| !ns.is_empty());
        Some((own.unwrap_or(claim_namespace), r.str_at(&["name"])?))
    };
    let csi = [
        "nodePublishSecretRef",
        "nodeStageSecretRef",
        "nodeExpandSecretRef",
    ]
    .into_iter()
    .filter_map(move |r| named(spec.at(&["csi", r])));
    let others = SECRET_REFS
        .into_iter()
        .filter_map(move |s| named(spec.at(&[s, "secretRef"])));
    let azure = spec.at(&["azureFile"]);
    let azure = azure.str_at(&["secretName"]).map(|name| {
        let own = azure.str_at(&["secretNamespace"]).filter(|ns| !ns.is_empty());
        (own.unwrap_or(claim_namespace), name)
    });
    csi.chain(others).chain(azure)
}
