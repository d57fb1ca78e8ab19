//! The store's words in etcd's, and back.

use crate::layout::Layout;
use crate::proto::etcdserverpb as pb;
use crate::proto::mvccpb;
use std::cmp::Ordering;
use std::sync::Arc;
use store_api::{Compare, Derived, Error, Event, EventKind, Op, OpResult, Record, Revision, Txn};
use tonic::{Code, Status};

/// etcd's errors are told apart by their texts; the numbers that ours carry are filled in by the caller.
pub(crate) fn error(status: &Status) -> Error {
    let text = status.message();
    if text.contains("required revision has been compacted") {
        return Error::Compacted { compacted: 0 };
    }
    if text.contains("required revision is a future revision") {
        return Error::FutureRevision { asked: 0, current: 0 };
    }
    if text.contains("requested lease not found") {
        return Error::LeaseNotFound;
    }
    if text.contains("request is too large") || text.contains("too many operations") {
        return Error::TooLarge(text.to_owned());
    }
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted | Code::Unknown => {
            Error::Unavailable(text.to_owned())
        }
        _ => Error::Other(text.strip_prefix("etcdserver: ").unwrap_or(text).to_owned()),
    }
}

pub(crate) fn record(layout: &Layout, kv: mvccpb::KeyValue) -> Option<Arc<Record>> {
    Some(Arc::new(Record {
        key: layout.read(&kv.key)?,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
        value: kv.value,
        derived: Derived::default(),
    }))
}

pub(crate) fn event(layout: &Layout, event: mvccpb::Event) -> Option<Arc<Event>> {
    let kind = match event.r#type() {
        mvccpb::event::EventType::Put => EventKind::Put,
        mvccpb::event::EventType::Delete => EventKind::Delete,
    };
    let record = record(layout, event.kv?)?;
    let previous = event.prev_kv.and_then(|kv| self::record(layout, kv));
    Some(Arc::new(Event {
        kind,
        record,
        previous,
        derived: Derived::default(),
    }))
}

fn compare(layout: &Layout, compare: &Compare) -> Result<pb::Compare, Error> {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    let result = |want: &Ordering| match want {
        Ordering::Less => CompareResult::Less,
        Ordering::Equal => CompareResult::Equal,
        Ordering::Greater => CompareResult::Greater,
    };
    let (result, target, union) = match compare {
        Compare::ModRevision(_, want, n) => (result(want), CompareTarget::Mod, TargetUnion::ModRevision(*n)),
        Compare::ModRevisionNot(_, n) => (
            CompareResult::NotEqual,
            CompareTarget::Mod,
            TargetUnion::ModRevision(*n),
        ),
        Compare::CreateRevision(_, want, n) => (
            result(want),
            CompareTarget::Create,
            TargetUnion::CreateRevision(*n),
        ),
        Compare::Version(_, want, n) => (result(want), CompareTarget::Version, TargetUnion::Version(*n)),
        Compare::Lease(_, want, n) => (result(want), CompareTarget::Lease, TargetUnion::Lease(*n)),
        Compare::Value(_, want, v) => (result(want), CompareTarget::Value, TargetUnion::Value(v.clone())),
    };
    Ok(pb::Compare {
        result: result.into(),
        target: target.into(),
        key: layout.key(compare.key())?,
        range_end: bytes::Bytes::new(),
        target_union: Some(union),
    })
}

fn op(layout: &Layout, op: &Op) -> Result<pb::RequestOp, Error> {
    use pb::request_op::Request;
    let request = match op {
        Op::Range { span, limit } => {
            let (key, range_end) = layout.span(span)?;
            let limit = i64::try_from(*limit).unwrap_or(i64::MAX);
            Request::RequestRange(pb::RangeRequest {
                key,
                range_end,
                limit,
                ..Default::default()
            })
        }
        Op::Put { key, value, lease } => Request::RequestPut(pb::PutRequest {
            key: layout.key(key)?,
            value: value.clone(),
            lease: *lease,
            prev_kv: true,
            ..Default::default()
        }),
        Op::Delete { span } => {
            let (key, range_end) = layout.span(span)?;
            Request::RequestDeleteRange(pb::DeleteRangeRequest {
                key,
                range_end,
                prev_kv: true,
            })
        }
    };
    Ok(pb::RequestOp {
        request: Some(request),
    })
}

pub(crate) fn txn(layout: &Layout, txn: &Txn) -> Result<pb::TxnRequest, Error> {
    Ok(pb::TxnRequest {
        compare: txn
            .compares
            .iter()
            .map(|c| compare(layout, c))
            .collect::<Result<_, _>>()?,
        success: txn.then.iter().map(|o| op(layout, o)).collect::<Result<_, _>>()?,
        failure: txn
            .otherwise
            .iter()
            .map(|o| op(layout, o))
            .collect::<Result<_, _>>()?,
    })
}

/// What an operation of a transaction at `revision` did.
pub(crate) fn op_result(
    layout: &Layout,
    op: &Op,
    response: pb::ResponseOp,
    revision: Revision,
) -> Result<OpResult, Error> {
    use pb::response_op::Response;
    match (op, response.response) {
        (Op::Range { .. }, Some(Response::ResponseRange(range))) => Ok(OpResult::Range {
            records: range
                .kvs
                .into_iter()
                .filter_map(|kv| record(layout, kv))
                .collect(),
            count: usize::try_from(range.count).unwrap_or(0),
        }),
        (Op::Put { key, value, lease }, Some(Response::ResponsePut(put))) => {
            let previous = put.prev_kv.and_then(|kv| record(layout, kv));
            let written = Record {
                key: key.clone(),
                create_revision: previous.as_ref().map_or(revision, |p| p.create_revision),
                mod_revision: revision,
                version: previous.as_ref().map_or(1, |p| p.version + 1),
                lease: *lease,
                value: value.clone(),
                derived: Derived::default(),
            };
            Ok(OpResult::Put {
                record: Arc::new(written),
                previous,
            })
        }
        (Op::Delete { .. }, Some(Response::ResponseDeleteRange(deleted))) => Ok(OpResult::Delete {
            previous: deleted
                .prev_kvs
                .into_iter()
                .filter_map(|kv| record(layout, kv))
                .collect(),
        }),
        _ => Err(Error::Other(
            "etcd answered another operation than was asked".into(),
        )),
    }
}
