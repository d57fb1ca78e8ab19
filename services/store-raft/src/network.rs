//! openraft's network over a [`Transport`].

use crate::transport::{Transport, TransportError};
use crate::types::{Image, Node, Snapshot, Types, Vote, plain_meta};
use crate::wire::{Appended, Refusal, Request, Response};
use bytes::Bytes;
use futures::FutureExt;
use openraft::OptionalSend;
use openraft::error::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, VoteRequest,
    VoteResponse,
};
use openraft::raft::{TransferLeaderError, TransferLeaderResponse};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use store_rocks::format::{Applied, Writer, encode_change};

/// Bytes of one part of a snapshot.
const PART: usize = 1 << 20;
/// How long one part may take.
const PART_PATIENCE: Duration = Duration::from_secs(10);

/// Makes clients for openraft.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) transfers: Arc<AtomicU64>,
}

pub(crate) struct Peer {
    to: u64,
    network: Network,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, _: &Node) -> Peer {
        Peer {
            to: target,
            network: self.clone(),
        }
    }
}

fn failed(e: &TransportError) -> RPCError<Types> {
    match e {
        TransportError::Unreachable(..) => RPCError::Unreachable(Unreachable::new(e)),
        TransportError::NoAnswer(..) => RPCError::Network(NetworkError::new(e)),
    }
}

fn confused(response: &Response) -> RPCError<Types> {
    let why = match response {
        Response::Refused(Refusal::Other(why)) => why.clone(),
        other => format!("an answer to another question: {other:?}"),
    };
    RPCError::Unreachable(Unreachable::from_string(why))
}

impl Peer {
    async fn ask(&self, request: Request, patience: Duration) -> Result<Response, RPCError<Types>> {
        let answer = self
            .network
            .transport
            .call(self.to, request.encode(), patience)
            .await
            .map_err(|e| failed(&e))?;
        Response::decode(&answer).map_err(|e| RPCError::Network(NetworkError::new(&e)))
    }

    async fn ask_vote(
        &self,
        rpc: VoteRequest<Types>,
        pre: bool,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let request = Request::Vote {
            vote: rpc.vote,
            last: rpc.last_log_id,
            transfer: rpc.leadership_transfer,
            pre,
        };
        match self.ask(request, option.hard_ttl()).await? {
            Response::Vote { vote, granted, last } => Ok(VoteResponse {
                vote,
                vote_granted: granted,
                last_log_id: last,
            }),
            other => Err(confused(&other)),
        }
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: Snapshot,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let applied = plain_meta(&snapshot.meta, snapshot.snapshot.commands);
        let transfer = self.network.transfers.fetch_add(1, Ordering::Relaxed);
        let mut parts = parts(&snapshot.snapshot).peekable();
        let mut part = 0;
        while let Some(data) = parts.next() {
            let last = parts.peek().is_none();
            let data = data.map_err(|e| StreamingError::Network(NetworkError::new(&e)))?;
            let request = Request::Snapshot {
                transfer,
                part,
                last,
                vote,
                applied: applied.clone(),
                data,
            };
            match self.ask(request, PART_PATIENCE).await? {
                Response::Snapshot(vote) => return Ok(SnapshotResponse { vote }),
                Response::Done if !last => part += 1,
                other => return Err(confused(&other).into()),
            }
        }
        Err(StreamingError::Unreachable(Unreachable::from_string(
            "a snapshot without an end",
        )))
    }
}

/// The image as values of about [`PART`] bytes, at least one.
fn parts(image: &Image) -> impl Iterator<Item = Result<Bytes, store_rocks::format::Corrupt>> + use<> {
    let changes = image.changes.clone();
    let mut at = 0;
    let mut begun = false;
    std::iter::from_fn(move || {
        if begun && at == changes.len() {
            return None;
        }
        begun = true;
        let mut body = Vec::new();
        let mut count = 0;
        while at < changes.len() && body.len() < PART {
            match encode_change(&changes[at]) {
                Ok(bytes) => body.extend_from_slice(&prefixed(&bytes)),
                Err(e) => return Some(Err(e)),
            }
            at += 1;
            count += 1;
        }
        let mut w = Writer::new();
        w.number(count).bytes(&body);
        Some(Ok(w.finish().into()))
    })
}

fn prefixed(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 4);
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
    out
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = Image;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let AppendEntriesRequest {
            vote,
            prev_log_id,
            entries,
            leader_commit,
        } = rpc;
        let request = Request::Append {
            vote,
            prev: prev_log_id,
            commit: leader_commit,
            entries,
        };
        match self.ask(request, option.hard_ttl()).await? {
            Response::Append(Appended::Success) => Ok(AppendEntriesResponse::Success),
            Response::Append(Appended::Partial(id)) => Ok(AppendEntriesResponse::PartialSuccess(id)),
            Response::Append(Appended::Conflict) => Ok(AppendEntriesResponse::Conflict),
            Response::Append(Appended::HigherVote(vote)) => Ok(AppendEntriesResponse::HigherVote(vote)),
            other => Err(confused(&other)),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(rpc, false, option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(rpc, true, option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let send = std::pin::pin!(self.send_snapshot(vote, snapshot).fuse());
        let cancel = std::pin::pin!(cancel.fuse());
        match futures::future::select(send, cancel).await {
            futures::future::Either::Left((result, _)) => result,
            futures::future::Either::Right((closed, _)) => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let from = *req.from_leader();
        let request = Request::Transfer {
            from,
            to: *req.to_node_id(),
            last: req.last_log_id().copied(),
        };
        match self.ask(request, option.hard_ttl()).await? {
            Response::Done => Ok(Ok(())),
            Response::Refused(_) => Ok(Err(TransferLeaderError::VoteChanged {
                expected: from,
                actual: from,
            })),
            other => Err(confused(&other)),
        }
    }
}

/// Puts a snapshot together again from its parts. One transfer at a time.
#[derive(Default)]
pub(crate) struct Assembly {
    transfer: u64,
    next: u64,
    bytes: usize,
    changes: Vec<store_mem::Change>,
}

/// The most bytes that a snapshot may have.
const LARGEST: usize = 4 << 30;

impl Assembly {
    /// Takes a part; gives the image after the last one.
    pub(crate) fn take(
        &mut self,
        transfer: u64,
        part: u64,
        last: bool,
        applied: &Applied,
        data: &Bytes,
    ) -> Result<Option<Image>, String> {
        if part == 0 {
            *self = Self {
                transfer,
                ..Self::default()
            };
        }
        if transfer != self.transfer || part != self.next {
            return Err(format!("part {part} of transfer {transfer} comes out of order"));
        }
        self.next += 1;
        self.bytes += data.len();
        if self.bytes > LARGEST {
            *self = Self::default();
            return Err(format!("a snapshot of more than {LARGEST} bytes"));
        }
        let mut r = store_rocks::format::Reader::new(data).map_err(|e| e.to_string())?;
        let count = r.count().map_err(|e| e.to_string())?;
        let mut body = r.slice().map_err(|e| e.to_string())?;
        for _ in 0..count {
            let (length, rest) = body.split_first_chunk::<4>().ok_or("a part ends too early")?;
            let length = u32::from_le_bytes(*length) as usize;
            let (change, rest) = rest.split_at_checked(length).ok_or("a part ends too early")?;
            self.changes
                .push(store_rocks::format::decode_change(change).map_err(|e| e.to_string())?);
            body = rest;
        }
        if !last {
            return Ok(None);
        }
        let changes = Arc::new(std::mem::take(&mut self.changes));
        *self = Self::default();
        Ok(Some(Image {
            commands: applied.commands,
            changes,
        }))
    }
}
