//! etcd's words in the store's, and back. Errors have etcd's texts, because its clients tell them apart by them.

use base::ClusterId;
use bytes::Bytes;
use std::cmp::Ordering;
use store_api::{Compare, Error, Event, EventKind, Key, Op, Record, Revision, Span};
use store_etcd::proto::{etcdserverpb as pb, mvccpb};
use tonic::Status;

pub(crate) fn status(why: &Error) -> Status {
    match why {
        Error::Compacted { .. } => {
            Status::out_of_range("etcdserver: mvcc: required revision has been compacted")
        }
        Error::FutureRevision { .. } => {
            Status::out_of_range("etcdserver: mvcc: required revision is a future revision")
        }
        Error::LeaseNotFound => Status::not_found("etcdserver: requested lease not found"),
        Error::QuotaExceeded { .. } => {
            Status::resource_exhausted("etcdserver: mvcc: database space exceeded")
        }
        Error::TooLarge(_) => Status::invalid_argument("etcdserver: request is too large"),
        Error::Unavailable(why) => Status::unavailable(format!("etcdserver: request timed out ({why})")),
        Error::Fenced(why) => Status::failed_precondition(format!("etcdserver: {why}")),
        Error::ClusterGone(_) => Status::permission_denied("etcdserver: permission denied"),
        Error::Other(why) if why.contains("duplicate key") => {
            Status::invalid_argument("etcdserver: duplicate key given in txn request")
        }
        Error::Other(why) if why.contains("lease already exists") => {
            Status::failed_precondition("etcdserver: lease already exists")
        }
        other => Status::unknown(format!("etcdserver: {other}")),
    }
}

/// etcd's cluster ids are numbers: FNV-1a of ours.
pub(crate) fn number(cluster: &ClusterId) -> u64 {
    let mix = |hash: u64, b: u8| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
    cluster.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, mix)
}

pub(crate) fn key(cluster: &ClusterId, key: &Bytes) -> Result<Key, Status> {
    if key.is_empty() {
        return Err(Status::invalid_argument("etcdserver: key is not provided"));
    }
    Key::etcd(cluster, key.clone()).map_err(|_| Status::invalid_argument("etcdserver: request is too large"))
}

/// No range end: one key. A zero byte: everything from the key on. Otherwise half-open.
pub(crate) fn span(cluster: &ClusterId, start: &Bytes, range_end: &Bytes) -> Result<Span, Status> {
    let first = key(cluster, start)?;
    Ok(match &range_end[..] {
        [] => Span::one(&first),
        [0] => Span {
            cluster: cluster.clone(),
            start: start.clone(),
            end: None,
        },
        _ => Span {
            cluster: cluster.clone(),
            start: start.clone(),
            end: Some(range_end.clone()),
        },
    })
}

pub(crate) fn key_value(record: &Record) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: record.key.path().clone(),
        create_revision: record.create_revision,
        mod_revision: record.mod_revision,
        version: record.version,
        value: record.value.clone(),
        lease: record.lease,
    }
}

pub(crate) fn event(event: &Event, with_previous: bool) -> mvccpb::Event {
    let kind = match event.kind {
        EventKind::Put => mvccpb::event::EventType::Put,
        EventKind::Delete => mvccpb::event::EventType::Delete,
    };
    let previous = event.previous.as_ref().filter(|_| with_previous);
    mvccpb::Event {
        r#type: kind.into(),
        kv: Some(key_value(&event.record)),
        prev_kv: previous.map(|record| key_value(record)),
    }
}

pub(crate) fn compare(cluster: &ClusterId, compare: &pb::Compare) -> Result<Compare, Status> {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    if !compare.range_end.is_empty() {
        return Err(Status::unimplemented(
            "etcdserver: comparing a range is not supported",
        ));
    }
    let key = key(cluster, &compare.key)?;
    let want = match compare.result() {
        CompareResult::Equal => Some(Ordering::Equal),
        CompareResult::Greater => Some(Ordering::Greater),
        CompareResult::Less => Some(Ordering::Less),
        CompareResult::NotEqual => None,
    };
    let number = match &compare.target_union {
        Some(
            TargetUnion::Version(n)
            | TargetUnion::CreateRevision(n)
            | TargetUnion::ModRevision(n)
            | TargetUnion::Lease(n),
        ) => *n,
        _ => 0,
    };
    let unsupported =
        || Status::unimplemented("etcdserver: NOT_EQUAL is supported on the modification revision only");
    Ok(match (compare.target(), want) {
        (CompareTarget::Mod, Some(want)) => Compare::ModRevision(key, want, number),
        (CompareTarget::Mod, None) => Compare::ModRevisionNot(key, number),
        (_, None) => return Err(unsupported()),
        (CompareTarget::Version, Some(want)) => Compare::Version(key, want, number),
        (CompareTarget::Create, Some(want)) => Compare::CreateRevision(key, want, number),
        (CompareTarget::Lease, Some(want)) => Compare::Lease(key, want, number),
        (CompareTarget::Value, Some(want)) => match &compare.target_union {
            Some(TargetUnion::Value(value)) => Compare::Value(key, want, value.clone()),
            _ => Compare::Value(key, want, Bytes::new()),
        },
    })
}

pub(crate) fn op(cluster: &ClusterId, op: &pb::RequestOp) -> Result<Op, Status> {
    use pb::request_op::Request;
    match &op.request {
        Some(Request::RequestRange(range)) => {
            if range.revision != 0 {
                return Err(Status::unimplemented(
                    "etcdserver: a transaction reads the present only",
                ));
            }
            Ok(Op::Range {
                span: span(cluster, &range.key, &range.range_end)?,
                limit: 0,
            })
        }
        Some(Request::RequestPut(put)) => {
            if put.ignore_value || put.ignore_lease {
                return Err(Status::unimplemented(
                    "etcdserver: ignore_value and ignore_lease inside a transaction",
                ));
            }
            Ok(Op::Put {
                key: key(cluster, &put.key)?,
                value: put.value.clone(),
                lease: put.lease,
            })
        }
        Some(Request::RequestDeleteRange(delete)) => Ok(Op::Delete {
            span: span(cluster, &delete.key, &delete.range_end)?,
        }),
        Some(Request::RequestTxn(_)) => Err(Status::unimplemented(
            "etcdserver: a transaction inside a transaction is not supported",
        )),
        None => Err(Status::invalid_argument("etcdserver: key is not provided")),
    }
}

/// What a range request wants beyond the span: order, filters, limit.
pub(crate) fn shape(
    request: &pb::RangeRequest,
    records: &[std::sync::Arc<Record>],
    count: usize,
) -> pb::RangeResponse {
    let within = |n: Revision, min: Revision, max: Revision| (min == 0 || n >= min) && (max == 0 || n <= max);
    let mut kept: Vec<&Record> = records
        .iter()
        .map(|r| &**r)
        .filter(|r| within(r.mod_revision, request.min_mod_revision, request.max_mod_revision))
        .filter(|r| {
            within(
                r.create_revision,
                request.min_create_revision,
                request.max_create_revision,
            )
        })
        .collect();
    sort(request, &mut kept);
    let limit = usize::try_from(request.limit)
        .ok()
        .filter(|n| *n > 0)
        .unwrap_or(usize::MAX);
    let more = kept.len() > limit || count > records.len();
    kept.truncate(limit);
    let mut kvs: Vec<_> = if request.count_only {
        Vec::new()
    } else {
        kept.into_iter().map(key_value).collect()
    };
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    let more = more && !request.count_only;
    pb::RangeResponse {
        header: None,
        kvs,
        more,
        count: i64::try_from(count).unwrap_or(i64::MAX),
    }
}

fn sort(request: &pb::RangeRequest, records: &mut [&Record]) {
    use pb::range_request::{SortOrder, SortTarget};
    match request.sort_target() {
        SortTarget::Key => {}
        SortTarget::Version => records.sort_by_key(|r| r.version),
        SortTarget::Create => records.sort_by_key(|r| r.create_revision),
        SortTarget::Mod => records.sort_by_key(|r| r.mod_revision),
        SortTarget::Value => records.sort_by(|a, b| a.value.cmp(&b.value)),
    }
    if request.sort_order() == SortOrder::Descend {
        records.reverse();
    }
}

/// Whether the store's own limit may be used: nothing is dropped or reordered afterwards.
pub(crate) fn plain(request: &pb::RangeRequest) -> bool {
    use pb::range_request::{SortOrder, SortTarget};
    request.sort_order() != SortOrder::Descend
        && request.sort_target() == SortTarget::Key
        && [
            request.min_mod_revision,
            request.max_mod_revision,
            request.min_create_revision,
            request.max_create_revision,
        ] == [0; 4]
}
