//! `pods/portforward`: connections to ports of a pod.
//!
//! Over SPDY the upgrade is passed on to the kubelet; a WebSocket carries the bytes of a SPDY connection, which are unwrapped
//! here.

use super::kubelet::{self, Kubelet, escape};
use super::{Handler, remote};
use crate::cx::Cx;
use crate::kind::Kind;
use crate::status::{ApiError, Result};
use crate::{ApiServer, Body};
use async_trait::async_trait;
use http::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use streams::upgrade::{self, Answer};
use streams::websocket::{self, PORT_FORWARD_TUNNEL, Socket};
use streams::{BoxIo, STREAM_PROTOCOL};

/// The handler.
pub(super) struct PortForward;

#[async_trait]
impl Handler for PortForward {
    fn paths(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        &[("", "pods", "portforward")]
    }

    async fn call(
        &self,
        server: &ApiServer,
        cx: &Cx,
        kind: &Kind,
        mut request: Request<Body>,
    ) -> Result<Response<Body>> {
        remote::check_upgrade(&request)?;
        kubelet::may_create(server, cx).await?;
        let pod = kubelet::pod(server, cx).await?;
        remote::admit(server, cx, kind).await?;
        let kubelet = Kubelet::of_pod(server, cx, &pod).await?;
        let ports: Vec<String> = cx
            .query
            .all("ports")
            .map(|p| format!("port={}", escape(p)))
            .collect();
        let uri = format!(
            "/portForward/{}/{}?{}",
            escape(&cx.info.namespace),
            escape(&cx.info.name),
            ports.join("&")
        );
        let uri: Uri = uri.parse().map_err(|_| ApiError::bad_request("too many ports"))?;
        let io = kubelet.connect(server, cx).await?;
        let offered = websocket::offered(request.headers());
        if websocket::is_websocket(request.headers()) && offered.contains(&PORT_FORWARD_TUNNEL) {
            return unwrap(request, &uri, &kubelet.host(), io).await;
        }
        kubelet::carry_trace(request.headers_mut());
        upgrade::pass_on(request, &uri, &kubelet.host(), io)
            .await
            .map_err(remote::upgrade_error)
    }
}

/// SPDY inside a WebSocket here, SPDY itself there.
async fn unwrap(mut request: Request<Body>, uri: &Uri, host: &str, io: BoxIo) -> Result<Response<Body>> {
    let handshake = websocket::handshake(request.headers(), &[PORT_FORWARD_TUNNEL]);
    let (head, _) = handshake.map_err(|e| ApiError::bad_request(e.to_string()))?;
    let mut headers = http::HeaderMap::new();
    headers.insert(
        STREAM_PROTOCOL,
        http::HeaderValue::from_static("portforward.k8s.io"),
    );
    kubelet::carry_trace(&mut headers);
    let asked = upgrade::ask(io, Method::POST, uri, host, headers, "SPDY/3.1").await;
    let backend = match asked.map_err(remote::upgrade_error)? {
        Answer::Refused(response) => return Ok(response),
        Answer::Switched(_, backend) => backend,
    };
    let client = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(client) = client.await else { return };
        if let Err(e) = Socket::new(TokioIo::new(client)).await.pipe(backend).await {
            tracing::debug!(error = %e, "a port-forward ended");
        }
    });
    Ok(upgrade::switching(head.into_parts().0))
}
