//! Rotation: a log that grew past its limit is moved away and the runtime opens a new one.
//!
//! Files are `<n>.log`, then `<n>.log.<time>`, compressed as upstream does with gzip; at most five in all.

use crate::engine::Engine;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io;
use std::path::{Path, PathBuf};

/// When to rotate and how much to keep.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the file that is written.
    pub max_bytes: u64,
    /// Files in all.
    pub max_files: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 10 << 20,
            max_files: 5,
        }
    }
}

/// Rotates a container's log if it is too large. `stamp` names the moved file and sorts by time.
pub async fn rotate(engine: &Engine, id: &str, path: &Path, limits: Limits, stamp: &str) -> io::Result<bool> {
    if std::fs::metadata(path)?.len() < limits.max_bytes {
        return Ok(false);
    }
    let owned = path.to_owned();
    tokio::task::spawn_blocking(move || tidy(&owned, limits))
        .await
        .map_err(io::Error::other)??;
    let moved = PathBuf::from(format!("{}.{stamp}", path.display()));
    std::fs::rename(path, &moved)?;
    if let Err(status) = engine.reopen_log(id).await {
        // The runtime still writes to the moved file: put it back, and try another time.
        std::fs::rename(&moved, path)?;
        return Err(io::Error::other(status));
    }
    Ok(true)
}

/// Compresses all moved files but the newest, which may still be read, and removes the oldest.
fn tidy(path: &Path, limits: Limits) -> io::Result<()> {
    let mut moved = rotated(path)?;
    moved.sort();
    // The file in use and the one that is about to be moved count too.
    let keep = limits.max_files.saturating_sub(2);
    while moved.len() > keep {
        std::fs::remove_file(moved.remove(0))?;
    }
    for file in &moved {
        if file.extension().is_some_and(|e| e == "gz") {
            continue;
        }
        let packed = PathBuf::from(format!("{}.gz", file.display()));
        let mut encoder = GzEncoder::new(std::fs::File::create(&packed)?, Compression::fast());
        io::copy(&mut std::fs::File::open(file)?, &mut encoder)?;
        encoder.finish()?;
        std::fs::remove_file(file)?;
    }
    Ok(())
}

/// Files that were moved away.
pub fn rotated(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Ok(Vec::new());
    };
    let prefix = format!("{name}.");
    let entries = std::fs::read_dir(dir)?.flatten();
    Ok(entries
        .filter(|e| e.file_name().to_string_lossy().starts_with(&prefix))
        .map(|e| e.path())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moved_logs_are_packed_and_the_oldest_removed() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("0.log");
        for stamp in [
            "20260101-000001",
            "20260101-000002",
            "20260101-000003",
            "20260101-000004",
        ] {
            std::fs::write(dir.path().join(format!("0.log.{stamp}")), "x").unwrap();
        }
        tidy(
            &log,
            Limits {
                max_bytes: 1,
                max_files: 5,
            },
        )
        .unwrap();
        let mut names: Vec<_> = rotated(&log)
            .unwrap()
            .into_iter()
            .map(|p| p.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "0.log.20260101-000002.gz",
                "0.log.20260101-000003.gz",
                "0.log.20260101-000004.gz"
            ]
        );
    }
}
