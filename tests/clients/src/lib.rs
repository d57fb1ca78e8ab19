//! A whole cluster in process behind a real socket, for clients that others wrote.
//!
//! API server, controllers, scheduler and three fake nodes run in this process; the client is a program of its own and
//! has nothing but a kubeconfig. What it says and what it leaves behind is the result.

mod plane;
mod program;

use std::io::Write;

pub use plane::Plane;
pub use program::{Said, run};

/// Says why a test does nothing; with CI=true a program that CI installs must not be missing.
pub fn skip(reason: &str, installed_by_ci: bool) {
    let ci = std::env::var("CI").is_ok_and(|v| v == "true");
    assert!(!(ci && installed_by_ci), "{reason}");
    // Past the capture of the test's output, which is shown only of tests that fail.
    let _printed = std::io::stderr().write_all(format!("skipped: {reason}\n").as_bytes());
}
