//! The body of a watch, cut into events.
//!
//! One JSON document a line. The object inside stays bytes until somebody decodes it, so that an informer that keeps
//! encoded objects never builds a tree.

use crate::error::{Error, Status};
use crate::transport::Body;
use bytes::{Buf, Bytes, BytesMut};
use futures::Stream;
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The longest event that is accepted: an object has 1.5 MiB at most, and JSON may be larger than what is stored.
const MAX_EVENT: usize = 16 << 20;

/// What happened to an object.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent<K> {
    /// It was created, or was there when the watch began.
    Added(K),
    /// It changed.
    Modified(K),
    /// It was deleted; this is its last state.
    Deleted(K),
    /// Everything up to this resource version has been delivered. `initial` ends the initial objects of a WatchList.
    Bookmark { resource_version: String, initial: bool },
}

impl<K> WatchEvent<K> {
    /// The same event with another form of the object.
    pub fn try_map<T, E>(self, map: impl FnOnce(K) -> Result<T, E>) -> Result<WatchEvent<T>, E> {
        Ok(match self {
            Self::Added(k) => WatchEvent::Added(map(k)?),
            Self::Modified(k) => WatchEvent::Modified(map(k)?),
            Self::Deleted(k) => WatchEvent::Deleted(map(k)?),
            Self::Bookmark {
                resource_version,
                initial,
            } => WatchEvent::Bookmark {
                resource_version,
                initial,
            },
        })
    }
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Mark {
    metadata: MarkMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MarkMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

fn parse(line: &[u8]) -> Result<WatchEvent<Bytes>, Error> {
    let frame: Frame<'_> = serde_json::from_slice(line).map_err(|e| Error::Decode(e.to_string()))?;
    let object = || Bytes::copy_from_slice(frame.object.get().as_bytes());
    Ok(match frame.kind {
        "ADDED" => WatchEvent::Added(object()),
        "MODIFIED" => WatchEvent::Modified(object()),
        "DELETED" => WatchEvent::Deleted(object()),
        "BOOKMARK" => {
            let mark: Mark =
                serde_json::from_str(frame.object.get()).map_err(|e| Error::Decode(e.to_string()))?;
            let initial = mark
                .metadata
                .annotations
                .get("k8s.io/initial-events-end")
                .is_some_and(|v| v == "true");
            WatchEvent::Bookmark {
                resource_version: mark.metadata.resource_version,
                initial,
            }
        }
        "ERROR" => {
            let status: Status = serde_json::from_str(frame.object.get()).unwrap_or_default();
            return Err(Error::Api(Box::new(status)));
        }
        other => return Err(Error::Decode(format!("a watch event of type {other:?}"))),
    })
}

struct State {
    body: Body,
    buffer: BytesMut,
    searched: usize,
    done: bool,
}

/// Events of a watch's body. Ends when the server ends it; after an error nothing follows.
pub(crate) fn events(body: Body) -> impl Stream<Item = Result<WatchEvent<Bytes>, Error>> + Send {
    let state = State {
        body,
        buffer: BytesMut::new(),
        searched: 0,
        done: false,
    };
    futures::stream::unfold(state, |mut s| async move {
        if s.done {
            return None;
        }
        let result = next(&mut s).await?;
        s.done = result.is_err();
        Some((result, s))
    })
}

async fn next(s: &mut State) -> Option<Result<WatchEvent<Bytes>, Error>> {
    loop {
        if let Some(at) = s.buffer[s.searched..].iter().position(|b| *b == b'\n') {
            let line = s.buffer.split_to(s.searched + at);
            s.buffer.advance(1);
            s.searched = 0;
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            return Some(parse(&line));
        }
        s.searched = s.buffer.len();
        if s.searched > MAX_EVENT {
            return Some(Err(Error::TooLarge(MAX_EVENT)));
        }
        match s.body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    s.buffer.extend_from_slice(&data);
                }
            }
            Some(Err(e)) => return Some(Err(Error::Body(e))),
            None if s.buffer.iter().all(u8::is_ascii_whitespace) => return None,
            None => return Some(parse(&s.buffer.split())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use http_body_util::StreamBody;

    #[tokio::test]
    async fn events_survive_any_cutting_of_the_body() {
        let text = concat!(
            r#"{"type":"ADDED","object":{"a":"\n"}}"#,
            "\n\n",
            r#"{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}}"#,
            "\n",
            r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}"#,
            "\n",
            r#"{"type":"ADDED","object":{}}"#,
        );
        for size in 1..text.len() {
            let chunks: Vec<_> = text.as_bytes().chunks(size).map(Bytes::copy_from_slice).collect();
            let frames = futures::stream::iter(chunks.into_iter().map(|c| Ok(http_body::Frame::data(c))));
            let got: Vec<_> = events(Body::new(StreamBody::new(frames))).collect().await;
            assert_eq!(got.len(), 3, "nothing follows an error");
            assert_eq!(
                *got[0].as_ref().unwrap(),
                WatchEvent::Added(Bytes::from(r#"{"a":"\n"}"#))
            );
            let mark = WatchEvent::Bookmark {
                resource_version: "9".into(),
                initial: true,
            };
            assert_eq!(*got[1].as_ref().unwrap(), mark);
            assert!(got[2].as_ref().unwrap_err().is_gone());
        }
    }
}
