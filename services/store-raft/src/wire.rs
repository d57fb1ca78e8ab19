//! What members say to each other: one request, one answer, each a value in the store's own encoding.

use crate::types::{Entry, LogId, Vote, decode_entry, encode_entry, log_id, plain_id, plain_vote, vote};
use base::ClusterId;
use bytes::Bytes;
use store_api::LeaseId;
use store_rocks::format::{self, Applied, Corrupt, Reader, Writer};

/// A question to another member.
#[derive(Debug)]
pub(crate) enum Request {
    /// Raft's AppendEntries.
    Append {
        vote: Vote,
        prev: Option<LogId>,
        commit: Option<LogId>,
        entries: Vec<Entry>,
    },
    /// Raft's RequestVote; `pre` asks whether it would be granted.
    Vote {
        vote: Vote,
        last: Option<LogId>,
        transfer: bool,
        pre: bool,
    },
    /// A part of a snapshot; parts of one transfer come in order.
    Snapshot {
        transfer: u64,
        part: u64,
        last: bool,
        vote: Vote,
        applied: Applied,
        data: Bytes,
    },
    /// "Take over."
    Transfer {
        from: Vote,
        to: u64,
        last: Option<LogId>,
    },
    /// A batch of commands for the leader, encoded.
    Propose { batch: Bytes },
    /// The position that a linearizable read has to wait for.
    ReadIndex,
    /// Renews a lease.
    KeepAlive { cluster: ClusterId, id: LeaseId },
    /// What is left of a lease.
    Remaining { cluster: ClusterId, id: LeaseId },
}

/// The answer to a [`Request`].
#[derive(Debug)]
pub(crate) enum Response {
    /// To [`Request::Append`].
    Append(Appended),
    /// To [`Request::Vote`].
    Vote {
        vote: Vote,
        granted: bool,
        last: Option<LogId>,
    },
    /// To the last part of a snapshot; to others [`Response::Done`].
    Snapshot(Vote),
    /// It was done.
    Done,
    /// A position in the log.
    Index(u64),
    /// A time in milliseconds.
    Millis(u64),
    /// It was not done.
    Refused(Refusal),
}

#[derive(Debug)]
pub(crate) enum Appended {
    Success,
    Partial(Option<LogId>),
    Conflict,
    HigherVote(Vote),
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// This member does not lead; nothing happened.
    NotLeader(Option<u64>),
    /// There is no such lease.
    LeaseNotFound,
    /// Anything else; it may have happened.
    Other(String),
}

fn write_id(w: &mut Writer, id: LogId) {
    plain_id(&id).write(w);
}

fn read_id(r: &mut Reader<'_>) -> Result<LogId, Corrupt> {
    format::LogId::read(r).map(log_id)
}

fn read_vote(r: &mut Reader<'_>) -> Result<Vote, Corrupt> {
    format::Vote::read(r).map(vote)
}

impl Request {
    pub(crate) fn encode(&self) -> Bytes {
        let mut w = Writer::new();
        match self {
            Self::Append {
                vote,
                prev,
                commit,
                entries,
            } => {
                w.byte(0);
                plain_vote(vote).write(&mut w);
                w.option(*prev, write_id)
                    .option(*commit, write_id)
                    .number(entries.len() as u64);
                for entry in entries {
                    w.bytes(&encode_entry(entry));
                }
            }
            Self::Vote {
                vote,
                last,
                transfer,
                pre,
            } => {
                w.byte(1);
                plain_vote(vote).write(&mut w);
                w.option(*last, write_id)
                    .byte(u8::from(*transfer))
                    .byte(u8::from(*pre));
            }
            Self::Snapshot {
                transfer,
                part,
                last,
                vote,
                applied,
                data,
            } => {
                w.byte(2).number(*transfer).number(*part).byte(u8::from(*last));
                plain_vote(vote).write(&mut w);
                w.bytes(&applied.encode()).bytes(data);
            }
            Self::Transfer { from, to, last } => {
                w.byte(3);
                plain_vote(from).write(&mut w);
                w.number(*to).option(*last, write_id);
            }
            Self::Propose { batch } => {
                w.byte(4).bytes(batch);
            }
            Self::ReadIndex => {
                w.byte(5);
            }
            Self::KeepAlive { cluster, id } => {
                w.byte(6).cluster(cluster).signed(*id);
            }
            Self::Remaining { cluster, id } => {
                w.byte(7).cluster(cluster).signed(*id);
            }
        }
        w.finish().into()
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, Corrupt> {
        let mut r = Reader::sharing(bytes)?;
        let request = match r.byte()? {
            0 => {
                let vote = read_vote(&mut r)?;
                let (prev, commit) = (r.option(read_id)?, r.option(read_id)?);
                let entries = (0..r.count()?)
                    .map(|_| decode_entry(&r.bytes()?))
                    .collect::<Result<_, _>>()?;
                Self::Append {
                    vote,
                    prev,
                    commit,
                    entries,
                }
            }
            1 => {
                let (vote, last) = (read_vote(&mut r)?, r.option(read_id)?);
                Self::Vote {
                    vote,
                    last,
                    transfer: r.byte()? != 0,
                    pre: r.byte()? != 0,
                }
            }
            2 => {
                let (transfer, part, last) = (r.number()?, r.number()?, r.byte()? != 0);
                let vote = read_vote(&mut r)?;
                let applied = Applied::decode(r.slice()?)?;
                Self::Snapshot {
                    transfer,
                    part,
                    last,
                    vote,
                    applied,
                    data: r.bytes()?,
                }
            }
            3 => Self::Transfer {
                from: read_vote(&mut r)?,
                to: r.number()?,
                last: r.option(read_id)?,
            },
            4 => Self::Propose { batch: r.bytes()? },
            5 => Self::ReadIndex,
            6 => Self::KeepAlive {
                cluster: r.cluster()?,
                id: r.signed()?,
            },
            7 => Self::Remaining {
                cluster: r.cluster()?,
                id: r.signed()?,
            },
            other => return Err(Corrupt(format!("request {other} is not known"))),
        };
        r.end().map(|()| request)
    }
}

impl Response {
    pub(crate) fn encode(&self) -> Bytes {
        let mut w = Writer::new();
        match self {
            Self::Append(Appended::Success) => {
                w.byte(0);
            }
            Self::Append(Appended::Partial(id)) => {
                w.byte(1).option(*id, write_id);
            }
            Self::Append(Appended::Conflict) => {
                w.byte(2);
            }
            Self::Append(Appended::HigherVote(vote)) => {
                w.byte(3);
                plain_vote(vote).write(&mut w);
            }
            Self::Vote { vote, granted, last } => {
                w.byte(4);
                plain_vote(vote).write(&mut w);
                w.byte(u8::from(*granted)).option(*last, write_id);
            }
            Self::Snapshot(vote) => {
                w.byte(5);
                plain_vote(vote).write(&mut w);
            }
            Self::Done => {
                w.byte(6);
            }
            Self::Index(n) => {
                w.byte(7).number(*n);
            }
            Self::Millis(n) => {
                w.byte(8).number(*n);
            }
            Self::Refused(Refusal::NotLeader(leader)) => {
                w.byte(9).option(*leader, |w, id| {
                    w.number(id);
                });
            }
            Self::Refused(Refusal::LeaseNotFound) => {
                w.byte(10);
            }
            Self::Refused(Refusal::Other(why)) => {
                w.byte(11).bytes(why.as_bytes());
            }
        }
        w.finish().into()
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, Corrupt> {
        let mut r = Reader::sharing(bytes)?;
        let response = match r.byte()? {
            0 => Self::Append(Appended::Success),
            1 => Self::Append(Appended::Partial(r.option(read_id)?)),
            2 => Self::Append(Appended::Conflict),
            3 => Self::Append(Appended::HigherVote(read_vote(&mut r)?)),
            4 => {
                let vote = read_vote(&mut r)?;
                Self::Vote {
                    vote,
                    granted: r.byte()? != 0,
                    last: r.option(read_id)?,
                }
            }
            5 => Self::Snapshot(read_vote(&mut r)?),
            6 => Self::Done,
            7 => Self::Index(r.number()?),
            8 => Self::Millis(r.number()?),
            9 => Self::Refused(Refusal::NotLeader(r.option(Reader::number)?)),
            10 => Self::Refused(Refusal::LeaseNotFound),
            11 => Self::Refused(Refusal::Other(r.text()?.to_owned())),
            other => return Err(Corrupt(format!("response {other} is not known"))),
        };
        r.end().map(|()| response)
    }
}
