//! State on disk: one JSON file for each thing, replaced atomically.

use cloud_api::CloudError;
use serde::{Serialize, de::DeserializeOwned};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes `value` so that a reader, also after a crash, sees either the old file or the new one.
pub(crate) fn save<T: Serialize>(path: &Path, value: &T) -> Result<(), CloudError> {
    let write = || -> std::io::Result<()> {
        let temporary = path.with_extension("new");
        let mut file = fs::File::create(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(value).map_err(std::io::Error::other)?)?;
        file.sync_data()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|e| CloudError::Other(format!("cannot write {}: {e}", path.display())))
}

/// Reads a file written by [`save`]; `None` if there is none.
pub(crate) fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, CloudError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(CloudError::Other(format!("cannot read {}: {e}", path.display()))),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|e| CloudError::Other(format!("{} is damaged: {e}", path.display())))
}

/// Reads the record of each directory in `dir`, which is made if it is not there. A directory without one is what a program that
/// died left of something unborn or gone: it is removed.
pub(crate) fn load_all<T: DeserializeOwned>(dir: &Path, file: &str) -> Result<Vec<(PathBuf, T)>, CloudError> {
    fs::create_dir_all(dir).map_err(io_error(format!("create {}", dir.display())))?;
    let entries = fs::read_dir(dir).map_err(io_error(format!("read {}", dir.display())))?;
    let mut found = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        match load(&path.join(file))? {
            Some(record) => found.push((path, record)),
            None => fs::remove_dir_all(&path).map_err(io_error(format!("remove {}", path.display())))?,
        }
    }
    Ok(found)
}

/// Turns an input or output error into the cloud's, saying what was tried.
pub(crate) fn io_error(what: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> CloudError {
    move |e| match e.kind() {
        std::io::ErrorKind::PermissionDenied => CloudError::Denied(format!("{what}: {e}")),
        std::io::ErrorKind::StorageFull => CloudError::InsufficientCapacity(format!("{what}: {e}")),
        _ => CloudError::Other(format!("{what}: {e}")),
    }
}
