//! A group of members in one process, over a network that can be cut.

#![allow(dead_code, reason = "each test uses a part of it")]

use async_trait::async_trait;
use base::{Clock, Shutdown};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store_api::Store;
use store_raft::{Alone, Answer, MemberId, Options, RaftStore, Transport, TransportError};
use tokio::task::JoinHandle;

/// Carries requests between members of one process.
#[derive(Default)]
pub(crate) struct Net {
    members: Mutex<HashMap<MemberId, Arc<dyn Answer>>>,
    cut: Mutex<HashSet<MemberId>>,
    silent: Mutex<HashSet<MemberId>>,
}

struct Port {
    net: Arc<Net>,
    from: MemberId,
}

#[async_trait]
impl Transport for Port {
    async fn call(&self, to: MemberId, request: Bytes, patience: Duration) -> Result<Bytes, TransportError> {
        let cut = |why: &str| TransportError::Unreachable(to, why.into());
        let is_cut = || {
            let cut = self.net.cut.lock().unwrap();
            cut.contains(&to) || cut.contains(&self.from)
        };
        let is_silent = || {
            let silent = self.net.silent.lock().unwrap();
            silent.contains(&to) || silent.contains(&self.from)
        };
        if is_silent() {
            tokio::time::sleep(patience).await;
            return Err(TransportError::NoAnswer(to, "silence".into()));
        }
        let member = self.net.members.lock().unwrap().get(&to).cloned();
        let Some(member) = member.filter(|_| !is_cut()) else {
            return Err(cut("cut off"));
        };
        match tokio::time::timeout(patience, member.answer(self.from, request)).await {
            Ok(answer) if !is_cut() => Ok(answer),
            _ => Err(TransportError::NoAnswer(to, "cut off while waiting".into())),
        }
    }
}

impl Net {
    pub(crate) fn cut(&self, member: MemberId) {
        self.cut.lock().unwrap().insert(member);
    }

    /// As a machine without power is: it refuses nothing, and answers nothing.
    pub(crate) fn silence(&self, member: MemberId) {
        self.silent.lock().unwrap().insert(member);
    }

    pub(crate) fn heal(&self) {
        self.cut.lock().unwrap().clear();
    }
}

pub(crate) struct Running {
    pub(crate) store: RaftStore,
    shutdown: Shutdown,
    task: JoinHandle<Result<(), store_raft::RunError>>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.shutdown.trigger();
        self.task.await.unwrap().unwrap();
    }
}

pub(crate) async fn single(dir: &Path) -> Running {
    start(Options::single(dir), Arc::new(Alone), None).await
}

pub(crate) async fn member(
    net: &Arc<Net>,
    dir: &Path,
    id: MemberId,
    change: impl FnOnce(&mut Options),
) -> Running {
    let members: BTreeMap<_, _> = (1..=3).map(|id| (id, format!("member {id}"))).collect();
    let mut options = Options::group(id, members, dir.join(id.to_string()));
    change(&mut options);
    let port = Port {
        net: net.clone(),
        from: id,
    };
    start(options, Arc::new(port), Some(net)).await
}

async fn start(options: Options, transport: Arc<dyn Transport>, net: Option<&Arc<Net>>) -> Running {
    let id = options.member;
    // The database is closed when openraft's last task has gone, a moment after it was told to stop.
    let mut tries = 0;
    let (store, service) = loop {
        match store_raft::open(options.clone(), Clock::system(), transport.clone()).await {
            Ok(opened) => break opened,
            Err(e) if tries == 100 => panic!("{e}"),
            Err(_) => tries += 1,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    if let Some(net) = net {
        net.members.lock().unwrap().insert(id, store.answer());
    }
    let shutdown = Shutdown::new();
    let task = tokio::spawn(service.run(shutdown.clone()));
    Running {
        store,
        shutdown,
        task,
    }
}

/// The member that leads, as soon as one does.
pub(crate) async fn leader(members: &[Running]) -> usize {
    for _ in 0..500 {
        for (n, member) in members.iter().enumerate() {
            let status = member.store.status().await;
            if status.leader == Some(status.member) {
                return n;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no leader within ten seconds");
}
