//! `pods/log`: what a container has written, streamed from its kubelet; over HTTP, or over a WebSocket for browsers.

use super::kubelet::{self, Kubelet, escape};
use super::{Handler, remote};
use crate::cx::Cx;
use crate::kind::Kind;
use crate::status::{ApiError, Result};
use crate::{ApiServer, Body, encode};
use async_trait::async_trait;
use http::{Method, Request, Response, Uri};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use machinery::Value;
use machinery::quote::go_quote;
use streams::upgrade;
use streams::websocket::{self, Socket};

/// The handler.
pub(super) struct Log;

/// The most of a kubelet's error text that is passed on.
const MAX_ERROR: usize = 8 * 1024;
/// Sub-protocols of a WebSocket: empty and `binary` send bytes as they are.
const PROTOCOLS: [&str; 2] = ["", "binary.k8s.io"];

fn invalid(field: &str, value: &str, why: &str) -> ApiError {
    let message = format!("Invalid value: {value}: {why}");
    ApiError::invalid_field("", "PodLogOptions", "", "FieldValueInvalid", field, &message)
}

/// The kubelet's query, from that of the request.
fn query(cx: &Cx) -> Result<String> {
    let mut parts = Vec::new();
    for flag in ["follow", "previous", "timestamps"] {
        if cx.query.flag(flag) {
            parts.push(format!("{flag}=true"));
        }
    }
    for (number, least) in [("tailLines", 0), ("sinceSeconds", 1), ("limitBytes", 1)] {
        let Some(text) = cx.query.get(number) else {
            continue;
        };
        match text.parse::<i64>() {
            Ok(n) if n >= least => parts.push(format!("{number}={n}")),
            Ok(_) if least == 0 => return Err(invalid(number, text, "must be greater than or equal to 0")),
            Ok(_) => return Err(invalid(number, text, "must be greater than 0")),
            Err(_) => {
                return Err(ApiError::bad_request(format!(
                    "{number}: {} is no number",
                    go_quote(text)
                )));
            }
        }
    }
    if let Some(time) = cx.query.get("sinceTime") {
        if cx.query.get("sinceSeconds").is_some() {
            let message = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            let field = "sinceSeconds";
            return Err(ApiError::invalid_field(
                "",
                "PodLogOptions",
                "",
                "FieldValueForbidden",
                field,
                message,
            ));
        }
        parts.push(format!("sinceTime={}", escape(time)));
    }
    match cx.query.get("stream") {
        None | Some("All") => {}
        Some(stream @ ("Stdout" | "Stderr")) => parts.push(format!("stream={stream}")),
        Some(other) => {
            let message = format!(
                "Unsupported value: {}: supported values: \"All\", \"Stderr\", \"Stdout\"",
                go_quote(other)
            );
            let reason = "FieldValueNotSupported";
            return Err(ApiError::invalid_field(
                "",
                "PodLogOptions",
                "",
                reason,
                "stream",
                &message,
            ));
        }
    }
    Ok(parts.join("&"))
}

/// Whether a container can have written anything yet; the message is the kubelet's.
fn check_started(pod: &Value) -> Result<()> {
    if pod.str_at(&["spec", "nodeName"]).is_none_or(str::is_empty) {
        let name = pod.str_at(&["metadata", "name"]).unwrap_or_default();
        return Err(ApiError::bad_request(format!(
            "pod {name} does not have a host assigned"
        )));
    }
    Ok(())
}

#[async_trait]
impl Handler for Log {
    fn paths(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        &[("", "pods", "log")]
    }

    async fn call(
        &self,
        server: &ApiServer,
        cx: &Cx,
        _kind: &Kind,
        request: Request<Body>,
    ) -> Result<Response<Body>> {
        if cx.info.verb != "get" {
            return Err(ApiError::method_unknown());
        }
        let pod = kubelet::pod(server, cx).await?;
        let query = query(cx)?;
        let container = kubelet::container(&pod, cx.query.get("container"))?;
        check_started(&pod)?;
        let kubelet = Kubelet::of_pod(server, cx, &pod).await?;
        let path = [&cx.info.namespace, &cx.info.name, &container]
            .map(|part| escape(part))
            .join("/");
        let uri: Uri = format!("/containerLogs/{path}?{query}")
            .parse()
            .map_err(|_| ApiError::bad_request("the query is too long"))?;
        let io = kubelet.connect(server, cx).await?;
        let mut ask = Request::new(encode::full(bytes::Bytes::new()));
        *ask.method_mut() = Method::GET;
        kubelet::carry_trace(ask.headers_mut());
        let answer = upgrade::pass_on(ask, &uri, &kubelet.host(), io)
            .await
            .map_err(remote::upgrade_error)?;
        if !answer.status().is_success() {
            return Err(refused(cx, answer).await);
        }
        if websocket::is_websocket(request.headers()) {
            return over_websocket(request, answer.into_body());
        }
        let mut response = encode::respond(200, "text/plain", bytes::Bytes::new());
        *response.body_mut() = answer.into_body();
        Ok(response)
    }
}

/// The kubelet's refusal as a Status.
async fn refused(cx: &Cx, answer: Response<Body>) -> ApiError {
    let code = answer.status().as_u16();
    let text = http_body_util::Limited::new(answer.into_body(), MAX_ERROR)
        .collect()
        .await;
    let text = text
        .map(|t| String::from_utf8_lossy(&t.to_bytes()).trim().to_owned())
        .unwrap_or_default();
    match code {
        400 => ApiError::bad_request(text),
        404 => {
            let mut e = ApiError::not_found("", "pods", &cx.info.name);
            e.0.message = text;
            e
        }
        _ => ApiError::internal(text),
    }
}

fn over_websocket(mut request: Request<Body>, log: Body) -> Result<Response<Body>> {
    let handshake = websocket::handshake(request.headers(), &PROTOCOLS);
    let (head, _) = handshake.map_err(|e| ApiError::bad_request(e.to_string()))?;
    let client = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(client) = client.await else { return };
        let mut socket = Socket::new(TokioIo::new(client)).await;
        if let Err(e) = socket.send_all(log.into_data_stream()).await {
            tracing::debug!(error = %e, "a log over a WebSocket ended");
        }
    });
    Ok(upgrade::switching(head.into_parts().0))
}
