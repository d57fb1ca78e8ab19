//! One way to make a call: bytes in, bytes out, with a deadline, a size limit and errors that carry a status.

use crate::error::Error;
use crate::transport::{Body, Transport};
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::Duration;

/// JSON, the encoding every kind has.
pub const JSON: &str = "application/json";

/// A client of one cluster, as one identity. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    agent: HeaderValue,
    deadline: Duration,
    max_body: usize,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("agent", &self.agent)
            .finish_non_exhaustive()
    }
}

/// One call.
#[derive(Debug)]
pub struct Call<'a> {
    /// The verb.
    pub method: Method,
    /// Path and query, already escaped.
    pub uri: String,
    /// Media type of the body, if there is one.
    pub content_type: &'a str,
    /// Media types that are understood.
    pub accept: &'a str,
    /// The body.
    pub body: Bytes,
}

impl Call<'_> {
    /// A read that wants JSON.
    pub fn get(uri: String) -> Call<'static> {
        Call {
            method: Method::GET,
            uri,
            content_type: "",
            accept: JSON,
            body: Bytes::new(),
        }
    }
}

impl Client {
    /// A client over a transport. Calls end after 60 s, watches and streams do not; answers may have 256 MiB.
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self {
            transport,
            agent: HeaderValue::from_static("marina"),
            deadline: Duration::from_secs(60),
            max_body: 256 << 20,
        }
    }

    /// The same client under another user agent; the part before `/` is the default field manager.
    #[must_use]
    pub fn with_user_agent(mut self, agent: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(agent) {
            self.agent = value;
        }
        self
    }

    /// The same client with another deadline for each call.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Makes a call and returns the head of a successful answer; its body is still streaming and has no deadline.
    pub async fn open(&self, call: Call<'_>) -> Result<Response<Body>, Error> {
        let mut request = Request::builder()
            .method(call.method)
            .uri(&call.uri)
            .header(ACCEPT, call.accept)
            .header(USER_AGENT, self.agent.clone());
        if !call.content_type.is_empty() {
            request = request.header(CONTENT_TYPE, call.content_type);
        }
        if let Some(parent) = base::trace::traceparent() {
            request = request.header(base::trace::TRACEPARENT, parent);
        }
        let request = request.body(call.body).map_err(|e| Error::Call(e.to_string()))?;
        let answer = tokio::time::timeout(self.deadline, self.transport.send(request))
            .await
            .map_err(|_| Error::Deadline(self.deadline))??;
        let code = answer.status();
        if code.is_success() {
            return Ok(answer);
        }
        let retry = answer
            .headers()
            .get(RETRY_AFTER)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.parse().ok());
        let body = tokio::time::timeout(self.deadline, collect(answer.into_body(), 1 << 20))
            .await
            .map_err(|_| Error::Deadline(self.deadline))?
            .unwrap_or_default();
        Err(Error::from_answer(code, retry, &body))
    }

    /// Makes a call and returns the body of a successful answer.
    pub async fn call(&self, call: Call<'_>) -> Result<Bytes, Error> {
        let work = async {
            let answer = self.open(call).await?;
            collect(answer.into_body(), self.max_body).await
        };
        tokio::time::timeout(self.deadline, work)
            .await
            .map_err(|_| Error::Deadline(self.deadline))?
    }

    /// Reads any path as JSON, e.g. `/version` or `/openapi/v3`.
    pub async fn get_json(&self, path: &str) -> Result<serde_json::Value, Error> {
        let body = self.call(Call::get(path.into())).await?;
        serde_json::from_slice(&body).map_err(|e| Error::Decode(e.to_string()))
    }
}

/// Gathers a body of at most `limit` bytes.
pub(crate) async fn collect(mut body: Body, limit: usize) -> Result<Bytes, Error> {
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Error::Body)?.into_data() else {
            continue;
        };
        size += data.len();
        if size > limit {
            return Err(Error::TooLarge(limit));
        }
        match first.take() {
            None if rest.is_empty() => first = Some(data),
            None => rest.extend_from_slice(&data),
            Some(earlier) => {
                rest.extend_from_slice(&earlier);
                rest.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| rest.freeze()))
}
