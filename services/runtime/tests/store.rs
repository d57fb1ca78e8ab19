//! Informers and slots on the real store in memory.

use base::{ClusterId, Shutdown};
use client::Resource;
use runtime::leadership::{Claim, Leadership, SlotOptions, StoreSlots};
use runtime::{Informers, Key as ObjectKey, StoreSource};
use std::sync::Arc;
use std::time::Duration;
use store_api::{Error, Guard, Key, Op, Store, Txn};
use store_mem::MemStore;

fn pods() -> Resource {
    Resource {
        group: "".into(),
        version: "v1".into(),
        kind: "Pod".into(),
        plural: "pods".into(),
        namespaced: true,
    }
}

async fn put(store: &dyn Store, cluster: &ClusterId, name: &str, value: &'static [u8]) {
    let key = Key::object(cluster, "pods", Some("ns"), name).unwrap();
    let txn = Txn {
        then: vec![Op::put(key, value.into())],
        ..Txn::default()
    };
    store.txn(cluster, txn).await.unwrap();
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

#[tokio::test(start_paused = true)]
async fn one_informer_sees_every_cluster() {
    let store: Arc<dyn Store> = Arc::new(MemStore::default());
    let (a, b): (ClusterId, ClusterId) = ("a".parse().unwrap(), "b".parse().unwrap());
    put(&*store, &a, "early", br#"{"metadata":{"uid":"1"}}"#).await;
    let shutdown = Shutdown::new();
    let informers = Informers::new(Arc::new(StoreSource::new(store.clone())), shutdown.clone());
    let informer = informers.informer(&pods(), &[]);
    informers.start();
    informers.synced().await;
    let cache = informer.cache();
    assert!(cache.get(&a, "ns", "early").is_some());
    put(&*store, &b, "late", br#"{"metadata":{"uid":"2"}}"#).await;
    until("the other cluster's pod arrives", || {
        cache.get(&b, "ns", "late").is_some()
    })
    .await;
    store.remove_cluster(&b).await.unwrap();
    until("a removed cluster is forgotten", || {
        cache.clusters() == [a.clone()]
    })
    .await;
    assert_eq!(cache.keys(|_| true), [ObjectKey::new(&a, "ns", "early")]);
    shutdown.trigger();
}

#[tokio::test(start_paused = true)]
async fn slots_are_shared_and_a_dead_owners_writes_are_refused() {
    let store: Arc<dyn Store> = Arc::new(MemStore::default());
    let start = |member: &str| {
        let stop = Shutdown::new();
        let slots = StoreSlots::new(store.clone(), SlotOptions::new("test", member));
        let task = tokio::spawn(slots.clone().run(stop.clone()));
        (slots, stop, task)
    };
    let mask = |s: &StoreSlots| *s.slots().borrow();
    let (one, _stop_one, task_one) = start("one");
    until("one process owns all", || mask(&one) == u64::MAX).await;
    let (two, stop_two, _task_two) = start("two");
    until("two share", || {
        mask(&one).count_ones() == 32 && mask(&one) ^ mask(&two) == u64::MAX
    })
    .await;

    let mine = (0..).map(|n| format!("c{n}").parse::<ClusterId>().unwrap());
    let cluster = mine
        .clone()
        .find(|c| matches!(one.claim(c), Claim::Mine(_)))
        .unwrap();
    let Claim::Mine(Some(guard)) = one.claim(&cluster) else {
        panic!("a slot of the store has a guard")
    };
    let write = |guard: Guard| {
        let key = Key::object(&cluster, "pods", Some("ns"), "x").unwrap();
        let op = Op::put(key, "v".into());
        Txn {
            guards: vec![guard],
            then: vec![op],
            ..Txn::default()
        }
    };
    store.txn(&cluster, write(guard.clone())).await.unwrap();

    task_one.abort();
    until("the other takes over when the lease ends", || {
        mask(&two) == u64::MAX
    })
    .await;
    let refused = store.txn(&cluster, write(guard)).await;
    assert!(matches!(refused, Err(Error::Fenced(_))), "{refused:?}");
    let Claim::Mine(Some(fresh)) = two.claim(&cluster) else {
        panic!("taken over")
    };
    store.txn(&cluster, write(fresh)).await.unwrap();
    stop_two.trigger();
}
