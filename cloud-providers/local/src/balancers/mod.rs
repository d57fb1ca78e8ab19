//! Load balancers: layer 4 proxies on addresses of the cloud's network, carried by the running program.
//!
//! What a load balancer should be stands on disk, so a program that starts again takes its traffic up where it was. Each
//! has one address on the host's end of the network, so the host, machines and pods reach it the same way.
//! Rejected: nftables rules in the network's namespace (the host's own connections would not pass them, and health could
//! not be known without a process anyway).

mod health;
mod proxy;
mod ranges;
mod service;

pub use service::BalancerService;

use crate::records::{io_error, load, save};
use crate::{LocalCloud, Options, network};
use async_trait::async_trait;
use base::ClusterId;
use cloud_api::{CloudError, LoadBalancer, LoadBalancerSpec, LoadBalancers, Result, Tags, matches_tags};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use tokio::sync::watch;

type Key = (ClusterId, String);

#[derive(Debug)]
pub(crate) struct Table {
    dir: PathBuf,
    records: Mutex<BTreeMap<Key, LoadBalancer>>,
    changed: watch::Sender<u64>,
}

impl Table {
    pub(crate) fn load(options: &Options) -> Result<Self> {
        let dir = options.state_dir.join("balancers");
        fs::create_dir_all(&dir).map_err(io_error(format!("create {}", dir.display())))?;
        let mut records = BTreeMap::new();
        for entry in fs::read_dir(&dir)
            .map_err(io_error("read the balancers' directory"))?
            .flatten()
        {
            let path = entry.path();
            if path.extension().is_some_and(|e| e == "json")
                && let Some(record) = load::<LoadBalancer>(&path)?
            {
                records.insert((record.spec.cluster.clone(), record.spec.name.clone()), record);
            }
        }
        Ok(Self {
            dir,
            records: Mutex::new(records),
            changed: watch::Sender::new(0),
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.lock().is_empty()
    }

    fn path(&self, cluster: &ClusterId, name: &str) -> PathBuf {
        // Neither part can have a dot, so different keys never meet.
        self.dir.join(format!("{cluster}.{name}.json"))
    }

    fn announce(&self) {
        self.changed.send_modify(|n| *n += 1);
    }
}

fn v4(balancer: &LoadBalancer) -> Option<Ipv4Addr> {
    match balancer.address {
        Some(IpAddr::V4(address)) => Some(address),
        _ => None,
    }
}

fn missing(cluster: &ClusterId, name: &str) -> CloudError {
    CloudError::NotFound(format!("load balancer {cluster}/{name}"))
}

#[async_trait]
impl LoadBalancers for LocalCloud {
    async fn ensure(&self, spec: &LoadBalancerSpec) -> Result<LoadBalancer> {
        spec.validate()?;
        ranges::parse_all(&spec.source_ranges)?;
        let options = &self.0.options;
        network::ensure(options).await?;
        let table = &self.0.balancers;
        let (record, changed) = {
            let mut records = table.records.lock();
            let key = (spec.cluster.clone(), spec.name.clone());
            let known = records.get(&key);
            let changed = known.is_none_or(|k| k.spec != *spec);
            let record = match known {
                Some(known) => LoadBalancer {
                    spec: spec.clone(),
                    ..known.clone()
                },
                None => {
                    let taken = |a: Ipv4Addr| records.values().any(|r| r.address == Some(a.into()));
                    let address = network::free_address(options, 0x8000..65_000, taken)
                        .ok_or_else(|| CloudError::InsufficientCapacity("no address is free".into()))?;
                    let id = format!("lb-{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
                    LoadBalancer {
                        id,
                        spec: spec.clone(),
                        address: Some(address.into()),
                        hostname: None,
                    }
                }
            };
            if changed {
                save(&table.path(&spec.cluster, &spec.name), &record)?;
                records.insert(key, record.clone());
            }
            (record, changed)
        };
        if let Some(address) = v4(&record) {
            network::add_address(options, address).await?;
        }
        if changed {
            table.announce();
        }
        Ok(record)
    }

    async fn get(&self, cluster: &ClusterId, name: &str) -> Result<LoadBalancer> {
        let key = (cluster.clone(), name.to_owned());
        self.0
            .balancers
            .records
            .lock()
            .get(&key)
            .cloned()
            .ok_or_else(|| missing(cluster, name))
    }

    async fn list(&self, tags: &Tags) -> Result<Vec<LoadBalancer>> {
        Ok(self
            .0
            .balancers
            .records
            .lock()
            .values()
            .filter(|b| matches_tags(&b.spec.tags, tags))
            .cloned()
            .collect())
    }

    async fn delete(&self, cluster: &ClusterId, name: &str) -> Result<()> {
        let table = &self.0.balancers;
        let record = self.get(cluster, name).await?;
        if let Some(address) = v4(&record) {
            network::remove_address(&self.0.options, address).await?;
        }
        match fs::remove_file(table.path(cluster, name)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(io_error("remove the load balancer's record")(e));
            }
            _ => {}
        }
        table.records.lock().remove(&(cluster.clone(), name.to_owned()));
        table.announce();
        self.remove_network_if_unused().await
    }
}
