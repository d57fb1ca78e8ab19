//! `marina`: the command line of the service, and kubectl's credential plugin.
//!
//! A thin client of the REST API v1: it holds no logic that another client would have to repeat. Every verb takes
//! `-o json`; what is printed for people goes to standard error where standard output carries data.

mod commands;
mod config;
mod http;
mod kubeconfig;
mod output;
mod progress;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = commands::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    match runtime.block_on(commands::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}
