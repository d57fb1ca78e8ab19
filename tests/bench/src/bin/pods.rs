//! Pods: how long one takes from its creation to Ready on real machines, and how many become ready in a second.
//!
//! It works on a cluster that is there already, with nodes and with the image on them:
//! `pods --kubeconfig FILE [--image NAME]`. Ready is what a watcher sees: the pod's condition, as delivered by one watch
//! that was open before the pod was created. Each pod is deleted again; the deletion is not timed.

use anyhow::{Context, Result, bail};
use api::k8s_openapi::api::core::v1::{Namespace, Pod};
use bench::{Histogram, Report};
use client::{Api, Client, Config, DeleteParams, HttpTransport, WatchEvent, WatchParams};
use futures::{Stream, StreamExt};
use serde_json::json;
use std::collections::HashSet;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

const NAMESPACE: &str = "marina-bench";
/// A pod that is not ready by then will not be.
const PATIENCE: Duration = Duration::from_secs(60);
const ONE_BY_ONE: u64 = 20;
const AT_ONCE: u64 = 30;
/// After a deletion without grace the node still takes the pod down; the next pod is not timed beside that.
const SETTLE: Duration = Duration::from_secs(2);

type Events = Pin<Box<dyn Stream<Item = Result<WatchEvent<Pod>, client::Error>> + Send>>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let _another_was_chosen = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut report = Report::from_args("pods");
    let file = report
        .args()
        .value("--kubeconfig")
        .context("--kubeconfig FILE is needed")?;
    let config = Config::from_kubeconfig(Path::new(file), None)?;
    let image = report
        .args()
        .value("--image")
        .unwrap_or("docker.io/library/busybox:latest")
        .to_owned();
    let client = Client::new(Arc::new(HttpTransport::new(config, base::Clock::system())?));
    make_namespace(&client).await?;
    let pods = Api::<Pod>::namespaced(&client, NAMESPACE);
    let params = WatchParams {
        send_initial_events: true,
        bookmarks: true,
        ..WatchParams::default()
    };
    let mut events: Events = Box::pin(pods.watch(&params).await?);

    // The first one pulls the image and warms every cache; it does not count.
    let warm = together(&pods, &mut events, &image, "warm", AT_ONCE.min(6)).await?;
    clear(&pods).await?;
    eprintln!("warm: {}", percentiles(&warm.each));

    let mut single = Histogram::default();
    for n in 0..report.scale(ONE_BY_ONE) {
        let one = together(&pods, &mut events, &image, &format!("one-{n}"), 1).await?;
        single.merge(&one.each);
        clear(&pods).await?;
    }
    report.add(
        "one pod, create to Ready",
        percentiles(&single),
        "499 ms (goal 250 ms)",
    );

    let many = together(&pods, &mut events, &image, "many", AT_ONCE).await?;
    let rate = AT_ONCE as f64 / many.wall.as_secs_f64();
    report.add(
        format!("{AT_ONCE} pods at once"),
        format!("{rate:.1} pods/s"),
        "6 pods/s (goal 15)",
    );
    report.add(
        format!("{AT_ONCE} pods at once, create to Ready"),
        percentiles(&many.each),
        "-",
    );
    clear(&pods).await?;
    report.print();
    Ok(())
}

struct Outcome {
    each: Histogram,
    wall: Duration,
}

fn percentiles(h: &Histogram) -> String {
    let ms = |d: Duration| d.as_secs_f64() * 1000.0;
    format!("p50 {:.0} ms, max {:.0} ms", ms(h.percentile(0.5)), ms(h.max()))
}

async fn make_namespace(client: &Client) -> Result<()> {
    let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": NAMESPACE } }))?;
    match Api::<Namespace>::all(client).create(&namespace).await {
        Ok(_) => {}
        Err(error) if error.is_already_exists() => {}
        Err(error) => return Err(error.into()),
    }
    // Pods are refused until the namespace has its service account.
    let accounts = Api::<api::k8s_openapi::api::core::v1::ServiceAccount>::namespaced(client, NAMESPACE);
    let deadline = Instant::now() + PATIENCE;
    while accounts.get_opt("default").await?.is_none() {
        if Instant::now() > deadline {
            bail!("namespace {NAMESPACE} gets no service account");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Creates pods at once and waits until the watch has shown all of them ready.
async fn together(
    pods: &Api<Pod>,
    events: &mut Events,
    image: &str,
    name: &str,
    count: u64,
) -> Result<Outcome> {
    let began = Instant::now();
    let wanted: Vec<Pod> = (0..count)
        .map(|n| pod(&format!("{name}-{n}"), image))
        .collect::<Result<_>>()?;
    let create = futures::future::try_join_all(wanted.iter().map(|pod| pods.create(pod)));
    let mut ready = HashSet::new();
    let mut each = Histogram::default();
    let watch = async {
        while ready.len() < wanted.len() {
            let pod = match events.next().await.context("the watch ended")?? {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => pod,
                WatchEvent::Deleted(_) | WatchEvent::Bookmark { .. } => continue,
            };
            let name_of = pod.metadata.name.clone().unwrap_or_default();
            if name_of.starts_with(name) && is_ready(&pod) && ready.insert(name_of) {
                each.record(began.elapsed());
            }
        }
        anyhow::Ok(())
    };
    let both = async { tokio::try_join!(async { Ok(create.await?) }, watch) };
    tokio::time::timeout(PATIENCE, both)
        .await
        .context("the pods do not become ready")??;
    Ok(Outcome {
        each,
        wall: began.elapsed(),
    })
}

fn pod(name: &str, image: &str) -> Result<Pod> {
    Ok(serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "3600"],
            }],
        },
    }))?)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.is_some_and(|c| c.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

/// Deletes all pods and waits until they are gone.
async fn clear(pods: &Api<Pod>) -> Result<()> {
    pods.delete_collection(&DeleteParams::now(), &client::ListParams::default())
        .await?;
    let deadline = Instant::now() + PATIENCE;
    while !pods.list(&client::ListParams::default()).await?.items.is_empty() {
        if Instant::now() > deadline {
            bail!("the pods do not go away");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(SETTLE).await;
    Ok(())
}
