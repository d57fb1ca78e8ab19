//! Merges a kubeconfig into the user's own, as `kubectl config` would: `KUBECONFIG` or `~/.kube/config`.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The file that kubectl writes to: the first of `KUBECONFIG`, or the default.
pub(crate) fn path() -> Result<PathBuf> {
    if let Some(list) = std::env::var_os("KUBECONFIG")
        && let Some(first) = std::env::split_paths(&list).find(|p| !p.as_os_str().is_empty())
    {
        return Ok(first);
    }
    Ok(std::env::home_dir()
        .context("no home directory; set KUBECONFIG")?
        .join(".kube")
        .join("config"))
}

/// Puts the entries of `new` into the file, makes its context the current one, and returns the context's name.
pub(crate) fn merge_into(path: &Path, new: &Value) -> Result<String> {
    let old = match std::fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => json!({}),
        Ok(text) => serde_saphyr::from_str(&text)
            .with_context(|| format!("{} is no kubeconfig; it was left as it is", path.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => json!({}),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    if !old.is_object() {
        bail!("{} is no kubeconfig; it was left as it is", path.display());
    }
    write(path, &merge(old, new))?;
    Ok(new["current-context"].as_str().unwrap_or_default().to_owned())
}

/// Takes a context, its cluster and its user out again; whether any of them was there.
pub(crate) fn remove_from(path: &Path, context: &str) -> Result<bool> {
    let Ok(text) = std::fs::read_to_string(path) else {
        return Ok(false);
    };
    let Ok(mut config) = serde_saphyr::from_str::<Value>(&text) else {
        return Ok(false);
    };
    let mut changed = false;
    for section in ["clusters", "users", "contexts"] {
        if let Some(list) = config[section].as_array_mut() {
            let before = list.len();
            list.retain(|entry| entry["name"] != context);
            changed |= list.len() != before;
        }
    }
    if config["current-context"] == context {
        config["current-context"] = "".into();
        changed = true;
    }
    if changed {
        write(path, &config)?;
    }
    Ok(changed)
}

/// Entries of `new` replace entries of the same name; everything else stays.
fn merge(mut old: Value, new: &Value) -> Value {
    old["apiVersion"] = "v1".into();
    old["kind"] = "Config".into();
    for section in ["clusters", "users", "contexts"] {
        let mut list = old[section].as_array().cloned().unwrap_or_default();
        for entry in new[section].as_array().into_iter().flatten() {
            match list.iter_mut().find(|e| e["name"] == entry["name"]) {
                Some(same) => *same = entry.clone(),
                None => list.push(entry.clone()),
            }
        }
        old[section] = list.into();
    }
    old["current-context"] = new["current-context"].clone();
    old
}

/// Replaces the file at once, readable by its owner alone.
fn write(path: &Path, config: &Value) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let cannot = || format!("cannot write {}", path.display());
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(cannot)?;
    }
    let temporary = path.with_extension(format!("marina-{}", std::process::id()));
    let text = serde_saphyr::to_string(config)?;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .with_context(cannot)?;
    file.write_all(text.as_bytes()).with_context(cannot)?;
    file.sync_all().with_context(cannot)?;
    std::fs::rename(&temporary, path).with_context(cannot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Value {
        json!({
            "clusters": [{"name": "marina-p-shop", "cluster": {"server": "https://new"}}],
            "users": [{"name": "marina-p-shop", "user": {}}],
            "contexts": [{"name": "marina-p-shop", "context": {}}],
            "current-context": "marina-p-shop",
        })
    }

    #[test]
    fn other_entries_stay_and_ours_are_replaced() {
        let old = json!({
            "clusters": [{"name": "work", "cluster": {}}, {"name": "marina-p-shop", "cluster": {"server": "https://old"}}],
            "current-context": "work",
            "preferences": {"colors": true},
        });
        let merged = merge(old, &ours());
        assert_eq!(merged["clusters"].as_array().unwrap().len(), 2);
        assert_eq!(merged["clusters"][1]["cluster"]["server"], "https://new");
        assert_eq!(merged["current-context"], "marina-p-shop");
        assert_eq!(merged["preferences"]["colors"], true);
    }

    #[test]
    fn what_was_merged_can_be_taken_out_again() {
        let path = std::env::temp_dir().join(format!("marina-kubeconfig-{}", std::process::id()));
        assert_eq!(merge_into(&path, &ours()).unwrap(), "marina-p-shop");
        assert!(remove_from(&path, "marina-p-shop").unwrap());
        assert!(!remove_from(&path, "marina-p-shop").unwrap());
        let left: Value = serde_saphyr::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(left["clusters"].as_array().unwrap().is_empty());
        assert_eq!(left["current-context"], "");
    }
}
