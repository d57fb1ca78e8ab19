//! The connection to a container runtime's Unix socket.
//!
//! One HTTP/2 connection carries the runtime and the image service. It is made at the first call and made again after
//! the runtime restarts, so a kubelet may start before its runtime.

use crate::traced::Traced;
use crate::v1::{image_service_client::ImageServiceClient, runtime_service_client::RuntimeServiceClient};
use hyper_util::rt::TokioIo;
use std::path::PathBuf;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// The largest message accepted, bytes: what upstream's kubelet accepts (a node's list of containers in one answer).
const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// Why a connection cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address names no Unix socket.
    #[error("{0:?} is no Unix socket address: expected unix:///path or an absolute path")]
    Address(String),
    /// tonic refused the endpoint.
    #[error("endpoint: {0}")]
    Endpoint(#[from] tonic::transport::Error),
}

/// Clients of both CRI services on one lazily made connection. Cheap to clone; methods need `&mut`, so clone for each call.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Sandboxes and containers.
    pub runtime: RuntimeServiceClient<Traced<Channel>>,
    /// Images.
    pub images: ImageServiceClient<Traced<Channel>>,
}

impl Runtime {
    /// Clients for the socket at `address` (`unix:///run/containerd/containerd.sock` or a path). Must be called inside
    /// a tokio runtime; nothing is dialled before the first call.
    pub fn connect(address: &str) -> Result<Self, ConnectError> {
        let path = address.strip_prefix("unix://").unwrap_or(address);
        if !path.starts_with('/') {
            return Err(ConnectError::Address(address.to_owned()));
        }
        let path = PathBuf::from(path);
        let dial = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
        });
        // The URI gives only the :authority header; gRPC over Unix sockets uses "localhost".
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(dial);
        Ok(Self::over(channel))
    }

    /// Clients over a channel of the caller's.
    pub fn over(channel: Channel) -> Self {
        let channel = Traced(channel);
        Self {
            runtime: RuntimeServiceClient::new(channel.clone())
                .max_decoding_message_size(MAX_MESSAGE)
                .max_encoding_message_size(MAX_MESSAGE),
            images: ImageServiceClient::new(channel)
                .max_decoding_message_size(MAX_MESSAGE)
                .max_encoding_message_size(MAX_MESSAGE),
        }
    }
}
