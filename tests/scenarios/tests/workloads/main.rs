//! Workloads on simulated nodes: the real API server, scheduler and controllers in process, time that costs nothing.

mod budgets;
mod failures;
mod jobs;
mod metrics;
mod plant;
mod rollouts;
