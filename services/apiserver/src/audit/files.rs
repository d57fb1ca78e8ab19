//! Audit events as JSON lines, a file for each cluster, rotated.
//!
//! One thread writes for all clusters. Events beyond its queue are dropped and counted, so that a full or slow disk never stops
//! the API. Names are those of upstream's log backend: `<cluster>.log`, and `<cluster>-<time>.log` once it is full.
//! A deleted cluster's events stay until they are too old: who deleted it is part of the record.

use super::Sink;
use base::{Clock, ClusterId};
use jiff::{SignedDuration, Timestamp};
use machinery::Value;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Events that wait to be written at most.
const QUEUE: usize = 8192;
/// Events that are written together at most.
const BATCH: usize = 512;
/// Files that are open at a time; the one that was longest unused is closed.
const OPEN: usize = 64;
/// How often old files are looked for.
const SWEEP: Duration = Duration::from_secs(3600);

/// Where, and how much. The defaults are those that the CIS benchmark asks for (1.2.16 to 1.2.19).
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// The directory; made if it is not there, for its owner alone.
    pub dir: PathBuf,
    /// A file that is this long, in bytes, is put aside.
    pub max_size: u64,
    /// So many files put aside are kept for each cluster.
    pub max_backups: usize,
    /// And none that is older than this.
    pub max_age: SignedDuration,
}

impl FileOptions {
    /// The defaults, below this directory.
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            max_size: 100 << 20,
            max_backups: 10,
            max_age: SignedDuration::from_hours(30 * 24),
        }
    }
}

/// The sink. Dropping it ends the thread once everything is written.
pub struct Files {
    queue: SyncSender<(ClusterId, Value)>,
    taken: AtomicU64,
    dropped: AtomicU64,
}

impl Files {
    /// Starts the writer.
    ///
    /// # Errors
    /// If the directory cannot be made or the thread cannot be started.
    pub fn start(options: FileOptions, clock: Clock) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&options.dir)?;
        let (queue, events) = sync_channel(QUEUE);
        let writer = Writer {
            options,
            clock,
            open: Vec::new(),
        };
        std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || writer.run(&events))?;
        Ok(Self {
            queue,
            taken: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        })
    }

    /// How many events were taken, and how many were dropped because the disk is too slow.
    pub fn counts(&self) -> (u64, u64) {
        (
            self.taken.load(Ordering::Relaxed),
            self.dropped.load(Ordering::Relaxed),
        )
    }
}

impl Sink for Files {
    fn log(&self, cluster: &ClusterId, event: Value) {
        let count = match self.queue.try_send((cluster.clone(), event)) {
            Ok(()) => &self.taken,
            Err(_) => &self.dropped,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

struct Open {
    cluster: ClusterId,
    file: File,
    size: u64,
    lines: Vec<u8>,
}

struct Writer {
    options: FileOptions,
    clock: Clock,
    /// The last one was used last.
    open: Vec<Open>,
}

impl Writer {
    fn run(mut self, events: &Receiver<(ClusterId, Value)>) {
        self.sweep();
        loop {
            match events.recv_timeout(SWEEP) {
                Ok(first) => {
                    let more = events.try_iter().take(BATCH);
                    for (cluster, event) in std::iter::once(first).chain(more) {
                        if let Err(error) = self.take(&cluster, &event) {
                            tracing::error!(%cluster, %error, "cannot write the audit log");
                        }
                    }
                    self.write_all();
                }
                Err(RecvTimeoutError::Timeout) => self.sweep(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take(&mut self, cluster: &ClusterId, event: &Value) -> io::Result<()> {
        let at = self.open.iter().position(|o| o.cluster == *cluster);
        let open = match at {
            Some(at) => self.open.remove(at),
            None => {
                if self.open.len() >= OPEN {
                    self.write_all();
                    self.open.remove(0);
                }
                self.open(cluster)?
            }
        };
        self.open.push(open);
        let Some(open) = self.open.last_mut() else {
            return Ok(());
        };
        crate::codec::write_json(event, &mut open.lines);
        open.lines.push(b'\n');
        Ok(())
    }

    fn open(&self, cluster: &ClusterId) -> io::Result<Open> {
        let path = self.options.dir.join(format!("{cluster}.log"));
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        let size = file.metadata()?.len();
        Ok(Open {
            cluster: cluster.clone(),
            file,
            size,
            lines: Vec::new(),
        })
    }

    /// Writes what has gathered, and puts files aside that are full.
    fn write_all(&mut self) {
        let mut full = Vec::new();
        for open in &mut self.open {
            if open.lines.is_empty() {
                continue;
            }
            match open.file.write_all(&open.lines) {
                Ok(()) => open.size += open.lines.len() as u64,
                Err(error) => tracing::error!(cluster = %open.cluster, %error, "cannot write the audit log"),
            }
            open.lines.clear();
            if open.size >= self.options.max_size {
                full.push(open.cluster.clone());
            }
        }
        for cluster in full {
            self.open.retain(|o| o.cluster != cluster);
            if let Err(error) = self.put_aside(&cluster) {
                tracing::error!(%cluster, %error, "cannot rotate the audit log");
            }
        }
    }

    fn put_aside(&self, cluster: &ClusterId) -> io::Result<()> {
        let dir = &self.options.dir;
        let time = self.clock.now().strftime("%Y-%m-%dT%H-%M-%S.%6f");
        fs::rename(
            dir.join(format!("{cluster}.log")),
            dir.join(format!("{cluster}-{time}.log")),
        )?;
        let mut aside = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let of = path
                .file_name()
                .and_then(|n| n.to_str())
                .and_then(split)
                .map(|(of, _)| of == cluster.as_str());
            if of == Some(true) {
                aside.push(path);
            }
        }
        aside.sort();
        let surplus = aside.len().saturating_sub(self.options.max_backups);
        for path in aside.into_iter().take(surplus) {
            fs::remove_file(path)?;
        }
        Ok(())
    }

    /// Removes what is too old.
    fn sweep(&self) {
        let now = self.clock.now();
        let entries = fs::read_dir(&self.options.dir).into_iter().flatten().flatten();
        for path in entries.map(|e| e.path()) {
            let open = |p: &Path| {
                self.open
                    .iter()
                    .any(|o| p.file_stem().is_some_and(|s| s == o.cluster.as_str()))
            };
            if !too_old(&path, now, self.options.max_age) || open(&path) {
                continue;
            }
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove an old audit log");
            }
        }
    }
}

/// Cluster and time in the name of a file that was put aside.
fn split(name: &str) -> Option<(&str, &str)> {
    let stem = name.strip_suffix(".log")?;
    let time = stem.len().checked_sub("2026-01-01T00-00-00.000000".len())?;
    let (cluster, time) = (stem.get(..time)?, stem.get(time..)?);
    Some((cluster.strip_suffix('-')?, time))
}

fn too_old(path: &Path, now: Timestamp, max_age: SignedDuration) -> bool {
    let written = fs::metadata(path).and_then(|m| m.modified()).ok();
    let written = written.and_then(|t| Timestamp::try_from(t).ok());
    path.extension().is_some_and(|e| e == "log") && written.is_some_and(|t| now.duration_since(t) > max_age)
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::value;

    #[test]
    fn each_cluster_has_its_own_files_and_no_more_than_allowed() {
        let dir = std::env::temp_dir().join(format!("marina-audit-{}", std::process::id()));
        let (a, b): (ClusterId, ClusterId) = ("a".parse().unwrap(), "a-b".parse().unwrap());
        let options = FileOptions {
            max_size: 100,
            max_backups: 2,
            ..FileOptions::new(dir.clone())
        };
        let mut writer = Writer {
            options,
            clock: Clock::system(),
            open: Vec::new(),
        };
        fs::create_dir_all(&dir).unwrap();
        for n in 0..20 {
            writer
                .take(&a, &value!({ "auditID": (format!("{n:0>90}")) }))
                .unwrap();
            writer.write_all();
        }
        writer.take(&b, &value!({ "auditID": "of b" })).unwrap();
        writer.write_all();
        let mut names: Vec<_> = fs::read_dir(&dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names.len(), 3, "{names:?}");
        assert_eq!(names[2], "a-b.log");
        assert!(names[..2].iter().all(|n| split(n).unwrap().0 == "a"), "{names:?}");
        let newest = fs::read_to_string(dir.join(&names[1])).unwrap();
        assert!(newest.ends_with("19\"}\n"), "{newest}");
        assert_eq!(
            fs::read_to_string(dir.join("a-b.log")).unwrap(),
            "{\"auditID\":\"of b\"}\n"
        );
        writer.open.clear();
        writer.options.max_age = SignedDuration::from_secs(-1);
        writer.sweep();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        fs::remove_dir(&dir).unwrap();
    }
}
