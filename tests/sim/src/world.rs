//! One run: three members, four clients, three watchers, and someone who breaks things.

use crate::disk::{Fault, Platter, SimDisk};
use crate::history::{Changes, Read, Survived, Write, check_reads, check_watch, check_writes};
use crate::net::{Net, Port};
use base::{Clock, ClusterId, Shutdown};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use store_api::{
    Compare, Consistency, EventKind, Key, Op, Range, Revision, Span, Store, Txn, WatchMessage, WatchRequest,
};
use store_raft::{MemberId, Options, RaftStore};
use tokio::time::Instant;

const CLIENTS: u64 = 8;
const KEYS: u64 = 8;
/// How long a client waits for an answer; then it tries somewhere else, and never learns what became of its write.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long everything is broken.
const TROUBLE: Duration = Duration::from_secs(8);
/// How long a healed group may take to work again.
const RECOVERY: Duration = Duration::from_secs(20);

/// What a run did, so that a test can see that it did something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Acknowledged writes.
    pub writes: usize,
    /// Answered reads.
    pub reads: usize,
    /// Members that crashed.
    pub crashes: usize,
    /// Cuts of the network.
    pub cuts: usize,
    /// The newest revision.
    pub revision: Revision,
    /// A digest of all that clients saw and when, and of what survived: equal for equal runs.
    pub digest: u64,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            writes,
            reads,
            crashes,
            cuts,
            revision,
            digest,
        } = self;
        write!(
            f,
            "{writes} writes and {reads} reads, {crashes} crashes and {cuts} cuts, "
        )?;
        write!(f, "revision {revision}, digest {digest:016x}")
    }
}

struct Life {
    store: RaftStore,
    alive: Arc<AtomicBool>,
    service: tokio::task::JoinHandle<()>,
}

struct World {
    rng: Arc<Mutex<StdRng>>,
    net: Arc<Net>,
    platters: Vec<Arc<Mutex<Platter>>>,
    lives: Mutex<BTreeMap<MemberId, Life>>,
    clock: Clock,
    began: Instant,
    seeds: AtomicU64,
    fault: Fault,
}

fn cluster() -> ClusterId {
    "sim".parse().expect("a valid id")
}

fn key(name: &str) -> Key {
    Key::object(&cluster(), "configmaps", None, name).expect("plain parts make a key")
}

fn digest(of: &impl std::hash::Hash) -> u64 {
    // Its keys are fixed, unlike those of a map's hasher.
    let mut hasher = std::hash::DefaultHasher::new();
    of.hash(&mut hasher);
    std::hash::Hasher::finish(&hasher)
}

fn everything() -> Span {
    Span::prefix(&cluster(), "/".into())
}

/// Runs one seed in a runtime of its own, with a paused clock. The error says what was violated.
pub fn run(seed: u64, fault: Fault) -> Result<Report, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime
        .map_err(|e| e.to_string())?
        .block_on(async { World::new(seed, fault).run().await })
}

impl World {
    fn new(seed: u64, fault: Fault) -> Arc<Self> {
        let start = "2026-01-01T00:00:00Z".parse().expect("a time");
        Arc::new(Self {
            rng: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))),
            net: Arc::default(),
            platters: (0..3).map(|_| Arc::default()).collect(),
            lives: Mutex::default(),
            clock: Clock::virtual_from(start),
            began: Instant::now(),
            seeds: AtomicU64::new(seed.wrapping_mul(1_000_003)),
            fault,
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn random(&self, below: u64) -> u64 {
        self.rng.lock().random_range(0..below)
    }

    async fn start(&self, id: MemberId) -> Result<(), String> {
        let alive = Arc::new(AtomicBool::new(true));
        let platter = self.platters[id as usize - 1].clone();
        let disk = Arc::new(SimDisk::start(
            platter,
            self.rng.clone(),
            alive.clone(),
            self.fault,
        ));
        let members = (1..=3).map(|id| (id, format!("member {id}"))).collect();
        let mut options = Options::group(id, members, "");
        // The log is purged often, so that snapshots are needed.
        options.flush_after = 100;
        options.seed = Some(self.seeds.fetch_add(1, Ordering::Relaxed));
        let port = Port {
            net: self.net.clone(),
            from: id,
            rng: self.rng.clone(),
            alive: alive.clone(),
        };
        let opened = store_raft::open_on(options, self.clock.clone(), Arc::new(port), disk).await;
        let (store, service) = opened.map_err(|e| format!("member {id} does not start: {e}"))?;
        self.net.join(id, store.answer());
        let dead = alive.clone();
        let service = tokio::spawn(async move {
            // It ends with an error when its disk fails; the nemesis starts it again.
            drop(service.run(Shutdown::new()).await);
            dead.store(false, Ordering::Relaxed);
        });
        self.lives.lock().insert(
            id,
            Life {
                store,
                alive,
                service,
            },
        );
        Ok(())
    }

    fn crash(&self, id: MemberId) {
        self.net.leave(id);
        if let Some(life) = self.lives.lock().remove(&id) {
            life.alive.store(false, Ordering::Relaxed);
            life.service.abort();
        }
        self.platters[id as usize - 1]
            .lock()
            .lose_power(&mut self.rng.lock());
    }

    /// A living member, any or this one.
    fn store(&self, wish: Option<MemberId>) -> Option<RaftStore> {
        let lives = self.lives.lock();
        let living: Vec<_> = lives
            .iter()
            .filter(|(_, l)| l.alive.load(Ordering::Relaxed))
            .collect();
        match wish {
            Some(id) => living
                .iter()
                .find(|(n, _)| **n == id)
                .map(|(_, l)| l.store.clone()),
            None if living.is_empty() => None,
            None => Some(living[self.random(living.len() as u64) as usize].1.store.clone()),
        }
    }

    async fn run(self: Arc<Self>) -> Result<Report, String> {
        for id in 1..=3 {
            self.start(id).await?;
        }
        let stop = Shutdown::new();
        let writes = Arc::new(Mutex::new(Vec::new()));
        let reads = Arc::new(Mutex::new(Vec::new()));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| {
                tokio::spawn(
                    self.clone()
                        .client(n, writes.clone(), reads.clone(), stop.clone()),
                )
            })
            .collect();
        let watchers: Vec<_> = (1..=3)
            .map(|id| tokio::spawn(self.clone().watcher(id, stop.clone())))
            .collect();
        let mut report = self.nemesis().await?;
        stop.trigger();
        for client in clients {
            client.await.map_err(|e| e.to_string())?;
        }
        let survived = self.recover().await?;
        let (writes, reads) = (writes.lock().clone(), reads.lock().clone());
        check_writes(&writes, &survived)?;
        check_reads(&reads, &writes, &survived)?;
        for watcher in watchers {
            check_watch(&watcher.await.map_err(|e| e.to_string())?, &survived)?;
        }
        report.writes = writes.len();
        report.reads = reads.len();
        if writes.len() < 50 || reads.len() < 20 {
            return Err(format!(
                "next to nothing was done: {} writes, {} reads",
                writes.len(),
                reads.len()
            ));
        }
        report.digest = digest(&(&writes, &reads, &survived));
        report.revision = survived.keys().next_back().copied().unwrap_or(1);
        Ok(report)
    }

    async fn nemesis(&self) -> Result<Report, String> {
        let mut report = Report::default();
        while self.began.elapsed() < TROUBLE {
            self.pause(200, 800).await;
            let id = 1 + self.random(3);
            match self.random(6) {
                0 | 1 => {
                    self.crash(id);
                    report.crashes += 1;
                }
                2 => {
                    for other in (1..=3).filter(|o| *o != id) {
                        self.net.cut(id, other);
                        self.net.cut(other, id);
                    }
                    report.cuts += 1;
                }
                3 => {
                    // One way only.
                    self.net.cut(id, 1 + id % 3);
                    report.cuts += 1;
                }
                4 => self.net.lose(0.1),
                _ => report.crashes += self.blackout(),
            }
            self.pause(100, 1000).await;
            self.restart_the_dead().await?;
            // Sometimes one trouble meets the next.
            if self.random(3) > 0 {
                self.net.heal();
            }
        }
        // Every run ends with the worst, while clients write.
        self.net.heal();
        self.pause(1000, 1500).await;
        report.crashes += self.blackout();
        Ok(report)
    }

    async fn pause(&self, least: u64, most: u64) {
        let millis = least + self.random(most - least);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    /// All members lose power at once.
    fn blackout(&self) -> usize {
        for id in 1..=3 {
            self.crash(id);
        }
        3
    }

    async fn restart_the_dead(&self) -> Result<(), String> {
        for id in 1..=3 {
            if self.store(Some(id)).is_none() {
                self.crash(id);
                self.start(id).await?;
            }
        }
        Ok(())
    }

    /// Heals everything; the group must work again, and all members must come to hold the same.
    async fn recover(&self) -> Result<Survived, String> {
        let deadline = Instant::now() + RECOVERY;
        self.net.heal();
        let last = loop {
            self.restart_the_dead().await?;
            if let Some(store) = self.store(Some(1)) {
                let then = vec![Op::put(key("after"), "1".into())];
                if let Ok(outcome) = store
                    .txn(
                        &cluster(),
                        Txn {
                            then,
                            ..Txn::default()
                        },
                    )
                    .await
                {
                    break outcome.revision;
                }
            }
            if Instant::now() > deadline {
                return Err("the healed group takes no writes".into());
            }
        };
        let mut states = Vec::new();
        for id in 1..=3 {
            let state = loop {
                self.restart_the_dead().await?;
                if let Some(state) = self.state(id, last).await {
                    break state;
                }
                if Instant::now() > deadline + RECOVERY {
                    return Err(format!("member {id} does not catch up with revision {last}"));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            states.push(state);
        }
        if states.iter().any(|s| *s != states[0]) {
            return Err("the members' states differ".into());
        }
        let store = self.store(Some(1)).ok_or("member 1 died at the end")?;
        let watch = store
            .watch(WatchRequest {
                span: everything(),
                from: Some(1),
            })
            .await;
        let mut watch = watch.map_err(|e| format!("the history is gone: {e}"))?;
        let mut survived = Survived::new();
        while !survived.contains_key(&last) {
            match watch.messages.recv().await {
                Some(WatchMessage::Events { revision, events }) => {
                    survived.insert(revision, changes(&events));
                }
                other => return Err(format!("the history ends with {other:?}")),
            }
        }
        Ok(survived)
    }

    /// What a member holds, once it has reached a revision.
    async fn state(&self, id: MemberId, reached: Revision) -> Option<Vec<String>> {
        let store = self.store(Some(id))?;
        let range = Range {
            span: everything(),
            at: None,
            limit: 0,
            consistency: Consistency::Local,
        };
        let list = store.range(range).await.ok()?;
        let show = |r: &Arc<store_api::Record>| {
            format!(
                "{:?} {} {} {} {:?}",
                r.key, r.create_revision, r.mod_revision, r.version, r.value
            )
        };
        (list.revision >= reached).then(|| list.records.iter().map(show).collect())
    }

    async fn client(
        self: Arc<Self>,
        n: u64,
        writes: Arc<Mutex<Vec<Write>>>,
        reads: Arc<Mutex<Vec<Read>>>,
        stop: Shutdown,
    ) {
        let mut count = 0;
        while !stop.is_triggered() {
            let pause = self.random(30);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let Some(store) = self.store(None) else { continue };
            let name = format!("k{}", self.random(KEYS));
            let began = self.now();
            count += 1;
            match self.random(4) {
                0 => {
                    let span = Span::one(&key(&name));
                    let range = Range {
                        span,
                        at: None,
                        limit: 1,
                        consistency: Consistency::Linearizable,
                    };
                    if let Ok(Ok(list)) = tokio::time::timeout(PATIENCE, store.range(range)).await {
                        let value = list
                            .records
                            .first()
                            .map(|r| String::from_utf8_lossy(&r.value).into_owned());
                        reads.lock().push(Read {
                            began,
                            revision: list.revision,
                            name,
                            value,
                        });
                    }
                }
                1 => {
                    // Deleting only counts if something was there: otherwise there is no revision to witness it.
                    let txn = Txn {
                        compares: vec![Compare::Version(key(&name), std::cmp::Ordering::Greater, 0)],
                        then: vec![Op::delete(&key(&name))],
                        ..Txn::default()
                    };
                    self.write(&store, txn, began, name, None, &writes).await;
                }
                _ => {
                    let value = format!("{n}-{count}");
                    let then = vec![Op::put(key(&name), value.clone().into())];
                    let txn = Txn {
                        then,
                        ..Txn::default()
                    };
                    self.write(&store, txn, began, name, Some(value), &writes).await;
                }
            }
        }
    }

    async fn write(
        &self,
        store: &RaftStore,
        txn: Txn,
        began: u64,
        name: String,
        value: Option<String>,
        writes: &Mutex<Vec<Write>>,
    ) {
        if let Ok(Ok(outcome)) = tokio::time::timeout(PATIENCE, store.txn(&cluster(), txn)).await
            && outcome.succeeded
        {
            let write = Write {
                began,
                ended: self.now(),
                revision: outcome.revision,
                name,
                value,
            };
            writes.lock().push(write);
        }
    }

    /// Watches at one member through all its lives; resumes where it was.
    async fn watcher(self: Arc<Self>, id: MemberId, stop: Shutdown) -> Vec<(Revision, Changes)> {
        let mut seen: Vec<(Revision, Changes)> = Vec::new();
        while !stop.is_triggered() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let Some(store) = self.store(Some(id)) else {
                continue;
            };
            let from = Some(seen.last().map_or(1, |(revision, _)| revision + 1));
            let Ok(mut watch) = store
                .watch(WatchRequest {
                    span: everything(),
                    from,
                })
                .await
            else {
                continue;
            };
            let alive = self.lives.lock().get(&id).map(|l| l.alive.clone());
            while !stop.is_triggered() && alive.as_ref().is_some_and(|a| a.load(Ordering::Relaxed)) {
                match tokio::time::timeout(Duration::from_millis(200), watch.messages.recv()).await {
                    Ok(Some(WatchMessage::Events { revision, events })) => {
                        seen.push((revision, changes(&events)))
                    }
                    Ok(Some(WatchMessage::Progress { .. })) | Err(_) => {}
                    Ok(Some(WatchMessage::Failed(_)) | None) => break,
                }
            }
        }
        seen
    }
}

fn changes(events: &[Arc<store_api::Event>]) -> Changes {
    let value = |e: &store_api::Event| match e.kind {
        EventKind::Put => Some(String::from_utf8_lossy(&e.record.value).into_owned()),
        EventKind::Delete => None,
    };
    events
        .iter()
        .map(|e| (e.record.key.name().to_owned(), value(e)))
        .collect()
}
