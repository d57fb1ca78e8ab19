//! HTTPS to the REST API: one connection, HTTP/1.1, the service's own CA.

use crate::config::Config;
use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::Frame;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use service_api::ErrorBody;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

type Body = BoxBody<Bytes, std::io::Error>;

/// Answers are at most this long.
const MAX_ANSWER: usize = 64 << 20;
const CONNECT: Duration = Duration::from_secs(10);

/// Nobody answers.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unreachable(String);

/// A client of one service.
pub(crate) struct Service {
    host: String,
    port: u16,
    key: String,
    tls: tokio_rustls::TlsConnector,
}

impl Service {
    /// Makes a client; connects at each request.
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let uri: http::Uri = config.endpoint.parse().context("the endpoint is no URL")?;
        if uri.scheme_str() != Some("https") {
            bail!("the endpoint {:?} is not https", config.endpoint);
        }
        let host = uri
            .host()
            .context("the endpoint names no host")?
            .trim_matches(['[', ']'])
            .to_owned();
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(config.ca_certificate.as_bytes()) {
            roots.add(certificate.context("the CA certificate is not PEM")?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let port = uri.port_u16().unwrap_or(443);
        Ok(Self {
            host,
            port,
            key: config.api_key.clone(),
            tls: Arc::new(tls).into(),
        })
    }

    /// `GET`.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.call(Method::GET, path, empty()).await
    }

    /// `POST` with a body, repeatable by its idempotency key.
    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.call(Method::POST, path, json(body)?).await
    }

    /// `PATCH`.
    pub(crate) async fn patch<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.call(Method::PATCH, path, json(body)?).await
    }

    /// `DELETE`.
    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.call(Method::DELETE, path, empty()).await
    }

    /// `PUT` of a file, streamed.
    pub(crate) async fn put_file<T: DeserializeOwned>(&self, path: &str, file: &Path) -> Result<T> {
        let opened = tokio::fs::File::open(file)
            .await
            .with_context(|| format!("cannot open {}", file.display()))?;
        let chunks = futures_unfold(opened);
        self.call(Method::PUT, path, BodyExt::boxed(StreamBody::new(chunks)))
            .await
    }

    async fn call<T: DeserializeOwned>(&self, method: Method, path: &str, body: Body) -> Result<T> {
        let connect = async {
            let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
            let name = ServerName::try_from(self.host.clone()).map_err(std::io::Error::other)?;
            self.tls.connect(name, tcp).await
        };
        let place = format!("{}:{}", self.host, self.port);
        let stream = tokio::time::timeout(CONNECT, connect)
            .await
            .map_err(|_| Unreachable(format!("no answer from {place}")))?
            .map_err(|error| Unreachable(why_unreachable(&place, &error)))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake::<_, Body>(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &place)
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .body(body)?;
        let answer = sender
            .send_request(request)
            .await
            .context("the connection broke")?;
        let status = answer.status();
        let limited = http_body_util::Limited::new(answer.into_body(), MAX_ANSWER);
        let bytes = limited
            .collect()
            .await
            .map_err(|e| anyhow!("the answer broke off: {e}"))?
            .to_bytes();
        driver.abort();
        read_answer(status, &bytes)
    }
}

/// What to say of a connection that did not come about.
fn why_unreachable(place: &str, error: &std::io::Error) -> String {
    let tls = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
    if matches!(tls, Some(rustls::Error::InvalidCertificate(_))) {
        format!(
            "what answers at {place} is not the service that the configuration was made for ({error}); \
             is $MARINA_CONFIG from another one, or from before its state was deleted?"
        )
    } else {
        format!("cannot reach the service at {place} ({error}); is it running (`make up`)?")
    }
}

fn read_answer<T: DeserializeOwned>(status: StatusCode, bytes: &[u8]) -> Result<T> {
    if status.is_success() {
        let bytes = if bytes.is_empty() { b"null" } else { bytes };
        return serde_json::from_slice(bytes)
            .context("the service's answer makes no sense to this version of marina");
    }
    match serde_json::from_slice::<ErrorBody>(bytes) {
        Ok(body) => match body.field.clone() {
            Some(field) => Err(anyhow::Error::new(body).context(field)),
            None => Err(body.into()),
        },
        Err(_) => bail!("the service answered {status}"),
    }
}

fn empty() -> Body {
    Full::new(Bytes::new()).map_err(|never| match never {}).boxed()
}

fn json(body: &impl Serialize) -> Result<Body> {
    let bytes = serde_json::to_vec(body)?;
    Ok(Full::new(Bytes::from(bytes))
        .map_err(|never| match never {})
        .boxed())
}

fn futures_unfold(
    file: tokio::fs::File,
) -> impl futures::Stream<Item = Result<Frame<Bytes>, std::io::Error>> + Send + Sync {
    futures::stream::unfold(Some(file), async |file| {
        let mut file = file?;
        let mut chunk = vec![0; 256 << 10];
        match file.read(&mut chunk).await {
            Ok(0) => None,
            Ok(n) => {
                chunk.truncate(n);
                Some((Ok(Frame::data(Bytes::from(chunk))), Some(file)))
            }
            Err(error) => Some((Err(error), None)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_service_is_not_taken_for_one_that_is_down() {
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::BadSignature);
        let foreign = why_unreachable("h:1", &std::io::Error::other(unknown));
        assert!(
            foreign.starts_with("what answers at h:1 is not the service"),
            "{foreign}"
        );
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert!(why_unreachable("h:1", &refused).ends_with("is it running (`make up`)?"));
    }
}
