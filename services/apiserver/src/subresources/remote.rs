//! What exec and attach share: both ask the kubelet for one session.
//!
//! The upgrade is passed on byte for byte, so that the kubelet, or the runtime behind it, speaks the client's own protocol. Only
//! WebSockets of version 5 are translated to SPDY, because runtimes do not speak them.

use super::kubelet::{self, Kubelet, escape};
use crate::admission::Operation;
use crate::cx::Cx;
use crate::kind::Kind;
use crate::registry::Op;
use crate::status::{ApiError, Result};
use crate::{ApiServer, Body};
use http::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use machinery::Value;
use streams::remote_command::{self, V4, V5, Want};
use streams::upgrade::{self, Answer, UpgradeError};
use streams::{BoxIo, STREAM_PROTOCOL, websocket};

/// Why an upgrade was not passed on, as an answer.
pub(super) fn upgrade_error(error: UpgradeError) -> ApiError {
    match error {
        UpgradeError::Protocol(_) => ApiError::bad_request(error.to_string()),
        UpgradeError::TimedOut => ApiError::timeout(&error.to_string(), 0),
        other => ApiError::internal(other.to_string()),
    }
}

/// An upgrade is needed, and the methods are GET and POST.
pub(super) fn check_upgrade<B>(request: &Request<B>) -> Result<()> {
    if !matches!(*request.method(), Method::GET | Method::POST) {
        return Err(ApiError::method_unknown());
    }
    match upgrade::wanted(request.headers()) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(ApiError::bad_request("Upgrade request required")),
        Err(e) => Err(upgrade_error(e)),
    }
}

/// Shows admission that somebody connects.
pub(super) async fn admit(server: &ApiServer, cx: &Cx, kind: &Kind) -> Result<()> {
    let op = Op::new(server, cx, kind);
    let attempt = op.attempt(
        Operation::Connect,
        &cx.info.subresource,
        &cx.info.name,
        Value::Null,
        &Value::Null,
        false,
    );
    op.admit(&attempt).await
}

/// Answers an exec (`path` is `exec`, with a command) or attach (`attach`).
pub(super) async fn session(
    server: &ApiServer,
    cx: &Cx,
    kind: &Kind,
    mut request: Request<Body>,
    path: &str,
    command: bool,
) -> Result<Response<Body>> {
    check_upgrade(&request)?;
    kubelet::may_create(server, cx).await?;
    let pod = kubelet::pod(server, cx).await?;
    let container = kubelet::container(&pod, cx.query.get("container"))?;
    if matches!(pod.str_at(&["status", "phase"]), Some("Succeeded" | "Failed")) {
        let phase = pod.str_at(&["status", "phase"]).unwrap_or_default();
        return Err(ApiError::bad_request(format!(
            "cannot exec into a container in a completed pod; current phase is {phase}"
        )));
    }
    let commands: Vec<&str> = if command {
        cx.query.all("command").collect()
    } else {
        Vec::new()
    };
    if command && commands.is_empty() {
        return Err(ApiError::bad_request(
            "you must specify at least 1 command for the container",
        ));
    }
    let want = Want {
        stdin: cx.query.flag("stdin"),
        stdout: cx.query.flag("stdout"),
        stderr: cx.query.flag("stderr") && !cx.query.flag("tty"),
        tty: cx.query.flag("tty"),
    };
    if !(want.stdin || want.stdout || want.stderr) {
        return Err(ApiError::bad_request(
            "you must specify at least 1 of stdin, stdout, stderr",
        ));
    }
    admit(server, cx, kind).await?;
    let kubelet = Kubelet::of_pod(server, cx, &pod).await?;
    let mut query: Vec<String> = commands
        .iter()
        .map(|c| format!("command={}", escape(c)))
        .collect();
    let flags = [
        ("input", want.stdin),
        ("output", want.stdout),
        ("error", want.stderr),
        ("tty", want.tty),
    ];
    query.extend(
        flags
            .iter()
            .filter(|(_, on)| *on)
            .map(|(name, _)| format!("{name}=1")),
    );
    let (namespace, name) = (escape(&cx.info.namespace), escape(&cx.info.name));
    let uri = format!(
        "/{path}/{namespace}/{name}/{}?{}",
        escape(&container),
        query.join("&")
    );
    let uri: Uri = uri
        .parse()
        .map_err(|_| ApiError::bad_request("the command is too long"))?;
    let io = kubelet.connect(server, cx).await?;
    if websocket::is_websocket(request.headers()) && websocket::offered(request.headers()).contains(&V5) {
        return translate(request, &uri, &kubelet.host(), io, want).await;
    }
    kubelet::carry_trace(request.headers_mut());
    upgrade::pass_on(request, &uri, &kubelet.host(), io)
        .await
        .map_err(upgrade_error)
}

/// A WebSocket of version 5 here, SPDY there.
async fn translate(
    mut request: Request<Body>,
    uri: &Uri,
    host: &str,
    io: BoxIo,
    want: Want,
) -> Result<Response<Body>> {
    let (head, _) =
        websocket::handshake(request.headers(), &[V5]).map_err(|e| ApiError::bad_request(e.to_string()))?;
    let mut headers = http::HeaderMap::new();
    headers.insert(STREAM_PROTOCOL, http::HeaderValue::from_static(V4));
    kubelet::carry_trace(&mut headers);
    let answer = upgrade::ask(io, Method::POST, uri, host, headers, "SPDY/3.1")
        .await
        .map_err(upgrade_error)?;
    let backend = match answer {
        Answer::Refused(response) => return Ok(response),
        Answer::Switched(_, backend) => backend,
    };
    let client = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(client) = client.await else { return };
        let session = remote_command::accept_websocket(TokioIo::new(client), want).await;
        match remote_command::connect_spdy(backend, want).await {
            Ok(peer) => remote_command::bridge(session, peer).await,
            Err(e) => {
                let mut error = session.error;
                let status = remote_command::status_error(&e.to_string());
                // The client may have gone already.
                let _gone = tokio::io::AsyncWriteExt::write_all(&mut error, &status).await;
            }
        }
    });
    Ok(upgrade::switching(head.into_parts().0))
}
