//! What a test program of this crate does: enter a machine, bring its node up, run the cases.

use crate::machine::{Inside, enter};
use crate::node::Node;
use crate::suite::{self, Case};
use std::process::ExitCode;
use std::sync::Arc;

/// Runs the cases that fit the first argument. `telemetry` sets logs up, inside the runtime; what it returns is dropped at
/// the end.
pub fn run<T>(telemetry: impl FnOnce() -> T, together: Vec<Case<Node>>, alone: Vec<Case<Node>>) -> ExitCode {
    if node_network::cni::is_call() {
        return node_network::cni::main();
    }
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    match enter() {
        Ok(Inside::Yes(machine)) => {
            let tokio = tokio::runtime::Runtime::new().expect("a runtime can be made");
            tokio.block_on(async {
                let _until_the_end = telemetry();
                let node = match Node::start(machine).await {
                    Ok(node) => Arc::new(node),
                    Err(error) => {
                        println!("test the_node_becomes_ready ... FAILED: {error:#}");
                        return ExitCode::FAILURE;
                    }
                };
                let log = node.clone();
                suite::run(
                    node,
                    together,
                    alone,
                    filter.as_deref().unwrap_or_default(),
                    move || log.containerd_log(),
                )
                .await
            })
        }
        Ok(Inside::Ended(code)) => code,
        Ok(Inside::Skipped(why)) if needs::is_ci() => {
            println!("test pods_run_on_containerd ... FAILED: {why}");
            ExitCode::FAILURE
        }
        Ok(Inside::Skipped(why)) => {
            println!("skipped: {why}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("test a_machine_can_be_made ... FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}
