//! Group commit: commands that wait while the log is busy become one entry, and so share one sync.
//!
//! A command is repeated only if it certainly was not appended. What may have been appended is reported as
//! [`Error::Unavailable`], whose contract is "may or may not have happened".

use crate::member::{Member, REQUEST_PATIENCE};
use crate::types::Batch;
use crate::wire::{Refusal, Request, Response};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use openraft::error::ClientWriteError;
use openraft::impls::ProgressResponder;
use std::sync::Arc;
use std::time::Duration;
use store_api::Error;
use store_rocks::format::Submitted;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Commands that may wait to be batched.
pub(crate) const QUEUE: usize = 8192;
/// Commands of one entry.
const BATCH: usize = 512;
/// Bytes of one entry, about: a batch ends when it is over.
const BATCH_BYTES: usize = 512 << 10;
/// Entries that are on their way at once.
const IN_FLIGHT: usize = 3;
/// How long to look for a leader before giving up.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

enum Sent {
    /// It is in the log, or will be answered by it.
    Accepted,
    /// It certainly was not appended.
    Rejected(Option<u64>),
    /// Nobody knows.
    Unknown(String),
}

/// Batches what comes in until the queue is closed.
pub(crate) async fn run(member: Arc<Member>, mut queue: mpsc::Receiver<Submitted>) {
    let mut on_way = FuturesUnordered::new();
    let mut waiting = Vec::with_capacity(BATCH);
    loop {
        let room = on_way.len() < IN_FLIGHT;
        tokio::select! {
            biased;
            Some(()) = on_way.next(), if !on_way.is_empty() => {}
            n = queue.recv_many(&mut waiting, BATCH), if room => {
                if n == 0 {
                    break;
                }
                for batch in split(&mut waiting) {
                    on_way.push(deliver(&member, batch));
                }
            }
        }
    }
    while on_way.next().await.is_some() {}
}

/// Cuts what waits into batches of about [`BATCH_BYTES`].
fn split(waiting: &mut Vec<Submitted>) -> Vec<Vec<Submitted>> {
    let mut batches = Vec::new();
    let mut batch = Vec::with_capacity(waiting.len());
    let mut bytes = 0;
    for one in waiting.drain(..) {
        bytes += size(&one);
        batch.push(one);
        if bytes > BATCH_BYTES {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

fn size(one: &Submitted) -> usize {
    match &one.command.action {
        store_mem::Action::Txn { txn, .. } => txn
            .then
            .iter()
            .chain(&txn.otherwise)
            .map(|op| match op {
                store_api::Op::Put { key, value, .. } => key.path().len() + value.len(),
                _ => 64,
            })
            .sum(),
        _ => 64,
    }
}

/// Brings a batch into the log, here or at the leader. Its commands are answered when they are applied here.
async fn deliver(member: &Arc<Member>, submitted: Vec<Submitted>) {
    let deadline = Instant::now() + PATIENCE;
    let batch = Batch::new(submitted);
    let why = loop {
        let sent = match member.leader() {
            Some(id) if id == member.id() => propose(member, &batch).await,
            Some(id) => forward(member, id, &batch).await,
            None => Sent::Rejected(None),
        };
        match sent {
            Sent::Accepted => return,
            Sent::Unknown(why) => break why,
            Sent::Rejected(_) if Instant::now() >= deadline => break "no leader".into(),
            Sent::Rejected(_) => tokio::time::sleep(PAUSE).await,
        }
    };
    for one in batch.submitted.iter() {
        member
            .shared
            .waiters
            .finish(one.ticket, Err(Error::Unavailable(why.clone())));
    }
}

/// Appends a batch to this member's log, which leads.
async fn propose(member: &Member, batch: &Batch) -> Sent {
    let (responder, done) = ProgressResponder::complete_only();
    if let Err(e) = member.raft.client_write_ff(batch.clone(), Some(responder)).await {
        return Sent::Unknown(e.to_string());
    }
    match done.await {
        Ok(Ok(_)) => Sent::Accepted,
        Ok(Err(ClientWriteError::ForwardToLeader(to))) => Sent::Rejected(to.leader_id),
        Ok(Err(e)) => Sent::Unknown(e.to_string()),
        Err(_) => Sent::Unknown("this member stopped".into()),
    }
}

async fn forward(member: &Member, to: u64, batch: &Batch) -> Sent {
    use crate::transport::TransportError;
    let request = Request::Propose {
        batch: batch.encoded.clone(),
    }
    .encode();
    let call = member.transport.call(to, request, REQUEST_PATIENCE);
    match member.while_it_leads(to, call).await {
        None => Sent::Unknown("the leader was replaced".into()),
        Some(Err(TransportError::Unreachable(..))) => Sent::Rejected(None),
        Some(Err(e)) => Sent::Unknown(e.to_string()),
        Some(Ok(answer)) => match Response::decode(&answer) {
            Ok(Response::Done) => Sent::Accepted,
            Ok(Response::Refused(Refusal::NotLeader(leader))) => Sent::Rejected(leader),
            Ok(other) => Sent::Unknown(format!("{other:?}")),
            Err(e) => Sent::Unknown(e.to_string()),
        },
    }
}

/// Proposes a batch that another member forwarded.
pub(crate) async fn forwarded(member: &Member, batch: Batch) -> Response {
    match propose(member, &batch).await {
        Sent::Accepted => Response::Done,
        Sent::Rejected(leader) => Response::Refused(Refusal::NotLeader(leader)),
        Sent::Unknown(why) => Response::Refused(Refusal::Other(why)),
    }
}
