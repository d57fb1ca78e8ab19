//! The Watch service: one task for each stream, however many watches it carries.
//!
//! # What must stay true
//! A progress answer for the whole stream (watch id -1) claims that *every* watch of the stream is complete up to its
//! revision. So each watch is asked, the answers come in line with its events, and the smallest one is told; a watch
//! that is opened meanwhile is asked too.

use crate::convert::{event, span};
use crate::service::Door;
use base::{ClusterId, Shutdown};
use futures::StreamExt;
use futures::stream::{AbortHandle, Abortable, SelectAll};
use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::time::Duration;
use store_api::{Consistency, Error, EventKind, Progress, Revision, WatchMessage, WatchRequest};
use store_etcd::proto::etcdserverpb as pb;
use store_etcd::proto::etcdserverpb::watch_create_request::FilterType;
use store_etcd::proto::etcdserverpb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Watches of one stream.
const WATCHES: usize = 10_000;
/// Answers that may wait for the client; behind them the store's own queue fills, and cuts the watch off.
const ANSWERS: usize = 64;
/// How often a watch that asked for it hears of progress, as etcd does it.
const NOTIFY: Duration = Duration::from_secs(600);

/// The messages of one watch, with its id.
type Messages = Pin<Box<dyn Stream<Item = (i64, WatchMessage)> + Send + Sync>>;

/// The Watch service.
#[derive(Clone)]
pub(crate) struct WatchDoor {
    pub(crate) door: Door,
    pub(crate) shutdown: Shutdown,
}

struct Watching {
    progress: Progress,
    abort: AbortHandle,
    with_previous: bool,
    filters: HashSet<i32>,
    notify: bool,
}

/// One stream.
struct Session {
    door: Door,
    cluster: ClusterId,
    watches: HashMap<i64, Watching>,
    messages: SelectAll<Messages>,
    answers: mpsc::Sender<Result<pb::WatchResponse, Status>>,
    next_id: i64,
    /// Watches that still owe an answer to the client's question for progress, and the smallest answer so far.
    asked: Option<(HashSet<i64>, Revision)>,
    /// Watches that were asked by the clock.
    ticked: HashSet<i64>,
}

/// The client has gone.
struct Gone;

#[tonic::async_trait]
impl pb::watch_server::Watch for WatchDoor {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let cluster = self.door.cluster(&request)?;
        let (answers, stream) = mpsc::channel(ANSWERS);
        let session = Session {
            door: self.door.clone(),
            cluster,
            watches: HashMap::new(),
            messages: SelectAll::new(),
            answers,
            next_id: 0,
            asked: None,
            ticked: HashSet::new(),
        };
        let (requests, shutdown) = (request.into_inner(), self.shutdown.clone());
        tokio::spawn(async move { shutdown.run_until(session.run(requests)).await });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

impl Session {
    async fn run(mut self, mut requests: Streaming<pb::WatchRequest>) {
        let mut clock = tokio::time::interval(NOTIFY);
        clock.reset();
        let answers = self.answers.clone();
        loop {
            let alive = tokio::select! {
                request = requests.message() => match request {
                    Ok(Some(request)) => self.request(request).await,
                    Ok(None) | Err(_) => Err(Gone),
                },
                Some((id, message)) = self.messages.next(), if !self.messages.is_empty() => {
                    self.message(id, message).await
                }
                _ = clock.tick() => {
                    self.tick();
                    Ok(())
                }
                () = answers.closed() => Err(Gone),
            };
            if alive.is_err() {
                return;
            }
        }
    }

    async fn send(&self, response: pb::WatchResponse) -> Result<(), Gone> {
        self.answers.send(Ok(response)).await.map_err(|_| Gone)
    }

    async fn request(&mut self, request: pb::WatchRequest) -> Result<(), Gone> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create).await,
            Some(RequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id).await,
            Some(RequestUnion::ProgressRequest(_)) => self.ask().await,
            None => Ok(()),
        }
    }

    async fn create(&mut self, create: pb::WatchCreateRequest) -> Result<(), Gone> {
        let now = self.door.store.revision(&self.cluster, Consistency::Local).await;
        let now = now.map_or(0, |p| p.revision);
        let id = if create.watch_id == 0 {
            while self.watches.contains_key(&self.next_id) {
                self.next_id += 1;
            }
            self.next_id += 1;
            self.next_id - 1
        } else {
            create.watch_id
        };
        let refuse = |reason: &str| pb::WatchResponse {
            header: self.door.header(&self.cluster, now),
            watch_id: if self.watches.contains_key(&id) { -1 } else { id },
            created: true,
            canceled: true,
            cancel_reason: reason.to_owned(),
            ..Default::default()
        };
        if self.watches.contains_key(&id) {
            return self
                .send(refuse("mvcc: duplicate watch ID provided on the WatchStream"))
                .await;
        }
        if self.watches.len() >= WATCHES {
            return self
                .send(refuse("etcdserver: too many watches on one stream"))
                .await;
        }
        // An empty key means the first one here, unlike in a range.
        let key = if create.key.is_empty() {
            bytes::Bytes::from_static(b"\0")
        } else {
            create.key.clone()
        };
        let span = match span(&self.cluster, &key, &create.range_end) {
            Ok(span) => span,
            Err(why) => return self.send(refuse(why.message())).await,
        };
        let from = Some(create.start_revision).filter(|r| *r > 0);
        match self.door.store.watch(WatchRequest { span, from }).await {
            Ok(watch) => {
                let (abort, registration) = AbortHandle::new_pair();
                let messages = ReceiverStream::new(watch.messages).map(move |message| (id, message));
                self.messages
                    .push(Box::pin(Abortable::new(messages, registration)));
                let filters = create.filters.iter().copied().collect();
                let notify = create.progress_notify;
                if let Some((owing, _)) = &mut self.asked {
                    owing.insert(id);
                    watch.progress.request();
                }
                let (progress, with_previous) = (watch.progress, create.prev_kv);
                self.watches.insert(
                    id,
                    Watching {
                        progress,
                        abort,
                        with_previous,
                        filters,
                        notify,
                    },
                );
                let header = self.door.header(&self.cluster, watch.started_at);
                self.send(pb::WatchResponse {
                    header,
                    watch_id: id,
                    created: true,
                    ..Default::default()
                })
                .await
            }
            Err(why) => {
                let header = self.door.header(&self.cluster, now);
                let created = pb::WatchResponse {
                    header,
                    watch_id: id,
                    created: true,
                    ..Default::default()
                };
                self.send(created).await?;
                self.ended(id, &why).await
            }
        }
    }

    async fn ended(&self, id: i64, why: &Error) -> Result<(), Gone> {
        let now = self.door.store.revision(&self.cluster, Consistency::Local).await;
        let compact_revision = match why {
            Error::Compacted { compacted } => *compacted,
            _ => 0,
        };
        let reason = if compact_revision > 0 {
            String::new()
        } else {
            format!("etcdserver: {why}")
        };
        self.send(pb::WatchResponse {
            header: self.door.header(&self.cluster, now.map_or(0, |p| p.revision)),
            watch_id: id,
            canceled: true,
            compact_revision,
            cancel_reason: reason,
            ..Default::default()
        })
        .await
    }

    async fn cancel(&mut self, id: i64) -> Result<(), Gone> {
        let Some(watching) = self.watches.remove(&id) else {
            return Ok(());
        };
        watching.abort.abort();
        let now = self.door.store.revision(&self.cluster, Consistency::Local).await;
        let header = self.door.header(&self.cluster, now.map_or(0, |p| p.revision));
        self.send(pb::WatchResponse {
            header,
            watch_id: id,
            canceled: true,
            ..Default::default()
        })
        .await?;
        self.settle(id, Revision::MAX).await
    }

    async fn ask(&mut self) -> Result<(), Gone> {
        if self.watches.is_empty() {
            let now = self
                .door
                .store
                .revision(&self.cluster, Consistency::Linearizable)
                .await;
            return match now {
                Ok(now) => self.progress(-1, now.revision).await,
                // The client asks again.
                Err(_) => Ok(()),
            };
        }
        // A question that is still open is asked anew: its answer would be too old for the second one.
        self.asked = Some((self.watches.keys().copied().collect(), Revision::MAX));
        self.watches.values().for_each(|w| w.progress.request());
        Ok(())
    }

    fn tick(&mut self) {
        for (id, watching) in self.watches.iter().filter(|(_, w)| w.notify) {
            self.ticked.insert(*id);
            watching.progress.request();
        }
    }

    async fn progress(&self, id: i64, revision: Revision) -> Result<(), Gone> {
        let header = self.door.header(&self.cluster, revision);
        self.send(pb::WatchResponse {
            header,
            watch_id: id,
            ..Default::default()
        })
        .await
    }

    /// A watch has answered, or gone.
    async fn settle(&mut self, id: i64, revision: Revision) -> Result<(), Gone> {
        let Some((owing, smallest)) = &mut self.asked else {
            return Ok(());
        };
        if owing.remove(&id) {
            *smallest = revision.min(*smallest);
        }
        if !owing.is_empty() {
            return Ok(());
        }
        let smallest = *smallest;
        self.asked = None;
        if smallest == Revision::MAX {
            Ok(())
        } else {
            self.progress(-1, smallest).await
        }
    }

    async fn message(&mut self, id: i64, message: WatchMessage) -> Result<(), Gone> {
        let Some(watching) = self.watches.get(&id) else {
            return Ok(());
        };
        match message {
            WatchMessage::Events { revision, events } => {
                let wanted = |kind| match kind {
                    EventKind::Put => !watching.filters.contains(&FilterType::Noput.into()),
                    EventKind::Delete => !watching.filters.contains(&FilterType::Nodelete.into()),
                };
                let kept = events.iter().filter(|e| wanted(e.kind));
                let events: Vec<_> = kept.map(|e| event(e, watching.with_previous)).collect();
                if events.is_empty() {
                    return Ok(());
                }
                let header = self.door.header(&self.cluster, revision);
                self.send(pb::WatchResponse {
                    header,
                    watch_id: id,
                    events,
                    ..Default::default()
                })
                .await
            }
            WatchMessage::Progress { revision } => {
                if self.ticked.remove(&id) {
                    self.progress(id, revision).await?;
                }
                self.settle(id, revision).await
            }
            WatchMessage::Failed(why) => {
                self.watches.remove(&id);
                self.ended(id, &why).await?;
                self.settle(id, Revision::MAX).await
            }
        }
    }
}
