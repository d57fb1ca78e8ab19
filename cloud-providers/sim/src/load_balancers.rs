//! Load balancers that are records: they carry no traffic.

use crate::{Operation, SimCloud};
use async_trait::async_trait;
use base::ClusterId;
use cloud_api::{CloudError, LoadBalancer, LoadBalancerSpec, LoadBalancers, Result, Tags, matches_tags};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

pub(crate) type Table = BTreeMap<(ClusterId, String), LoadBalancer>;

fn missing(cluster: &ClusterId, name: &str) -> CloudError {
    CloudError::NotFound(format!("load balancer {cluster}/{name}"))
}

#[async_trait]
impl LoadBalancers for SimCloud {
    async fn ensure(&self, spec: &LoadBalancerSpec) -> Result<LoadBalancer> {
        self.call(Operation::ChangeLoadBalancer, |state, _| {
            spec.validate()?;
            let key = (spec.cluster.clone(), spec.name.clone());
            if let Some(known) = state.load_balancers.get_mut(&key) {
                known.spec = spec.clone();
                return Ok(known.clone());
            }
            let id = state.id("lb");
            // TEST-NET-3 is too small for thousands; 198.18.0.0/15 is reserved for benchmarks (RFC 2544).
            let host = 0xc612_0000 | u32::try_from(state.next_id & 0x0001_ffff).unwrap_or(0);
            let made = LoadBalancer {
                id,
                spec: spec.clone(),
                address: Some(Ipv4Addr::from(host).into()),
                hostname: None,
            };
            state.load_balancers.insert(key, made.clone());
            Ok(made)
        })
        .await
    }

    async fn get(&self, cluster: &ClusterId, name: &str) -> Result<LoadBalancer> {
        self.call(Operation::ReadLoadBalancer, |state, _| {
            let key = (cluster.clone(), name.to_owned());
            state
                .load_balancers
                .get(&key)
                .cloned()
                .ok_or_else(|| missing(cluster, name))
        })
        .await
    }

    async fn list(&self, tags: &Tags) -> Result<Vec<LoadBalancer>> {
        self.call(Operation::ReadLoadBalancer, |state, _| {
            Ok(state
                .load_balancers
                .values()
                .filter(|b| matches_tags(&b.spec.tags, tags))
                .cloned()
                .collect())
        })
        .await
    }

    async fn delete(&self, cluster: &ClusterId, name: &str) -> Result<()> {
        self.call(Operation::ChangeLoadBalancer, |state, _| {
            let key = (cluster.clone(), name.to_owned());
            state
                .load_balancers
                .remove(&key)
                .map(drop)
                .ok_or_else(|| missing(cluster, name))
        })
        .await
    }
}
