//! Reading, writing, comparing.

use super::{World, bytes};
use crate::{Compare, Error, Op, OpResult, Span, Txn};
use std::cmp::Ordering;

pub(crate) async fn a_new_cluster_is_empty_at_revision_one(w: &World) {
    let list = w.range(None, 0).await;
    assert!(list.records.is_empty() && !list.more && list.count == 0);
    assert_eq!((list.revision, w.revision().await), (1, 1));
    assert_eq!(w.put("a", "1").await, 2);
}

pub(crate) async fn a_put_can_be_read_back(w: &World) {
    let revision = w.put("a", "1").await;
    let list = w.range(None, 0).await;
    assert_eq!(list.records.len(), 1);
    let record = &list.records[0];
    assert_eq!((&record.key, &record.value[..]), (&w.key("a"), &b"1"[..]));
    assert_eq!(
        (
            record.create_revision,
            record.mod_revision,
            record.version,
            record.lease
        ),
        (revision, revision, 1, 0)
    );
    assert!(list.revision >= revision);
    assert!(w.store.clusters().await.expect("clusters").contains(&w.cluster));
    let usage = w.store.usage(&w.cluster).await.expect("usage");
    assert_eq!(
        (usage.objects, usage.bytes),
        (1, (w.key("a").path().len() + 1) as u64)
    );
}

pub(crate) async fn versions_count_and_start_again_after_a_deletion(w: &World) {
    let first = w.put("a", "1").await;
    let second = w.put("a", "2").await;
    let record = w.range(None, 0).await.records[0].clone();
    assert_eq!(
        (record.create_revision, record.mod_revision, record.version),
        (first, second, 2)
    );
    w.delete("a").await;
    assert!(w.range(None, 0).await.records.is_empty());
    let third = w.put("a", "3").await;
    let record = w.range(None, 0).await.records[0].clone();
    assert_eq!(
        (record.create_revision, record.mod_revision, record.version),
        (third, third, 1)
    );
}

pub(crate) async fn of_two_creations_one_wins(w: &World) {
    let first = w.create("a", "1").await;
    let second = w.create("a", "2").await;
    assert!(first.succeeded && !second.succeeded);
    let OpResult::Range { records, count } = &second.results[0] else {
        panic!("the loser reads")
    };
    assert_eq!((&records[0].value[..], *count), (&b"1"[..], 1));
    let unchanged = |n| Compare::unchanged(w.key("a"), n);
    let write = |n, v| Txn {
        compares: vec![unchanged(n)],
        then: vec![Op::put(w.key("a"), bytes(v))],
        ..Txn::default()
    };
    assert!(w.txn(write(first.revision, "3")).await.succeeded);
    assert!(!w.txn(write(first.revision, "4")).await.succeeded);
    assert_eq!(&w.range(None, 0).await.records[0].value[..], b"3");
}

pub(crate) async fn every_comparison_decides(w: &World) {
    use Ordering::{Equal, Greater, Less};
    let r = w.put("a", "m").await;
    let a = || w.key("a");
    let none = || w.key("none");
    let held = [
        (Compare::ModRevision(a(), Equal, r), true),
        (Compare::ModRevision(a(), Greater, r), false),
        (Compare::ModRevision(a(), Greater, r - 1), true),
        (Compare::ModRevisionNot(a(), r), false),
        (Compare::ModRevisionNot(none(), r), true),
        (Compare::CreateRevision(a(), Less, r + 1), true),
        (Compare::CreateRevision(none(), Equal, 0), true),
        (Compare::Version(a(), Equal, 1), true),
        (Compare::Version(none(), Equal, 0), true),
        (Compare::Version(none(), Greater, 0), false),
        (Compare::Lease(a(), Equal, 0), true),
        (Compare::Value(a(), Equal, bytes("m")), true),
        (Compare::Value(a(), Less, bytes("n")), true),
        (Compare::Value(a(), Greater, bytes("n")), false),
        (Compare::Value(none(), Equal, bytes("")), false),
    ];
    for (compare, expected) in held {
        let shown = format!("{compare:?}");
        let outcome = w
            .txn(Txn {
                compares: vec![compare],
                ..Txn::default()
            })
            .await;
        assert_eq!(outcome.succeeded, expected, "{shown}");
    }
    let both = vec![Compare::Version(a(), Equal, 1), Compare::Version(a(), Equal, 2)];
    assert!(
        !w.txn(Txn {
            compares: both,
            ..Txn::default()
        })
        .await
        .succeeded,
        "all have to hold"
    );
}

pub(crate) async fn a_transaction_shares_one_revision_and_sees_itself(w: &World) {
    w.put("old", "1").await;
    let outcome = w
        .txn(Txn {
            then: vec![
                Op::put(w.key("b"), bytes("2")),
                Op::put(w.key("a"), bytes("1")),
                Op::Range {
                    span: w.span(),
                    limit: 2,
                },
                Op::delete(&w.key("old")),
                Op::delete(&w.key("never")),
                Op::Range {
                    span: w.span(),
                    limit: 0,
                },
            ],
            ..Txn::default()
        })
        .await;
    let OpResult::Range { records, count } = &outcome.results[2] else {
        panic!("a range")
    };
    assert_eq!((records.len(), *count), (2, 3));
    let OpResult::Delete { previous } = &outcome.results[3] else {
        panic!("a deletion")
    };
    assert_eq!((previous.len(), &previous[0].value[..]), (1, &b"1"[..]));
    let OpResult::Delete { previous } = &outcome.results[4] else {
        panic!("a deletion")
    };
    assert!(previous.is_empty());
    let OpResult::Range { records, count } = &outcome.results[5] else {
        panic!("a range")
    };
    assert_eq!(*count, 2);
    assert!(records.iter().all(|r| r.mod_revision == outcome.revision));
    assert_eq!(w.names(None).await, ["a", "b"]);
}

pub(crate) async fn a_transaction_that_changes_nothing_keeps_the_revision(w: &World) {
    let before = w.put("a", "1").await;
    let read = w
        .txn(Txn {
            then: vec![Op::get(&w.key("a"))],
            ..Txn::default()
        })
        .await;
    assert_eq!(read.revision, before);
    assert_eq!(w.delete("never").await, before);
    assert_eq!(
        w.put("a", "1").await,
        before + 1,
        "writing the same value is a change"
    );
}

pub(crate) async fn a_key_is_written_at_most_once_in_a_transaction(w: &World) {
    let before = w.put("a", "1").await;
    let twice = vec![Op::put(w.key("a"), bytes("2")), Op::put(w.key("a"), bytes("3"))];
    let put_and_deleted = vec![Op::put(w.key("a"), bytes("2")), Op::Delete { span: w.span() }];
    for then in [twice, put_and_deleted] {
        let refused = w
            .store
            .txn(
                &w.cluster,
                Txn {
                    then,
                    ..Txn::default()
                },
            )
            .await;
        assert!(matches!(refused, Err(Error::Other(_))), "{refused:?}");
    }
    assert_eq!(w.revision().await, before);
}

pub(crate) async fn spans_and_limits_are_exact(w: &World) {
    for name in ["a", "aa", "b", "c"] {
        w.put(name, name).await;
    }
    let page = w.range(None, 2).await;
    assert_eq!((page.records.len(), page.count, page.more), (2, 4, true));
    let all = w.range(None, 4).await;
    assert_eq!((all.records.len(), all.count, all.more), (4, 4, false));
    let one = w
        .try_range(Span::one(&w.key("a")), None, 0)
        .await
        .expect("a range");
    assert_eq!((one.count, one.records[0].key.name()), (1, "a"));
    let rest = w
        .try_range(w.span().after(w.key("a").path()), None, 0)
        .await
        .expect("a range");
    assert_eq!(
        rest.records.iter().map(|r| r.key.name()).collect::<Vec<_>>(),
        ["aa", "b", "c"]
    );
    let mut backwards = w.span();
    backwards.end = Some(bytes("/a"));
    assert_eq!(
        w.try_range(backwards, None, 0)
            .await
            .expect("an empty range")
            .count,
        0
    );
}

pub(crate) async fn concurrent_counters_lose_nothing(w: &World) {
    w.put("n", "0").await;
    let add = async |times: usize| {
        for _ in 0..times {
            loop {
                let record = w.range(None, 0).await.records[0].clone();
                let n: u64 = std::str::from_utf8(&record.value)
                    .expect("digits")
                    .parse()
                    .expect("a number");
                let txn = Txn {
                    compares: vec![Compare::unchanged(w.key("n"), record.mod_revision)],
                    then: vec![Op::put(w.key("n"), bytes(&(n + 1).to_string()))],
                    ..Txn::default()
                };
                if w.txn(txn).await.succeeded {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
    };
    futures::join!(add(10), add(10), add(10));
    assert_eq!(&w.range(None, 0).await.records[0].value[..], b"30");
}
