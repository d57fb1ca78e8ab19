//! `/containerLogs/{namespace}/{pod}/{container}`.

use super::{Server, answer, first, flag, query};
use crate::logs::read::{self, Options};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use jiff::SignedDuration;
use std::path::PathBuf;
use streams::upgrade::Body;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

/// Chunks that wait for a slow reader.
const WAITING: usize = 16;

impl Server {
    pub(super) async fn container_logs(
        &self,
        ns: &str,
        pod: &str,
        container: &str,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let query = query(&request.into_parts().0);
        let options = match self.log_options(&query) {
            Ok(options) => options,
            Err(why) => return answer(StatusCode::UNPROCESSABLE_ENTITY, why),
        };
        let previous = flag(&query, "previous");
        let instance = match self.instance(ns, pod, container, previous).await {
            Ok((_, instance)) => instance,
            Err(response) => return response,
        };
        let path = PathBuf::from(&instance.log_path);
        if !path.exists() {
            let text = format!(
                "unable to retrieve container logs for containerd://{}",
                instance.id
            );
            return answer(StatusCode::INTERNAL_SERVER_ERROR, text);
        }
        let (sender, receiver) = mpsc::channel::<Bytes>(WAITING);
        let engine = self.cx.engine.clone();
        tokio::spawn(async move {
            let running = || {
                let (engine, id, sandbox) =
                    (engine.clone(), instance.id.clone(), instance.sandbox_id.clone());
                async move {
                    engine
                        .container(&id, &sandbox)
                        .await
                        .is_ok_and(|i| i.is_some_and(|i| i.running()))
                }
            };
            if let Err(error) = read::read(path, options, sender, running).await {
                tracing::debug!("log not read to its end: {error}");
            }
        });
        let frames = ReceiverStream::new(receiver).map(|bytes| Ok(Frame::data(bytes)));
        let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
        let kind = http::HeaderValue::from_static("text/plain");
        response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
        response
    }

    fn log_options(&self, query: &[(String, String)]) -> Result<Options, String> {
        let number = |key: &str| match first(query, key).filter(|v| !v.is_empty()) {
            None => Ok(None),
            Some(text) => text
                .parse::<u64>()
                .map(Some)
                .map_err(|_| format!("{key} must be a number, not {text:?}")),
        };
        let since = match (
            first(query, "sinceTime").filter(|v| !v.is_empty()),
            number("sinceSeconds")?,
        ) {
            (Some(text), _) => Some(
                text.parse()
                    .map_err(|_| format!("sinceTime {text:?} is no time"))?,
            ),
            (None, Some(seconds)) => {
                let back = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
                self.cx.clock.now().checked_sub(back).ok()
            }
            (None, None) => None,
        };
        Ok(Options {
            tail_lines: number("tailLines")?,
            since,
            limit_bytes: number("limitBytes")?,
            timestamps: flag(query, "timestamps"),
            follow: flag(query, "follow"),
            stderr: match first(query, "stream") {
                Some("Stdout") => Some(false),
                Some("Stderr") => Some(true),
                _ => None,
            },
        })
    }
}
