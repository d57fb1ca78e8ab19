//! Keys and certificates: each cluster has its own CA, service-account issuer and serving certificate.

mod cluster_keys;
pub use cluster_keys::ClusterKeys;
