//! `marina cluster`.

use super::{Common, Cx, checked};
use crate::output::{self, Format};
use crate::{kubeconfig, progress};
use anyhow::Result;
use clap::Subcommand;
use service_api::{Cloud, Cluster, CreateCluster, Operation, Page, Version};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a cluster and wait until it can be used.
    Create {
        name: String,
        /// 1.36 or 1.37; the newest if absent.
        #[arg(long)]
        version: Option<Version>,
        /// local (machines on this host, needs root) or sim (simulated machines).
        #[arg(long)]
        cloud: Option<Cloud>,
        /// Do not wait.
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        common: Common,
    },
    /// List clusters.
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Show one cluster.
    Get {
        name: String,
        #[command(flatten)]
        common: Common,
    },
    /// Take a cluster away, with its machines, load balancers and data.
    Delete {
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
            name,
            version,
            cloud,
            no_wait,
            common,
        } => {
            let cx = Cx::new(&common)?;
            create(&cx, CreateCluster { name, version, cloud }, !no_wait).await
        }
        Command::List { common } => list(&Cx::new(&common)?).await,
        Command::Get { name, common } => get(&Cx::new(&common)?, &name).await,
        Command::Delete {
            name,
            yes,
            no_wait,
            common,
        } => delete(&Cx::new(&common)?, &name, yes, !no_wait).await,
    }
}

async fn create(cx: &Cx, wanted: CreateCluster, wait: bool) -> Result<()> {
    let started = base::clock::stopwatch();
    let named = checked("cluster", &wanted.name)?.to_owned();
    let asked = wanted.cloud;
    let operation: Operation = cx.service.post(&cx.path("clusters"), &wanted).await?;
    if !wait {
        return show_operation(cx, &operation);
    }
    progress::wait(&cx.service, operation, &format!("creating cluster {named}")).await?;
    let cluster: Cluster = cx.service.get(&cx.path(&format!("clusters/{named}"))).await?;
    if cx.output == Format::Json {
        return output::json(&cluster);
    }
    let (version, cloud) = (cluster.spec.version, cluster.spec.cloud);
    println!(
        "Cluster {named} is ready after {} ms.",
        started.elapsed().as_millis()
    );
    println!(
        "  Kubernetes {version} at {}, machines from cloud {cloud}",
        cluster.status.endpoint
    );
    if asked.is_none() && cloud == Cloud::Sim {
        println!("  (the service has no embedded cloud, which needs root: machines are simulated)");
    }
    println!("  next: marina kubeconfig {named} --merge");
    Ok(())
}

async fn list(cx: &Cx) -> Result<()> {
    let mut all: Vec<Cluster> = Vec::new();
    let mut path = cx.path("clusters");
    loop {
        let page: Page<Cluster> = cx.service.get(&path).await?;
        all.extend(page.items);
        let Some(token) = page.next_page_token else { break };
        path = cx.path(&format!("clusters?pageToken={token}"));
    }
    if cx.output == Format::Json {
        return output::json(&Page {
            items: all,
            next_page_token: None,
        });
    }
    let rows: Vec<_> = all.iter().map(row).collect();
    output::table(&["NAME", "STATE", "VERSION", "CLOUD", "ENDPOINT", "AGE"], &rows);
    Ok(())
}

fn row(c: &Cluster) -> Vec<String> {
    vec![
        c.name.clone(),
        format!("{:?}", c.status.state),
        c.spec.version.to_string(),
        c.spec.cloud.to_string(),
        c.status.endpoint.clone(),
        output::age(&c.created_at),
    ]
}

async fn get(cx: &Cx, name: &str) -> Result<()> {
    let name = checked("cluster", name)?;
    let cluster: Cluster = cx.service.get(&cx.path(&format!("clusters/{name}"))).await?;
    if cx.output == Format::Json {
        return output::json(&cluster);
    }
    let mut rows = vec![
        vec!["Name".into(), cluster.name],
        vec!["Id".into(), cluster.id],
        vec![
            "State".into(),
            format!("{:?} {}", cluster.status.state, cluster.status.message),
        ],
        vec!["Version".into(), cluster.spec.version.to_string()],
        vec!["Cloud".into(), cluster.spec.cloud.to_string()],
        vec!["Endpoint".into(), cluster.status.endpoint],
        vec!["Service range".into(), cluster.spec.service_cidr],
        vec!["Pod range".into(), cluster.spec.pod_cidr],
        vec![
            "Objects".into(),
            format!("{} ({} bytes)", cluster.status.objects, cluster.status.bytes),
        ],
    ];
    for owner in cluster.status.owners {
        let value = format!(
            "slot {} held by {} since epoch {}",
            owner.slot, owner.owner, owner.epoch
        );
        rows.push(vec![owner.role, value]);
    }
    output::table(&[], &rows);
    Ok(())
}

async fn delete(cx: &Cx, name: &str, yes: bool, wait: bool) -> Result<()> {
    let name = checked("cluster", name)?;
    let path = cx.path(&format!("clusters/{name}"));
    if !yes {
        let _there: Cluster = cx.service.get(&path).await?;
        output::confirm(&format!(
            "Delete cluster {name} with its machines and all its data?"
        ))?;
    }
    let operation: Operation = cx.service.delete(&path).await?;
    if !wait {
        return show_operation(cx, &operation);
    }
    let done = progress::wait(&cx.service, operation, &format!("deleting cluster {name}")).await?;
    let (file, context) = (kubeconfig::path()?, format!("marina-{}-{name}", cx.project));
    let removed = kubeconfig::remove_from(&file, &context)?;
    if cx.output == Format::Json {
        return output::json(&done);
    }
    println!("Cluster {name} is gone.");
    if removed {
        println!("  context {context} was taken out of {}", file.display());
    }
    Ok(())
}

pub(super) fn show_operation(cx: &Cx, operation: &Operation) -> Result<()> {
    if cx.output == Format::Json {
        return output::json(operation);
    }
    println!("operation {} has begun: {}", operation.id, operation.stage);
    Ok(())
}
