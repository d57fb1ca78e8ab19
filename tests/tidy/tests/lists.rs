//! A file beside a list is in the list: forgetting the line under `mod` is caught here, not by a user.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every Rust file below `services` and `cloud-providers` is reached by a `mod` line of its parent.
#[test]
fn every_source_file_is_a_module() {
    let mut lost = Vec::new();
    for top in ["services", "cloud-providers"] {
        for krate in std::fs::read_dir(root().join(top))
            .expect("the folder is there")
            .flatten()
        {
            visit(&krate.path().join("src"), &mut lost);
        }
    }
    assert!(lost.is_empty(), "no `mod` line for:\n{}", lost.join("\n"));
}

fn visit(dir: &Path, lost: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for path in entries.flatten().map(|e| e.path()) {
        let stem = path
            .file_stem()
            .and_then(|s| s.to_str())
            .unwrap_or_default()
            .to_owned();
        let is_root = matches!(stem.as_str(), "lib" | "main" | "mod");
        if path.is_dir() {
            if stem != "bin" && path.file_name().is_some_and(|n| n != "generated") {
                visit(&path, lost);
            }
        } else if path.extension().is_some_and(|e| e == "rs") && !is_root && !declared(dir, &stem) {
            lost.push(path.display().to_string());
        }
    }
}

fn declared(dir: &Path, stem: &str) -> bool {
    let sibling = dir.with_extension("rs");
    let parents = ["lib.rs", "main.rs", "mod.rs"].map(|f| dir.join(f));
    parents.iter().chain([&sibling]).any(|parent| {
        std::fs::read_to_string(parent).is_ok_and(|text| {
            let direct = format!("mod {stem};");
            text.contains(&direct) || text.contains(&format!("{stem}.rs"))
        })
    })
}
