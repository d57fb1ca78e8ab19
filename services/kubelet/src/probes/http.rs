//! HTTP for probes and hooks: one connection for one request, certificates unchecked, as Kubernetes documents it.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;
use tokio::net::TcpStream;

/// What is read of an answer, bytes.
const MAX_BODY: usize = 10 * 1024;
/// Redirects that are followed on the same host.
const MAX_REDIRECTS: usize = 10;

/// Accepts any certificate: a probe asks whether the server answers, not who it is.
#[derive(Debug)]
struct Anyone(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Asks `address` (`host:port`); the error says what was wrong.
pub async fn get(
    address: &str,
    host: &str,
    tls: bool,
    path: &str,
    headers: &[(String, String)],
    agent: &str,
) -> Result<(), String> {
    let scheme = if tls { "https" } else { "http" };
    let mut path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    for _ in 0..=MAX_REDIRECTS {
        let url = format!("{scheme}://{address}{path}");
        let failed = |e: &dyn std::fmt::Display| format!("Get {url:?}: {e}");
        let request = request(address, &path, headers, agent).map_err(|e| failed(&e))?;
        let stream = TcpStream::connect(address)
            .await
            .map_err(|e| failed(&format!("dial tcp {address}: {e}")))?;
        let answer = if tls {
            let name = ServerName::try_from(host.to_owned()).map_err(|e| failed(&e))?;
            let stream = connector()
                .map_err(|e| failed(&e))?
                .connect(name, stream)
                .await
                .map_err(|e| failed(&e))?;
            exchange(stream, request).await
        } else {
            exchange(stream, request).await
        };
        let (status, location, body) = answer.map_err(|e| failed(&e))?;
        if (300..400).contains(&status)
            && let Some(next) = location.as_deref().and_then(|l| same_host(l, scheme, address))
        {
            path = next;
            continue;
        }
        return if (200..400).contains(&status) {
            Ok(())
        } else {
            tracing::debug!(url, status, body, "probe refused");
            Err(format!("HTTP probe failed with statuscode: {status}"))
        };
    }
    Err(format!("stopped after {MAX_REDIRECTS} redirects"))
}

/// The path of a redirect that stays on the server. One that leaves it is not followed and counts as an answer.
fn same_host(location: &str, scheme: &str, address: &str) -> Option<String> {
    if location.starts_with('/') && !location.starts_with("//") {
        return Some(location.to_owned());
    }
    let rest = location
        .strip_prefix(scheme)?
        .strip_prefix("://")?
        .strip_prefix(address)?;
    match rest {
        "" => Some("/".to_owned()),
        rest if rest.starts_with('/') => Some(rest.to_owned()),
        _ => None,
    }
}

fn connector() -> Result<tokio_rustls::TlsConnector, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    Ok(tokio_rustls::TlsConnector::from(Arc::new(config)))
}

fn request(
    address: &str,
    path: &str,
    headers: &[(String, String)],
    agent: &str,
) -> Result<http::Request<Empty<Bytes>>, http::Error> {
    let given = |name: &str| {
        headers
            .iter()
            .find(|(k, _)| k.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    };
    let mut builder = http::Request::get(path)
        .header("host", given("host").unwrap_or(address))
        .header("user-agent", given("user-agent").unwrap_or(agent))
        .header("accept", given("accept").unwrap_or("*/*"))
        .header("connection", "close");
    for (key, value) in headers {
        if !["host", "user-agent", "accept"]
            .iter()
            .any(|k| key.eq_ignore_ascii_case(k))
        {
            builder = builder.header(key, value);
        }
    }
    builder.body(Empty::new())
}

async fn exchange<S>(
    stream: S,
    request: http::Request<Empty<Bytes>>,
) -> Result<(u16, Option<String>, String), hyper::Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let work = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status().as_u16();
        let location = answer
            .headers()
            .get("location")
            .and_then(|v| v.to_str().ok())
            .map(str::to_owned);
        let mut body = answer.into_body();
        let mut text = Vec::new();
        // Reading stops at the limit; an endless answer is an answer.
        while text.len() < MAX_BODY {
            match body.frame().await {
                Some(Ok(frame)) => text.extend_from_slice(frame.data_ref().map_or(&[], |d| &d[..])),
                _ => break,
            }
        }
        text.truncate(MAX_BODY);
        Ok((status, location, String::from_utf8_lossy(&text).into_owned()))
    };
    tokio::pin!(work);
    tokio::pin!(connection);
    let mut open = true;
    loop {
        tokio::select! {
            result = &mut work => return result,
            _ = &mut connection, if open => open = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn server(answers: Vec<String>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let own = address.clone();
        tokio::spawn(async move {
            for answer in answers {
                let (mut s, _) = listener.accept().await.unwrap();
                let mut buffer = [0; 1024];
                let n = s.read(&mut buffer).await.unwrap();
                assert!(String::from_utf8_lossy(&buffer[..n]).contains("user-agent: kube-probe"));
                s.write_all(answer.replace("SELF", &own).as_bytes())
                    .await
                    .unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn statuses_below_400_are_good_and_redirects_stay_on_the_host() {
        let ask = async |answers: &[&str]| {
            let address = server(
                answers
                    .iter()
                    .map(|a| format!("HTTP/1.1 {a}\r\ncontent-length: 0\r\n\r\n"))
                    .collect(),
            )
            .await;
            get(&address, "127.0.0.1", false, "/x", &[], "kube-probe/1").await
        };
        assert_eq!(ask(&["200 OK"]).await, Ok(()));
        assert_eq!(
            ask(&["404 No"]).await,
            Err("HTTP probe failed with statuscode: 404".into())
        );
        assert_eq!(
            ask(&["302 F\r\nlocation: /y", "500 No"]).await,
            Err("HTTP probe failed with statuscode: 500".into())
        );
        assert_eq!(ask(&["302 F\r\nlocation: http://SELF/y", "200 OK"]).await, Ok(()));
        assert_eq!(ask(&["302 F\r\nlocation: http://other.example/y"]).await, Ok(()));
    }
}
