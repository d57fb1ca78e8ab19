//! The log: entries, votes, members.

use super::{Corrupt, Reader, Writer, unknown};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// A position in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogId {
    /// The term of the leader that wrote it.
    pub term: u64,
    /// Its number.
    pub index: u64,
}

/// A member's vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The term voted in.
    pub term: u64,
    /// For whom.
    pub node: u64,
    /// Whether that candidate is known to have won.
    pub committed: bool,
}

/// Who is in the group. More than one set of voters: the group is between two memberships.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Sets of voters; each has to agree.
    pub voters: Vec<BTreeSet<u64>>,
    /// All members, learners too, and where they are.
    pub nodes: BTreeMap<u64, String>,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub id: LogId,
    /// What it says.
    pub payload: Payload,
}

/// See [`Entry::payload`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing; a new leader's first entry.
    Blank,
    /// A batch of commands, as [`super::encode_batch`] writes it.
    Commands(Bytes),
    /// A new membership.
    Members(Members),
}

/// How far the state on disk is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The last entry of the log that is in it; `None` for a fresh state.
    pub log: Option<LogId>,
    /// How many commands are in it.
    pub commands: u64,
    /// Where the newest membership stands in the log.
    pub members_at: Option<LogId>,
    /// The newest membership.
    pub members: Members,
}

impl LogId {
    /// Writes it into a larger value.
    pub fn write(self, w: &mut Writer) {
        w.number(self.term).number(self.index);
    }

    /// Reads it back.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, Corrupt> {
        Ok(Self {
            term: r.number()?,
            index: r.number()?,
        })
    }

    /// As a value of its own.
    pub fn encode(self) -> Vec<u8> {
        let mut w = Writer::new();
        self.write(&mut w);
        w.finish()
    }

    /// Reads a value of its own back.
    pub fn decode(value: &[u8]) -> Result<Self, Corrupt> {
        let mut r = Reader::new(value)?;
        let id = Self::read(&mut r)?;
        r.end().map(|()| id)
    }
}

impl Vote {
    /// Writes it into a larger value.
    pub fn write(self, w: &mut Writer) {
        w.number(self.term)
            .number(self.node)
            .byte(u8::from(self.committed));
    }

    /// Reads it back.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, Corrupt> {
        Ok(Self {
            term: r.number()?,
            node: r.number()?,
            committed: r.byte()? != 0,
        })
    }

    /// As a value of its own.
    pub fn encode(self) -> Vec<u8> {
        let mut w = Writer::new();
        self.write(&mut w);
        w.finish()
    }

    /// Reads a value of its own back.
    pub fn decode(value: &[u8]) -> Result<Self, Corrupt> {
        let mut r = Reader::new(value)?;
        let vote = Self::read(&mut r)?;
        r.end().map(|()| vote)
    }
}

impl Members {
    /// Writes it into a larger value.
    pub fn write(&self, w: &mut Writer) {
        w.number(self.voters.len() as u64);
        for set in &self.voters {
            w.number(set.len() as u64);
            for id in set {
                w.number(*id);
            }
        }
        w.number(self.nodes.len() as u64);
        for (id, address) in &self.nodes {
            w.number(*id).bytes(address.as_bytes());
        }
    }

    /// Reads it back.
    pub fn read(r: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let mut members = Self::default();
        for _ in 0..r.count()? {
            let set = (0..r.count()?).map(|_| r.number()).collect::<Result<_, _>>()?;
            members.voters.push(set);
        }
        for _ in 0..r.count()? {
            members.nodes.insert(r.number()?, r.text()?.to_owned());
        }
        let known =
            |set: &BTreeSet<u64>| !set.is_empty() && set.iter().all(|id| members.nodes.contains_key(id));
        if members.voters.iter().all(known) {
            Ok(members)
        } else {
            Err(Corrupt("voters that are no members".into()))
        }
    }
}

impl Entry {
    /// As a value of its own.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        self.id.write(&mut w);
        match &self.payload {
            Payload::Blank => {
                w.byte(0);
            }
            Payload::Commands(batch) => {
                w.byte(1).bytes(batch);
            }
            Payload::Members(members) => {
                w.byte(2);
                members.write(&mut w);
            }
        }
        w.finish()
    }

    /// Reads a value of its own back; commands share its buffer.
    pub fn decode(value: &Bytes) -> Result<Self, Corrupt> {
        let mut r = Reader::sharing(value)?;
        let id = LogId::read(&mut r)?;
        let payload = match r.byte()? {
            0 => Payload::Blank,
            1 => Payload::Commands(r.bytes()?),
            2 => Payload::Members(Members::read(&mut r)?),
            other => return Err(unknown("payload", other)),
        };
        r.end().map(|()| Self { id, payload })
    }
}

impl Applied {
    /// As a value of its own.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.option(self.log, |w, id| id.write(w));
        w.number(self.commands);
        w.option(self.members_at, |w, id| id.write(w));
        self.members.write(&mut w);
        w.finish()
    }

    /// Reads a value of its own back.
    pub fn decode(value: &[u8]) -> Result<Self, Corrupt> {
        let mut r = Reader::new(value)?;
        let log = r.option(LogId::read)?;
        let commands = r.number()?;
        let members_at = r.option(LogId::read)?;
        let members = Members::read(&mut r)?;
        r.end().map(|()| Self {
            log,
            commands,
            members_at,
            members,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_every_flipped_bit_is_found() {
        let members = Members {
            voters: vec![[1, 2, 3].into()],
            nodes: [1, 2, 3].map(|id| (id, format!("a:{id}"))).into(),
        };
        let entry = Entry {
            id: LogId { term: 300, index: 7 },
            payload: Payload::Members(members.clone()),
        };
        let bytes = Bytes::from(entry.encode());
        assert_eq!(Entry::decode(&bytes), Ok(entry));
        for at in 0..bytes.len() * 8 {
            let mut bad = bytes.to_vec();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(Entry::decode(&bad.into()).is_err(), "bit {at}");
        }
        for n in 0..bytes.len() {
            assert!(Entry::decode(&bytes.slice(..n)).is_err(), "cut at {n}");
        }
        let applied = Applied {
            log: Some(LogId { term: 1, index: 2 }),
            commands: 9,
            members_at: None,
            members,
        };
        assert_eq!(Applied::decode(&applied.encode()), Ok(applied));
        let vote = Vote {
            term: 4,
            node: 2,
            committed: true,
        };
        assert_eq!(Vote::decode(&vote.encode()), Ok(vote));
    }
}
