//! Reading old revisions; compaction.

use super::World;
use crate::{Consistency, Error};

pub(crate) async fn an_old_revision_reads_as_it_was(w: &World) {
    w.put("a", "1").await;
    let first = w.put("b", "1").await;
    w.put("a", "2").await;
    let second = w.delete("b").await;
    w.put("0", "new").await;
    w.put("b", "again").await;
    let third = w.put("z", "last").await;
    let at = async |revision| {
        let list = w.range(Some(revision), 0).await;
        assert_eq!(list.count, list.records.len());
        let show = |r: &crate::Record| format!("{}={}", r.key.name(), String::from_utf8_lossy(&r.value));
        list.records.iter().map(|r| show(r)).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(at(first).await, "a=1 b=1");
    assert_eq!(at(second).await, "a=2");
    assert_eq!(at(third).await, "0=new a=2 b=again z=last");
    let page = w.range(Some(first), 1).await;
    assert_eq!((page.records.len(), page.count, page.more), (1, 2, true));
    assert!(page.revision >= third, "the answer's revision is the present one");
}

pub(crate) async fn a_paged_list_is_one_snapshot(w: &World) {
    for n in 0..10 {
        w.put(&format!("p{n}"), "1").await;
    }
    let first = w.range(None, 3).await;
    let at = w.revision().await;
    w.delete("p5").await;
    w.put("p35", "between").await;
    let mut names: Vec<String> = first.records.iter().map(|r| r.key.name().to_owned()).collect();
    let mut last = first.records[2].key.path().clone();
    loop {
        let page = w
            .try_range(w.span().after(&last), Some(at), 3)
            .await
            .expect("a page");
        names.extend(page.records.iter().map(|r| r.key.name().to_owned()));
        if !page.more {
            break;
        }
        last = page.records[page.records.len() - 1].key.path().clone();
    }
    assert_eq!(names, (0..10).map(|n| format!("p{n}")).collect::<Vec<_>>());
}

pub(crate) async fn compaction_forgets_what_is_older_and_nothing_else(w: &World) {
    let first = w.put("a", "1").await;
    w.put("b", "1").await;
    let point = w.put("a", "2").await;
    w.delete("b").await;
    w.store.compact(&w.cluster, point).await.expect("compaction");
    let gone = w.try_range(w.span(), Some(first), 0).await;
    assert!(
        matches!(gone, Err(Error::Compacted { compacted }) if compacted == point),
        "{gone:?}"
    );
    assert_eq!(w.names(Some(point)).await, ["a", "b"]);
    assert_eq!(w.names(None).await, ["a"]);
    let again = w.store.compact(&w.cluster, point).await;
    assert!(matches!(again, Err(Error::Compacted { .. })), "{again:?}");
    let future = w.store.compact(&w.cluster, w.revision().await + 1000).await;
    assert!(matches!(future, Err(Error::FutureRevision { .. })), "{future:?}");
    if w.traits.own_revisions {
        let position = w
            .store
            .revision(&w.cluster, Consistency::Linearizable)
            .await
            .expect("a position");
        assert_eq!(position.compacted, point);
    }
}

pub(crate) async fn the_future_cannot_be_read(w: &World) {
    let now = w.put("a", "1").await;
    let future = w.try_range(w.span(), Some(now + 1000), 0).await;
    assert!(matches!(future, Err(Error::FutureRevision { .. })), "{future:?}");
}
