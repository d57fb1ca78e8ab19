//! Connections to a kubelet and to pods, for the sub-resources that stream.
//!
//! What must stay true: the connection is made for one request of one cluster and never used again; the kubelet's
//! certificate is checked against that cluster's CA and the node's own name and registered address (CVE-2022-3294); the client
//! certificate is made for this one connection.

use crate::ApiServer;
use crate::cx::Cx;
use crate::status::{ApiError, Result};
use machinery::Value;
use machinery::quote::go_quote;
use pki::Subject;
use rustls_pki_types::ServerName;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use streams::BoxIo;
use tokio_rustls::TlsConnector;
use tunnel::{DialError, Target};

/// The kubelet's usual port.
const PORT: u16 = 10250;
/// How long the client certificate lives: only the handshake needs it.
const CERTIFICATE: Duration = Duration::from_secs(600);
/// How long TLS to a kubelet or pod may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A kubelet that can be connected to.
pub(super) struct Kubelet {
    node: String,
    address: SocketAddr,
}

/// Why a node or pod was not reached, as an answer.
pub(super) fn dial_error(error: &DialError) -> ApiError {
    match error {
        DialError::TimedOut => ApiError::timeout(&format!("error dialing backend: {error}"), 0),
        _ => ApiError::internal(format!("error dialing backend: {error}")),
    }
}

impl Kubelet {
    /// The kubelet of a node, by the node's object.
    pub(super) fn of(node: &Value) -> Result<Self> {
        let name = node.str_at(&["metadata", "name"]).unwrap_or_default();
        let addresses = node.list_at(&["status", "addresses"]);
        let of_type = |ty: &str| {
            let mut all = addresses.iter().filter(|a| a.str_at(&["type"]) == Some(ty));
            all.find_map(|a| a.str_at(&["address"])?.parse::<IpAddr>().ok())
        };
        let ip = of_type("InternalIP")
            .or_else(|| of_type("ExternalIP"))
            .ok_or_else(|| {
                ApiError::internal(format!(
                    "no preferred addresses found for node {}; known addresses: []",
                    go_quote(name)
                ))
            })?;
        let port = node.int_at(&["status", "daemonEndpoints", "kubeletEndpoint", "Port"]);
        let port = port
            .and_then(|p| u16::try_from(p).ok())
            .filter(|p| *p != 0)
            .unwrap_or(PORT);
        Ok(Self {
            node: name.to_owned(),
            address: SocketAddr::new(ip, port),
        })
    }

    /// The kubelet of the node a pod is on.
    pub(super) async fn of_pod(server: &ApiServer, cx: &Cx, pod: &Value) -> Result<Self> {
        let name = pod.str_at(&["spec", "nodeName"]).unwrap_or_default();
        if name.is_empty() {
            let pod = pod.str_at(&["metadata", "name"]).unwrap_or_default();
            return Err(ApiError::bad_request(format!(
                "pod {pod} does not have a host assigned"
            )));
        }
        let node = server.reader(&cx.cluster).get("", "nodes", "", name).await?;
        Self::of(&node.ok_or_else(|| ApiError::not_found("", "nodes", name))?)
    }

    /// What stands in the Host header.
    pub(super) fn host(&self) -> String {
        self.address.to_string()
    }

    /// A TLS connection to it.
    pub(super) async fn connect(&self, server: &ApiServer, cx: &Cx) -> Result<BoxIo> {
        let dialer = server
            .dialer()
            .ok_or_else(|| ApiError::unavailable("this API server reaches no nodes"))?;
        let raw = dialer
            .dial(cx.cluster_id(), Some(&self.node), &Target::Kubelet(self.address))
            .await;
        let raw = raw.map_err(|e| dial_error(&e))?;
        let failed = |e: &dyn std::fmt::Display| ApiError::internal(format!("error dialing backend: {e}"));
        let subject = Subject::new("kube-apiserver-kubelet-client", &[auth::user::MASTERS]);
        let keys = &cx.cluster.keys;
        let identity = keys
            .issue_client(subject, CERTIFICATE, cx.now)
            .map_err(|e| failed(&e))?;
        let mut names = vec![ServerName::from(self.address.ip())];
        names.extend(ServerName::try_from(self.node.clone()).ok());
        let config =
            pki::kubelet_client_config(keys.ca(), &identity, names, cx.now).map_err(|e| failed(&e))?;
        let handshake =
            TlsConnector::from(Arc::new(config)).connect(ServerName::from(self.address.ip()), raw);
        match tokio::time::timeout(HANDSHAKE, handshake).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(e)) => Err(failed(&e)),
            Err(_elapsed) => Err(dial_error(&DialError::TimedOut)),
        }
    }
}

/// Makes what a kubelet does for a request a child of the request's span. Not for what is proxied to a tenant's pods: those
/// are not the operator's to trace.
pub(super) fn carry_trace(headers: &mut http::HeaderMap) {
    if let Some(value) = base::trace::traceparent()
        && let Ok(value) = http::HeaderValue::from_str(&value)
    {
        headers.insert(base::trace::TRACEPARENT, value);
    }
}

/// The pod of a request.
pub(super) async fn pod(server: &ApiServer, cx: &Cx) -> Result<Value> {
    let (namespace, name) = (cx.info.namespace.as_str(), cx.info.name.as_str());
    let found = server
        .reader(&cx.cluster)
        .get_live("", "pods", namespace, name)
        .await?;
    found.ok_or_else(|| ApiError::not_found("", "pods", name))
}

/// The container that a request means: the one it names, or the pod's only one.
pub(super) fn container(pod: &Value, named: Option<&str>) -> Result<String> {
    let name_of = |c: &Value| c.str_at(&["name"]).unwrap_or_default().to_owned();
    let list =
        |field: &'static str| -> Vec<String> { pod.list_at(&["spec", field]).iter().map(name_of).collect() };
    let (main, init, ephemeral) = (
        list("containers"),
        list("initContainers"),
        list("ephemeralContainers"),
    );
    let pod_name = pod.str_at(&["metadata", "name"]).unwrap_or_default();
    if let Some(named) = named {
        if [&main, &init, &ephemeral]
            .iter()
            .any(|l| l.iter().any(|c| c == named))
        {
            return Ok(named.to_owned());
        }
        return Err(ApiError::bad_request(format!(
            "container {named} is not valid for pod {pod_name}"
        )));
    }
    match &main[..] {
        [one] => Ok(one.clone()),
        [] => Err(ApiError::bad_request(format!(
            "a container name must be specified for pod {pod_name}"
        ))),
        many => {
            let mut text = format!(
                "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                many.join(" ")
            );
            if !init.is_empty() {
                text.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            Err(ApiError::bad_request(text))
        }
    }
}

/// `text` as one segment or parameter of a URL.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Checks that a WebSocket request, which is a GET, may also do what the same request would as a POST.
pub(super) async fn may_create(server: &ApiServer, cx: &Cx) -> Result<()> {
    if cx.info.verb == "create" {
        return Ok(());
    }
    let asked = auth::Attributes {
        verb: "create",
        ..crate::pipeline::attributes(&cx.info, &cx.user, &cx.query)
    };
    match server.authorizer().authorize(cx.cluster_id(), &asked).await {
        Ok(auth::Decision::Allow(_)) => Ok(()),
        Ok(auth::Decision::NoOpinion(why) | auth::Decision::Deny(why)) => {
            let mut error = ApiError::forbidden(&cx.info.group, &cx.info.resource, &cx.info.name, "");
            error.0.message = asked.forbidden_message(&why);
            Err(error)
        }
        Err(e) => Err(ApiError::internal(e.to_string())),
    }
}
