//! A launcher of machines by itself, for tests; `marinad machine` is the same.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    cloud_local::machine_entry(&args)
}
