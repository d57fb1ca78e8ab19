//! Compiles the programs of the seed images: one file each, no dependencies, linked statically, so that an image is that file.
//!
//! They are no crates of the workspace because they need other linker settings than everything else.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let target = std::env::var("TARGET").expect("cargo sets TARGET");
    println!("cargo::rerun-if-changed=build.rs");
    for program in ["pause", "shop"] {
        let source = format!("programs/{program}.rs");
        println!("cargo::rerun-if-changed={source}");
        let status = Command::new(&rustc)
            .args([
                "--edition=2024",
                "--crate-type=bin",
                "-Copt-level=s",
                "-Cpanic=abort",
                "-Cstrip=symbols",
            ])
            .args([
                "-Ctarget-feature=+crt-static",
                "-Crelocation-model=static",
                "--target",
                &target,
                "-o",
            ])
            .arg(out.join(program))
            .arg(&source)
            .status()
            .expect("rustc can be run");
        assert!(
            status.success(),
            "{source} does not compile (static linking needs the C library's static archive)"
        );
    }
}
