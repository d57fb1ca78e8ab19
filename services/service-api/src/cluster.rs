//! Clusters.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A Kubernetes cluster: a control plane of its own, and node pools.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// Unique in the project.
    pub name: String,
    /// The project.
    pub project: String,
    /// Unique for ever; also the first label of the server name.
    pub id: String,
    /// RFC 3339.
    pub created_at: String,
    /// What is wanted.
    pub spec: ClusterSpec,
    /// What is.
    pub status: ClusterStatus,
}

/// What is wanted of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSpec {
    /// The Kubernetes version.
    #[schema(value_type = String)]
    pub version: Version,
    /// Where its machines run.
    pub cloud: Cloud,
    /// ClusterIPs come from here.
    pub service_cidr: String,
    /// Pod addresses come from here.
    pub pod_cidr: String,
}

/// What is seen of a cluster.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// The state.
    pub state: ClusterState,
    /// Why, where the state needs a word.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The URL for kubectl.
    pub endpoint: String,
    /// The CA that signs its serving certificate, PEM.
    pub ca_certificate: String,
    /// Objects and bytes kept.
    #[serde(default)]
    pub objects: u64,
    /// Bytes of them.
    #[serde(default)]
    pub bytes: u64,
    /// Who holds the cluster's slot, for each role.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<SlotOwner>,
}

/// The owner of a slot for one role.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlotOwner {
    /// `scheduler`, `controller-manager`, …
    pub role: String,
    /// The slot that the cluster hashes into.
    pub slot: u16,
    /// The process.
    pub owner: String,
    /// Grows at each takeover.
    pub epoch: u64,
}

/// The life of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ClusterState {
    /// Being made.
    Creating,
    /// Usable.
    Active,
    /// Being taken away; it cannot be used any more.
    Deleting,
    /// Something failed that is tried again; the message says what.
    Degraded,
}

/// Where machines run.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Cloud {
    /// The embedded cloud: machines are sets of namespaces on the host. Needs root.
    Local,
    /// Simulated machines.
    Sim,
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::Sim => "sim",
        })
    }
}

impl FromStr for Cloud {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "local" => Ok(Self::Local),
            "sim" => Ok(Self::Sim),
            _ => Err(format!("unknown cloud {s:?}: local or sim")),
        }
    }
}

/// A minor version of Kubernetes that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(u32);

impl Version {
    /// Minors that are served, oldest first.
    pub const SERVED: &[u32] = &[36, 37];
    /// The newest.
    pub const NEWEST: Self = Self(37);
    /// The number after `1.`.
    pub fn minor(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.0)
    }
}

impl FromStr for Version {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let minor = s.strip_prefix("1.").and_then(|m| m.parse().ok());
        match minor {
            Some(minor) if Self::SERVED.contains(&minor) => Ok(Self(minor)),
            _ => {
                let served: Vec<_> = Self::SERVED.iter().map(|m| format!("1.{m}")).collect();
                let s: String = s.chars().take(40).collect();
                Err(format!(
                    "Kubernetes version {s:?} is not served; there are {}",
                    served.join(" and ")
                ))
            }
        }
    }
}

impl TryFrom<String> for Version {
    type Error = String;
    fn try_from(s: String) -> Result<Self, String> {
        s.parse()
    }
}

impl From<Version> for String {
    fn from(v: Version) -> Self {
        v.to_string()
    }
}

/// Makes a cluster.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateCluster {
    /// See [`crate::check_name`].
    pub name: String,
    /// `1.36` or `1.37`; the newest if absent.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub version: Option<Version>,
    /// `local` where the service runs as root, else `sim`.
    #[serde(default)]
    pub cloud: Option<Cloud>,
}

/// A short-lived credential for one cluster, for kubectl.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Credential {
    /// Client certificate, PEM.
    pub client_certificate: String,
    /// Its key, PEM (PKCS #8).
    pub client_key: String,
    /// RFC 3339.
    pub expires_at: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_served_versions_parse() {
        assert_eq!("1.37".parse::<Version>(), Ok(Version::NEWEST));
        for bad in ["", "1", "1.35", "1.38", "v1.37", "1.37.0", "2.37"] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_misspelt_field_is_refused() {
        assert!(serde_json::from_str::<CreateCluster>(r#"{"name":"a","verison":"1.36"}"#).is_err());
        assert!(serde_json::from_str::<CreateCluster>(r#"{"name":"a","version":"1.12"}"#).is_err());
    }
}
