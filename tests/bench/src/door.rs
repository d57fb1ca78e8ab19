//! A Kubernetes client that does as little as it can: HTTP/2 over TLS with a client certificate, bodies as bytes.
//!
//! It decodes nothing, so that on a machine whose cores it shares with the server it takes as little of them as possible.
//! Windows are as wide as those of Go's client: a list is never held up by flow control that a usual client has not.

use crate::server::{Access, success, tls};
use anyhow::Result;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};

/// Media type of JSON.
pub const JSON: &str = "application/json";
/// Media type of Kubernetes' protobuf.
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// Media type of a strategic merge patch.
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";
/// Media type of a JSON merge patch.
pub const MERGE: &str = "application/merge-patch+json";

const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 1 << 30;

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Media type of `body`.
    pub sends: &'static str,
    /// Media type of the answer.
    pub accepts: &'static str,
    /// Empty for none.
    pub body: Bytes,
}

impl Call {
    /// A read.
    pub fn get(path: impl Into<String>, accepts: &'static str) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            sends: JSON,
            accepts,
            body: Bytes::new(),
        }
    }

    /// A write whose answer has the encoding of its body (JSON for patches).
    pub fn write(
        method: Method,
        path: impl Into<String>,
        sends: &'static str,
        body: impl Into<Bytes>,
    ) -> Self {
        Self {
            method,
            path: path.into(),
            sends,
            accepts: if sends == PROTOBUF { PROTOBUF } else { JSON },
            body: body.into(),
        }
    }
}

/// One connection; clones share it.
#[derive(Clone)]
pub struct Door {
    sender: SendRequest<Full<Bytes>>,
    address: String,
}

impl Door {
    /// Connects.
    pub async fn open(access: &Access) -> Result<Self> {
        let stream = TokioIo::new(tls(&access.address, access.tls(b"h2")?).await?);
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(stream)
            .await?;
        tokio::spawn(connection);
        Ok(Self {
            sender,
            address: access.address.clone(),
        })
    }

    /// Sends a request and returns its answer once the head of it is there.
    pub async fn send(&self, call: Call) -> Result<Response<Incoming>> {
        let mut request = Request::builder()
            .method(call.method)
            .uri(format!("https://{}{}", self.address, call.path))
            .header("accept", call.accepts)
            .header("user-agent", "marina-bench");
        if !call.body.is_empty() {
            request = request.header("content-type", call.sends);
        }
        let mut sender = self.sender.clone();
        sender.ready().await?;
        Ok(sender.send_request(request.body(Full::new(call.body))?).await?)
    }

    /// Sends a request and reads the whole answer; any other status than 2xx is an error.
    pub async fn call(&self, call: Call) -> Result<Bytes> {
        let path = call.path.clone();
        success(&path, self.send(call).await?).await
    }
}
