//! The state: rows, facts of clusters, leases. Keys sort so that a cluster's rows come by revision, then path.

use super::{Corrupt, Reader, Writer, unknown};
use base::ClusterId;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use store_api::{Derived, Key, LeaseId, Quota, Record, Revision};
use store_mem::{Change, Meta, Row};

/// The first byte of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Lease = b'l' as isize,
    Meta = b'm' as isize,
    Row = b'r' as isize,
    Removed = b'x' as isize,
}

pub(crate) fn kind_prefix(kind: Kind) -> Vec<u8> {
    vec![kind as u8]
}

/// No cluster's prefix is the prefix of another's: ids hold no zero byte.
pub(crate) fn cluster_prefix(kind: Kind, cluster: &ClusterId) -> Vec<u8> {
    let id = cluster.as_str().as_bytes();
    let mut key = Vec::with_capacity(id.len() + 2);
    key.push(kind as u8);
    key.extend_from_slice(id);
    key.push(0);
    key
}

pub(crate) fn meta_key(cluster: &ClusterId) -> Vec<u8> {
    cluster_prefix(Kind::Meta, cluster)
}

pub(crate) fn removed_key(cluster: &ClusterId) -> Vec<u8> {
    cluster_prefix(Kind::Removed, cluster)
}

pub(crate) fn lease_key(cluster: &ClusterId, id: LeaseId) -> Vec<u8> {
    let mut key = cluster_prefix(Kind::Lease, cluster);
    key.extend_from_slice(&(id as u64).to_be_bytes());
    key
}

pub(crate) fn row_key(cluster: &ClusterId, revision: Revision, path: &[u8]) -> Vec<u8> {
    let mut key = cluster_prefix(Kind::Row, cluster);
    key.extend_from_slice(&(revision as u64).to_be_bytes());
    key.extend_from_slice(path);
    key
}

/// A change as a value of its own: what the tables and snapshots hold. Deletions have no value and are refused.
pub fn encode_change(change: &Change) -> Result<Vec<u8>, Corrupt> {
    let mut w = Writer::new();
    match change {
        Change::Row(Row {
            record,
            deleted,
            at_ms,
        }) => {
            w.byte(0).cluster(&record.key.cluster).bytes(record.key.path());
            w.signed(record.mod_revision)
                .signed(record.create_revision)
                .signed(record.version);
            w.signed(record.lease)
                .byte(u8::from(*deleted))
                .number(*at_ms)
                .bytes(&record.value);
        }
        Change::Meta { cluster, meta } => {
            w.byte(1)
                .cluster(cluster)
                .signed(meta.revision)
                .signed(meta.compacted);
            w.option(meta.quota, |w, q| {
                w.number(q.objects).number(q.bytes);
            });
        }
        Change::Lease { cluster, id, ttl } => {
            let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
            w.byte(2).cluster(cluster).signed(*id).number(ttl);
        }
        Change::Removed { cluster } => {
            w.byte(3).cluster(cluster);
        }
        Change::RowGone { .. } | Change::LeaseGone { .. } => {
            return Err(Corrupt("a deletion has no value".into()));
        }
    }
    Ok(w.finish())
}

/// Reads a change back.
pub fn decode_change(value: &[u8]) -> Result<Change, Corrupt> {
    let mut r = Reader::new(value)?;
    let tag = r.byte()?;
    let cluster = r.cluster()?;
    let change = match tag {
        0 => {
            let path = Bytes::copy_from_slice(r.slice()?);
            let (mod_revision, create_revision, version) = (r.signed()?, r.signed()?, r.signed()?);
            let (lease, deleted, at_ms) = (r.signed()?, r.byte()? != 0, r.number()?);
            let record = Record {
                key: Key::stored(&cluster, path),
                create_revision,
                mod_revision,
                version,
                lease,
                value: Bytes::copy_from_slice(r.slice()?),
                derived: Derived::default(),
            };
            Change::Row(Row {
                record: Arc::new(record),
                deleted,
                at_ms,
            })
        }
        1 => {
            let (revision, compacted) = (r.signed()?, r.signed()?);
            let quota = r.option(|r| {
                Ok(Quota {
                    objects: r.number()?,
                    bytes: r.number()?,
                })
            })?;
            Change::Meta {
                cluster,
                meta: Meta {
                    revision,
                    compacted,
                    quota,
                },
            }
        }
        2 => Change::Lease {
            cluster,
            id: r.signed()?,
            ttl: Duration::from_millis(r.number()?),
        },
        3 => Change::Removed { cluster },
        other => return Err(unknown("change", other)),
    };
    r.end().map(|()| change)
}
