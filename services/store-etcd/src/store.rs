//! [`EtcdStore`]: the client.

use crate::convert::{self, error, record};
use crate::layout::Layout;
use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::kv_client::KvClient;
use crate::proto::etcdserverpb::lease_client::LeaseClient;
use crate::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use crate::watch;
use async_trait::async_trait;
use base::ClusterId;
use bytes::Bytes;
use std::time::Duration;
use store_api::{
    AcrossEvent, AcrossMessage, AcrossRequest, Consistency, Error, Guard, LeaseId, LeaseInfo, Position,
    Range, RangeResult, Revision, Span, Status, Store, Txn, TxnOutcome, Usage, Watch, WatchMessage,
    WatchRequest,
};
use tokio::sync::mpsc;
use tonic::transport::Channel;

/// Records of one page, where everything is read.
const PAGE: i64 = 1000;
/// Changes that a watch across clusters may lag behind.
const ACROSS: usize = 1 << 16;

/// An etcd as a store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EtcdStore {
    channel: Channel,
    layout: Layout,
}

impl EtcdStore {
    /// `channel` is connected (or connects by itself) with whatever TLS the etcd wants; its request timeout is the
    /// store's.
    pub fn new(channel: Channel, layout: Layout) -> Self {
        Self { channel, layout }
    }

    fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    fn lease_client(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.channel.clone())
    }

    async fn get(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, Error> {
        let asked = request.revision;
        match self.kv().range(request).await {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(self.with_numbers(error(&status), asked).await),
        }
    }

    /// etcd's errors do not carry the revisions that ours do; they are asked for.
    async fn with_numbers(&self, why: Error, asked: Revision) -> Error {
        match why {
            Error::Compacted { .. } => {
                let first = watch::open(
                    self.channel.clone(),
                    self.layout.clone(),
                    self.layout.all(),
                    Some(1),
                )
                .await;
                match first {
                    Err(known @ Error::Compacted { .. }) => known,
                    Ok(mut watch) => match watch.messages.recv().await {
                        Some(WatchMessage::Failed(known @ Error::Compacted { .. })) => known,
                        _ => why,
                    },
                    Err(_) => why,
                }
            }
            Error::FutureRevision { .. } => match self.now().await {
                Ok(current) => Error::FutureRevision { asked, current },
                Err(_) => why,
            },
            other => other,
        }
    }

    async fn now(&self) -> Result<Revision, Error> {
        let request = pb::RangeRequest {
            key: Bytes::from_static(b"\0"),
            count_only: true,
            ..Default::default()
        };
        let response = self.kv().range(request).await.map_err(|s| error(&s))?;
        Ok(response.into_inner().header.map_or(0, |h| h.revision))
    }

    /// Reads everything of a range page by page, at one revision.
    async fn pages(
        &self,
        (key, range_end): (Bytes, Bytes),
        mut each: impl FnMut(crate::proto::mvccpb::KeyValue) -> bool,
    ) -> Result<Revision, Error> {
        let mut request = pb::RangeRequest {
            key,
            range_end,
            limit: PAGE,
            ..Default::default()
        };
        loop {
            let page = self.get(request.clone()).await?;
            if request.revision == 0 {
                request.revision = page.header.map_or(0, |h| h.revision);
            }
            let last = page.kvs.last().map(|kv| [&kv.key[..], b"\0"].concat());
            for kv in page.kvs {
                if !each(kv) {
                    return Ok(request.revision);
                }
            }
            match last {
                Some(next) if page.more => request.key = next.into(),
                _ => return Ok(request.revision),
            }
        }
    }

    /// Wraps a transaction into one that only runs if its guards hold, read just before and compared inside.
    async fn guarded(&self, txn: &Txn, inner: pb::TxnRequest) -> Result<pb::TxnRequest, Error> {
        use pb::compare::{CompareResult, CompareTarget, TargetUnion};
        let mut compare = Vec::new();
        for Guard::Slot { role, slot, epoch } in &txn.guards {
            let key = self.layout.key(&Guard::slot_key(role, *slot))?;
            let now = self
                .get(pb::RangeRequest {
                    key: key.clone(),
                    ..Default::default()
                })
                .await?;
            let owner = now
                .kvs
                .first()
                .filter(|kv| Guard::epoch_of(&kv.value) == Some(*epoch));
            let Some(owner) = owner else {
                return Err(Error::Fenced(format!(
                    "slot {slot} of {role} does not belong to epoch {epoch}"
                )));
            };
            compare.push(pb::Compare {
                result: CompareResult::Equal.into(),
                target: CompareTarget::Mod.into(),
                key,
                range_end: Bytes::new(),
                target_union: Some(TargetUnion::ModRevision(owner.mod_revision)),
            });
        }
        let inner = pb::RequestOp {
            request: Some(pb::request_op::Request::RequestTxn(inner)),
        };
        Ok(pb::TxnRequest {
            compare,
            success: vec![inner],
            failure: Vec::new(),
        })
    }
}

fn seconds(ttl: Duration) -> i64 {
    let whole = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
    i64::try_from(whole).unwrap_or(i64::MAX)
}

fn duration(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[async_trait]
impl Store for EtcdStore {
    async fn range(&self, range: Range) -> Result<RangeResult, Error> {
        let (key, range_end) = self.layout.span(&range.span)?;
        if range
            .span
            .end
            .as_ref()
            .is_some_and(|end| *end <= range.span.start)
        {
            return Ok(RangeResult {
                records: Vec::new(),
                count: 0,
                more: false,
                revision: self.now().await?,
            });
        }
        let request = pb::RangeRequest {
            key,
            range_end,
            limit: i64::try_from(range.limit).unwrap_or(0),
            revision: range.at.unwrap_or(0),
            serializable: range.consistency == Consistency::Local,
            ..Default::default()
        };
        let response = self.get(request).await?;
        Ok(RangeResult {
            records: response
                .kvs
                .into_iter()
                .filter_map(|kv| record(&self.layout, kv))
                .collect(),
            count: usize::try_from(response.count).unwrap_or(0),
            more: response.more,
            revision: response.header.map_or(0, |h| h.revision),
        })
    }

    async fn txn(&self, cluster: &ClusterId, txn: Txn) -> Result<TxnOutcome, Error> {
        txn.check(cluster)?;
        let mut request = convert::txn(&self.layout, &txn)?;
        let guarded = !txn.guards.is_empty();
        if guarded {
            request = self.guarded(&txn, request).await?;
        }
        let mut response = self.kv().txn(request).await.map_err(|s| error(&s))?.into_inner();
        let revision = response.header.as_ref().map_or(0, |h| h.revision);
        if guarded {
            let inner = response.responses.pop().and_then(|op| op.response);
            match inner {
                Some(pb::response_op::Response::ResponseTxn(inner)) if response.succeeded => response = inner,
                _ => return Err(Error::Fenced("the owner of a slot changed".into())),
            }
        }
        let ops = if response.succeeded {
            &txn.then
        } else {
            &txn.otherwise
        };
        let results = ops
            .iter()
            .zip(response.responses)
            .map(|(op, response)| convert::op_result(&self.layout, op, response, revision))
            .collect::<Result<_, _>>()?;
        Ok(TxnOutcome {
            succeeded: response.succeeded,
            revision,
            results,
        })
    }

    async fn watch(&self, request: WatchRequest) -> Result<Watch, Error> {
        let span = self.layout.span(&request.span)?;
        watch::open(self.channel.clone(), self.layout.clone(), span, request.from).await
    }

    async fn watch_across(&self, request: AcrossRequest) -> Result<mpsc::Receiver<AcrossMessage>, Error> {
        let collection = Span::collection(&ClusterId::management(), &request.resource, None);
        let prefix = collection.map_err(|e| Error::Other(e.to_string()))?.start;
        let wanted = move |key: &store_api::Key| {
            key.path().starts_with(&prefix) && request.slots & (1 << key.cluster.slot()) != 0
        };
        let mut initial = Vec::new();
        let at = self.pages(self.layout.all(), |kv| {
            initial.extend(record(&self.layout, kv).filter(|r| wanted(&r.key)));
            true
        });
        let at = at.await?;
        let mut watch = watch::open(
            self.channel.clone(),
            self.layout.clone(),
            self.layout.all(),
            Some(at + 1),
        )
        .await?;
        let (sender, receiver) = mpsc::channel(initial.len() + ACROSS + 2);
        let full = || Error::Other("a fresh queue has no place".into());
        let last = sender.clone().try_reserve_owned().map_err(|_| full())?;
        for record in initial {
            let cluster = record.key.cluster.clone();
            sender
                .try_send(AcrossMessage::Initial { cluster, record })
                .map_err(|_| full())?;
        }
        let cursor = |revision| u64::try_from(revision).unwrap_or(0);
        sender
            .try_send(AcrossMessage::Synced { cursor: cursor(at) })
            .map_err(|_| full())?;
        tokio::spawn(async move {
            let why = 'over: loop {
                let message = tokio::select! {
                    message = watch.messages.recv() => message,
                    () = sender.closed() => return,
                };
                match message {
                    Some(WatchMessage::Events { revision, events }) => {
                        for event in events.iter().filter(|e| wanted(&e.record.key)) {
                            let cluster = event.record.key.cluster.clone();
                            let event = AcrossEvent {
                                cursor: cursor(revision),
                                cluster,
                                event: event.clone(),
                            };
                            if sender.try_send(AcrossMessage::Event(event)).is_err() {
                                break 'over Error::Unavailable(
                                    "the reader of this watch is too slow".into(),
                                );
                            }
                        }
                    }
                    Some(WatchMessage::Progress { .. }) => {}
                    Some(WatchMessage::Failed(why)) => break why,
                    None => break Error::Unavailable("the watch ended".into()),
                }
            };
            last.send(AcrossMessage::Failed(why));
        });
        Ok(receiver)
    }

    async fn compact(&self, cluster: &ClusterId, at: Revision) -> Result<(), Error> {
        self.layout.all_of(cluster)?;
        let request = pb::CompactionRequest {
            revision: at,
            physical: false,
        };
        match self.kv().compact(request).await {
            Ok(_) => Ok(()),
            Err(status) => Err(self.with_numbers(error(&status), at).await),
        }
    }

    async fn revision(&self, cluster: &ClusterId, _: Consistency) -> Result<Position, Error> {
        self.layout.all_of(cluster)?;
        Ok(Position {
            revision: self.now().await?,
            compacted: 0,
        })
    }

    async fn lease_grant(&self, _: &ClusterId, id: LeaseId, ttl: Duration) -> Result<LeaseId, Error> {
        let request = pb::LeaseGrantRequest {
            ttl: seconds(ttl),
            id,
        };
        Ok(self
            .lease_client()
            .lease_grant(request)
            .await
            .map_err(|s| error(&s))?
            .into_inner()
            .id)
    }

    async fn lease_revoke(&self, _: &ClusterId, id: LeaseId) -> Result<(), Error> {
        self.lease_client()
            .lease_revoke(pb::LeaseRevokeRequest { id })
            .await
            .map_err(|s| error(&s))
            .map(drop)
    }

    async fn lease_keep_alive(&self, _: &ClusterId, id: LeaseId) -> Result<Duration, Error> {
        let request = tokio_stream::once(pb::LeaseKeepAliveRequest { id });
        let mut answers = self
            .lease_client()
            .lease_keep_alive(request)
            .await
            .map_err(|s| error(&s))?
            .into_inner();
        match answers.message().await.map_err(|s| error(&s))? {
            Some(answer) if answer.ttl > 0 => Ok(duration(answer.ttl)),
            Some(_) => Err(Error::LeaseNotFound),
            None => Err(Error::Unavailable("etcd gave no answer".into())),
        }
    }

    async fn lease_info(&self, _: &ClusterId, id: LeaseId) -> Result<LeaseInfo, Error> {
        let request = pb::LeaseTimeToLiveRequest { id, keys: true };
        let answer = self
            .lease_client()
            .lease_time_to_live(request)
            .await
            .map_err(|s| error(&s))?
            .into_inner();
        if answer.ttl < 0 {
            return Err(Error::LeaseNotFound);
        }
        let keys = answer
            .keys
            .iter()
            .filter_map(|key| self.layout.read(key))
            .collect();
        Ok(LeaseInfo {
            granted: duration(answer.granted_ttl),
            remaining: duration(answer.ttl),
            keys,
        })
    }

    async fn leases(&self, _: &ClusterId) -> Result<Vec<LeaseId>, Error> {
        let answer = self
            .lease_client()
            .lease_leases(pb::LeaseLeasesRequest {})
            .await
            .map_err(|s| error(&s))?;
        Ok(answer.into_inner().leases.into_iter().map(|l| l.id).collect())
    }

    async fn remove_cluster(&self, cluster: &ClusterId) -> Result<(), Error> {
        let (key, range_end) = self.layout.all_of(cluster)?;
        let request = pb::DeleteRangeRequest {
            key,
            range_end,
            prev_kv: false,
        };
        self.kv()
            .delete_range(request)
            .await
            .map_err(|s| error(&s))
            .map(drop)
    }

    async fn clusters(&self) -> Result<Vec<ClusterId>, Error> {
        let (mut key, range_end) = self.layout.all();
        let mut found: Vec<ClusterId> = Vec::new();
        loop {
            let request = pb::RangeRequest {
                key: key.clone(),
                range_end: range_end.clone(),
                limit: 1,
                keys_only: true,
                ..Default::default()
            };
            let page = self.get(request).await?;
            let Some(kv) = page.kvs.into_iter().next() else {
                return Ok(found);
            };
            match self.layout.read(&kv.key) {
                Some(read) => {
                    key = self.layout.all_of(&read.cluster)?.1;
                    found.push(read.cluster);
                    if key[..] == *b"\0" {
                        return Ok(found);
                    }
                }
                None => key = [&kv.key[..], b"\0"].concat().into(),
            }
        }
    }

    async fn usage(&self, cluster: &ClusterId) -> Result<Usage, Error> {
        let mut usage = Usage::default();
        self.pages(self.layout.all_of(cluster)?, |kv| {
            let path = self.layout.read(&kv.key).map_or(0, |key| key.path().len());
            usage.objects += 1;
            usage.bytes += (path + kv.value.len()) as u64;
            true
        })
        .await?;
        Ok(usage)
    }

    async fn status(&self) -> Status {
        let mut client = MaintenanceClient::new(self.channel.clone());
        match client.status(pb::StatusRequest {}).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                Status {
                    member: answer.header.map_or(0, |h| h.member_id),
                    leader: Some(answer.leader).filter(|id| *id != 0),
                    term: answer.raft_term,
                    applied: answer.raft_applied_index,
                    disk_bytes: u64::try_from(answer.db_size).unwrap_or(0),
                }
            }
            Err(status) => {
                tracing::warn!(%status, "the etcd's status cannot be read");
                Status::default()
            }
        }
    }
}
