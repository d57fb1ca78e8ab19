//! Follows the Node objects and makes this node's network fit them.

use crate::plan::{self, Cidr, NodeView, Plan};
use crate::{Context, NetworkError, tool};
use api::Object;
use api::core::v1::Node;
use base::{ClusterId, Shutdown};
use client::Resource;
use parking_lot::Mutex;
use runtime::{Change, Informer, Informers};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// After a failure everything is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);
/// Several Nodes that appear at once make one change.
const SETTLE: Duration = Duration::from_millis(50);

/// How the node's network is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The cluster.
    pub cluster: ClusterId,
    /// The Node object's name.
    pub node: String,
    /// Pod addresses of the whole cluster, as `10.244.0.0/16`.
    pub pod_cidr: String,
    /// ClusterIPs.
    pub service_cidr: String,
    /// The largest packet of pods' devices, in bytes.
    pub mtu: u32,
    /// Where containerd looks for the plugin's configuration; written when this node has a pod range.
    pub cni_dir: PathBuf,
    /// Where the plugin is looked for: a link to the running program is put there under the name `marina`.
    pub cni_bin_dir: PathBuf,
}

/// The part that runs. Made by [`Agent::build`].
pub struct Agent {
    options: Options,
    pods: Cidr,
    services: Cidr,
    informer: Arc<Informer>,
    nodes: Arc<Mutex<BTreeMap<String, NodeView>>>,
    changed: Arc<Notify>,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

fn view(node: &Node) -> NodeView {
    let pod_cidr = node
        .spec
        .as_ref()
        .and_then(|s| s.pod_cidr.as_deref())
        .and_then(Cidr::parse);
    let addresses = node
        .status
        .as_ref()
        .and_then(|s| s.addresses.as_deref())
        .unwrap_or_default();
    let address = addresses
        .iter()
        .filter(|a| a.type_ == "InternalIP")
        .find_map(|a| a.address.parse().ok());
    NodeView { pod_cidr, address }
}

impl Agent {
    /// Subscribes to Nodes; the caller starts the informers.
    pub fn build(options: Options, informers: &Informers) -> Result<Self, NetworkError> {
        let range = |text: &str| {
            Cidr::parse(text).ok_or_else(|| NetworkError::Invalid(format!("{text:?} is no IPv4 range")))
        };
        let (pods, services) = (range(&options.pod_cidr)?, range(&options.service_cidr)?);
        let nodes: Arc<Mutex<BTreeMap<String, NodeView>>> = Arc::default();
        let changed = Arc::new(Notify::new());
        let informer = informers.informer(&Resource::of::<Node>(), &[]);
        let (seen, notify) = (nodes.clone(), changed.clone());
        informer.subscribe(Arc::new(move |change: &Change| note(&seen, &notify, change)));
        Ok(Self {
            options,
            pods,
            services,
            informer,
            nodes,
            changed,
        })
    }

    /// Follows the Nodes until shut down. The kernel's state stays as it is then.
    pub async fn run(self, shutdown: Shutdown) {
        let this = Arc::new(self);
        let mut applied: Option<Plan> = None;
        if shutdown.run_until(this.informer.synced()).await.is_none() {
            return;
        }
        loop {
            let wanted = plan::decide(&this.options.node, &this.nodes.lock());
            let mut retry = false;
            if applied.as_ref() != Some(&wanted) {
                let (agent, old, new) = (this.clone(), applied.clone(), wanted.clone());
                let done = tokio::task::spawn_blocking(move || agent.apply(old.as_ref(), &new)).await;
                match done {
                    Ok(Ok(())) => applied = Some(wanted),
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "the node's network cannot be set up yet");
                        (applied, retry) = (None, true);
                    }
                    Err(error) => {
                        tracing::error!(%error, "setting up the node's network failed");
                        (applied, retry) = (None, true);
                    }
                }
            }
            let wait = async {
                if retry {
                    tokio::time::sleep(RETRY).await;
                } else {
                    this.changed.notified().await;
                    tokio::time::sleep(SETTLE).await;
                }
            };
            if shutdown.run_until(wait).await.is_none() {
                return;
            }
        }
    }

    /// Leads the kernel from what was applied before to what is wanted; without a before, from whatever is there.
    fn apply(&self, old: Option<&Plan>, new: &Plan) -> Result<(), NetworkError> {
        let before = match old {
            Some(plan) => plan.routes.clone(),
            None => kernel_routes()?,
        };
        let (deletes, replaces) = plan::route_changes(&before, &new.routes);
        if !deletes.is_empty() {
            // -force: a route whose device is gone is gone already.
            let _partly = tool::run("ip", &["-force", "-batch", "-"], &deletes);
        }
        tool::ip(&replaces)?;
        if old.is_none_or(|o| o.nodes != new.nodes) {
            tool::nft(&plan::masquerade(self.pods, self.services, &new.nodes))?;
        }
        if let Some(own) = new.own {
            self.configure_plugin(own)?;
        }
        Ok(())
    }

    fn configure_plugin(&self, own: Cidr) -> Result<(), NetworkError> {
        let bin = self.options.cni_bin_dir.join("marina");
        if !bin.exists() {
            fs::create_dir_all(&self.options.cni_bin_dir).context("create the plugin's directory")?;
            let program = std::env::current_exe().context("find the running program")?;
            std::os::unix::fs::symlink(program, &bin).context("link the plugin")?;
        }
        let path = self.options.cni_dir.join("10-marina.conflist");
        let text = plan::conflist(own, self.options.mtu);
        // containerd loads it again at each change, so write it only then, and whole.
        if fs::read_to_string(&path).is_ok_and(|known| known == text) {
            return Ok(());
        }
        fs::create_dir_all(&self.options.cni_dir).context("create the configuration's directory")?;
        // In the directory itself: containerd looks again at a renaming or writing in it, and not when a file comes from elsewhere.
        let temporary = self.options.cni_dir.join(".10-marina.new");
        fs::write(&temporary, text).context("write the plugin's configuration")?;
        fs::rename(&temporary, &path).context("write the plugin's configuration")
    }
}

fn note(nodes: &Mutex<BTreeMap<String, NodeView>>, changed: &Notify, change: &Change) {
    let name = change.entry().key.name.to_string();
    let mut nodes = nodes.lock();
    let different = match &change.new {
        None => nodes.remove(&name).is_some(),
        Some(entry) => match entry.decode::<Node>() {
            Ok(node) => {
                let new = view(&node);
                nodes.insert(node.name().to_owned(), new.clone()).as_ref() != Some(&new)
            }
            Err(error) => {
                tracing::warn!(%error, "a Node cannot be read");
                false
            }
        },
    };
    // Heartbeats change nothing here.
    if different {
        changed.notify_one();
    }
}

/// Our routes that are in the kernel, from an earlier run.
fn kernel_routes() -> Result<BTreeMap<Cidr, std::net::Ipv4Addr>, NetworkError> {
    let protocol = plan::ROUTE_PROTOCOL.to_string();
    let listed = tool::run("ip", &["-4", "route", "show", "proto", &protocol], "")?;
    Ok(listed
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let cidr = words.next()?;
            let cidr = if cidr.contains('/') {
                Cidr::parse(cidr)
            } else {
                Cidr::parse(&format!("{cidr}/32"))
            };
            let via = words.skip_while(|w| *w != "via").nth(1)?.parse().ok()?;
            Some((cidr?, via))
        })
        .collect())
}
