//! What a test needs of its machine, and what happens where it is missing.
//!
//! A user has whatever they have: the test says that it is skipped, and why. On CI (`CI=true`) everything has to be there, so
//! that no test is lost unseen: it fails. Only tests depend on this crate, of any layer.

use std::io::Write;
use std::path::PathBuf;

/// Says why the calling test is skipped.
///
/// # Panics
/// Where `CI=true`.
pub fn skip(why: &str) {
    assert!(!is_ci(), "{why}");
    skip_also_on_ci(why);
}

/// As [`skip`], for what CI does not install either: upstream's own programs, clients in other languages.
pub fn skip_also_on_ci(why: &str) {
    // Past the capture of the test's output, which is shown only of tests that fail.
    let _printed = std::io::stderr().write_all(format!("skipped: {why}\n").as_bytes());
}

/// Whether everything has to be there.
pub fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|v| v == "true")
}

/// The path of a program that is on `PATH`, or where system administrators' programs are.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    places.map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// A program of upstream's (`etcd`, `etcdctl`): in the directory `MARINA_UPSTREAM_DIR`, else as [`program`]; `None` after it
/// was said that the test is skipped.
pub fn upstream(name: &str) -> Option<PathBuf> {
    let own = std::env::var_os("MARINA_UPSTREAM_DIR").map(|dir| PathBuf::from(dir).join(name));
    let found = own.filter(|file| file.is_file()).or_else(|| program(name));
    if found.is_none() {
        skip_also_on_ci(&format!(
            "there is no {name} in MARINA_UPSTREAM_DIR or on the PATH"
        ));
    }
    found
}

/// The kubectls to try: those of `MARINA_KUBECTLS` (paths, separated by colons), else the one on `PATH`; none after it was
/// said that the test is skipped.
pub fn kubectls() -> Vec<PathBuf> {
    let found: Vec<PathBuf> = match std::env::var_os("MARINA_KUBECTLS") {
        Some(list) => std::env::split_paths(&list).filter(|p| p.is_file()).collect(),
        None => program("kubectl").into_iter().collect(),
    };
    if found.is_empty() {
        skip("no kubectl in PATH or MARINA_KUBECTLS");
    }
    found
}

/// Whether this is root and has these programs; what is missing is said, as by [`skip`].
pub fn root_with(programs: &[&str]) -> bool {
    let missing = missing_of_root(programs);
    if let Some(why) = &missing {
        skip(why);
    }
    missing.is_none()
}

/// What is missing of root and these programs.
pub fn missing_of_root(programs: &[&str]) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("not root".into());
    }
    let missing = programs.iter().find(|name| program(name).is_none())?;
    Some(format!("no {missing} on PATH"))
}
