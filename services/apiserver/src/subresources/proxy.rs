//! `nodes/proxy`, `pods/proxy`, `services/proxy`: HTTP requests that are passed on into the cluster.
//!
//! The target is always reached through a node of the same cluster; loopback and link-local addresses are refused by the node's
//! end of the tunnel (CVE-2020-8562). A pod's own TLS certificate cannot be checked, since nobody vouches for it: as upstream,
//! `https:` means encrypted and not authenticated, and the path to the pod is the tunnel of its node.

use super::kubelet::{self, Kubelet, dial_error};
use super::{Handler, remote};
use crate::cx::Cx;
use crate::kind::Kind;
use crate::status::{ApiError, Result};
use crate::{ApiServer, Body, encode};
use async_trait::async_trait;
use http::header::LOCATION;
use http::{HeaderValue, Method, Request, Response, Uri};
use machinery::Value;
use machinery::quote::go_quote;
use rand::seq::IndexedRandom;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use streams::{BoxIo, upgrade};
use tokio_rustls::TlsConnector;
use tunnel::Target;

/// The handler.
pub(super) struct Proxy;

/// `[scheme:]name[:port]`.
struct Name<'a> {
    https: bool,
    name: &'a str,
    port: &'a str,
}

impl<'a> Name<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts[..] {
            [name] => ("", name, ""),
            [name, port] => ("", name, port),
            [scheme, name, port] => (scheme, name, port),
            _ => return None,
        };
        let known = matches!(scheme, "" | "http" | "https") && !name.is_empty();
        known.then_some(Self {
            https: scheme == "https",
            name,
            port,
        })
    }
}

/// Where a request goes.
struct Place {
    node: Option<String>,
    address: SocketAddr,
    https: bool,
}

fn invalid(kind: &Kind, text: &str) -> ApiError {
    ApiError::bad_request(format!(
        "invalid {} request {}",
        kind.plural().trim_end_matches('s'),
        go_quote(text)
    ))
}

#[async_trait]
impl Handler for Proxy {
    fn paths(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        &[
            ("", "nodes", "proxy"),
            ("", "pods", "proxy"),
            ("", "services", "proxy"),
        ]
    }

    async fn call(
        &self,
        server: &ApiServer,
        cx: &Cx,
        kind: &Kind,
        mut request: Request<Body>,
    ) -> Result<Response<Body>> {
        let path = request.uri().path();
        if cx.info.rest.is_empty()
            && !path.ends_with('/')
            && matches!(*request.method(), Method::GET | Method::HEAD)
        {
            return redirect(request.uri());
        }
        if upgrade::wanted(request.headers())
            .map_err(remote::upgrade_error)?
            .is_some()
        {
            kubelet::may_create(server, cx).await?;
        }
        remote::admit(server, cx, kind).await?;
        // What follows `/proxy` is passed on as it was written, escapes and all.
        let base_len = path.find("/proxy").map_or(path.len(), |at| at + "/proxy".len());
        let (base, rest) = path.split_at(base_len);
        let base = base.to_owned();
        let rest = if rest.is_empty() { "/" } else { rest };
        let target = match request.uri().query() {
            Some(query) => format!("{rest}?{query}"),
            None => rest.to_owned(),
        };
        let target: Uri = target
            .parse()
            .map_err(|_| ApiError::bad_request("cannot read the path"))?;
        let (io, host) = connect(server, cx, kind).await?;
        if kind.plural() == "nodes" {
            kubelet::carry_trace(request.headers_mut());
        }
        let answer = upgrade::pass_on(request, &target, &host, io).await;
        let mut answer = answer.map_err(remote::upgrade_error)?;
        rewrite_location(&mut answer, &base, &host);
        Ok(answer)
    }
}

/// Sends a browser to the same path with a slash, so that relative links of the target work.
fn redirect(uri: &Uri) -> Result<Response<Body>> {
    let query = uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    let to = format!("{}/{query}", uri.path());
    let to = HeaderValue::from_str(&to).map_err(|_| ApiError::bad_request("cannot read the path"))?;
    let mut response = encode::text(301, "");
    response.headers_mut().insert(LOCATION, to);
    Ok(response)
}

/// A redirect inside the target becomes one inside the proxy's path.
fn rewrite_location(answer: &mut Response<Body>, base: &str, host: &str) {
    let Some(to) = answer.headers().get(LOCATION).and_then(|v| v.to_str().ok()) else {
        return;
    };
    let inside = ["http://", "https://"]
        .iter()
        .find_map(|s| to.strip_prefix(s)?.strip_prefix(host));
    let path = inside.unwrap_or(to);
    if (path.starts_with('/') && !path.starts_with("//"))
        && let Ok(value) = HeaderValue::from_str(&format!("{base}{path}"))
    {
        answer.headers_mut().insert(LOCATION, value);
    }
}

/// A connection to what the request names, and its Host header.
async fn connect(server: &ApiServer, cx: &Cx, kind: &Kind) -> Result<(BoxIo, String)> {
    let text = cx.info.name.as_str();
    let name = Name::parse(text).ok_or_else(|| invalid(kind, text))?;
    let place = match kind.plural() {
        "nodes" => {
            let node = server.reader(&cx.cluster).get("", "nodes", "", name.name).await?;
            let node = node.ok_or_else(|| ApiError::not_found("", "nodes", name.name))?;
            let kubelet = Kubelet::of(&node)?;
            return Ok((kubelet.connect(server, cx).await?, kubelet.host()));
        }
        "pods" => pod(server, cx, &name).await?,
        _ => service(server, cx, &name).await?,
    };
    let dialer = server
        .dialer()
        .ok_or_else(|| ApiError::unavailable("this API server reaches no nodes"))?;
    let dialled = dialer
        .dial(
            cx.cluster_id(),
            place.node.as_deref(),
            &Target::Tcp(place.address),
        )
        .await;
    let io = dialled.map_err(|e| dial_error(&e))?;
    let host = place.address.to_string();
    if !place.https {
        return Ok((Box::new(io), host));
    }
    let config = pki::unauthenticated_client_config().map_err(|e| ApiError::internal(e.to_string()))?;
    let connector = TlsConnector::from(Arc::new(config));
    let name = rustls_pki_types::ServerName::from(place.address.ip());
    let tls = tokio::time::timeout(std::time::Duration::from_secs(10), connector.connect(name, io)).await;
    match tls {
        Ok(Ok(tls)) => Ok((Box::new(tls), host)),
        Ok(Err(e)) => Err(ApiError::internal(format!("error dialing backend: {e}"))),
        Err(_elapsed) => Err(dial_error(&tunnel::DialError::TimedOut)),
    }
}

async fn pod(server: &ApiServer, cx: &Cx, name: &Name<'_>) -> Result<Place> {
    let pod = server
        .reader(&cx.cluster)
        .get_live("", "pods", &cx.info.namespace, name.name)
        .await?;
    let pod = pod.ok_or_else(|| ApiError::not_found("", "pods", name.name))?;
    let ip = pod
        .str_at(&["status", "podIP"])
        .and_then(|ip| ip.parse::<IpAddr>().ok());
    let ip = ip.ok_or_else(|| ApiError::bad_request("address not allowed"))?;
    let port = if name.port.is_empty() {
        let mut containers = pod.list_at(&["spec", "containers"]).iter();
        containers
            .find_map(|c| c.list_at(&["ports"]).first()?.int_at(&["containerPort"]))
            .unwrap_or(80)
    } else {
        // A number, or the name of a container's port.
        let named = || {
            let containers = pod.list_at(&["spec", "containers"]).iter();
            let mut ports = containers.flat_map(|c| c.list_at(&["ports"]));
            ports
                .find(|p| p.str_at(&["name"]) == Some(name.port))?
                .int_at(&["containerPort"])
        };
        name.port.parse().ok().or_else(named).ok_or_else(|| {
            ApiError::bad_request(format!("invalid pod request {}", go_quote(&cx.info.name)))
        })?
    };
    let port = u16::try_from(port).map_err(|_| ApiError::bad_request("invalid port"))?;
    let node = pod
        .str_at(&["spec", "nodeName"])
        .filter(|n| !n.is_empty())
        .map(str::to_owned);
    Ok(Place {
        node,
        address: SocketAddr::new(ip, port),
        https: name.https,
    })
}

async fn service(server: &ApiServer, cx: &Cx, name: &Name<'_>) -> Result<Place> {
    let namespace = cx.info.namespace.as_str();
    let reader = server.reader(&cx.cluster);
    let service = reader.get_live("", "services", namespace, name.name).await?;
    let service = service.ok_or_else(|| ApiError::not_found("", "services", name.name))?;
    let none = || {
        ApiError::unavailable(format!(
            "no endpoints available for service {}",
            go_quote(&cx.info.name)
        ))
    };
    let ports = service.list_at(&["spec", "ports"]);
    // The service's port by name or number; without one, its only port.
    let port_name = if name.port.is_empty() {
        ports
            .first()
            .and_then(|p| p.str_at(&["name"]))
            .unwrap_or_default()
            .to_owned()
    } else {
        let wanted = |p: &&Value| {
            p.str_at(&["name"]) == Some(name.port)
                || p.int_at(&["port"]).is_some_and(|n| n.to_string() == name.port)
        };
        let found = ports.iter().find(wanted);
        let missing = || {
            ApiError::unavailable(format!(
                "no service port {} found for service {}",
                go_quote(name.port),
                go_quote(name.name)
            ))
        };
        found
            .ok_or_else(missing)?
            .str_at(&["name"])
            .unwrap_or_default()
            .to_owned()
    };
    let mut places = Vec::new();
    for slice in reader
        .list("discovery.k8s.io", "endpointslices", namespace)
        .await?
    {
        let label = ["metadata", "labels", "kubernetes.io/service-name"];
        if slice.str_at(&label) != Some(name.name) || slice.str_at(&["addressType"]) == Some("FQDN") {
            continue;
        }
        let mut slice_ports = slice.list_at(&["ports"]).iter();
        let port = slice_ports.find(|p| p.str_at(&["name"]).unwrap_or_default() == port_name);
        let Some(port) = port.and_then(|p| u16::try_from(p.int_at(&["port"])?).ok()) else {
            continue;
        };
        for endpoint in slice.list_at(&["endpoints"]) {
            if endpoint.at(&["conditions", "ready"]).as_bool() == Some(false) {
                continue;
            }
            let first = endpoint.list_at(&["addresses"]).first().and_then(Value::as_str);
            let Some(ip) = first.and_then(|a| a.parse::<IpAddr>().ok()) else {
                continue;
            };
            let node = endpoint.str_at(&["nodeName"]).map(str::to_owned);
            places.push(Place {
                node,
                address: SocketAddr::new(ip, port),
                https: name.https,
            });
        }
    }
    let chosen = (0..places.len())
        .collect::<Vec<_>>()
        .choose(&mut rand::rng())
        .copied()
        .ok_or_else(none)?;
    Ok(places.swap_remove(chosen))
}
