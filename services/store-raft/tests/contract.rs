//! The store's contract, on a group of one and on each member of a group of three; restarts; a lost follower.

mod common;

use base::ClusterId;
use bytes::Bytes;
use common::{Net, leader, member, single};
use std::sync::Arc;
use std::time::Duration;
use store_api::suite::{self, Traits};
use store_api::{Consistency, Error, Key, Op, Range, Revision, Span, Store, Txn, WatchMessage, WatchRequest};

fn cluster() -> ClusterId {
    "a".parse().unwrap()
}

async fn put(store: &dyn Store, name: &str, value: &str) -> Revision {
    let key = Key::object(&cluster(), "pods", Some("ns"), name).unwrap();
    let then = vec![Op::put(key, Bytes::copy_from_slice(value.as_bytes()))];
    store
        .txn(
            &cluster(),
            Txn {
                then,
                ..Txn::default()
            },
        )
        .await
        .unwrap()
        .revision
}

async fn names(store: &dyn Store, consistency: Consistency) -> Vec<String> {
    let span = Span::collection(&cluster(), "pods", None).unwrap();
    let list = store
        .range(Range {
            span,
            at: None,
            limit: 0,
            consistency,
        })
        .await
        .unwrap();
    list.records.iter().map(|r| r.key.name().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_one_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let running = single(dir.path()).await;
    let store: Arc<dyn Store> = Arc::new(running.store.clone());
    suite::run(Traits::all(), async || store.clone()).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_three_keeps_the_contract_at_every_member() {
    let dir = tempfile::tempdir().unwrap();
    let net = Arc::new(Net::default());
    let mut members = Vec::new();
    for id in 1..=3 {
        members.push(member(&net, dir.path(), id, |_| {}).await);
    }
    leader(&members).await;
    let next = std::sync::atomic::AtomicUsize::new(0);
    suite::run(Traits::all(), async || {
        let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Arc::new(members[n % 3].store.clone()) as Arc<dyn Store>
    })
    .await;
    for member in members {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_gives_back_keys_history_and_leases() {
    let dir = tempfile::tempdir().unwrap();
    let running = single(dir.path()).await;
    let first = put(&running.store, "a", "1").await;
    let second = put(&running.store, "b", "2").await;
    let lease = running
        .store
        .lease_grant(&cluster(), 0, Duration::from_secs(60))
        .await
        .unwrap();
    running.stop().await;
    for round in 0..2 {
        let running = single(dir.path()).await;
        assert_eq!(
            names(&running.store, Consistency::Linearizable).await,
            ["a", "b"],
            "round {round}"
        );
        assert_eq!(running.store.leases(&cluster()).await.unwrap(), [lease]);
        let span = Span::collection(&cluster(), "pods", None).unwrap();
        let mut watch = running
            .store
            .watch(WatchRequest {
                span,
                from: Some(first),
            })
            .await
            .unwrap();
        for expected in [first, second] {
            match watch.messages.recv().await.unwrap() {
                WatchMessage::Events { revision, .. } => assert_eq!(revision, expected),
                other => panic!("{other:?}"),
            }
        }
        let position = running
            .store
            .revision(&cluster(), Consistency::Linearizable)
            .await
            .unwrap();
        assert_eq!(position.revision, second);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_away_catches_up_by_snapshot_and_a_majority_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let net = Arc::new(Net::default());
    let mut members = Vec::new();
    for id in 1..=3 {
        // The log is purged almost at once, so whoever was away needs a snapshot.
        members.push(member(&net, dir.path(), id, |o| o.flush_after = 20).await);
    }
    let first = leader(&members).await;
    put(&members[first].store, "before", "1").await;
    let away = (first + 1) % 3;
    net.cut(away as u64 + 1);
    let mut last = 0;
    for n in 0..100 {
        last = put(&members[first].store, &format!("k{n:02}"), "1").await;
    }
    net.heal();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while members[away]
        .store
        .revision(&cluster(), Consistency::Local)
        .await
        .unwrap()
        .revision
        < last
    {
        assert!(tokio::time::Instant::now() < deadline, "it never caught up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(names(&members[away].store, Consistency::Local).await.len(), 101);
    // The leader goes: the others elect one, and nothing is lost.
    let first = leader(&members).await;
    net.cut(first as u64 + 1);
    let other = (first + 1) % 3;
    put(&members[other].store, "after", "1").await;
    assert_eq!(
        names(&members[(first + 2) % 3].store, Consistency::Linearizable)
            .await
            .len(),
        102
    );
    for member in members {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_silent_leader_once_another_leads() {
    let dir = tempfile::tempdir().unwrap();
    let net = Arc::new(Net::default());
    let mut members = Vec::new();
    for id in 1..=3 {
        members.push(member(&net, dir.path(), id, |_| {}).await);
    }
    let first = leader(&members).await;
    put(&members[first].store, "before", "1").await;
    net.silence(first as u64 + 1);
    let began = tokio::time::Instant::now();
    let other = &members[(first + 1) % 3].store;
    // Both go to the silent leader. A request's own patience is five seconds.
    let cluster_id = cluster();
    let write = other.txn(
        &cluster_id,
        Txn {
            then: vec![Op::put(
                Key::object(&cluster(), "pods", Some("ns"), "lost").unwrap(),
                "1".into(),
            )],
            ..Txn::default()
        },
    );
    let (write, read) = tokio::join!(write, names(other, Consistency::Linearizable));
    assert!(
        matches!(write, Err(Error::Unavailable(_))),
        "nobody knows: {write:?}"
    );
    assert_eq!(read, ["before"]);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(4), "it took {took:?}");
    for member in members {
        member.stop().await;
    }
}
