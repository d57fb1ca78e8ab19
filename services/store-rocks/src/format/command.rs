//! Commands: what an entry of the log carries.

use super::{Corrupt, Reader, Writer, unknown};
use base::ClusterId;
use bytes::Bytes;
use std::cmp::Ordering;
use std::time::Duration;
use store_api::{Compare, Guard, Key, Op, Quota, Span, Txn};
use store_mem::{Action, Command};

/// A command and who waits for it.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// The member that took it from a client.
    pub member: u64,
    /// That member's number for it; unique among its restarts, too.
    pub ticket: u64,
    /// What to do.
    pub command: Command,
}

/// As a value of its own.
pub fn encode_batch(batch: &[Submitted]) -> Vec<u8> {
    let mut w = Writer::new();
    w.number(batch.len() as u64);
    for one in batch {
        w.number(one.member).number(one.ticket).number(one.command.at_ms);
        action(&mut w, &one.command.action);
    }
    w.finish()
}

/// Reads a batch back; keys and values share its buffer.
pub fn decode_batch(value: &Bytes) -> Result<Vec<Submitted>, Corrupt> {
    let mut r = Reader::sharing(value)?;
    let mut batch = Vec::new();
    for _ in 0..r.count()? {
        let (member, ticket, at_ms) = (r.number()?, r.number()?, r.number()?);
        batch.push(Submitted {
            member,
            ticket,
            command: Command {
                at_ms,
                action: read_action(&mut r)?,
            },
        });
    }
    r.end().map(|()| batch)
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

fn action(w: &mut Writer, action: &Action) {
    match action {
        Action::Txn { cluster, txn } => {
            w.byte(0).cluster(cluster);
            write_txn(w, txn);
        }
        Action::Compact { cluster, at } => {
            w.byte(1).cluster(cluster).signed(*at);
        }
        Action::LeaseGrant { cluster, id, ttl } => {
            w.byte(2).cluster(cluster).signed(*id).number(millis(*ttl));
        }
        Action::LeaseRevoke { cluster, id } => {
            w.byte(3).cluster(cluster).signed(*id);
        }
        Action::SetQuota { cluster, quota } => {
            w.byte(4).cluster(cluster).option(*quota, |w, q| {
                w.number(q.objects).number(q.bytes);
            });
        }
        Action::RemoveCluster { cluster } => {
            w.byte(5).cluster(cluster);
        }
        Action::Sweep { before_ms } => {
            w.byte(6).number(*before_ms);
        }
    }
}

fn read_action(r: &mut Reader<'_>) -> Result<Action, Corrupt> {
    let tag = r.byte()?;
    if tag == 6 {
        return Ok(Action::Sweep {
            before_ms: r.number()?,
        });
    }
    let cluster = r.cluster()?;
    Ok(match tag {
        0 => Action::Txn {
            txn: read_txn(r, &cluster)?,
            cluster,
        },
        1 => Action::Compact {
            cluster,
            at: r.signed()?,
        },
        2 => Action::LeaseGrant {
            cluster,
            id: r.signed()?,
            ttl: Duration::from_millis(r.number()?),
        },
        3 => Action::LeaseRevoke {
            cluster,
            id: r.signed()?,
        },
        4 => {
            let quota = r.option(|r| {
                Ok(Quota {
                    objects: r.number()?,
                    bytes: r.number()?,
                })
            })?;
            Action::SetQuota { cluster, quota }
        }
        5 => Action::RemoveCluster { cluster },
        other => return Err(unknown("action", other)),
    })
}

fn write_txn(w: &mut Writer, txn: &Txn) {
    w.number(txn.guards.len() as u64);
    for Guard::Slot { role, slot, epoch } in &txn.guards {
        w.bytes(role.as_bytes()).number(u64::from(*slot)).number(*epoch);
    }
    w.number(txn.compares.len() as u64);
    for compare in &txn.compares {
        write_compare(w, compare);
    }
    for branch in [&txn.then, &txn.otherwise] {
        w.number(branch.len() as u64);
        for op in branch {
            write_op(w, op);
        }
    }
}

fn read_txn(r: &mut Reader<'_>, cluster: &ClusterId) -> Result<Txn, Corrupt> {
    let mut txn = Txn::default();
    for _ in 0..r.count()? {
        let role = r.text()?.to_owned();
        let slot = u16::try_from(r.number()?).map_err(|_| Corrupt("a slot out of range".into()))?;
        txn.guards.push(Guard::Slot {
            role,
            slot,
            epoch: r.number()?,
        });
    }
    for _ in 0..r.count()? {
        txn.compares.push(read_compare(r, cluster)?);
    }
    for branch in [&mut txn.then, &mut txn.otherwise] {
        for _ in 0..r.count()? {
            branch.push(read_op(r, cluster)?);
        }
    }
    Ok(txn)
}

fn write_compare(w: &mut Writer, compare: &Compare) {
    let (tag, want) = match compare {
        Compare::ModRevision(_, want, _) => (0, *want),
        Compare::ModRevisionNot(..) => (1, Ordering::Equal),
        Compare::CreateRevision(_, want, _) => (2, *want),
        Compare::Version(_, want, _) => (3, *want),
        Compare::Lease(_, want, _) => (4, *want),
        Compare::Value(_, want, _) => (5, *want),
    };
    w.byte(tag)
        .byte((want as i8 + 1) as u8)
        .bytes(compare.key().path());
    match compare {
        Compare::ModRevision(_, _, n)
        | Compare::ModRevisionNot(_, n)
        | Compare::CreateRevision(_, _, n)
        | Compare::Version(_, _, n)
        | Compare::Lease(_, _, n) => w.signed(*n),
        Compare::Value(_, _, value) => w.bytes(value),
    };
}

fn read_compare(r: &mut Reader<'_>, cluster: &ClusterId) -> Result<Compare, Corrupt> {
    let tag = r.byte()?;
    let want = match r.byte()? {
        0 => Ordering::Less,
        1 => Ordering::Equal,
        2 => Ordering::Greater,
        other => return Err(unknown("ordering", other)),
    };
    let key = Key::stored(cluster, r.bytes()?);
    Ok(match tag {
        0 => Compare::ModRevision(key, want, r.signed()?),
        1 => Compare::ModRevisionNot(key, r.signed()?),
        2 => Compare::CreateRevision(key, want, r.signed()?),
        3 => Compare::Version(key, want, r.signed()?),
        4 => Compare::Lease(key, want, r.signed()?),
        5 => Compare::Value(key, want, r.bytes()?),
        other => return Err(unknown("comparison", other)),
    })
}

fn write_span(w: &mut Writer, span: &Span) {
    w.bytes(&span.start).option(span.end.as_ref(), |w, end| {
        w.bytes(end);
    });
}

fn read_span(r: &mut Reader<'_>, cluster: &ClusterId) -> Result<Span, Corrupt> {
    Ok(Span {
        cluster: cluster.clone(),
        start: r.bytes()?,
        end: r.option(Reader::bytes)?,
    })
}

fn write_op(w: &mut Writer, op: &Op) {
    match op {
        Op::Range { span, limit } => {
            write_span(w.byte(0), span);
            w.number(*limit as u64);
        }
        Op::Put { key, value, lease } => {
            w.byte(1).bytes(key.path()).signed(*lease).bytes(value);
        }
        Op::Delete { span } => write_span(w.byte(2), span),
    }
}

fn read_op(r: &mut Reader<'_>, cluster: &ClusterId) -> Result<Op, Corrupt> {
    Ok(match r.byte()? {
        0 => Op::Range {
            span: read_span(r, cluster)?,
            limit: r.number()? as usize,
        },
        1 => {
            let (path, lease, value) = (r.bytes()?, r.signed()?, r.bytes()?);
            Op::Put {
                key: Key::stored(cluster, path),
                value,
                lease,
            }
        }
        2 => Op::Delete {
            span: read_span(r, cluster)?,
        },
        other => return Err(unknown("operation", other)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_read_back_as_it_was_written() {
        let cluster: ClusterId = "a".parse().unwrap();
        let key = || Key::object(&cluster, "pods", Some("ns"), "x").unwrap();
        let span = Span::one(&key());
        let open = Span {
            end: None,
            ..span.clone()
        };
        let txn = Txn {
            guards: vec![Guard::Slot {
                role: "scheduler".into(),
                slot: 63,
                epoch: u64::MAX,
            }],
            compares: vec![
                Compare::ModRevision(key(), Ordering::Less, i64::MAX),
                Compare::ModRevisionNot(key(), 0),
                Compare::CreateRevision(key(), Ordering::Equal, 1),
                Compare::Version(key(), Ordering::Greater, -1),
                Compare::Lease(key(), Ordering::Equal, i64::MIN),
                Compare::Value(key(), Ordering::Less, Bytes::from_static(b"v")),
            ],
            then: vec![
                Op::Range {
                    span: span.clone(),
                    limit: 3,
                },
                Op::Put {
                    key: key(),
                    value: Bytes::new(),
                    lease: 7,
                },
            ],
            otherwise: vec![Op::Delete { span: open }],
        };
        let actions = [
            Action::Txn {
                cluster: cluster.clone(),
                txn,
            },
            Action::Compact {
                cluster: cluster.clone(),
                at: 5,
            },
            Action::LeaseGrant {
                cluster: cluster.clone(),
                id: -3,
                ttl: Duration::from_secs(9),
            },
            Action::LeaseRevoke {
                cluster: cluster.clone(),
                id: 3,
            },
            Action::SetQuota {
                cluster: cluster.clone(),
                quota: Some(Quota { objects: 1, bytes: 2 }),
            },
            Action::SetQuota {
                cluster: cluster.clone(),
                quota: None,
            },
            Action::RemoveCluster { cluster },
            Action::Sweep { before_ms: 12 },
        ];
        let batch: Vec<_> = actions
            .into_iter()
            .map(|action| Submitted {
                member: 1,
                ticket: u64::MAX,
                command: Command { at_ms: 8, action },
            })
            .collect();
        let bytes = Bytes::from(encode_batch(&batch));
        let back = decode_batch(&bytes).unwrap();
        assert_eq!(format!("{back:?}"), format!("{batch:?}"));
    }
}
