//! Kinds of the groups `storagemigration.k8s.io` and `internal.apiserver.k8s.io`.

pub(crate) mod migration;
pub(crate) mod storage_version;
