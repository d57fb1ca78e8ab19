//! Opening a member, and what runs in it besides openraft: group commit, the end of leases, the end of history.

use crate::disk::{Disk, Rocks};
use crate::log::LogStore;
use crate::machine::{Machine, Shared, Waiters};
use crate::member::Member;
use crate::network::Network;
use crate::store::RaftStore;
use crate::transport::{MemberId, Transport};
use crate::types::{Node, Types, seeded};
use base::{Clock, Shutdown};
use openraft::async_runtime::WatchReceiver;
use openraft::{Config, SnapshotPolicy};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use store_mem::{Action, Engine, EngineOptions};
use store_rocks::format::Submitted;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long opening waits for a group of one to lead itself.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// How often leases and history are looked at, at least.
const LOOK: Duration = Duration::from_secs(1);
/// How often history is swept.
const SWEEP: Duration = Duration::from_secs(60);
/// Leases ended in one go.
const LEASES: usize = 500;

/// How a member is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// This member's number.
    pub member: MemberId,
    /// Every member of the group at its beginning, this one too, and where it is (for people; the transport knows
    /// addresses by itself).
    pub members: BTreeMap<MemberId, String>,
    /// Whether this member may begin the group when its disk is empty. False for one that replaces a lost disk: it
    /// must be added by the others.
    pub bootstrap: bool,
    /// Where the disk is.
    pub dir: PathBuf,
    /// Limits of the state and of watches; the same on every member.
    pub engine: EngineOptions,
    /// How long history is kept.
    pub history: Duration,
    /// Raft's times.
    pub timing: Timing,
    /// Where random numbers begin (elections, tickets, leases); `None` takes the system's. For simulations.
    pub seed: Option<u64>,
    /// Entries of the log between two flushes of the state, after which the log is purged.
    pub flush_after: u64,
}

/// Raft's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A leader speaks up at least this often.
    pub heartbeat: Duration,
    /// A follower trusts a silent leader for the longer of these two, and then stands for election after a random time between
    /// them. So the group begins to look for a new leader between `0 + 1` and twice `1` after the last sign of the old one;
    /// an election on top takes two exchanges and a sync. Within the first of these times nobody votes, so that one
    /// follower that is slow itself deposes nobody.
    pub election: (Duration, Duration),
}

impl Options {
    /// A group of one in `dir`.
    pub fn single(dir: impl Into<PathBuf>) -> Self {
        let slow = Timing {
            heartbeat: Duration::from_secs(1),
            election: (Duration::from_secs(3), Duration::from_secs(5)),
        };
        Self {
            timing: slow,
            ..Self::group(1, [(1, "local".to_owned())].into(), dir)
        }
    }

    /// A member of a group of several.
    pub fn group(member: MemberId, members: BTreeMap<MemberId, String>, dir: impl Into<PathBuf>) -> Self {
        Self {
            member,
            members,
            bootstrap: true,
            dir: dir.into(),
            engine: EngineOptions::default(),
            history: Duration::from_secs(300),
            timing: Timing {
                heartbeat: Duration::from_millis(100),
                election: (Duration::from_millis(150), Duration::from_millis(350)),
            },
            seed: None,
            flush_after: 10_000,
        }
    }
}

/// Why a member could not be opened, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The disk cannot be read or written, or holds what it should not.
    #[error("the store's disk: {0}")]
    Disk(#[from] std::io::Error),
    /// Raft stopped. After a failed write to the log this is final: the process must end and start again.
    #[error("the store's consensus stopped: {0}")]
    Raft(String),
}

/// What has to run for a [`RaftStore`] to work.
pub struct Service {
    store: RaftStore,
    queue: mpsc::Receiver<Submitted>,
    history: Duration,
}

/// Opens a member with RocksDB as its disk.
pub async fn open(
    options: Options,
    clock: Clock,
    transport: Arc<dyn Transport>,
) -> Result<(RaftStore, Service), RunError> {
    let rocks = store_rocks::Options::new(&options.dir);
    let disk = tokio::task::spawn_blocking(move || store_rocks::RocksDisk::open(&rocks)).await;
    let disk = disk.map_err(std::io::Error::other)??;
    open_on(options, clock, transport, Arc::new(Rocks(Arc::new(disk)))).await
}

/// Opens a member on any disk.
pub async fn open_on(
    options: Options,
    clock: Clock,
    transport: Arc<dyn Transport>,
    disk: Arc<dyn Disk>,
) -> Result<(RaftStore, Service), RunError> {
    let raft_error = |e: &dyn std::fmt::Display| RunError::Raft(e.to_string());
    let seed = options.seed.unwrap_or_else(|| rand::rng().random());
    let mut rng = StdRng::seed_from_u64(seed);
    let engine = Engine::new(options.engine);
    let (applied, loader) = disk.load_state()?;
    engine.replace(applied.commands, loader);
    let shared = Arc::new(Shared {
        member: options.member,
        engine,
        waiters: Waiters::new(rng.random()),
        lessor: Mutex::default(),
        applied: tokio::sync::watch::Sender::new(0),
        voters: Mutex::default(),
    });
    renew_all(&shared);
    let machine = Machine::new(disk.clone(), shared.clone(), applied);
    let log = LogStore::open(disk.clone())?;
    let network = Network {
        transport: transport.clone(),
        transfers: Arc::default(),
    };
    let config = Arc::new(config(&options).validate().map_err(|e| raft_error(&e))?);
    let raft = openraft::Raft::<Types, Machine>::new(options.member, config, network, log, machine);
    let raft = seeded(seed, raft).await.map_err(|e| raft_error(&e))?;
    let begins = options.bootstrap && !raft.is_initialized().await.map_err(|e| raft_error(&e))?;
    if begins {
        let members: BTreeMap<u64, Node> = options
            .members
            .iter()
            .map(|(id, address)| (*id, Node::new(address.clone())))
            .collect();
        raft.initialize(members).await.map_err(|e| raft_error(&e))?;
    }
    let member = Arc::new(Member {
        raft,
        shared,
        transport,
        receiving: Mutex::default(),
    });
    let (queue, receiver) = mpsc::channel(crate::propose::QUEUE);
    let store = RaftStore {
        member,
        queue,
        clock,
        disk,
    };
    if options.members.len() == 1 {
        lead_alone(&store, begins).await?;
    }
    let service = Service {
        store: store.clone(),
        queue: receiver,
        history: options.history,
    };
    Ok((store, service))
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

fn config(options: &Options) -> Config {
    Config {
        cluster_name: "store".into(),
        heartbeat_interval: millis(options.timing.heartbeat),
        election_timeout_min: millis(options.timing.election.0),
        election_timeout_max: millis(options.timing.election.1),
        install_snapshot_timeout: 60_000,
        max_payload_entries: 64,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.flush_after),
        max_in_snapshot_log_to_keep: options.flush_after / 10,
        purge_batch_size: 256,
        enable_pre_vote: Some(true),
        // A leader that comes back would serve reads before its state has caught up.
        enable_leader_restore: Some(false),
        allow_log_reversion: Some(false),
        ..Config::default()
    }
}

/// A group of one elects itself at once, and has replayed its log when this returns. A group that begins is in an
/// election already.
async fn lead_alone(store: &RaftStore, begins: bool) -> Result<(), RunError> {
    let raft = &store.member.raft;
    let deadline = Instant::now() + START_PATIENCE;
    let mut metrics = raft.metrics();
    let last = {
        if !begins && !store.member.leads() {
            raft.trigger()
                .elect(false)
                .await
                .map_err(|e| RunError::Raft(e.to_string()))?;
        }
        loop {
            let now = metrics.borrow_watched().clone();
            now.running_state.map_err(|e| RunError::Raft(e.to_string()))?;
            if now.current_leader == Some(store.member.id()) {
                break now.last_log_index.unwrap_or(0);
            }
            if tokio::time::timeout_at(deadline, metrics.changed())
                .await
                .is_err()
            {
                return Err(RunError::Raft("a group of one found no leader".into()));
            }
        }
    };
    let mut applied = store.member.shared.applied.subscribe();
    let caught_up = applied.wait_for(|n| *n >= last);
    match tokio::time::timeout_at(deadline, caught_up).await {
        Ok(Ok(_)) => Ok(()),
        _ => Err(RunError::Raft("the log was not replayed in time".into())),
    }
}

fn renew_all(shared: &Shared) {
    let mut lessor = shared.lessor.lock();
    for (cluster, id, ttl) in shared.engine.all_leases() {
        lessor.renew(&cluster, id, ttl, Instant::now());
    }
}

impl Service {
    /// Runs until it is told to stop, or until Raft fails; then the process should end.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), RunError> {
        let Self {
            store,
            queue,
            history,
        } = self;
        let member = store.member.clone();
        let raft = member.raft.clone();
        let result = tokio::select! {
            biased;
            () = shutdown.triggered() => Ok(()),
            () = crate::propose::run(member, queue) => Ok(()),
            () = maintain(&store, history) => Ok(()),
            why = failed(&raft) => Err(RunError::Raft(why)),
        };
        raft.shutdown().await.map_err(|e| RunError::Raft(e.to_string()))?;
        if result.is_ok() {
            crate::disk::wait(|done| store.disk.flush_state(done)).await?;
        }
        result
    }
}

/// Waits until Raft has failed.
async fn failed(raft: &crate::member::Raft) -> String {
    let mut metrics = raft.metrics();
    loop {
        let state = metrics.borrow_watched().running_state.clone();
        if let Err(e) = state {
            return e.to_string();
        }
        if metrics.changed().await.is_err() {
            return "it ended".into();
        }
    }
}

/// Ends leases and history while this member leads. One task for all clusters; it sleeps while there is nothing to do.
async fn maintain(store: &RaftStore, history: Duration) {
    let shared = &store.member.shared;
    let mut led = false;
    let mut swept = Instant::now();
    loop {
        let now = Instant::now();
        let next = shared.lessor.lock().next().unwrap_or(now + LOOK);
        tokio::time::sleep_until(next.clamp(now + Duration::from_millis(10), now + LOOK)).await;
        let leads = store.member.leads();
        if leads && !led {
            // Renewals that an earlier leader knew of are unknown here: every lease has its full time again.
            renew_all(shared);
        }
        if leads != led {
            let did = if leads {
                "this member leads"
            } else {
                "this member leads no longer"
            };
            tracing::info!(member = store.member.id(), "{did}");
        }
        led = leads;
        if !leads {
            continue;
        }
        let over = shared.lessor.lock().expired(Instant::now(), LOOK * 5, LEASES);
        let revoked = over.iter().map(|(cluster, id)| {
            store.submit(Action::LeaseRevoke {
                cluster: cluster.clone(),
                id: *id,
            })
        });
        for ((cluster, id), result) in over.iter().zip(futures::future::join_all(revoked).await) {
            if matches!(
                result,
                Err(store_api::Error::LeaseNotFound | store_api::Error::ClusterGone(_))
            ) {
                shared.lessor.lock().forget(cluster, *id);
            }
        }
        if swept.elapsed() >= SWEEP {
            swept = Instant::now();
            let before_ms = store.now_ms().saturating_sub(millis(history));
            if shared.engine.sweepable(before_ms)
                && let Err(e) = store.submit(Action::Sweep { before_ms }).await
            {
                tracing::warn!(error = %e, "history was not swept");
            }
        }
    }
}
