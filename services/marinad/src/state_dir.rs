//! The directory where `dev` keeps everything, and the lock that makes a second `dev` find the first.

use anyhow::{Context, Result};
use clap::Args;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where it is.
#[derive(Args, Clone, Debug)]
pub(crate) struct StateDirOption {
    /// Where everything is kept: /var/lib/marina for root, else ~/.local/state/marina.
    #[arg(long, env = "MARINA_STATE_DIR")]
    state_dir: Option<PathBuf>,
}

impl StateDirOption {
    /// The directory, made if it is not there (0700).
    pub(crate) fn open(&self) -> Result<StateDir> {
        let path = match &self.state_dir {
            Some(path) => path.clone(),
            None if is_root() => "/var/lib/marina".into(),
            None => std::env::home_dir()
                .context("no home directory; say --state-dir")?
                .join(".local/state/marina"),
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(StateDir(path))
    }
}

/// Whether this process has root's user id.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

/// The directory.
#[derive(Clone, Debug)]
pub(crate) struct StateDir(PathBuf);

/// Held for as long as the process runs.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held, and let go when it is dropped")] File);

impl StateDir {
    /// A file or directory below it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Takes the lock, or says which process has it.
    pub(crate) fn lock(&self) -> Result<Result<Lock, u32>> {
        let path = self.join("marinad.pid");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0)?;
                file.rewind()?;
                writeln!(file, "{}", std::process::id())?;
                Ok(Ok(Lock(file)))
            }
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                file.read_to_string(&mut text)?;
                Ok(Err(text.trim().parse().unwrap_or(0)))
            }
            Err(TryLockError::Error(error)) => Err(error).context("cannot lock"),
        }
    }

    /// Writes a file that only its owner can read, at once or not at all.
    pub(crate) fn write_secret(path: &Path, content: &[u8]) -> Result<()> {
        let cannot = || format!("cannot write {}", path.display());
        if let Some(parent) = path.parent() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)
                .with_context(cannot)?;
        }
        let temporary = path.with_extension(format!("new-{}", std::process::id()));
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .with_context(cannot)?;
        file.write_all(content).with_context(cannot)?;
        file.sync_all().with_context(cannot)?;
        std::fs::rename(&temporary, path).with_context(cannot)
    }
}
