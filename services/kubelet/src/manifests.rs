//! Static pods: manifests in a directory of the node, and the mirror pods that show them in the API.
//!
//! The directory is read every few seconds, as upstream does by default: static pods are few and change rarely, and
//! the task exists only where a directory is given.

use crate::config::fnv;
use crate::k8s::{Node, OwnerReference, Pod, namespace};
use crate::manager::Manager;
use crate::names::{CONFIG_HASH, CONFIG_MIRROR, CONFIG_SOURCE};
use crate::pods;
use base::Shutdown;
use client::{Api, Client, DeleteParams};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(5);
/// Before a mirror pod that was refused is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// The largest manifest, bytes.
const MAX_MANIFEST: u64 = 1 << 20;

/// Why a file is no static pod.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be read, or is too large.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It is no pod.
    #[error("{0}")]
    Parse(String),
}

/// Reads one manifest (JSON or YAML) as the static pod it makes on `node`.
pub fn parse(text: &str, node: &str) -> Result<Pod, ManifestError> {
    let object: serde_json::Value = if text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(|e| ManifestError::Parse(e.to_string()))?
    } else {
        serde_saphyr::from_str(text).map_err(|e| ManifestError::Parse(e.to_string()))?
    };
    let bytes = serde_json::to_vec(&object).map_err(|e| ManifestError::Parse(e.to_string()))?;
    let mut pod = <Pod as api::Object>::decode(&bytes).map_err(|e| ManifestError::Parse(e.to_string()))?;
    let meta = &mut pod.metadata;
    let name = meta.name.clone().filter(|n| !n.is_empty());
    let name = name.ok_or_else(|| ManifestError::Parse("a pod without a name".to_owned()))?;
    let canonical = object.to_string();
    let hash = fnv(&[node, &canonical]) + &fnv(&[&canonical, node, "2"]);
    meta.name = Some(format!("{name}-{node}"));
    meta.namespace.get_or_insert_with(|| "default".to_owned());
    // A UID of its own, the same after a restart of the kubelet, another after a change.
    meta.uid
        .get_or_insert_with(|| format!("{hash}{}{}", fnv(&[node, &name, "3"]), fnv(&[&canonical, "4"])));
    let annotations = meta.annotations.get_or_insert_default();
    annotations.insert(CONFIG_SOURCE.to_owned(), "file".to_owned());
    annotations.insert(CONFIG_HASH.to_owned(), hash);
    let spec = pod.spec.get_or_insert_default();
    if spec.containers.is_empty() {
        return Err(ManifestError::Parse(format!("pod {name} has no containers")));
    }
    spec.node_name = Some(node.to_owned());
    spec.restart_policy.get_or_insert_with(|| "Always".to_owned());
    spec.enable_service_links.get_or_insert(true);
    for c in spec
        .containers
        .iter_mut()
        .chain(spec.init_containers.iter_mut().flatten())
    {
        c.termination_message_path
            .get_or_insert_with(|| "/dev/termination-log".to_owned());
        c.termination_message_policy
            .get_or_insert_with(|| "File".to_owned());
    }
    Ok(pod)
}

fn read(path: &Path, node: &str) -> Result<Pod, ManifestError> {
    if std::fs::metadata(path)?.len() > MAX_MANIFEST {
        return Err(ManifestError::Parse("larger than 1 MiB".to_owned()));
    }
    parse(&std::fs::read_to_string(path)?, node)
}

/// Reads the directory until `shutdown`.
pub async fn run(dir: PathBuf, node: String, manager: Manager, shutdown: Shutdown) {
    let work = async {
        let mut known: HashMap<PathBuf, Pod> = HashMap::new();
        loop {
            let mut seen = HashMap::new();
            let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
            for path in entries.map(|e| e.path()) {
                let hidden = path
                    .file_name()
                    .is_none_or(|n| n.to_string_lossy().starts_with('.'));
                if hidden || !path.is_file() {
                    continue;
                }
                match read(&path, &node) {
                    Ok(pod) => drop(seen.insert(path, pod)),
                    Err(error) => {
                        tracing::warn!(path = %path.display(), "no static pod: {error}");
                        // A file that is being written keeps its pod.
                        if let Some(old) = known.get(&path) {
                            seen.insert(path, old.clone());
                        }
                    }
                }
            }
            for (path, old) in &known {
                let same = seen.get(path).is_some_and(|p| p.metadata.uid == old.metadata.uid);
                if !same {
                    manager.remove(&crate::reflect::key(old), true);
                }
            }
            for pod in seen.values() {
                // One of the same name may still be ending; it is put in when that is gone.
                let id = crate::k8s::uid(&pod.metadata);
                let other = manager.find(namespace(&pod.metadata), crate::k8s::name(&pod.metadata));
                if !manager.knows(id) && other.is_none() {
                    manager.put(pod.clone());
                }
            }
            known = seen;
            tokio::time::sleep(PERIOD).await;
        }
    };
    shutdown.run_until(work).await;
}

/// Makes the API show static pods until `shutdown`.
pub async fn mirror(client: Client, node: String, manager: Manager, shutdown: Shutdown) {
    let work = async {
        let mut owner = None;
        loop {
            let mut again = false;
            let shown = manager.mirrors();
            let statics: HashMap<String, _> = manager
                .pods()
                .into_iter()
                .filter(|p| pods::is_static(p))
                .map(|p| (crate::reflect::key(&*p), p))
                .collect();
            for (key, (mirror_uid, hash)) in &shown {
                let wanted = statics.get(key).is_some_and(|p| hash_of(p) == hash);
                if !wanted {
                    let Some((ns, name)) = key.split_once('/') else {
                        continue;
                    };
                    let api = Api::<Pod>::namespaced(&client, ns);
                    let result = api
                        .delete(name, &DeleteParams::now().uid(mirror_uid.clone()))
                        .await;
                    again |= result.is_err_and(|e| !e.is_not_found() && !e.is_conflict());
                }
            }
            for (key, pod) in statics {
                if shown.contains_key(&key) {
                    continue;
                }
                if owner.is_none() {
                    owner = owner_of(&client, &node).await;
                }
                let Some(known) = owner.clone() else {
                    again = true;
                    continue;
                };
                let api = Api::<Pod>::namespaced(&client, namespace(&pod.metadata));
                match api.create(&mirror_of(&pod, known)).await {
                    Ok(_) => {}
                    Err(e) if e.is_already_exists() => {}
                    Err(error) => {
                        // The Node may have been made anew.
                        owner = None;
                        tracing::warn!(pod = key, "no mirror pod: {error}");
                        again = true;
                    }
                }
            }
            if again {
                tokio::time::sleep(RETRY).await;
            } else {
                manager.mirrors_changed().await;
            }
        }
    };
    shutdown.run_until(work).await;
}

fn hash_of(pod: &Pod) -> &str {
    pod.metadata
        .annotations
        .as_ref()
        .and_then(|a| a.get(CONFIG_HASH))
        .map(String::as_str)
        .unwrap_or_default()
}

/// A node may make only pods that it owns; a mirror pod goes with its Node.
async fn owner_of(client: &Client, node: &str) -> Option<OwnerReference> {
    let found = Api::<Node>::all(client).get(node).await.ok()?;
    Some(OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.to_owned(),
        uid: found.metadata.uid?,
        controller: Some(true),
        block_owner_deletion: None,
    })
}

fn mirror_of(pod: &Pod, owner: OwnerReference) -> Pod {
    let mut mirror = pod.clone();
    mirror.metadata.uid = None;
    mirror.status = None;
    mirror.metadata.owner_references = Some(vec![owner]);
    let hash = hash_of(pod).to_owned();
    mirror
        .metadata
        .annotations
        .get_or_insert_default()
        .insert(CONFIG_MIRROR.to_owned(), hash);
    // A static pod has no service account; admission must not mount one.
    if let Some(spec) = &mut mirror.spec {
        spec.automount_service_account_token = Some(false);
    }
    mirror
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_becomes_a_pod_whose_identity_follows_its_content() {
        let text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  containers:\n  - name: c\n    image: img:1\n";
        let (a, b) = (parse(text, "n1").unwrap(), parse(text, "n1").unwrap());
        assert_eq!(a.metadata.uid, b.metadata.uid);
        assert_eq!(a.metadata.name.as_deref(), Some("web-n1"));
        assert!(pods::is_static(&a) && !pods::is_mirror(&a));
        let other = parse(&text.replace("img:1", "img:2"), "n1").unwrap();
        assert_ne!(a.metadata.uid, other.metadata.uid);
        assert_eq!(
            mirror_of(&a, OwnerReference::default())
                .metadata
                .annotations
                .unwrap()[CONFIG_MIRROR],
            hash_of(&a)
        );
        assert!(parse("kind: Pod\nmetadata: {}\n", "n").is_err() && parse("{", "n").is_err());
    }
}
