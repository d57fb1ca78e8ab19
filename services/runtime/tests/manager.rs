//! The manager on the real store in memory: whose keys are worked on, and which come back.

use api::core::v1::Pod;
use async_trait::async_trait;
use base::{Clock, ClusterId, Shutdown};
use bytes::Bytes;
use client::transport::{Body, Transport, TransportError};
use runtime::leadership::{Claim, Leadership};
use runtime::{
    Controller, Cx, Error, Informers, Key as ObjectKey, ManagerDeps, Next, OneClient, Recorder, StoreSource,
    Wiring, manager,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use store_api::{Key, Op, Store, Txn};
use store_mem::MemStore;
use tokio::sync::watch;

/// Leadership that the test gives and takes.
#[derive(Default)]
struct Given {
    mine: AtomicBool,
    slots: watch::Sender<u64>,
}

impl Given {
    fn give(&self) {
        self.mine.store(true, Ordering::SeqCst);
        self.slots.send_replace(u64::MAX);
    }
    /// The slots go, and nobody looks before they come back.
    fn take_unseen(&self) {
        self.mine.store(false, Ordering::SeqCst);
    }
}

impl Leadership for Given {
    fn claim(&self, _cluster: &ClusterId) -> Claim {
        if self.mine.load(Ordering::SeqCst) {
            Claim::Mine(None)
        } else {
            Claim::NotMine
        }
    }
    fn slots(&self) -> watch::Receiver<u64> {
        self.slots.subscribe()
    }
}

struct Nowhere;

#[async_trait]
impl Transport for Nowhere {
    async fn send(&self, _request: http::Request<Bytes>) -> Result<http::Response<Body>, TransportError> {
        Err(TransportError::Request("there is no server".into()))
    }
}

struct Counts(Arc<AtomicUsize>);

#[async_trait]
impl Controller for Counts {
    fn name(&self) -> &'static str {
        "counts"
    }
    fn wire(&self, w: &mut Wiring) {
        w.primary::<Pod>();
    }
    async fn reconcile(&self, _cx: &Cx, _key: &ObjectKey) -> Result<Next, Error> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(Next::Done)
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_while_a_slot_was_lost_is_worked_on_when_it_is_back() {
    let store: Arc<dyn Store> = Arc::new(MemStore::default());
    let cluster: ClusterId = "a".parse().unwrap();
    let shutdown = Shutdown::new();
    let clients = Arc::new(OneClient(client::Client::new(Arc::new(Nowhere))));
    let clock = Clock::system();
    let (recorder, _writer) = Recorder::new(clients.clone(), "test", clock.clone());
    let leadership = Arc::new(Given::default());
    let deps = ManagerDeps {
        informers: Informers::new(Arc::new(StoreSource::new(store.clone())), shutdown.clone()),
        clients,
        leadership: leadership.clone(),
        recorder,
        clock,
        role: "test",
        metrics: runtime::QueueMetrics::default(),
    };
    let count = Arc::new(AtomicUsize::new(0));
    let controllers: Vec<Arc<dyn Controller>> = vec![Arc::new(Counts(count.clone()))];
    tokio::spawn(manager::run(deps, controllers, shutdown.clone()));
    // Time is virtual and stands still until nobody has anything to do.
    let settled = || tokio::time::sleep(Duration::from_secs(1));
    let put = |name: &'static str| {
        let (store, cluster) = (store.clone(), cluster.clone());
        async move {
            let key = Key::object(&cluster, "pods", Some("ns"), name).unwrap();
            let value = Bytes::from_static(br#"{"metadata":{"uid":"1"}}"#);
            let txn = Txn {
                then: vec![Op::put(key, value)],
                ..Txn::default()
            };
            store.txn(&cluster, txn).await.unwrap();
        }
    };
    put("one").await;
    settled().await;
    assert_eq!(count.load(Ordering::SeqCst), 0, "not ours");
    leadership.give();
    settled().await;
    assert_eq!(count.load(Ordering::SeqCst), 1, "all that is there");
    leadership.take_unseen();
    put("two").await;
    settled().await;
    assert_eq!(count.load(Ordering::SeqCst), 1, "not ours");
    leadership.give();
    settled().await;
    assert_eq!(count.load(Ordering::SeqCst), 3, "all that is there, again");
    shutdown.trigger();
}
