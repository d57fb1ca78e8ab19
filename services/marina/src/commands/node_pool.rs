//! `marina node-pool`.

use super::cluster::show_operation;
use super::{Common, Cx, checked};
use crate::output::{self, Format};
use crate::progress;
use anyhow::Result;
use clap::Subcommand;
use service_api::{CreateNodePool, NodePool, Operation, Page, UpdateNodePool};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a node pool and wait until its nodes are Ready.
    Create {
        cluster: String,
        name: String,
        /// How many machines, spread over the zones.
        #[arg(long, default_value_t = 1)]
        nodes: u32,
        /// The machines' shape; the cloud's smallest if absent.
        #[arg(long)]
        instance_type: Option<String>,
        /// Zones; all if absent.
        #[arg(long, value_delimiter = ',')]
        zones: Option<Vec<String>>,
        /// Do not wait.
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        common: Common,
    },
    /// List a cluster's node pools.
    #[command(visible_alias = "ls")]
    List {
        cluster: String,
        #[command(flatten)]
        common: Common,
    },
    /// Show one node pool with its machines.
    Get {
        cluster: String,
        name: String,
        #[command(flatten)]
        common: Common,
    },
    /// Change the number of machines.
    Resize {
        cluster: String,
        name: String,
        #[arg(long)]
        nodes: u32,
        /// Do not wait.
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Take a node pool and its machines away.
    Delete {
        cluster: String,
        name: String,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
        /// Do not wait.
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        common: Common,
    },
}

pub(super) async fn run(command: Command) -> Result<()> {
    match command {
        Command::Create {
            cluster,
            name,
            nodes,
            instance_type,
            zones,
            no_wait,
            common,
        } => {
            let cx = Cx::new(&common)?;
            let path = collection(&cx, &cluster)?;
            checked("node pool", &name)?;
            let body = CreateNodePool {
                name: name.clone(),
                nodes,
                instance_type,
                zones,
            };
            let operation = cx.service.post(&path, &body).await?;
            finish(&cx, operation, !no_wait, &cluster, &name, "creating").await
        }
        Command::List { cluster, common } => list(&Cx::new(&common)?, &cluster).await,
        Command::Get {
            cluster,
            name,
            common,
        } => get(&Cx::new(&common)?, &cluster, &name).await,
        Command::Resize {
            cluster,
            name,
            nodes,
            no_wait,
            common,
        } => {
            let cx = Cx::new(&common)?;
            let path = format!("{}/{}", collection(&cx, &cluster)?, checked("node pool", &name)?);
            let operation = cx.service.patch(&path, &UpdateNodePool { nodes }).await?;
            finish(&cx, operation, !no_wait, &cluster, &name, "resizing").await
        }
        Command::Delete {
            cluster,
            name,
            yes,
            no_wait,
            common,
        } => {
            let cx = Cx::new(&common)?;
            let path = format!("{}/{}", collection(&cx, &cluster)?, checked("node pool", &name)?);
            if !yes {
                let _there: NodePool = cx.service.get(&path).await?;
                output::confirm(&format!("Delete node pool {cluster}/{name} with its machines?"))?;
            }
            let operation: Operation = cx.service.delete(&path).await?;
            if no_wait {
                return show_operation(&cx, &operation);
            }
            let done = progress::wait(
                &cx.service,
                operation,
                &format!("deleting node pool {cluster}/{name}"),
            )
            .await?;
            if cx.output == Format::Json {
                return output::json(&done);
            }
            println!("Node pool {cluster}/{name} is gone.");
            Ok(())
        }
    }
}

fn collection(cx: &Cx, cluster: &str) -> Result<String> {
    Ok(cx.path(&format!("clusters/{}/nodePools", checked("cluster", cluster)?)))
}

async fn finish(
    cx: &Cx,
    operation: Operation,
    wait: bool,
    cluster: &str,
    name: &str,
    verb: &str,
) -> Result<()> {
    if !wait {
        return show_operation(cx, &operation);
    }
    progress::wait(
        &cx.service,
        operation,
        &format!("{verb} node pool {cluster}/{name}"),
    )
    .await?;
    get(cx, cluster, name).await
}

async fn list(cx: &Cx, cluster: &str) -> Result<()> {
    let page: Page<NodePool> = cx.service.get(&collection(cx, cluster)?).await?;
    if cx.output == Format::Json {
        return output::json(&page);
    }
    let rows: Vec<_> = page.items.iter().map(row).collect();
    output::table(&["NAME", "STATE", "READY", "TYPE", "ZONES", "AGE"], &rows);
    Ok(())
}

fn row(pool: &NodePool) -> Vec<String> {
    vec![
        pool.name.clone(),
        format!("{:?}", pool.status.state),
        format!("{}/{}", pool.status.ready, pool.spec.nodes),
        pool.spec.instance_type.clone(),
        pool.spec.zones.join(","),
        output::age(&pool.created_at),
    ]
}

async fn get(cx: &Cx, cluster: &str, name: &str) -> Result<()> {
    let path = format!("{}/{}", collection(cx, cluster)?, checked("node pool", name)?);
    let pool: NodePool = cx.service.get(&path).await?;
    if cx.output == Format::Json {
        return output::json(&pool);
    }
    if !pool.status.message.is_empty() {
        println!("{}", pool.status.message);
    }
    let rows: Vec<_> = pool
        .status
        .nodes
        .iter()
        .map(|n| {
            let state = if n.ready { "Ready" } else { "NotReady" };
            vec![
                n.name.clone(),
                state.into(),
                n.zone.clone(),
                n.address.clone().unwrap_or_default(),
            ]
        })
        .collect();
    output::table(&["NODE", "STATE", "ZONE", "ADDRESS"], &rows);
    Ok(())
}
