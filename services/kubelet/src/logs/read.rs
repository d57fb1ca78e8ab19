//! Reading a container's log as the API's `log` sub-resource wants it: tail, since, limit, timestamps, follow.
//!
//! Following waits with short sleeps for the file to grow: file-system notification would need a descriptor for each
//! reader and is not told of a rename by the runtime.

use super::line::parse;
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;

/// What to read.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only the last lines.
    pub tail_lines: Option<u64>,
    /// Only what is newer.
    pub since: Option<Timestamp>,
    /// At most this many bytes.
    pub limit_bytes: Option<u64>,
    /// Each line begins with its time.
    pub timestamps: bool,
    /// Go on as the log grows.
    pub follow: bool,
    /// Only this stream, if given: true is standard error.
    pub stderr: Option<bool>,
}

/// How often a followed log is looked at.
const PAUSE: Duration = Duration::from_millis(100);
const CHUNK: usize = 64 * 1024;
/// The longest line that is kept whole; runtimes cut at 16 KiB.
const MAX_LINE: usize = 1 << 20;

/// Sends the log to `out`. Ends at the end of the file, or when following, when `running` says that the container has
/// ended and all was read, or when the receiver is gone.
///
/// # Errors
/// If the file cannot be read.
pub async fn read<F>(
    path: PathBuf,
    options: Options,
    out: mpsc::Sender<Bytes>,
    mut running: impl FnMut() -> F + Send,
) -> std::io::Result<()>
where
    F: Future<Output = bool> + Send,
{
    let mut file = File::open(&path).await?;
    let start = match options.tail_lines {
        Some(lines) => tail_start(&mut file, lines).await?,
        None => 0,
    };
    file.seek(SeekFrom::Start(start)).await?;
    let mut buffer = BytesMut::new();
    let mut left = options.limit_bytes.unwrap_or(u64::MAX);
    let mut last_look = false;
    loop {
        let before = buffer.len();
        buffer.reserve(CHUNK);
        let n = file.read_buf(&mut buffer).await?;
        let mut batch = BytesMut::new();
        while let Some(at) = buffer.iter().position(|b| *b == b'\n') {
            let line = buffer.split_to(at + 1);
            render(&line, &options, &mut batch);
        }
        if buffer.len() > MAX_LINE {
            buffer.clear();
        }
        if !batch.is_empty() {
            let size = usize::try_from(left).unwrap_or(usize::MAX).min(batch.len());
            batch.truncate(size);
            left -= size as u64;
            if out.send(batch.freeze()).await.is_err() || left == 0 {
                return Ok(());
            }
        }
        if n > 0 || buffer.len() != before {
            last_look = false;
            continue;
        }
        if !options.follow || last_look {
            return Ok(());
        }
        if let Some(next) = reopened(&file, &path).await? {
            file = next;
            continue;
        }
        if running().await {
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = out.closed() => return Ok(()),
            }
        } else {
            // It may have written between the last read and its end.
            last_look = true;
        }
    }
}

fn render(line: &[u8], options: &Options, out: &mut BytesMut) {
    let Some(entry) = parse(line) else { return };
    if options.stderr.is_some_and(|wanted| wanted != entry.stderr) {
        return;
    }
    if let Some(since) = options.since
        && entry.time.parse::<Timestamp>().is_ok_and(|t| t < since)
    {
        return;
    }
    if options.timestamps {
        out.extend_from_slice(entry.time.as_bytes());
        out.extend_from_slice(b" ");
    }
    out.extend_from_slice(entry.content);
    if !entry.partial {
        out.extend_from_slice(b"\n");
    }
}

/// The file at the path, if it is another than the one that is open (it was rotated).
async fn reopened(open: &File, path: &Path) -> std::io::Result<Option<File>> {
    use std::os::unix::fs::MetadataExt;
    let Ok(now) = tokio::fs::metadata(path).await else {
        return Ok(None);
    };
    if now.ino() == open.metadata().await?.ino() {
        Ok(None)
    } else {
        File::open(path).await.map(Some)
    }
}

/// Where the last `lines` lines begin.
async fn tail_start(file: &mut File, lines: u64) -> std::io::Result<u64> {
    let size = file.metadata().await?.len();
    if lines == 0 {
        return Ok(size);
    }
    let mut at = size;
    let mut found = 0;
    let mut block = vec![0; CHUNK];
    while at > 0 {
        let n = at.min(CHUNK as u64);
        at -= n;
        file.seek(SeekFrom::Start(at)).await?;
        let part = &mut block[..usize::try_from(n).unwrap_or(CHUNK)];
        file.read_exact(part).await?;
        for (i, byte) in part.iter().enumerate().rev() {
            let position = at + i as u64;
            // The newline at the very end closes the last line.
            if *byte == b'\n' && position + 1 != size {
                found += 1;
                if found == lines {
                    return Ok(position + 1);
                }
            }
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn log(lines: u32) -> tempfile::NamedTempFile {
        let mut f = tempfile::NamedTempFile::new().unwrap();
        for i in 0..lines {
            writeln!(f, "2026-01-01T00:00:{i:02}.0Z stdout F line {i}").unwrap();
        }
        f
    }

    async fn text(f: &tempfile::NamedTempFile, options: Options) -> String {
        let (sender, mut receiver) = mpsc::channel(16);
        let path = f.path().to_owned();
        let task =
            tokio::spawn(async move { read(path, options, sender, || std::future::ready(false)).await });
        let mut out = Vec::new();
        while let Some(bytes) = receiver.recv().await {
            out.extend_from_slice(&bytes);
        }
        task.await.unwrap().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn logs_are_cut_as_asked() {
        let f = log(5);
        let all = "line 0\nline 1\nline 2\nline 3\nline 4\n";
        assert_eq!(text(&f, Options::default()).await, all);
        assert_eq!(
            text(
                &f,
                Options {
                    follow: true,
                    ..Default::default()
                }
            )
            .await,
            all
        );
        let tail = |n| Options {
            tail_lines: Some(n),
            ..Default::default()
        };
        assert_eq!(text(&f, tail(2)).await, "line 3\nline 4\n");
        assert_eq!(text(&f, tail(0)).await, "");
        assert_eq!(text(&f, tail(99)).await, all);
        assert_eq!(
            text(
                &f,
                Options {
                    limit_bytes: Some(9),
                    ..Default::default()
                }
            )
            .await,
            "line 0\nli"
        );
        let since = Options {
            since: Some("2026-01-01T00:00:04Z".parse().unwrap()),
            timestamps: true,
            ..Default::default()
        };
        assert_eq!(text(&f, since).await, "2026-01-01T00:00:04.0Z line 4\n");
    }

    #[tokio::test]
    async fn a_followed_log_goes_on_until_its_container_ends() {
        let mut f = log(1);
        let (sender, mut receiver) = mpsc::channel(16);
        let (alive, mut watched) = tokio::sync::watch::channel(true);
        let path = f.path().to_owned();
        let options = Options {
            follow: true,
            ..Default::default()
        };
        let task = tokio::spawn(async move {
            read(path, options, sender, || {
                std::future::ready(*watched.borrow_and_update())
            })
            .await
        });
        assert_eq!(receiver.recv().await.unwrap(), "line 0\n");
        writeln!(f, "2026-01-01T00:00:09Z stdout F more").unwrap();
        assert_eq!(receiver.recv().await.unwrap(), "more\n");
        alive.send(false).unwrap();
        assert_eq!(receiver.recv().await, None);
        task.await.unwrap().unwrap();
    }
}
