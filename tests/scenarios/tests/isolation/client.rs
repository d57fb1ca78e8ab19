//! A client of one connection that shows one credential.

use crate::matrix::Row;
use crate::scene::{Credential, Shows};
use auth::Cluster;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tunnel::BoxIo;

/// HTTP/2, so that a watch can be left without losing the connection.
pub(crate) struct Client {
    pub(crate) sender: SendRequest<Full<Bytes>>,
    pub(crate) token: Option<String>,
}

impl Client {
    pub(crate) async fn over(io: BoxIo, to: &Cluster, name: &str, credential: &Credential) -> Self {
        let (identity, token) = match &credential.shows {
            Shows::Certificate { chain, key } => (Some(pki::client_identity(chain, key).unwrap()), None),
            Shows::Token(token) => (None, Some(token.clone())),
        };
        let config = pki::client_config(&to.keys.ca_pem, identity, &[b"h2"]).unwrap();
        let name = name.to_owned().try_into().unwrap();
        let tls = TlsConnector::from(Arc::new(config))
            .connect(name, io)
            .await
            .unwrap();
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls));
        let (sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        Self { sender, token }
    }

    pub(crate) async fn send(&mut self, row: &Row) -> Response<hyper::body::Incoming> {
        let mut request = Request::builder()
            .method(row.method)
            .uri(format!("https://x{}", row.path));
        if !row.content_type.is_empty() {
            request = request.header("content-type", row.content_type);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::from(row.body.clone())).unwrap();
        self.sender.ready().await.unwrap();
        self.sender.send_request(request).await.unwrap()
    }

    pub(crate) async fn code_and_text(&mut self, row: &Row) -> (u16, String) {
        let answer = self.send(row).await;
        let code = answer.status().as_u16();
        if row.streams && code == 200 {
            return (code, String::new());
        }
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8_lossy(&bytes).into_owned())
    }
}
