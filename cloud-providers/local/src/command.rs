//! Running the host's tools with a time limit.

use cloud_api::CloudError;
use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// How long a tool may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs a program to its end and answers with what it printed; its complaint becomes the error.
pub(crate) async fn run<A: AsRef<OsStr>>(
    program: &str,
    args: &[A],
    input: &str,
) -> Result<String, CloudError> {
    run_within(LIMIT, program, args, input).await
}

/// [`run`] with a time limit of its own.
pub(crate) async fn run_within<A: AsRef<OsStr>>(
    limit: Duration,
    program: &str,
    args: &[A],
    input: &str,
) -> Result<String, CloudError> {
    let fail = |why: String| CloudError::Other(format!("{program}: {why}"));
    let mut child = tokio::process::Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| fail(format!("cannot be run ({e}); is it installed?")))?;
    let work = async {
        if let Some(mut stdin) = child.stdin.take() {
            // A program that ends without reading closes the pipe; its exit code tells what happened.
            let _closed = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(limit, work)
        .await
        .map_err(|_| fail(format!("took longer than {limit:?}")))?
        .map_err(|e| fail(e.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(fail(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
