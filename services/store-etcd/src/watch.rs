//! Watches: one stream and one task each. A real etcd may put several revisions into one answer; they are taken apart.

use crate::convert::{error, event};
use crate::layout::Layout;
use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::watch_client::WatchClient;
use crate::proto::etcdserverpb::watch_request::RequestUnion;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use store_api::{Error, Event, Progress, Revision, Watch, WatchMessage};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// Messages that a watch may lag behind before it is cut off.
const BUFFER: usize = 8192;
/// Requests on their way to etcd.
const REQUESTS: usize = 16;

fn request(union: RequestUnion) -> pb::WatchRequest {
    pb::WatchRequest {
        request_union: Some(union),
    }
}

/// Opens a watch and waits until etcd has begun it.
pub(crate) async fn open(
    channel: Channel,
    layout: Layout,
    (key, range_end): (Bytes, Bytes),
    from: Option<Revision>,
) -> Result<Watch, Error> {
    let (asks, requests) = mpsc::channel(REQUESTS);
    let create = pb::WatchCreateRequest {
        key,
        range_end,
        // 0 means "from now on" to etcd, and no revision is below 1.
        start_revision: from.map_or(0, |r| r.max(1)),
        prev_kv: true,
        ..Default::default()
    };
    let gone = || Error::Unavailable("etcd closed the watch".into());
    asks.try_send(request(RequestUnion::CreateRequest(create)))
        .map_err(|_| gone())?;
    let mut client = WatchClient::new(channel).max_decoding_message_size(usize::MAX);
    let answers = client
        .watch(ReceiverStream::new(requests))
        .await
        .map_err(|s| error(&s))?;
    let mut answers = answers.into_inner();
    let first = answers.message().await.map_err(|s| error(&s))?.ok_or_else(gone)?;
    if let Some(why) = ended(&first) {
        return Err(why);
    }
    let started_at = first.header.map_or(0, |h| h.revision);
    let (sender, messages) = mpsc::channel(BUFFER + 1);
    let last = sender.clone().try_reserve_owned().map_err(|_| gone())?;
    let progress = asks.clone();
    tokio::spawn(async move {
        let why = follow(&mut answers, &layout, &sender).await;
        last.send(WatchMessage::Failed(why));
        drop(asks);
    });
    // A full queue of requests already asks for progress.
    let progress = Progress::new(move || {
        drop(progress.try_send(request(RequestUnion::ProgressRequest(
            pb::WatchProgressRequest {},
        ))));
    });
    Ok(Watch {
        started_at,
        messages,
        progress,
    })
}

fn ended(answer: &pb::WatchResponse) -> Option<Error> {
    if answer.compact_revision != 0 {
        return Some(Error::Compacted {
            compacted: answer.compact_revision,
        });
    }
    answer
        .canceled
        .then(|| Error::Unavailable(answer.cancel_reason.clone()))
}

/// Passes changes on until the watch ends; gives the reason.
async fn follow(
    answers: &mut Streaming<pb::WatchResponse>,
    layout: &Layout,
    sender: &mpsc::Sender<WatchMessage>,
) -> Error {
    loop {
        let answer = tokio::select! {
            answer = answers.message() => answer,
            () = sender.closed() => return Error::Unavailable("nobody reads this watch".into()),
        };
        let answer = match answer {
            Ok(Some(answer)) => answer,
            Ok(None) => return Error::Unavailable("etcd closed the watch".into()),
            Err(status) => return error(&status),
        };
        if let Some(why) = ended(&answer) {
            return why;
        }
        let revision = answer.header.map_or(0, |h| h.revision);
        let mut messages = Vec::new();
        if answer.events.is_empty() && !answer.created {
            messages.push(WatchMessage::Progress { revision });
        }
        let mut revisions: BTreeMap<Revision, Vec<Arc<Event>>> = BTreeMap::new();
        for event in answer.events.into_iter().filter_map(|e| event(layout, e)) {
            revisions
                .entry(event.record.mod_revision)
                .or_default()
                .push(event);
        }
        for (revision, mut events) in revisions {
            events.sort_by(|a, b| a.record.key.cmp(&b.record.key));
            messages.push(WatchMessage::Events {
                revision,
                events: events.into(),
            });
        }
        for message in messages {
            if sender.try_send(message).is_err() {
                return Error::Unavailable("the reader of this watch is too slow".into());
            }
        }
    }
}
