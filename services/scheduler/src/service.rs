//! The loop.

use crate::bind;
use crate::cluster::Decision;
use crate::metrics::Metrics;
use crate::world::{Work, World};
use api::k8s_openapi::api::core::v1;
use api::k8s_openapi::api::policy::v1::PodDisruptionBudget;
use base::{Clock, Shutdown};
use client::Resource;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use runtime::leadership::{Claim, Leadership};
use runtime::{Clients, Informers, Recorder};
use scheduling::Framework;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// What an operator chooses.
#[derive(Clone, Debug)]
pub struct Options {
    /// Pods that name this scheduler are ours.
    pub scheduler_name: String,
    /// Bindings in flight at the same time, of all clusters together.
    pub bindings: usize,
    /// Where ties are broken from; the same seed and the same events give the same placements.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            scheduler_name: "default-scheduler".into(),
            bindings: 64,
            seed: 0,
        }
    }
}

/// What the scheduler stands on.
pub struct Deps {
    pub informers: Arc<Informers>,
    pub clients: Arc<dyn Clients>,
    pub leadership: Arc<dyn Leadership>,
    pub recorder: Recorder,
    pub clock: Clock,
    /// Where attempts and queues are counted.
    pub metrics: Metrics,
}

/// Runs until shutdown, then waits for bindings in flight.
pub async fn run(options: Options, deps: Deps, shutdown: Shutdown) {
    let deps = Arc::new(deps);
    let world = Arc::new(World::new(options.scheduler_name, deps.metrics.clone()));
    let nodes = deps.informers.informer(&Resource::of::<v1::Node>(), &[]);
    let pods = deps.informers.informer(&Resource::of::<v1::Pod>(), &[]);
    let budgets = deps
        .informers
        .informer(&Resource::of::<PodDisruptionBudget>(), &[]);
    let (to_nodes, to_pods, to_budgets) = (world.clone(), world.clone(), world.clone());
    nodes.subscribe(Arc::new(move |change| to_nodes.node(change)));
    pods.subscribe(Arc::new(move |change| to_pods.pod(change)));
    budgets.subscribe(Arc::new(move |change| to_budgets.budget(change)));
    deps.informers.start();
    let synced = async {
        nodes.synced().await;
        pods.synced().await;
        budgets.synced().await;
    };
    if shutdown.run_until(synced).await.is_none() {
        return;
    }
    let framework = Framework::standard();
    let mut random = SmallRng::seed_from_u64(options.seed);
    let permits = Arc::new(Semaphore::new(options.bindings.max(1)));
    let mut running = JoinSet::new();
    let mut reported: HashMap<(base::ClusterId, String), String> = HashMap::new();
    let mut slots = deps.leadership.slots();
    loop {
        while running.try_join_next().is_some() {}
        let mine = |id: &base::ClusterId| matches!(deps.leadership.claim(id), Claim::Mine(_));
        let mut dice = |n: usize| random.random_range(0..n.max(1));
        match world.next(&framework, mine, &mut dice) {
            Work::Decided(cluster, Decision::Bind { pod, node, attempt }) => {
                let permit = permits.clone().acquire_owned();
                let Some(Ok(permit)) = shutdown.run_until(permit).await else {
                    break;
                };
                let (deps, world) = (deps.clone(), world.clone());
                running.spawn(async move {
                    bind::bind(deps, world, cluster, (pod, attempt), node).await;
                    drop(permit);
                });
            }
            Work::Decided(
                cluster,
                Decision::Refused {
                    pod,
                    message,
                    preemption,
                },
            ) => {
                // The same words about the same pod are said once.
                let known = reported.insert((cluster.clone(), pod.uid.clone()), message.clone());
                if reported.len() > REMEMBERED {
                    reported.clear();
                }
                if known.as_ref() != Some(&message) || preemption.is_some() {
                    let (deps, world) = (deps.clone(), world.clone());
                    running.spawn(async move {
                        let nominated = preemption.as_ref().map(|p| p.node.clone());
                        bind::report(&deps, &cluster, &pod, message, nominated).await;
                        if let Some(preemption) = preemption {
                            bind::preempt(&deps, &world, &cluster, &pod, &preemption).await;
                        }
                    });
                }
                // Thousands of hopeless pods must not keep the thread from those that write.
                tokio::task::yield_now().await;
            }
            Work::Idle(until) => {
                let timer = async {
                    match until {
                        Some(at) => tokio::time::sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    () = shutdown.triggered() => break,
                    () = world.woken() => {}
                    () = timer => {}
                    Ok(()) = slots.changed() => world.poke(),
                }
            }
        }
        if shutdown.is_triggered() {
            break;
        }
    }
    while running.join_next().await.is_some() {}
}

/// Reports that are remembered, so as not to repeat them.
const REMEMBERED: usize = 10_000;
