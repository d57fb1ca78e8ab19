//! All key material of one cluster.

/// The keys of one cluster. Made once when the cluster is created, kept (wrapped) by the provider.
#[derive(Debug)]
pub struct ClusterKeys {
    /// The CA certificate, PEM: what clients trust and what signs client certificates.
    pub ca_pem: String,
}
