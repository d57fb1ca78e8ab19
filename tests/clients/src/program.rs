//! Running somebody's program with a time limit.

use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// What a program printed (both streams), and whether it succeeded.
#[derive(Debug)]
pub struct Said {
    /// Exit code 0.
    pub ok: bool,
    /// Standard output, then standard error.
    pub text: String,
}

/// Runs a program to its end; one that takes longer than `limit` is ended and has failed.
pub async fn run(mut command: Command, limit: Duration) -> Said {
    command.stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(limit, command.output()).await {
        Ok(Ok(done)) => Said {
            ok: done.status.success(),
            text: [done.stdout, done.stderr]
                .map(|b| String::from_utf8_lossy(&b).into_owned())
                .join(""),
        },
        Ok(Err(error)) => Said {
            ok: false,
            text: error.to_string(),
        },
        Err(_) => Said {
            ok: false,
            text: format!("still running after {limit:?}"),
        },
    }
}
