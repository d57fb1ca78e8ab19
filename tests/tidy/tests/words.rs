//! Things that must not be in the repository: paths of somebody's machine, left-overs.

use std::path::{Path, PathBuf};
use std::process::Command;

fn tracked() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let listed = Command::new("git")
        .arg("-C")
        .arg(&root)
        .args(["ls-files", "-z"])
        .output();
    let Ok(listed) = listed else { return Vec::new() };
    let names = String::from_utf8_lossy(&listed.stdout).into_owned();
    names
        .split('\0')
        .filter(|n| !n.is_empty())
        .map(|n| root.join(n))
        .collect()
}

#[test]
fn no_left_overs() {
    // Written in two halves, so that this file does not name what it looks for.
    let unwanted = [
        concat!("todo", "!("),
        concat!("#[ign", "ore"),
        concat!("db", "g!("),
        concat!("/wo", "rk/"),
    ];
    let mut found = Vec::new();
    let mut seen = 0;
    for path in tracked() {
        let code = path
            .extension()
            .is_some_and(|e| e == "rs" || e == "sh" || e == "toml");
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        if !code {
            continue;
        }
        seen += 1;
        for (number, line) in text.lines().enumerate() {
            if unwanted.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    if seen == 0 {
        println!("skipped: this is no git checkout");
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
