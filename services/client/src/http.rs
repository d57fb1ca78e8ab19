//! The transport over HTTP: hyper with HTTP/2 where the server offers it, pinned TLS, credentials that renew.
//!
//! A credential that expires (a token file, an exec plugin) is fetched again before the next request; one whose client
//! certificate changed gets new connections, because a TLS identity belongs to a connection. After a 401 the
//! credential is fetched once more and the request repeated.

use crate::config::{Auth, Config};
use crate::tls;
use crate::transport::{Body, Transport, TransportError};
use async_trait::async_trait;
use base::Clock;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// How much of one answer the server may send before it is read, in bytes.
const STREAM_WINDOW: u32 = 4 << 20;
/// The same for all answers of a connection together: so much that a watch which nobody reads for a while never keeps
/// other answers from coming (RFC 9113, section 5.2). Both are what Go's HTTP/2 client grants. Rejected: hyper's adaptive
/// window, which begins with 64 KiB for the connection and grows only while everything is read.
const CONNECTION_WINDOW: u32 = 1 << 30;
/// How long a token file is believed.
const TOKEN_FILE: Duration = Duration::from_secs(60);

/// Requests over the network to one API server as one identity.
#[derive(Debug)]
pub struct HttpTransport {
    config: Config,
    base: Uri,
    prefix: String,
    clock: Clock,
    live: Mutex<Option<Arc<Live>>>,
}

/// Connections and the credential that they go with.
#[derive(Debug)]
struct Live {
    pool: Pool<Connector, Full<Bytes>>,
    connector: Connector,
    bearer: Option<HeaderValue>,
    expires: Option<jiff::Timestamp>,
}

/// What a credential source gave.
#[derive(Default)]
struct Credential {
    token: Option<String>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    expires: Option<jiff::Timestamp>,
}

impl HttpTransport {
    /// Checks the configuration; connects at the first request.
    pub fn new(config: Config, clock: Clock) -> Result<Self, TransportError> {
        let base: Uri = config
            .server
            .parse()
            .map_err(|e| TransportError::Request(format!("{}: {e}", config.server)))?;
        if base.authority().is_none() || !matches!(base.scheme_str(), Some("https" | "http")) {
            return Err(TransportError::Request(format!(
                "{} is no http(s) URL",
                config.server
            )));
        }
        // A wrong CA should be told now rather than at the first request.
        tls::client_config(&config.ca_pem, None, &[])?;
        let prefix = base.path().trim_end_matches('/').to_string();
        Ok(Self {
            config,
            base,
            prefix,
            clock,
            live: Mutex::new(None),
        })
    }

    async fn credential(&self) -> Result<Credential, TransportError> {
        let failed = |e: String| TransportError::Connect(io::Error::other(e));
        Ok(match &self.config.auth {
            Auth::Anonymous => Credential::default(),
            Auth::Certificate { cert_pem, key_pem } => Credential {
                identity: Some((cert_pem.clone(), key_pem.clone())),
                ..Credential::default()
            },
            Auth::Token(token) => Credential {
                token: Some(token.clone()),
                ..Credential::default()
            },
            Auth::TokenFile(path) => {
                let text = tokio::fs::read_to_string(path).await;
                let text = text.map_err(|e| failed(format!("{}: {e}", path.display())))?;
                Credential {
                    token: Some(text.trim().to_string()),
                    expires: self.clock.now().checked_add(TOKEN_FILE).ok(),
                    ..Credential::default()
                }
            }
            Auth::Exec(plugin) => {
                let status = plugin.run().await.map_err(failed)?;
                let identity = status.client_certificate_data.zip(status.client_key_data);
                Credential {
                    token: status.token,
                    identity: identity.map(|(c, k)| (c.into_bytes(), k.into_bytes())),
                    expires: status.expiration_timestamp.and_then(|t| t.parse().ok()),
                }
            }
        })
    }

    /// The present connections, made anew if the credential has expired or `stale` was refused.
    async fn live(&self, stale: Option<&Arc<Live>>) -> Result<Arc<Live>, TransportError> {
        let mut slot = self.live.lock().await;
        if let Some(live) = &*slot {
            let refused = stale.is_some_and(|s| Arc::ptr_eq(s, live));
            let expired = live.expires.is_some_and(|t| t <= self.clock.now());
            if !refused && !expired {
                return Ok(live.clone());
            }
        }
        let credential = self.credential().await?;
        let bearer = credential.token.as_deref().map(|token| {
            let value = HeaderValue::try_from(format!("Bearer {token}"));
            value.map(|mut v| {
                v.set_sensitive(true);
                v
            })
        });
        let bearer = bearer
            .transpose()
            .map_err(|_| TransportError::Request("the token is no header value".into()))?;
        let (connector, pool) = match (&*slot, &credential.identity) {
            // The connections do not depend on a token.
            (Some(live), None) => (live.connector.clone(), live.pool.clone()),
            _ => self.connect(credential.identity.as_ref())?,
        };
        let live = Arc::new(Live {
            pool,
            connector,
            bearer,
            expires: credential.expires,
        });
        *slot = Some(live.clone());
        Ok(live)
    }

    fn connect(
        &self,
        identity: Option<&(Vec<u8>, Vec<u8>)>,
    ) -> Result<(Connector, Pool<Connector, Full<Bytes>>), TransportError> {
        let identity = identity.map(|(c, k)| (c.as_slice(), k.as_slice()));
        let tls = tls::client_config(&self.config.ca_pem, identity, &[b"h2", b"http/1.1"])?;
        let connector = Connector {
            tls: Arc::new(tls),
            server_name: self.config.tls_server_name.clone(),
        };
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(90))
            .http2_keep_alive_interval(Duration::from_secs(30))
            .http2_keep_alive_timeout(Duration::from_secs(15))
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .build(connector.clone());
        Ok((connector, pool))
    }

    fn absolute(&self, uri: &Uri) -> Result<Uri, TransportError> {
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        let mut parts = self.base.clone().into_parts();
        let joined = format!("{}{path}", self.prefix);
        parts.path_and_query = Some(
            joined
                .parse()
                .map_err(|e| TransportError::Request(format!("{joined}: {e}")))?,
        );
        Uri::from_parts(parts).map_err(|e| TransportError::Request(e.to_string()))
    }

    async fn try_send(&self, live: &Live, request: Request<Bytes>) -> Result<Response<Body>, TransportError> {
        let (mut parts, body) = request.into_parts();
        parts.uri = self.absolute(&parts.uri)?;
        if let Some(bearer) = &live.bearer {
            parts.headers.insert(AUTHORIZATION, bearer.clone());
        }
        let answer = live
            .pool
            .request(Request::from_parts(parts, Full::new(body)))
            .await;
        let answer = answer.map_err(|e| TransportError::Connect(io::Error::other(chain(&e))))?;
        Ok(answer.map(|body| Body::new(body.map_err(io::Error::other))))
    }

    /// Sends a request that asks for another protocol (exec, attach, port-forward; WebSocket or SPDY) over a connection
    /// of its own, and returns the head and, after a 101, the raw stream. The caller sets the `Upgrade` headers.
    pub async fn upgrade(
        &self,
        request: Request<Bytes>,
    ) -> Result<(Response<Body>, Option<hyper::upgrade::Upgraded>), TransportError> {
        let live = self.live(None).await?;
        let (mut parts, body) = request.into_parts();
        let absolute = self.absolute(&parts.uri)?;
        if let Some(bearer) = &live.bearer {
            parts.headers.insert(AUTHORIZATION, bearer.clone());
        }
        let host = absolute.authority().map_or("", |a| a.as_str());
        let host = HeaderValue::from_str(host).map_err(|e| TransportError::Request(e.to_string()))?;
        parts.headers.insert(http::header::HOST, host);
        let stream = live
            .connector
            .http1()
            .open(absolute.clone())
            .await
            .map_err(TransportError::Connect)?;
        parts.uri = absolute
            .path_and_query()
            .cloned()
            .map_or_else(Uri::default, Uri::from);
        let connect = |e: hyper::Error| TransportError::Connect(io::Error::other(e));
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(connect)?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection for an upgrade ended");
            }
        });
        let mut answer = sender
            .send_request(Request::from_parts(parts, Full::new(body)))
            .await
            .map_err(connect)?;
        let stream = if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            Some(hyper::upgrade::on(&mut answer).await.map_err(connect)?)
        } else {
            None
        };
        Ok((
            answer.map(|body| Body::new(body.map_err(io::Error::other))),
            stream,
        ))
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, TransportError> {
        let live = self.live(None).await?;
        let again = matches!(self.config.auth, Auth::TokenFile(_) | Auth::Exec(_)).then(|| request.clone());
        let answer = self.try_send(&live, request).await?;
        match again {
            Some(request) if answer.status() == StatusCode::UNAUTHORIZED => {
                let fresh = self.live(Some(&live)).await?;
                self.try_send(&fresh, request).await
            }
            _ => Ok(answer),
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Makes TCP and TLS connections.
#[derive(Clone, Debug)]
struct Connector {
    tls: Arc<rustls::ClientConfig>,
    server_name: Option<String>,
}

impl Connector {
    /// The same without HTTP/2, for upgrades.
    fn http1(&self) -> Self {
        let mut tls = (*self.tls).clone();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            tls: Arc::new(tls),
            server_name: self.server_name.clone(),
        }
    }

    async fn open(self, uri: Uri) -> io::Result<Stream> {
        let secure = uri.scheme_str() == Some("https");
        let host = uri
            .host()
            .unwrap_or_default()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_string();
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let work = async {
            let tcp = TcpStream::connect((host.as_str(), port)).await?;
            tcp.set_nodelay(true)?;
            if !secure {
                return Ok(Stream::Plain(tcp));
            }
            let name = self.server_name.unwrap_or(host);
            let name = rustls_pki_types::ServerName::try_from(name).map_err(io::Error::other)?;
            let stream = TlsConnector::from(self.tls).connect(name, tcp).await?;
            Ok(Stream::Tls(Box::new(stream)))
        };
        tokio::time::timeout(CONNECT, work)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { this.open(uri).await.map(TokioIo::new) })
    }
}

/// A connection, with or without TLS.
enum Stream {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Self::Tls(s) if s.get_ref().1.alpn_protocol() == Some(b"h2") => Connected::new().negotiated_h2(),
            _ => Connected::new(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_flush(cx),
            Self::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Self::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use hyper::service::service_fn;
    use std::convert::Infallible;
    use std::net::SocketAddr;

    fn body(watch: bool) -> http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible> {
        if !watch {
            return Full::new(Bytes::from("an answer")).boxed_unsync();
        }
        let chunks = vec![Bytes::from(vec![b'x'; 64 << 10]); 16];
        let sent = futures::stream::iter(chunks).map(|chunk| Ok(Frame::data(chunk)));
        StreamBody::new(sent.chain(futures::stream::pending())).boxed_unsync()
    }

    /// A server that speaks HTTP/2 alone: `/watch` never ends and has sent a MiB; everything else is short.
    async fn server(keys: &pki::ClusterKeys) -> SocketAddr {
        let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(keys.serving().unwrap()));
        let tls = pki::server_config(resolver, &[b"h2"]).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            let stream = TokioIo::new(acceptor.accept(tcp).await.unwrap());
            let answer = service_fn(async |request: Request<hyper::body::Incoming>| {
                Ok::<_, Infallible>(Response::new(body(request.uri().path() == "/watch")))
            });
            let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _client_gone = serving.serve_connection(stream, answer).await;
        });
        at
    }

    #[tokio::test]
    async fn a_watch_that_nobody_reads_does_not_keep_other_answers_from_coming() {
        let clock = Clock::system();
        let names = pki::ServingNames::cluster("cluster.local", &[], &[]);
        let keys = pki::ClusterKeys::generate(&names, clock.now()).unwrap();
        let at = server(&keys).await;
        let config = Config {
            server: format!("https://{at}"),
            ca_pem: keys.ca_pem.clone().into_bytes(),
            ..Config::default()
        };
        let transport = HttpTransport::new(config, clock).unwrap();
        let ask = |path: &'static str| transport.send(Request::get(path).body(Bytes::new()).unwrap());
        let unread = ask("/watch").await.unwrap();
        // So much is on its way that a window of 64 KiB is long used up.
        for _ in 0..3 {
            let answer = tokio::time::timeout(Duration::from_secs(5), async {
                ask("/other").await.unwrap().into_body().collect().await.unwrap()
            });
            answer.await.expect("an answer beside the unread watch");
        }
        drop(unread);
    }
}
