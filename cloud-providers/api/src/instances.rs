//! Machines.

use crate::{CloudError, Result, Tags, Token};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What to create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSpec {
    /// A DNS label; it becomes the machine's host name.
    pub name: String,
    /// One of [`crate::Cloud::zones`].
    pub zone: String,
    /// The name of one of [`Instances::types`].
    pub instance_type: String,
    /// An image's id or name; empty means the cloud's default node image.
    pub image: String,
    /// Given to the machine as it is; at most 16 KiB.
    pub user_data: Vec<u8>,
    /// Whose it is.
    pub tags: Tags,
    /// Repeating a create with this token answers with the same instance.
    pub token: Token,
}

/// Where an instance is in its life. It only moves forward, except that `Running` and `Stopped` may alternate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstanceState {
    /// Accepted, not running yet.
    Pending,
    /// The machine's init runs.
    Running,
    /// The machine ended by itself (or its host was rebooted); its disk is still there.
    Stopped,
    /// Being torn down. Afterwards it is gone: `get` answers `NotFound`.
    Terminating,
}

/// One machine as the cloud sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The cloud's own id.
    pub id: String,
    /// The name it was created with.
    pub name: String,
    /// Where it is.
    pub zone: String,
    /// The type it was created with.
    pub instance_type: String,
    /// The image it booted from.
    pub image: String,
    /// Where it is in its life.
    pub state: InstanceState,
    /// Its address in the cloud's network, as soon as it has one.
    pub address: Option<IpAddr>,
    /// `Node.spec.providerID`: `<provider>:///<zone>/<id>`.
    pub provider_id: String,
    /// Whose it is.
    pub tags: Tags,
}

/// A size that machines come in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceType {
    /// Its name.
    pub name: String,
    /// Thousandths of a core.
    pub milli_cpu: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// How many pods a node of this size should take.
    pub max_pods: u32,
}

/// The longest user data that every cloud takes, in bytes.
const MAX_USER_DATA: usize = 16 * 1024;

impl InstanceSpec {
    /// The checks that need no cloud; providers call it first.
    pub fn validate(&self, zones: &[String], types: &[InstanceType]) -> Result<()> {
        let invalid = |why: String| Err(CloudError::Invalid(why));
        if !is_dns_label(&self.name) {
            return invalid(format!("name {:?} is no DNS label", self.name));
        }
        if !zones.contains(&self.zone) {
            return invalid(format!("no zone {:?}; there are {}", self.zone, zones.join(", ")));
        }
        if !types.iter().any(|t| t.name == self.instance_type) {
            let names: Vec<_> = types.iter().map(|t| t.name.as_str()).collect();
            return invalid(format!(
                "no instance type {:?}; there are {}",
                self.instance_type,
                names.join(", ")
            ));
        }
        if self.user_data.len() > MAX_USER_DATA {
            return invalid(format!(
                "user data has {} bytes, {MAX_USER_DATA} are allowed",
                self.user_data.len()
            ));
        }
        Ok(())
    }
}

/// RFC 1123 label: 1 to 63 of `[a-z0-9-]`, beginning and ending with a letter or digit.
pub(crate) fn is_dns_label(s: &str) -> bool {
    (1..=63).contains(&s.len())
        && s.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !s.starts_with('-')
        && !s.ends_with('-')
}

/// Machines.
#[async_trait]
pub trait Instances: Send + Sync {
    /// The sizes that can be asked for, smallest first, at least one.
    fn types(&self) -> Vec<InstanceType>;

    /// Creates a machine and answers as soon as the cloud has accepted it; it may still be `Pending`.
    /// With a token that was used before it answers with that instance if it still exists.
    /// `Invalid` for an unknown zone, type or image, a name that is no DNS label, user data over 16 KiB, or a token
    /// that was used with another specification.
    async fn create(&self, spec: &InstanceSpec) -> Result<Instance>;

    /// One machine. `NotFound` once it is gone.
    async fn get(&self, id: &str) -> Result<Instance>;

    /// All machines that have every one of these tags, ordered by id. Those that are gone are not listed.
    async fn list(&self, tags: &Tags) -> Result<Vec<Instance>>;

    /// Begins (or goes on with) tearing a machine down; its disk goes too. `NotFound` means finished.
    async fn terminate(&self, id: &str) -> Result<()>;

    /// Restarts a machine on the same disk, with the same address.
    async fn reboot(&self, id: &str) -> Result<()>;

    /// The last bytes of the machine's console, at most 64 KiB.
    async fn console(&self, id: &str) -> Result<Vec<u8>>;
}
