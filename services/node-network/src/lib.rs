//! A node's network: addresses for pods, routes to the pods of other nodes, and DNS for cluster names.
//!
//! - [`cni`] is the network plugin that containerd calls for each pod. Pods are routed, not bridged: each has a `/32` and a
//!   route of its own, so traffic between two pods of one node passes the same hooks as any other, and neither
//!   bridge-nf nor hairpin mode is needed (kube-proxy's translations would be missed on a bridge without them).
//! - [`Agent`] follows the Node objects: it configures the plugin with this node's pod range, and routes the others'.
//! - [`dns`] answers cluster names on the node itself, under the address that pods have in their `resolv.conf`.
//!
//! All of it keeps working when the API server is gone: what was learnt stays in the kernel and in memory.

mod agent;
pub mod cni;
pub mod dns;
mod plan;
mod tool;

pub use agent::{Agent, Options};

/// Why the network could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A file could not be read or written.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The reason.
        source: std::io::Error,
    },
    /// `ip` or `nft` refused.
    #[error("{program}: {message}")]
    Tool {
        /// Which.
        program: &'static str,
        /// What it printed.
        message: String,
    },
    /// The configuration or the request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Every address of the node's range is in use.
    #[error("no address of {0} is free")]
    NoAddress(String),
}

pub(crate) trait Context<T> {
    fn context(self, what: impl Into<String>) -> Result<T, NetworkError>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, what: impl Into<String>) -> Result<T, NetworkError> {
        self.map_err(|source| NetworkError::Io {
            what: what.into(),
            source,
        })
    }
}

impl<T> Context<T> for nix::Result<T> {
    fn context(self, what: impl Into<String>) -> Result<T, NetworkError> {
        self.map_err(std::io::Error::from).context(what)
    }
}
