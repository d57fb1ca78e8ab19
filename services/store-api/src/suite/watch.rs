//! Watches: complete, in order, once.

use super::{World, bytes, changes, next};
use crate::{Error, EventKind, Op, Txn, Watch, WatchMessage, WatchRequest};
use futures::future::join_all;

pub(crate) async fn a_watch_delivers_every_change_in_order(w: &World) {
    let start = w.put("before", "1").await;
    let mut watch = w.watch(None).await;
    assert!(watch.started_at >= start);
    let (a, b) = (w.put("a", "1").await, w.put("a", "2").await);
    let c = w.delete("a").await;
    let expected = [
        format!("{a} Put a"),
        format!("{b} Put a"),
        format!("{c} Delete a"),
    ];
    assert_eq!(changes(&mut watch, 3).await, expected);
}

pub(crate) async fn a_watch_from_the_past_replays_then_follows(w: &World) {
    w.put("a", "1").await;
    let from = w.put("b", "1").await;
    let deleted = w.delete("a").await;
    let mut watch = w.watch(Some(from)).await;
    let last = w.put("c", "1").await;
    let expected = [
        format!("{from} Put b"),
        format!("{deleted} Delete a"),
        format!("{last} Put c"),
    ];
    assert_eq!(changes(&mut watch, 3).await, expected);
}

pub(crate) async fn a_watch_sees_its_span_alone(w: &World) {
    let span = crate::Span::one(&w.key("a"));
    let mut one = w
        .store
        .watch(WatchRequest { span, from: None })
        .await
        .expect("a watch");
    let prefix = crate::Span::prefix(&w.cluster, bytes("/registry/"));
    let mut everything = w
        .store
        .watch(WatchRequest {
            span: prefix,
            from: None,
        })
        .await
        .expect("a watch");
    let x = w.put("aa", "1").await;
    let other = crate::Key::object(&w.cluster, "services/specs", Some("default"), "s").expect("a key");
    let y = w
        .txn(Txn {
            then: vec![Op::put(other, bytes("1"))],
            ..Txn::default()
        })
        .await
        .revision;
    let z = w.put("a", "1").await;
    assert_eq!(changes(&mut one, 1).await, [format!("{z} Put a")]);
    let all = [format!("{x} Put aa"), format!("{y} Put s"), format!("{z} Put a")];
    assert_eq!(changes(&mut everything, 3).await, all);
}

pub(crate) async fn a_deletion_shows_what_was_there(w: &World) {
    let created = w.put("a", "gone").await;
    let mut watch = w.watch(None).await;
    let deleted = w.delete("a").await;
    // Once followed live, once replayed.
    let mut replayed = w.watch(Some(deleted)).await;
    for watch in [&mut watch, &mut replayed] {
        let WatchMessage::Events { events, .. } = next(watch).await else {
            panic!("events")
        };
        assert_eq!(
            (events[0].kind, events[0].record.mod_revision),
            (EventKind::Delete, deleted)
        );
        assert!(events[0].record.value.is_empty());
        let previous = events[0].previous.as_ref().expect("what was there");
        assert_eq!(
            (&previous.value[..], previous.mod_revision),
            (&b"gone"[..], created)
        );
    }
}

pub(crate) async fn a_transaction_arrives_as_one_message(w: &World) {
    w.put("b", "1").await;
    let mut watch = w.watch(None).await;
    let then = vec![
        Op::put(w.key("c"), bytes("1")),
        Op::delete(&w.key("b")),
        Op::put(w.key("a"), bytes("1")),
    ];
    let r = w
        .txn(Txn {
            then,
            ..Txn::default()
        })
        .await
        .revision;
    let WatchMessage::Events { revision, events } = next(&mut watch).await else {
        panic!("events")
    };
    assert_eq!((revision, events.len()), (r, 3));
    let names: Vec<_> = events.iter().map(|e| e.record.key.name()).collect();
    assert_eq!(names, ["a", "b", "c"], "in key order");
}

/// Opening a watch may fail at once, or as its first message.
async fn refusal(w: &World, from: i64) -> Error {
    match w
        .store
        .watch(WatchRequest {
            span: w.span(),
            from: Some(from),
        })
        .await
    {
        Err(why) => why,
        Ok(mut watch) => match next(&mut watch).await {
            WatchMessage::Failed(why) => why,
            other => panic!("a watch from before the compaction delivered {other:?}"),
        },
    }
}

pub(crate) async fn a_watch_from_before_compaction_is_refused(w: &World) {
    let first = w.put("a", "1").await;
    let point = w.put("a", "2").await;
    w.store.compact(&w.cluster, point).await.expect("compaction");
    let why = refusal(w, first).await;
    assert!(
        matches!(why, Error::Compacted { compacted } if compacted == point),
        "{why:?}"
    );
}

pub(crate) async fn a_watch_from_the_compacted_revision_is_complete(w: &World) {
    w.put("a", "1").await;
    let point = w.delete("a").await;
    let last = w.put("b", "1").await;
    w.store.compact(&w.cluster, point).await.expect("compaction");
    let mut watch = w.watch(Some(point)).await;
    assert_eq!(
        changes(&mut watch, 2).await,
        [format!("{point} Delete a"), format!("{last} Put b")]
    );
}

pub(crate) async fn progress_never_overtakes_a_change(w: &World) {
    let mut watch = w.watch(None).await;
    for n in 0..20 {
        let written = w.put("a", "1").await;
        let other = crate::Key::object(&w.cluster, "secrets", Some("default"), "s").expect("a key");
        let unseen = w
            .txn(Txn {
                then: vec![Op::put(other, bytes("1"))],
                ..Txn::default()
            })
            .await
            .revision;
        watch.progress.request();
        let WatchMessage::Events { revision, .. } = next(&mut watch).await else {
            panic!("round {n}: events first")
        };
        assert_eq!(revision, written);
        let reached = loop {
            match next(&mut watch).await {
                WatchMessage::Progress { revision } if revision >= unseen => break revision,
                // A store whose clusters share a connection may answer an older request first.
                WatchMessage::Progress { revision } => {
                    assert!(revision >= written);
                    tokio::task::yield_now().await;
                    watch.progress.request();
                }
                other => panic!("round {n}: {other:?}"),
            }
        };
        assert_eq!(reached, unseen);
    }
}

pub(crate) async fn a_watch_from_the_future_waits(w: &World) {
    let now = w.put("a", "1").await;
    let mut watch = w.watch(Some(now + 2)).await;
    w.put("a", "2").await;
    let third = w.put("a", "3").await;
    assert_eq!(changes(&mut watch, 1).await, [format!("{third} Put a")]);
}

pub(crate) async fn many_watches_agree(w: &World) {
    let from = w.put("start", "1").await;
    let follow = async |begin_after: usize| {
        for _ in 0..begin_after {
            tokio::task::yield_now().await;
        }
        let mut watch: Watch = w.watch(Some(from)).await;
        changes(&mut watch, 101).await
    };
    let write = async {
        for n in 0..100 {
            if n % 7 == 6 {
                w.delete(&format!("k{}", n - 1)).await
            } else {
                w.put(&format!("k{n}"), "1").await
            };
            tokio::task::yield_now().await;
        }
    };
    let (seen, ()) = futures::join!(join_all((0..20).map(|n| follow(n * 5))), write);
    assert!(
        seen.iter().all(|s| *s == seen[0]),
        "every watch sees the same history"
    );
}

pub(crate) async fn a_slow_reader_is_cut_off_and_told(w: &World) {
    let Some(lag) = w.traits.slow_reader else { return };
    let mut slow = w.watch(None).await;
    let mut quick = w.watch(None).await;
    let mut last = 0;
    for _ in 0..lag + 10 {
        last = w.put("a", "1").await;
        assert_eq!(
            changes(&mut quick, 1).await,
            [format!("{last} Put a")],
            "others go on"
        );
    }
    let mut read = 0;
    let mut before = 0;
    loop {
        match next(&mut slow).await {
            WatchMessage::Events { revision, .. } => {
                assert!(before == 0 || revision == before + 1, "no gap before the end");
                before = revision;
                read += 1;
            }
            WatchMessage::Failed(why) => {
                assert!(matches!(why, Error::Unavailable(_)), "{why:?}");
                break;
            }
            WatchMessage::Progress { .. } => {}
        }
    }
    assert!(read <= lag + 1 && before < last);
    assert!(slow.messages.recv().await.is_none(), "nothing follows");
    let mut again = w.watch(Some(before + 1)).await;
    assert_eq!(
        changes(&mut again, 1).await,
        [format!("{} Put a", before + 1)],
        "it can be resumed"
    );
}
