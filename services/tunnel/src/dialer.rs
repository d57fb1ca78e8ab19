//! How the API server reaches a node, its kubelet and its pods.

use crate::mux::OpenError;
use async_trait::async_trait;
use base::ClusterId;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// Anything that bytes flow through both ways.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A boxed [`Io`].
pub type BoxIo = Box<dyn Io>;

/// Where a stream leads, as seen from the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// From a node: the API server's TLS door.
    ApiServer,
    /// From the API server: the kubelet's HTTPS door. The address is the node's registered one; through a tunnel the node
    /// leads to its own kubelet whatever it says.
    Kubelet(SocketAddr),
    /// From the API server: a pod or Service as the node reaches it.
    Tcp(SocketAddr),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApiServer => f.write_str("apiserver"),
            Self::Kubelet(at) => write!(f, "kubelet:{at}"),
            Self::Tcp(at) => write!(f, "tcp:{at}"),
        }
    }
}

impl FromStr for Target {
    type Err = ();
    fn from_str(s: &str) -> Result<Self, ()> {
        let (kind, at) = s.split_once(':').unwrap_or((s, ""));
        match kind {
            "apiserver" => Ok(Self::ApiServer),
            "kubelet" => at.parse().map(Self::Kubelet).map_err(|_| ()),
            "tcp" => at.parse().map(Self::Tcp).map_err(|_| ()),
            _ => Err(()),
        }
    }
}

/// Why a node or pod cannot be reached.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DialError {
    /// The node has no tunnel here (none of the cluster's has, if none was named).
    #[error("no tunnel to node {0:?}")]
    NotConnected(String),
    /// The node could not reach the target, or would not.
    #[error("{0}")]
    Refused(String),
    /// The address must never be reached from here.
    #[error("address {0} is not allowed")]
    Forbidden(SocketAddr),
    /// No answer in time.
    #[error("timed out")]
    TimedOut,
}

impl From<OpenError> for DialError {
    fn from(e: OpenError) -> Self {
        match e {
            OpenError::TimedOut => Self::TimedOut,
            other => Self::Refused(other.to_string()),
        }
    }
}

/// Opens connections into a cluster.
#[async_trait]
pub trait Dialer: Send + Sync + 'static {
    /// Opens a connection to `target` through `node`; without a name, through any node of the cluster.
    async fn dial(
        &self,
        cluster: &ClusterId,
        node: Option<&str>,
        target: &Target,
    ) -> Result<BoxIo, DialError>;
}

/// How long a TCP connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// Connects over TCP within [`CONNECT`].
pub(crate) async fn connect(at: SocketAddr) -> Result<tokio::net::TcpStream, DialError> {
    let connected = tokio::time::timeout(CONNECT, tokio::net::TcpStream::connect(at)).await;
    let stream = connected
        .map_err(|_| DialError::TimedOut)?
        .map_err(|e| DialError::Refused(format!("dial tcp {at}: {e}")))?;
    let _best_effort = stream.set_nodelay(true);
    Ok(stream)
}

/// Whether an address may be dialled for a tenant: not loopback, link-local (cloud metadata), multicast or unspecified.
pub(crate) fn reachable(at: IpAddr) -> bool {
    match at.to_canonical() {
        IpAddr::V4(ip) => {
            !(ip.is_loopback()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_unspecified()
                || ip.is_broadcast())
        }
        IpAddr::V6(ip) => {
            !(ip.is_loopback() || ip.is_unicast_link_local() || ip.is_multicast() || ip.is_unspecified())
        }
    }
}

/// Dials directly, where the control plane has a route to the nodes (upstream's kubelet without a tunnel).
#[derive(Clone, Copy, Debug, Default)]
pub struct Direct;

#[async_trait]
impl Dialer for Direct {
    async fn dial(
        &self,
        _cluster: &ClusterId,
        _node: Option<&str>,
        target: &Target,
    ) -> Result<BoxIo, DialError> {
        match target {
            Target::ApiServer => Err(DialError::Refused("the API server is not behind a node".into())),
            Target::Kubelet(at) | Target::Tcp(at) if !reachable(at.ip()) => Err(DialError::Forbidden(*at)),
            Target::Kubelet(at) | Target::Tcp(at) => Ok(Box::new(connect(*at).await?)),
        }
    }
}
