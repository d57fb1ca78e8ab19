//! Watches an operation until it is done.

use crate::http::Service;
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use service_api::{Operation, OperationState};
use std::time::Duration;

/// The operation ended, and not well.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failed(pub(crate) String);

/// Waits for the end and shows each stage on standard error: a spinner on a terminal, lines elsewhere.
pub(crate) async fn wait(service: &Service, begun: Operation, what: &str) -> Result<Operation> {
    use std::io::IsTerminal;
    let spinner = if std::io::stderr().is_terminal() {
        ProgressBar::new_spinner().with_style(ProgressStyle::with_template("{spinner} {msg} ({elapsed})")?)
    } else {
        ProgressBar::hidden()
    };
    spinner.enable_steady_tick(Duration::from_millis(100));
    let mut operation = begun;
    let mut said = String::new();
    while !operation.state.is_final() {
        if spinner.is_hidden() && said != operation.stage {
            eprintln!("{what}: {}", operation.stage);
            said.clone_from(&operation.stage);
        }
        spinner.set_message(format!("{what}: {}", operation.stage));
        let stage: String = operation.stage.bytes().map(escape).collect();
        let path = format!(
            "/v1/projects/{}/operations/{}?waitSeconds=30&stage={stage}",
            operation.project, operation.id
        );
        operation = service.get(&path).await?;
    }
    spinner.finish_and_clear();
    match operation.state {
        OperationState::Failed => {
            let why = operation.error.as_deref().unwrap_or("no reason given");
            Err(Failed(format!("{what} failed: {why}")).into())
        }
        OperationState::Succeeded | OperationState::Running => Ok(operation),
    }
}

fn escape(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() {
        char::from(byte).into()
    } else {
        format!("%{byte:02X}")
    }
}
