//! Passes a request on to the next hop over a connection made for it alone, and joins both connections if the next hop
//! switches protocols.
//!
//! What must stay true (CVE-2018-1002105 and its kin): nothing is tunnelled unless the next hop answered 101 with the
//! protocol that was asked for; a connection is never used again; redirects are not followed, they are returned; the
//! client's credentials go no further; only SPDY/3.1 and WebSocket may be switched to.

use crate::BoxIo;
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, COOKIE, HOST, HeaderName, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body as HttpBody, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::io;
use std::time::Duration;

/// A body in either direction.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// How long the next hop may take to begin its answer to an upgrade.
const ANSWER: Duration = Duration::from_secs(30);

/// Why the next hop gave no answer; 502 or 504 to the client.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The request asks for a protocol that is not passed on.
    #[error("upgrade to {0:?} is not supported")]
    Protocol(String),
    /// The request cannot be written as HTTP/1.1.
    #[error("cannot pass the request on: {0}")]
    Request(String),
    /// The connection broke.
    #[error("error dialing backend: {0}")]
    Connection(#[from] hyper::Error),
    /// No answer in time.
    #[error("the backend did not answer in time")]
    TimedOut,
    /// The next hop switched to something that was not asked for.
    #[error("the backend switched to an unexpected protocol")]
    WrongProtocol,
}

/// What the next hop answered to an upgrade.
pub enum Answer {
    /// It switched: head of its 101 answer and the raw connection.
    Switched(http::response::Parts, BoxIo),
    /// It did not; this is its answer.
    Refused(Response<Body>),
}

/// The protocol a request asks to switch to (lower case), if it does and the protocol is allowed.
pub fn wanted(headers: &HeaderMap) -> Result<Option<&'static str>, UpgradeError> {
    let asks = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .any(|v| v.split(',').any(|w| w.trim().eq_ignore_ascii_case("upgrade")));
    let Some(to) = headers.get(UPGRADE).filter(|_| asks) else {
        return Ok(None);
    };
    let to = to.to_str().unwrap_or_default();
    ["websocket", "spdy/3.1"]
        .into_iter()
        .find(|known| to.eq_ignore_ascii_case(known))
        .map(Some)
        .ok_or_else(|| UpgradeError::Protocol(to.chars().take(40).collect()))
}

/// Headers that end at this hop: credentials, identities that only a trusted proxy may set, and what belongs to one connection.
fn strip(headers: &mut HeaderMap) {
    let mut gone: Vec<HeaderName> = vec![
        AUTHORIZATION,
        PROXY_AUTHORIZATION,
        COOKIE,
        TE,
        TRANSFER_ENCODING,
        CONNECTION,
        UPGRADE,
        HOST,
    ];
    for named in headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
    {
        if let Ok(name) = named.trim().parse::<HeaderName>() {
            gone.push(name);
        }
    }
    gone.extend(["keep-alive", "proxy-connection", "trailer"].map(HeaderName::from_static));
    let identity =
        |n: &&HeaderName| n.as_str().starts_with("impersonate-") || n.as_str().starts_with("x-remote-");
    gone.extend(headers.keys().filter(identity).cloned());
    for name in gone {
        headers.remove(name);
    }
}

/// Request headers fit for the next hop, without the switch.
pub fn forwarded_headers(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    strip(&mut kept);
    // A token in a WebSocket's protocol list is a credential too.
    let protocols = crate::websocket::offered(&kept).join(", ");
    if kept.remove("sec-websocket-protocol").is_some()
        && let Ok(value) = HeaderValue::from_str(&protocols)
        && !protocols.is_empty()
    {
        kept.insert("sec-websocket-protocol", value);
    }
    kept
}

/// Asks the next hop, over `io`, to switch protocols. `uri` is path and query; `host` fills the Host header.
pub async fn ask(
    io: BoxIo,
    method: http::Method,
    uri: &Uri,
    host: &str,
    mut headers: HeaderMap,
    protocol: &str,
) -> Result<Answer, UpgradeError> {
    let bad = |e: &dyn std::fmt::Display| UpgradeError::Request(e.to_string());
    headers.insert(HOST, HeaderValue::from_str(host).map_err(|e| bad(&e))?);
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_str(protocol).map_err(|e| bad(&e))?);
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = method;
    *request.uri_mut() = origin_form(uri).map_err(|e| bad(&e))?;
    *request.headers_mut() = headers;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
    tokio::spawn(async move {
        if let Err(e) = connection.with_upgrades().await {
            tracing::debug!(error = %e, "connection of a streaming request ended");
        }
    });
    let answer = tokio::time::timeout(ANSWER, sender.send_request(request)).await;
    let answer = answer.map_err(|_| UpgradeError::TimedOut)??;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Answer::Refused(boxed(answer)));
    }
    let agreed = answer.headers().get(UPGRADE).and_then(|v| v.to_str().ok());
    if !agreed.is_some_and(|a| a.eq_ignore_ascii_case(protocol)) {
        return Err(UpgradeError::WrongProtocol);
    }
    let (mut parts, body) = answer.into_parts();
    let upgraded = hyper::upgrade::on(Response::from_parts(parts.clone(), body)).await?;
    parts.extensions.clear();
    Ok(Answer::Switched(parts, Box::new(TokioIo::new(upgraded))))
}

fn origin_form(uri: &Uri) -> Result<Uri, http::Error> {
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    Uri::builder().path_and_query(path).build()
}

fn boxed(response: Response<Incoming>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    for name in [
        CONNECTION,
        TRANSFER_ENCODING,
        UPGRADE,
        HeaderName::from_static("keep-alive"),
    ] {
        parts.headers.remove(name);
    }
    Response::from_parts(parts, body.map_err(io::Error::other).boxed_unsync())
}

/// Passes a request on over `io`, a connection made for it alone. An upgrade that the next hop accepts is joined with the
/// client's connection; everything else is answered as the next hop answers it. `host` fills the Host header.
pub async fn pass_on<B>(
    mut request: Request<B>,
    uri: &Uri,
    host: &str,
    io: BoxIo,
) -> Result<Response<Body>, UpgradeError>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let headers = forwarded_headers(request.headers());
    let Some(protocol) = wanted(request.headers())? else {
        return plain(request, headers, uri, host, io).await;
    };
    // The spelling of the client goes on, since some servers compare it.
    let spelled = request
        .headers()
        .get(UPGRADE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or(protocol)
        .to_owned();
    let client = hyper::upgrade::on(&mut request);
    match ask(io, request.method().clone(), uri, host, headers, &spelled).await? {
        Answer::Refused(response) => Ok(response),
        Answer::Switched(parts, backend) => {
            join(client, backend);
            Ok(switching(parts))
        }
    }
}

async fn plain<B>(
    request: Request<B>,
    headers: HeaderMap,
    uri: &Uri,
    host: &str,
    io: BoxIo,
) -> Result<Response<Body>, UpgradeError>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let bad = |e: &dyn std::fmt::Display| UpgradeError::Request(e.to_string());
    let (parts, body) = request.into_parts();
    let mut onward = Request::new(body);
    *onward.method_mut() = parts.method;
    *onward.uri_mut() = origin_form(uri).map_err(|e| bad(&e))?;
    *onward.headers_mut() = headers;
    onward
        .headers_mut()
        .insert(HOST, HeaderValue::from_str(host).map_err(|e| bad(&e))?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
    tokio::spawn(async move {
        if let Err(e) = connection.await {
            tracing::debug!(error = %e, "connection of a proxied request ended");
        }
    });
    Ok(boxed(sender.send_request(onward).await?))
}

/// The 101 answer for the client: the next hop's, without what belongs to its connection.
pub fn switching(parts: http::response::Parts) -> Response<Body> {
    let empty = Empty::<Bytes>::new()
        .map_err(|never| match never {})
        .boxed_unsync();
    Response::from_parts(parts, empty)
}

/// Joins the client's connection, once its 101 was sent, with the next hop's until both directions have ended.
pub fn join(client: OnUpgrade, mut backend: BoxIo) {
    tokio::spawn(async move {
        let work = async {
            let client = client.await.map_err(io::Error::other)?;
            let mut client = TokioIo::new(client);
            tokio::io::copy_bidirectional(&mut client, &mut backend).await
        };
        if let Err(e) = work.await {
            tracing::debug!(error = %e, "joined connections ended");
        }
    });
}
