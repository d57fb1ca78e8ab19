//! Tasks of the repository that are no part of a build: `cargo xtask import-api`.

mod import_api;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Tasks of the repository")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Download pinned packages and write the table of API facts again.
    ImportApi,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().task {
        Task::ImportApi => import_api::run(),
    }
}
