//! openraft's types, filled in, and what they are on the wire and on disk. Nothing of this leaves the crate.

use bytes::Bytes;
use openraft::impls::leader_id_std::LeaderId;
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, Membership, StoredMembership};
use openraft_rt::deterministic_rng::DeterministicRng;
use std::fmt;
use std::sync::Arc;
use store_mem::Change;
use store_rocks::format::{self, Applied, Corrupt, Members, Payload, Submitted, decode_batch};

/// A batch of commands: decoded for applying, encoded for the log and for other members.
#[derive(Clone)]
pub(crate) struct Batch {
    pub(crate) submitted: Arc<Vec<Submitted>>,
    pub(crate) encoded: Bytes,
}

impl Batch {
    pub(crate) fn new(submitted: Vec<Submitted>) -> Self {
        Self {
            encoded: format::encode_batch(&submitted).into(),
            submitted: Arc::new(submitted),
        }
    }

    pub(crate) fn decode(encoded: Bytes) -> Result<Self, Corrupt> {
        Ok(Self {
            submitted: Arc::new(decode_batch(&encoded)?),
            encoded,
        })
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} commands", self.submitted.len())
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} commands", self.submitted.len())
    }
}

/// The whole state, as a snapshot carries it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    pub(crate) commands: u64,
    pub(crate) changes: Arc<Vec<Change>>,
}

/// Where a member is. Compared and stored as text.
pub(crate) type Node = openraft::BasicNode;

openraft::declare_raft_types!(
    pub(crate) Types:
        D = Batch,
        R = (),
        NodeId = u64,
        Node = Node,
        LeaderId = LeaderId<u64, u64>,
        AsyncRuntime = Runtime,
);

/// Tokio, with random numbers that a simulation can seed. Whatever openraft runs has to run in a [`seeded`] future.
pub(crate) type Runtime = DeterministicRng<openraft::impls::TokioRuntime>;

/// Gives openraft's random numbers a beginning.
pub(crate) fn seeded<F: Future>(seed: u64, run: F) -> impl Future<Output = F::Output> {
    Runtime::scope(seed, run)
}

type Committed = <LeaderId<u64, u64> as RaftLeaderId>::Committed;

pub(crate) type LogId = openraft::LogId<Committed>;
pub(crate) type Vote = openraft::impls::Vote<LeaderId<u64, u64>>;
pub(crate) type Entry = openraft::Entry<Committed, EntryPayload<Batch, u64, Node>>;
pub(crate) type Stored = StoredMembership<Committed, u64, Node>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<Committed, u64, Node>;
pub(crate) type Snapshot = openraft::Snapshot<Committed, u64, Node, Image>;

pub(crate) fn log_id(id: format::LogId) -> LogId {
    LogId::new_term_index(id.term, id.index)
}

pub(crate) fn plain_id(id: &LogId) -> format::LogId {
    format::LogId {
        term: **id.committed_leader_id(),
        index: id.index,
    }
}

pub(crate) fn vote(vote: format::Vote) -> Vote {
    Vote {
        leader_id: LeaderId {
            term: vote.term,
            voted_for: vote.node,
        },
        committed: vote.committed,
    }
}

pub(crate) fn plain_vote(vote: &Vote) -> format::Vote {
    format::Vote {
        term: vote.leader_id.term,
        node: vote.leader_id.voted_for,
        committed: vote.committed,
    }
}

pub(crate) fn members(plain: &Members) -> Membership<u64, Node> {
    let nodes: std::collections::BTreeMap<_, _> = plain
        .nodes
        .iter()
        .map(|(id, address)| (*id, Node::new(address.clone())))
        .collect();
    Membership::new(plain.voters.clone(), nodes).expect("reading members checks that every voter is a node")
}

pub(crate) fn plain_members(members: &Membership<u64, Node>) -> Members {
    Members {
        voters: members.get_joint_config().clone(),
        nodes: members
            .nodes()
            .map(|(id, node)| (*id, node.addr.clone()))
            .collect(),
    }
}

pub(crate) fn stored(applied: &Applied) -> Stored {
    Stored::new(applied.members_at.map(log_id), members(&applied.members))
}

pub(crate) fn encode_entry(entry: &Entry) -> Bytes {
    let payload = match &entry.payload {
        EntryPayload::Blank => Payload::Blank,
        EntryPayload::Normal(batch) => Payload::Commands(batch.encoded.clone()),
        EntryPayload::Membership(m) => Payload::Members(plain_members(m)),
    };
    format::Entry {
        id: plain_id(&entry.log_id),
        payload,
    }
    .encode()
    .into()
}

pub(crate) fn decode_entry(bytes: &Bytes) -> Result<Entry, Corrupt> {
    let entry = format::Entry::decode(bytes)?;
    let payload = match entry.payload {
        Payload::Blank => EntryPayload::Blank,
        Payload::Commands(batch) => EntryPayload::Normal(Batch::decode(batch)?),
        Payload::Members(m) => EntryPayload::Membership(members(&m)),
    };
    Ok(Entry {
        log_id: log_id(entry.id),
        payload,
    })
}

/// How far a state is, as a snapshot's label.
pub(crate) fn snapshot_meta(applied: &Applied) -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: applied.log.map(log_id),
        last_membership: stored(applied),
    }
}

/// A snapshot's label, as the disk keeps it.
pub(crate) fn plain_meta(meta: &SnapshotMeta, commands: u64) -> Applied {
    Applied {
        log: meta.last_log_id.as_ref().map(plain_id),
        commands,
        members_at: meta.last_membership.log_id().as_ref().map(plain_id),
        members: plain_members(meta.last_membership.membership()),
    }
}
