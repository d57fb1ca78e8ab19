//! Running `ip` and `nft` with a batch on their standard input: one process for any number of changes.

use crate::{Context, NetworkError};
use std::io::Write;
use std::process::{Command, Stdio};

/// Runs a program to its end; its complaint becomes the error. Both programs end by themselves: they only talk to the kernel.
pub(crate) fn run(program: &'static str, args: &[&str], input: &str) -> Result<String, NetworkError> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context(format!("run {program}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that refuses early closes the pipe; its exit code tells.
        let _closed = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().context(format!("wait for {program}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(NetworkError::Tool {
        program,
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// `ip -batch`: stops at the first line that fails.
pub(crate) fn ip(batch: &str) -> Result<(), NetworkError> {
    if batch.is_empty() {
        Ok(())
    } else {
        run("ip", &["-batch", "-"], batch).map(drop)
    }
}

/// `nft -f`: one transaction.
pub(crate) fn nft(transaction: &str) -> Result<(), NetworkError> {
    run("nft", &["-f", "-"], transaction).map(drop)
}
