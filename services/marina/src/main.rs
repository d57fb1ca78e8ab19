//! `marina`: the command line of the service, and kubectl's credential plugin.
//!
//! A thin client of the REST API v1: it holds no logic that another client would have to repeat. Every verb takes
//! `-o json`; what is printed for people goes to standard error where standard output carries data.
//!
//! Exit codes, for scripts: 0 done; 1 anything else; 2 the command line makes no sense; 3 not found; 4 the key is not valid or does
//! not allow it; 5 the service cannot be reached; 6 it is there already, or not possible now; 7 the operation failed.

mod commands;
mod config;
mod http;
mod kubeconfig;
mod output;
mod progress;

use clap::Parser;
use service_api::{ErrorBody, ErrorCode};
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
    ExitCode::from(exit_code(error))
}

/// See the module.
fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<http::Unreachable>() {
        return 5;
    }
    if error.is::<progress::Failed>() {
        return 7;
    }
    match error.downcast_ref::<ErrorBody>().map(|body| body.code) {
        Some(ErrorCode::NotFound) => 3,
        Some(ErrorCode::Unauthenticated | ErrorCode::PermissionDenied) => 4,
        Some(ErrorCode::Unavailable) => 5,
        Some(ErrorCode::AlreadyExists | ErrorCode::Conflict) => 6,
        Some(_) | None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_can_tell_errors_apart() {
        let of = |code: ErrorCode| exit_code(&anyhow::Error::new(code.because("x")));
        assert_eq!(of(ErrorCode::NotFound), 3);
        assert_eq!(of(ErrorCode::Unauthenticated), 4);
        assert_eq!(of(ErrorCode::AlreadyExists), 6);
        assert_eq!(of(ErrorCode::Internal), 1);
        let at_a_field = anyhow::Error::new(ErrorCode::AlreadyExists.because("x")).context("name");
        assert_eq!(
            (exit_code(&at_a_field), format!("{at_a_field:#}").as_str()),
            (6, "name: x")
        );
        assert_eq!(exit_code(&progress::Failed("x".into()).into()), 7);
    }
}
