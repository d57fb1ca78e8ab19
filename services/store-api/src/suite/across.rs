//! Watches across clusters.

use super::{World, bytes, key};
use crate::{AcrossMessage, AcrossRequest, Op, Txn};
use base::ClusterId;
use std::collections::BTreeMap;
use tokio::sync::mpsc::Receiver;

async fn put(w: &World, cluster: &ClusterId, name: &str) {
    let txn = Txn {
        then: vec![Op::put(key(cluster, name), bytes("1"))],
        ..Txn::default()
    };
    w.store.txn(cluster, txn).await.expect("a put");
}

async fn watch(w: &World, slots: u64) -> Receiver<AcrossMessage> {
    let request = AcrossRequest {
        resource: "pods".into(),
        slots,
    };
    w.store
        .watch_across(request)
        .await
        .expect("a watch across clusters")
}

async fn next(messages: &mut Receiver<AcrossMessage>) -> AcrossMessage {
    messages.recv().await.expect("a watch says why it ends")
}

/// The initial state, reduced to clusters of this check.
async fn initial(
    messages: &mut Receiver<AcrossMessage>,
    mine: &[&ClusterId],
) -> (BTreeMap<String, usize>, u64) {
    let mut seen = BTreeMap::new();
    loop {
        match next(messages).await {
            AcrossMessage::Initial { cluster, record } => {
                assert_eq!(record.key.cluster, cluster);
                if mine.contains(&&cluster) {
                    *seen.entry(record.key.name().to_owned()).or_default() += 1;
                }
            }
            AcrossMessage::Synced { cursor } => return (seen, cursor),
            other => panic!("before it is synced: {other:?}"),
        }
    }
}

pub(crate) async fn a_watch_across_begins_with_what_is_there(w: &World) {
    let other = ClusterId::generate();
    w.put("a", "1").await;
    w.put("gone", "1").await;
    w.delete("gone").await;
    put(w, &other, "b").await;
    let secret = crate::Key::object(&other, "secrets", Some("default"), "s").expect("a key");
    let txn = Txn {
        then: vec![Op::put(secret, bytes("1"))],
        ..Txn::default()
    };
    w.store.txn(&other, txn).await.expect("a put");
    let (seen, _) = initial(&mut watch(w, u64::MAX).await, &[&w.cluster, &other]).await;
    assert_eq!(seen, BTreeMap::from([("a".into(), 1), ("b".into(), 1)]));
}

pub(crate) async fn it_follows_every_cluster_of_its_slots(w: &World) {
    let elsewhere = loop {
        let id = ClusterId::generate();
        if id.slot() != w.cluster.slot() {
            break id;
        }
    };
    let mut messages = watch(w, 1 << w.cluster.slot()).await;
    let (_, mut cursor) = initial(&mut messages, &[]).await;
    put(w, &elsewhere, "unseen").await;
    for name in ["a", "b"] {
        w.put(name, "1").await;
        match next(&mut messages).await {
            AcrossMessage::Event(event) => {
                assert_eq!(
                    (&event.cluster, event.event.record.key.name()),
                    (&w.cluster, name)
                );
                assert!(event.cursor > cursor);
                cursor = event.cursor;
            }
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) async fn it_tells_when_a_cluster_goes(w: &World) {
    w.put("a", "1").await;
    let mut messages = watch(w, 1 << w.cluster.slot()).await;
    initial(&mut messages, &[]).await;
    w.store.remove_cluster(&w.cluster).await.expect("removed");
    match next(&mut messages).await {
        AcrossMessage::ClusterRemoved { cluster } => assert_eq!(cluster, w.cluster),
        // Where removal is not remembered, it is the deletion of every key.
        AcrossMessage::Event(gone) if !w.traits.tenancy => {
            assert_eq!(gone.event.kind, crate::EventKind::Delete)
        }
        other => panic!("{other:?}"),
    }
}
