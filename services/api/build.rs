//! Takes the descriptions of types and fields from the doc comments of `k8s-openapi`, for `kubectl explain`.
//!
//! They are upstream's prose, so they are never committed: they are read from the locked dependency's source, which
//! cargo has on disk for every build, and go compressed into the build directory. `cargo metadata` tells where the
//! source lies, vendored or not, and needs no network.
//!
//! Each type is a line `=NAME<tab>TEXT`, each of its fields a line `NAME<tab>TEXT` below; `\n` stands for a new line.

use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../../Cargo.lock");
    let source = k8s_openapi()?;
    let mut files = Vec::new();
    walk(&source.join("src/v1_37"), &mut files)?;
    files.sort();
    let mut out = String::new();
    for file in files {
        describe(&fs::read_to_string(file)?, &mut out);
    }
    if !out.contains("=io.k8s.api.core.v1.Pod\t") {
        return Err("no descriptions found in k8s-openapi".into());
    }
    let to = PathBuf::from(env::var("OUT_DIR")?).join("docs.zst");
    fs::write(to, zstd::encode_all(out.as_bytes(), 12)?)?;
    Ok(())
}

/// The directory of the locked `k8s-openapi`.
fn k8s_openapi() -> Result<PathBuf, Box<dyn Error>> {
    let output = Command::new(env::var("CARGO")?)
        .args([
            "metadata",
            "--offline",
            "--format-version",
            "1",
            // Without it cargo wants the sources of other platforms' dependencies too, which no build has fetched.
            "--filter-platform",
            &env::var("TARGET")?,
            "--manifest-path",
        ])
        .arg(Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("Cargo.toml"))
        .output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"]
        .as_array()
        .ok_or("cargo metadata names no packages")?;
    let package = packages
        .iter()
        .find(|p| p["name"] == "k8s-openapi")
        .ok_or("k8s-openapi is no dependency")?;
    let manifest = package["manifest_path"]
        .as_str()
        .ok_or("a package without a manifest")?;
    Ok(Path::new(manifest)
        .parent()
        .ok_or("a manifest without a directory")?
        .to_owned())
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// Reads the comments of one generated file, which holds one type.
fn describe(text: &str, out: &mut String) {
    let Some(name) = text
        .lines()
        .next()
        .and_then(|l| l.strip_prefix("// Generated from definition "))
    else {
        return;
    };
    // The deserializer tells the JSON name of each field: `"binaryData" => Field::Key_binary_data,`
    let json_name = |rust: &str| {
        text.lines().find_map(|line| {
            let (json, key) = line.trim().split_once(" => Field::Key_")?;
            (key.trim_end_matches(',') == rust).then(|| json.trim_matches('"').to_owned())
        })
    };
    let mut comment: Vec<&str> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let code = line.trim_start();
        if let Some(words) = code.strip_prefix("///") {
            comment.push(words.strip_prefix(' ').unwrap_or(words));
        } else if code.starts_with("#[") {
            continue;
        } else if !inside && (code.starts_with("pub struct ") || code.starts_with("pub enum ")) {
            let _ = writeln!(out, "={name}\t{}", joined(&comment));
            comment.clear();
            inside = true;
        } else if let Some(field) = code.strip_prefix("pub ").filter(|_| inside) {
            let rust = field.split(':').next().unwrap_or("").trim_start_matches("r#");
            if let Some(json) = json_name(rust) {
                let _ = writeln!(out, "{json}\t{}", joined(&comment));
            }
            comment.clear();
        } else if line == "}" {
            return;
        }
    }
}

/// One line, without what escapes Markdown.
fn joined(comment: &[&str]) -> String {
    let mut text = comment.join("\\n").replace('\t', "  ");
    for c in ['<', '>', '[', ']'] {
        text = text.replace(&format!("\\{c}"), &c.to_string());
    }
    text
}
