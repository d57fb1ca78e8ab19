//! The contract of [`Store`] as checks. Run [`run`] on every implementation.
//!
//! Each check works on clusters of its own (new ids), so one store can serve all of them. A check panics when the
//! contract is broken, and names itself first. What a kind of store cannot do by its nature is told by [`Traits`].

mod across;
mod clusters;
mod kv;
mod leases;
mod past;
mod watch;

use crate::{
    Compare, Consistency, Error, Key, Op, Range, RangeResult, Revision, Span, Store, Txn, TxnOutcome, Watch,
    WatchMessage, WatchRequest,
};
use base::ClusterId;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// What a store can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// Each cluster has its own revisions (not so where clusters are prefixes in one etcd).
    pub own_revisions: bool,
    /// There are quotas, guards and removal that is remembered.
    pub tenancy: bool,
    /// There are watches across clusters.
    pub across: bool,
    /// A slow reader is cut off after this many messages; `None` if it is not worth waiting for.
    pub slow_reader: Option<usize>,
}

impl Traits {
    /// Everything.
    pub fn all() -> Self {
        Self {
            own_revisions: true,
            tenancy: true,
            across: true,
            slow_reader: None,
        }
    }
}

/// One store under test.
pub(crate) struct World {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) traits: Traits,
    /// A cluster that nobody else uses.
    pub(crate) cluster: ClusterId,
}

/// Runs every check on stores that `factory` makes; it may give the same store each time.
///
/// # Panics
/// If the store breaks the contract.
pub async fn run<F>(traits: Traits, factory: F)
where
    F: AsyncFn() -> Arc<dyn Store>,
{
    macro_rules! checks {
        ($($module:ident :: $check:ident $(if $needs:ident)?;)*) => {$(
            if true $(&& traits.$needs)? {
                let world = World { store: factory().await, traits, cluster: ClusterId::generate() };
                let name = concat!(stringify!($module), "::", stringify!($check));
                println!("store check {name}");
                let patience = Duration::from_secs(60);
                if tokio::time::timeout(patience, $module::$check(&world)).await.is_err() {
                    panic!("{name}: no answer within {patience:?}");
                }
            }
        )*};
    }
    checks! {
        kv::a_new_cluster_is_empty_at_revision_one if own_revisions;
        kv::a_put_can_be_read_back;
        kv::versions_count_and_start_again_after_a_deletion;
        kv::of_two_creations_one_wins;
        kv::every_comparison_decides;
        kv::a_transaction_shares_one_revision_and_sees_itself;
        kv::a_transaction_that_changes_nothing_keeps_the_revision;
        kv::a_key_is_written_at_most_once_in_a_transaction;
        kv::spans_and_limits_are_exact;
        kv::concurrent_counters_lose_nothing;
        past::an_old_revision_reads_as_it_was;
        past::a_paged_list_is_one_snapshot;
        past::compaction_forgets_what_is_older_and_nothing_else;
        past::the_future_cannot_be_read;
        watch::a_watch_delivers_every_change_in_order;
        watch::a_watch_from_the_past_replays_then_follows;
        watch::a_watch_sees_its_span_alone;
        watch::a_deletion_shows_what_was_there;
        watch::a_transaction_arrives_as_one_message;
        watch::a_watch_from_before_compaction_is_refused;
        watch::a_watch_from_the_compacted_revision_is_complete;
        watch::progress_never_overtakes_a_change;
        watch::a_watch_from_the_future_waits;
        watch::many_watches_agree;
        watch::a_slow_reader_is_cut_off_and_told;
        leases::keys_end_with_their_lease;
        leases::a_lease_that_is_kept_alive_stays;
        leases::revoking_deletes_the_keys_at_one_revision;
        leases::a_key_leaves_the_lease_when_it_is_rewritten;
        leases::an_unknown_lease_is_refused;
        clusters::a_neighbour_sees_nothing;
        clusters::revisions_are_each_clusters_own if own_revisions;
        clusters::a_key_of_another_cluster_is_refused;
        clusters::removal_leaves_nothing;
        clusters::a_fenced_writer_changes_nothing if tenancy;
        clusters::over_quota_only_shrinking_passes if tenancy;
        across::a_watch_across_begins_with_what_is_there if across;
        across::it_follows_every_cluster_of_its_slots if across;
        across::it_tells_when_a_cluster_goes if across;
    }
}

impl World {
    pub(crate) fn key(&self, name: &str) -> Key {
        key(&self.cluster, name)
    }

    pub(crate) fn span(&self) -> Span {
        Span::collection(&self.cluster, "pods", Some("default")).expect("plain parts make a span")
    }

    pub(crate) async fn put(&self, name: &str, value: &str) -> Revision {
        let txn = Txn {
            then: vec![Op::put(self.key(name), bytes(value))],
            ..Txn::default()
        };
        self.txn(txn).await.revision
    }

    pub(crate) async fn delete(&self, name: &str) -> Revision {
        self.txn(Txn {
            then: vec![Op::delete(&self.key(name))],
            ..Txn::default()
        })
        .await
        .revision
    }

    pub(crate) async fn create(&self, name: &str, value: &str) -> TxnOutcome {
        let key = self.key(name);
        self.txn(Txn {
            compares: vec![Compare::absent(key.clone())],
            then: vec![Op::put(key.clone(), bytes(value))],
            otherwise: vec![Op::get(&key)],
            ..Txn::default()
        })
        .await
    }

    pub(crate) async fn txn(&self, txn: Txn) -> TxnOutcome {
        self.store.txn(&self.cluster, txn).await.expect("a transaction")
    }

    pub(crate) async fn try_range(
        &self,
        span: Span,
        at: Option<Revision>,
        limit: usize,
    ) -> Result<RangeResult, Error> {
        self.store
            .range(Range {
                span,
                at,
                limit,
                consistency: Consistency::Linearizable,
            })
            .await
    }

    pub(crate) async fn range(&self, at: Option<Revision>, limit: usize) -> RangeResult {
        self.try_range(self.span(), at, limit).await.expect("a range")
    }

    pub(crate) async fn names(&self, at: Option<Revision>) -> Vec<String> {
        self.range(at, 0)
            .await
            .records
            .iter()
            .map(|r| r.key.name().to_owned())
            .collect()
    }

    pub(crate) async fn revision(&self) -> Revision {
        self.store
            .revision(&self.cluster, Consistency::Linearizable)
            .await
            .expect("a revision")
            .revision
    }

    pub(crate) async fn watch(&self, from: Option<Revision>) -> Watch {
        self.store
            .watch(WatchRequest {
                span: self.span(),
                from,
            })
            .await
            .expect("a watch")
    }
}

pub(crate) fn key(cluster: &ClusterId, name: &str) -> Key {
    Key::object(cluster, "pods", Some("default"), name).expect("plain parts make a key")
}

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Changes as `revision kind name`, until `count` have come.
pub(crate) async fn changes(watch: &mut Watch, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.len() < count {
        match next(watch).await {
            WatchMessage::Events { revision, events } => {
                for event in events.iter() {
                    assert_eq!(
                        event.record.mod_revision, revision,
                        "an event's revision is its message's"
                    );
                    seen.push(format!("{revision} {:?} {}", event.kind, event.record.key.name()));
                }
            }
            WatchMessage::Progress { .. } => {}
            WatchMessage::Failed(why) => panic!("the watch failed: {why}"),
        }
    }
    seen
}

pub(crate) async fn next(watch: &mut Watch) -> WatchMessage {
    watch.messages.recv().await.expect("a watch says why it ends")
}
