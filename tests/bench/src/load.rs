//! Many clients at once, and how long each call took.

use crate::usage::Usage;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Buckets for each doubling; the error of a percentile is at most 1/32.
const STEPS: u32 = 32;

/// Latencies, in buckets that grow with the latency.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    count: u64,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; 64 * STEPS as usize],
            count: 0,
            max: Duration::ZERO,
        }
    }
}

fn bucket(nanos: u64) -> usize {
    let power = 63 - nanos.max(1).leading_zeros();
    if power < STEPS.ilog2() {
        return nanos as usize;
    }
    let step = (nanos >> (power - STEPS.ilog2())) - u64::from(STEPS);
    ((power - STEPS.ilog2() + 1) * STEPS) as usize + step as usize
}

/// The smallest value of a bucket.
fn floor(bucket: usize) -> u64 {
    let (power, step) = (bucket as u32 / STEPS, bucket as u64 % u64::from(STEPS));
    if power == 0 {
        step
    } else {
        (u64::from(STEPS) + step) << (power - 1)
    }
}

impl Histogram {
    /// Counts one call.
    pub fn record(&mut self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = bucket(nanos).min(self.counts.len() - 1);
        self.counts[bucket] += 1;
        self.count += 1;
        self.max = self.max.max(took);
    }

    /// Adds another's calls to this one's.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// How many calls were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest call.
    pub fn max(&self) -> Duration {
        self.max
    }

    /// The latency that this share of the calls (0.0 to 1.0) did not exceed; zero if there were none.
    pub fn percentile(&self, share: f64) -> Duration {
        let rank = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, n) in self.counts.iter().enumerate() {
            seen += n;
            if *n > 0 && seen >= rank {
                return Duration::from_nanos(floor(bucket));
            }
        }
        self.max
    }
}

/// What a load did.
#[derive(Clone, Debug)]
pub struct Load {
    /// Latencies of the calls that succeeded.
    pub latency: Histogram,
    /// Calls that failed.
    pub failed: u64,
    /// From the first call to the last answer.
    pub wall: Duration,
    /// CPU time of this process meanwhile.
    pub cpu: Duration,
}

impl Load {
    /// Successful calls in a second.
    pub fn rate(&self) -> f64 {
        self.latency.count() as f64 / self.wall.as_secs_f64().max(1e-9)
    }

    /// `cpu` for each successful call.
    pub fn each(&self, cpu: Duration) -> Duration {
        cpu / u32::try_from(self.latency.count().max(1)).unwrap_or(u32::MAX)
    }

    /// Rate, p50, p99 and this process's CPU time for each call, as text; failures are named.
    pub fn summary(&self) -> String {
        self.summary_with(self.cpu)
    }

    /// The same with CPU time that was measured elsewhere (the server's process).
    pub fn summary_with(&self, cpu: Duration) -> String {
        let (p50, p99) = (self.latency.percentile(0.5), self.latency.percentile(0.99));
        let cpu = self.each(cpu);
        let failed = if self.failed > 0 {
            format!(", {} FAILED", self.failed)
        } else {
            String::new()
        };
        format!(
            "{}, {p50:.1?} / {p99:.1?}, {cpu:.1?} CPU{failed}",
            crate::per_second(self.rate())
        )
    }
}

/// Runs `total` calls, `clients` at a time; `call` gets the call's number and says whether it succeeded.
pub async fn run<F, Fut>(clients: u64, total: u64, call: F) -> Load
where
    F: Fn(u64) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = bool> + Send,
{
    let (call, next) = (Arc::new(call), Arc::new(AtomicU64::new(0)));
    let usage = Usage::start();
    let clients: Vec<_> = (0..clients)
        .map(|_| {
            let (call, next) = (call.clone(), next.clone());
            tokio::spawn(async move {
                let (mut latency, mut failed) = (Histogram::default(), 0);
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= total {
                        return (latency, failed);
                    }
                    let began = Instant::now();
                    if call(n).await {
                        latency.record(began.elapsed());
                    } else {
                        failed += 1;
                    }
                }
            })
        })
        .collect();
    let (mut latency, mut failed) = (Histogram::default(), 0);
    for client in clients {
        match client.await {
            Ok((its, f)) => {
                latency.merge(&its);
                failed += f;
            }
            Err(_) => failed += 1,
        }
    }
    Load {
        latency,
        failed,
        wall: usage.wall(),
        cpu: usage.cpu(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_thirtieth() {
        let mut all = Histogram::default();
        for half in 0..2u64 {
            let mut histogram = Histogram::default();
            for n in (1..=10_000u64).filter(|n| n % 2 == half) {
                histogram.record(Duration::from_micros(n));
            }
            all.merge(&histogram);
        }
        for (share, expected) in [(0.0, 1.0), (0.5, 5_000.0), (0.99, 9_900.0), (1.0, 10_000.0)] {
            let got = all.percentile(share).as_nanos() as f64 / 1000.0;
            assert!(
                (got - expected).abs() <= expected / 30.0,
                "p{share}: {got} instead of {expected}"
            );
        }
        assert_eq!((all.count(), all.max()), (10_000, Duration::from_millis(10)));
    }

    #[tokio::test]
    async fn every_call_is_made_once_and_failures_are_counted() {
        let load = run(7, 1000, |n| async move { n % 10 != 3 }).await;
        assert_eq!((load.latency.count(), load.failed), (900, 100));
        assert!(load.summary().contains("100 FAILED"));
    }
}
