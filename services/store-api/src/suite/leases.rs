//! Leases. Times are real for stores outside the process, so they are as short as etcd allows (seconds).

use super::{World, bytes, changes};
use crate::{Error, Op, Txn};
use std::time::Duration;

const SHORT: Duration = Duration::from_secs(2);

async fn put_with(w: &World, name: &str, lease: i64) -> i64 {
    let put = Op::Put {
        key: w.key(name),
        value: bytes("1"),
        lease,
    };
    w.txn(Txn {
        then: vec![put],
        ..Txn::default()
    })
    .await
    .revision
}

pub(crate) async fn keys_end_with_their_lease(w: &World) {
    let lease = w.store.lease_grant(&w.cluster, 0, SHORT).await.expect("a lease");
    assert_ne!(lease, 0);
    put_with(w, "a", lease).await;
    w.put("stays", "1").await;
    let mut watch = w.watch(None).await;
    let seen = changes(&mut watch, 1).await;
    assert!(seen[0].ends_with("Delete a"), "{seen:?}");
    assert_eq!(w.names(None).await, ["stays"]);
    let gone = w.store.lease_info(&w.cluster, lease).await;
    assert!(matches!(gone, Err(Error::LeaseNotFound)), "{gone:?}");
}

pub(crate) async fn a_lease_that_is_kept_alive_stays(w: &World) {
    let lease = w.store.lease_grant(&w.cluster, 0, SHORT).await.expect("a lease");
    put_with(w, "a", lease).await;
    for _ in 0..4 {
        tokio::time::sleep(SHORT / 2).await;
        let ttl = w
            .store
            .lease_keep_alive(&w.cluster, lease)
            .await
            .expect("renewed");
        assert_eq!(ttl, SHORT);
    }
    assert_eq!(w.names(None).await, ["a"]);
    let info = w.store.lease_info(&w.cluster, lease).await.expect("the lease");
    assert!(
        info.granted == SHORT && info.remaining <= SHORT && info.remaining > Duration::ZERO,
        "{info:?}"
    );
    assert_eq!(info.keys, [w.key("a")]);
    assert!(w.store.leases(&w.cluster).await.expect("leases").contains(&lease));
    w.store.lease_revoke(&w.cluster, lease).await.expect("revoked");
}

pub(crate) async fn revoking_deletes_the_keys_at_one_revision(w: &World) {
    let id = 7_000_000 + i64::from(w.cluster.slot()) * 1000 + i64::from(w.cluster.as_str().as_bytes()[3]);
    let lease = w
        .store
        .lease_grant(&w.cluster, id, Duration::from_secs(600))
        .await
        .expect("a lease");
    assert_eq!(lease, id, "an id that is asked for is given");
    put_with(w, "a", lease).await;
    let before = put_with(w, "b", lease).await;
    assert!(w.range(None, 0).await.records.iter().all(|r| r.lease == lease));
    let mut watch = w.watch(None).await;
    w.store.lease_revoke(&w.cluster, lease).await.expect("revoked");
    let after = before + 1;
    assert_eq!(
        changes(&mut watch, 2).await,
        [format!("{after} Delete a"), format!("{after} Delete b")]
    );
    assert!(!w.store.leases(&w.cluster).await.expect("leases").contains(&lease));
}

pub(crate) async fn a_key_leaves_the_lease_when_it_is_rewritten(w: &World) {
    let lease = w
        .store
        .lease_grant(&w.cluster, 0, Duration::from_secs(600))
        .await
        .expect("a lease");
    put_with(w, "a", lease).await;
    w.put("a", "2").await;
    w.store.lease_revoke(&w.cluster, lease).await.expect("revoked");
    assert_eq!(w.names(None).await, ["a"]);
}

pub(crate) async fn an_unknown_lease_is_refused(w: &World) {
    let before = w.put("a", "1").await;
    let put = Op::Put {
        key: w.key("b"),
        value: bytes("1"),
        lease: 4711,
    };
    let txn = Txn {
        then: vec![Op::put(w.key("c"), bytes("1")), put],
        ..Txn::default()
    };
    let refused = w.store.txn(&w.cluster, txn).await;
    assert!(matches!(refused, Err(Error::LeaseNotFound)), "{refused:?}");
    assert_eq!(
        (w.revision().await, w.names(None).await),
        (before, vec!["a".to_owned()]),
        "and nothing happened"
    );
    for result in [
        w.store.lease_revoke(&w.cluster, 4711).await,
        w.store.lease_keep_alive(&w.cluster, 4711).await.map(drop),
        w.store.lease_info(&w.cluster, 4711).await.map(drop),
    ] {
        assert!(matches!(result, Err(Error::LeaseNotFound)), "{result:?}");
    }
}
