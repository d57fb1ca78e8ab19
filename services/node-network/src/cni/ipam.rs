//! Which pod has which address: one file for each address, under a lock.
//!
//! The next address is looked for after the one given last, so that an address rests before it is used again, and neighbours'
//! connections to a pod that is gone do not reach a new one.

use super::hostports::PortMapping;
use crate::plan::Cidr;
use crate::{Context, NetworkError};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// What is kept of one pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) container: String,
    pub(crate) address: Ipv4Addr,
    /// The node's end of the pod's device.
    pub(crate) device: String,
    #[serde(default)]
    pub(crate) ports: Vec<PortMapping>,
}

pub(crate) struct Ipam {
    dir: PathBuf,
    range: Cidr,
}

impl Ipam {
    pub(crate) fn open(dir: PathBuf, range: Cidr) -> Result<Self, NetworkError> {
        if range.size() < 8 {
            return Err(NetworkError::Invalid(format!("{range} is too small for pods")));
        }
        fs::create_dir_all(&dir).context(format!("create {}", dir.display()))?;
        Ok(Self { dir, range })
    }

    /// The first address: every pod's gateway.
    pub(crate) fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.range.base) + 1)
    }

    fn lock(&self) -> Result<Flock<fs::File>, NetworkError> {
        let file = fs::File::create(self.dir.join(".lock")).context("open the lock")?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, e)| e)
            .context("lock")
    }

    fn path(&self, address: Ipv4Addr) -> PathBuf {
        self.dir.join(address.to_string())
    }

    fn records(&self) -> Result<Vec<Record>, NetworkError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).context("read the records")?.flatten() {
            if entry
                .file_name()
                .to_str()
                .is_some_and(|n| n.parse::<Ipv4Addr>().is_ok())
                && let Ok(record) = serde_json::from_slice(&fs::read(entry.path()).unwrap_or_default())
            {
                found.push(record);
            }
        }
        Ok(found)
    }

    /// The record of a pod; the same again if it has one.
    pub(crate) fn allocate(&self, container: &str) -> Result<Record, NetworkError> {
        let _locked = self.lock()?;
        let records = self.records()?;
        if let Some(known) = records.iter().find(|r| r.container == container) {
            return Ok(known.clone());
        }
        let last_path = self.dir.join(".last");
        let last: u32 = fs::read_to_string(&last_path)
            .ok()
            .and_then(|t| t.parse().ok())
            .unwrap_or(1);
        // Neither the network's own address, nor the gateway, nor the last one (by custom broadcast).
        let usable = u32::try_from(self.range.size() - 3).unwrap_or(u32::MAX);
        let offset = last.saturating_sub(1) % usable;
        let free = (0..usable)
            .map(|n| 2 + (offset + n) % usable)
            .filter_map(|n| Some((n, self.range.nth(n)?)))
            .find(|(_, a)| records.iter().all(|r| r.address != *a));
        let Some((n, address)) = free else {
            return Err(NetworkError::NoAddress(self.range.to_string()));
        };
        let record = Record {
            container: container.into(),
            address,
            device: device_name(container),
            ports: vec![],
        };
        self.update(&record)?;
        fs::write(last_path, n.to_string()).context("note the last address")?;
        Ok(record)
    }

    pub(crate) fn update(&self, record: &Record) -> Result<(), NetworkError> {
        let text = serde_json::to_vec(record).map_err(|e| NetworkError::Invalid(e.to_string()))?;
        let temporary = self.dir.join(format!(".{}.new", record.address));
        fs::write(&temporary, text).context("write the record")?;
        fs::rename(temporary, self.path(record.address)).context("write the record")
    }

    pub(crate) fn find(&self, container: &str) -> Result<Option<Record>, NetworkError> {
        Ok(self.records()?.into_iter().find(|r| r.container == container))
    }

    pub(crate) fn containers(&self) -> Result<Vec<String>, NetworkError> {
        Ok(self.records()?.into_iter().map(|r| r.container).collect())
    }

    pub(crate) fn release(&self, record: &Record) -> Result<(), NetworkError> {
        match fs::remove_file(self.path(record.address)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).context("remove the record"),
            _ => Ok(()),
        }
    }

    pub(crate) fn check_free(&self) -> Result<(), NetworkError> {
        if (self.records()?.len() as u64) < self.range.size() - 3 {
            return Ok(());
        }
        Err(NetworkError::NoAddress(self.range.to_string()))
    }
}

/// The node's end of a pod's device: at most 15 characters, the same for the same pod.
fn device_name(container: &str) -> String {
    let hash = Sha256::digest(container.as_bytes());
    let hex: String = hash.iter().take(5).map(|b| format!("{b:02x}")).collect();
    format!("veth{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_given_once_in_turn_and_run_out() {
        let dir = tempfile::tempdir().unwrap();
        let ipam = Ipam::open(dir.path().into(), Cidr::parse("10.1.2.0/29").unwrap()).unwrap();
        let last_byte = |c: &str| ipam.allocate(c).unwrap().address.octets()[3];
        assert_eq!(["a", "b", "a"].map(last_byte), [2, 3, 2]);
        ipam.release(&ipam.find("a").unwrap().unwrap()).unwrap();
        assert_eq!(["c", "d", "e", "f"].map(last_byte), [4, 5, 6, 2]);
        assert!(matches!(ipam.allocate("g"), Err(NetworkError::NoAddress(_))));
        assert!(ipam.check_free().is_err());
        assert_eq!(ipam.find("g").unwrap(), None);
        assert_ne!(device_name("a"), device_name("b"));
        assert!(device_name("a").len() <= 15);
    }
}
