//! Clusters beside each other: isolation, removal, fencing, quotas.

use super::{World, bytes, key};
use crate::{Error, Guard, Op, Quota, Span, Txn, WatchMessage, WatchRequest};
use base::ClusterId;

fn put(cluster: &ClusterId, name: &str) -> Txn {
    Txn {
        then: vec![Op::put(key(cluster, name), bytes("1"))],
        ..Txn::default()
    }
}

pub(crate) async fn a_neighbour_sees_nothing(w: &World) {
    // One id is a prefix of the other.
    let other: ClusterId = format!("{}0", w.cluster).parse().expect("an id");
    let everything = Span::prefix(&w.cluster, bytes("/"));
    let mut watch = w
        .store
        .watch(WatchRequest {
            span: everything.clone(),
            from: None,
        })
        .await
        .expect("a watch");
    w.store
        .txn(&other, put(&other, "a"))
        .await
        .expect("the neighbour's put");
    let mine = w.put("b", "1").await;
    let WatchMessage::Events { revision, events } = super::next(&mut watch).await else {
        panic!("events")
    };
    assert_eq!(
        (revision, events.len(), &events[0].record.key),
        (mine, 1, &w.key("b"))
    );
    let list = w.try_range(everything, None, 0).await.expect("a range");
    assert_eq!((list.count, list.records[0].key.name()), (1, "b"));
    let theirs = w
        .try_range(Span::prefix(&other, bytes("/")), None, 0)
        .await
        .expect("a range");
    assert_eq!((theirs.count, theirs.records[0].key.name()), (1, "a"));
    assert_eq!(theirs.records[0].key.cluster, other);
}

pub(crate) async fn revisions_are_each_clusters_own(w: &World) {
    let other = ClusterId::generate();
    let before = w.put("a", "1").await;
    for n in 0..5 {
        w.store
            .txn(&other, put(&other, &format!("a{n}")))
            .await
            .expect("the neighbour's put");
    }
    w.store.compact(&other, 4).await.expect("compaction");
    assert_eq!(w.revision().await, before);
    assert_eq!(w.put("a", "2").await, before + 1);
    assert_eq!(
        w.names(Some(before)).await,
        ["a"],
        "a neighbour's compaction is its own"
    );
}

pub(crate) async fn a_key_of_another_cluster_is_refused(w: &World) {
    let other = ClusterId::generate();
    let refused = w.store.txn(&w.cluster, put(&other, "a")).await;
    assert!(matches!(refused, Err(Error::Other(_))), "{refused:?}");
    let list = w
        .try_range(Span::prefix(&other, bytes("/")), None, 0)
        .await
        .expect("a range");
    assert_eq!(list.count, 0);
}

pub(crate) async fn removal_leaves_nothing(w: &World) {
    w.put("a", "1").await;
    let mut watch = w.watch(None).await;
    w.store.remove_cluster(&w.cluster).await.expect("removed");
    w.store
        .remove_cluster(&w.cluster)
        .await
        .expect("repeating it is harmless");
    match w.try_range(w.span(), None, 0).await {
        Ok(list) => assert!(list.records.is_empty() && !w.traits.tenancy),
        Err(why) => assert!(matches!(why, Error::ClusterGone(_)), "{why:?}"),
    }
    assert!(!w.store.clusters().await.expect("clusters").contains(&w.cluster));
    if w.traits.tenancy {
        let late = w.store.txn(&w.cluster, put(&w.cluster, "late")).await;
        assert!(
            matches!(late, Err(Error::ClusterGone(_))),
            "a late writer brings nothing back: {late:?}"
        );
        match super::next(&mut watch).await {
            WatchMessage::Failed(Error::ClusterGone(id)) => assert_eq!(id, w.cluster),
            other => panic!("a watch of a removed cluster said {other:?}"),
        }
    }
}

pub(crate) async fn a_fenced_writer_changes_nothing(w: &World) {
    let management = ClusterId::management();
    let role = format!("role-{}", w.cluster);
    let own = async |owner: &str| {
        let txn = Txn {
            then: vec![Op::put(Guard::slot_key(&role, 7), bytes(owner))],
            ..Txn::default()
        };
        w.store.txn(&management, txn).await.expect("a change of owner");
    };
    let write = async |cluster: &ClusterId, epoch| {
        let guards = vec![Guard::Slot {
            role: role.clone(),
            slot: 7,
            epoch,
        }];
        w.store
            .txn(
                cluster,
                Txn {
                    guards,
                    ..put(cluster, "a")
                },
            )
            .await
    };
    assert!(
        matches!(write(&w.cluster, 1).await, Err(Error::Fenced(_))),
        "nobody owns the slot"
    );
    own("1 first").await;
    write(&w.cluster, 1).await.expect("the owner writes");
    write(&management, 1)
        .await
        .expect("also in the cluster that holds the slots");
    own("2 second").await;
    let before = w.revision().await;
    assert!(
        matches!(write(&w.cluster, 1).await, Err(Error::Fenced(_))),
        "the old owner is fenced off"
    );
    assert_eq!(w.revision().await, before);
    write(&w.cluster, 2).await.expect("the new owner writes");
}

pub(crate) async fn over_quota_only_shrinking_passes(w: &World) {
    w.put("a", "1234567890").await;
    w.put("b", "1").await;
    let usage = w.store.usage(&w.cluster).await.expect("usage");
    let quota = Quota {
        objects: 2,
        bytes: usage.bytes + 5,
    };
    w.store.set_quota(&w.cluster, Some(quota)).await.expect("a quota");
    let refused = |r: Result<_, Error>| assert!(matches!(r, Err(Error::QuotaExceeded { .. })), "{r:?}");
    refused(w.store.txn(&w.cluster, put(&w.cluster, "c")).await.map(drop));
    w.put("b", "123456").await;
    let larger = Txn {
        then: vec![Op::put(w.key("b"), bytes("1234567"))],
        ..Txn::default()
    };
    refused(w.store.txn(&w.cluster, larger).await.map(drop));
    w.put("a", "2").await;
    w.delete("a").await;
    w.put("c", "1").await;
    let other = ClusterId::generate();
    w.store
        .txn(&other, put(&other, "x"))
        .await
        .expect("a neighbour has its own quota");
    w.store.set_quota(&w.cluster, None).await.expect("no quota");
    w.put("d", "1").await;
    assert_eq!(w.names(None).await, ["b", "c", "d"]);
}
