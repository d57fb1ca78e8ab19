//! Fairness between clusters: each has its own number of requests in flight.
//!
//! Over the limit a request is answered at once with 429 and `Retry-After`; other clusters never notice. Counters exist only
//! while a cluster has requests in flight. Kubernetes' own priority levels inside a cluster are not applied yet.

use base::ClusterId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Default)]
struct Counts {
    short: usize,
    long: usize,
}

/// The counters.
#[derive(Clone)]
pub(crate) struct Fairness {
    clusters: Arc<Mutex<HashMap<ClusterId, Counts>>>,
    short: usize,
    long: usize,
}

/// One request in flight; dropping it frees the place.
pub(crate) struct Permit {
    fairness: Fairness,
    cluster: ClusterId,
    long: bool,
}

impl Fairness {
    pub(crate) fn new(short: usize, long: usize) -> Self {
        Self {
            clusters: Arc::default(),
            short,
            long,
        }
    }

    /// A place for one request, or `None` if the cluster has too many in flight.
    pub(crate) fn enter(&self, cluster: &ClusterId, long: bool) -> Option<Permit> {
        let mut clusters = self.clusters.lock();
        let counts = clusters.entry(cluster.clone()).or_default();
        let (count, limit) = if long {
            (&mut counts.long, self.long)
        } else {
            (&mut counts.short, self.short)
        };
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Permit {
            fairness: self.clone(),
            cluster: cluster.clone(),
            long,
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut clusters = self.fairness.clusters.lock();
        if let Some(counts) = clusters.get_mut(&self.cluster) {
            let count = if self.long {
                &mut counts.long
            } else {
                &mut counts.short
            };
            *count = count.saturating_sub(1);
            if counts.short == 0 && counts.long == 0 {
                clusters.remove(&self.cluster);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_cluster_does_not_stop_its_neighbour_and_leaves_nothing_behind() {
        let fairness = Fairness::new(1, 1);
        let (a, b): (ClusterId, ClusterId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let first = fairness.enter(&a, false);
        assert!(first.is_some() && fairness.enter(&a, false).is_none());
        assert!(fairness.enter(&a, true).is_some() && fairness.enter(&b, false).is_some());
        drop(first);
        assert!(fairness.enter(&a, false).is_some());
        assert!(fairness.clusters.lock().is_empty());
    }
}
