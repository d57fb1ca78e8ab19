//! A container's last words: the termination message file, or the end of its log.

use crate::observed::{Instance, State};
use std::path::Path;

/// Kubernetes' limits: 4 KiB of a file, 2 KiB or 80 lines of a log.
const MAX_FILE: usize = 4096;
const MAX_LOG: usize = 2048;
const MAX_LINES: usize = 80;
/// What is read of the end of a log to find those.
const TAIL: u64 = 16 * 1024;

/// Puts the message of an instance that ended into it. The runtime's own message stays if there is nothing better.
pub(super) fn fill(instance: &mut Instance) {
    if instance.state != State::Exited {
        return;
    }
    let text = instance
        .message_file
        .as_deref()
        .and_then(|f| read_head(Path::new(f)))
        .unwrap_or_default();
    let fall_back = instance.message_policy == "FallbackToLogsOnError" && instance.exit_code != 0;
    let text = if text.is_empty() && fall_back {
        log_end(Path::new(&instance.log_path))
    } else {
        text
    };
    if !text.is_empty() {
        instance.message = text;
    }
}

fn read_head(path: &Path) -> Option<String> {
    use std::io::Read;
    let mut data = Vec::new();
    std::fs::File::open(path)
        .ok()?
        .take(MAX_FILE as u64)
        .read_to_end(&mut data)
        .ok()?;
    Some(String::from_utf8_lossy(&data).into_owned())
}

fn log_end(path: &Path) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let Ok(mut file) = std::fs::File::open(path) else {
        return String::new();
    };
    let size = file.metadata().map_or(0, |m| m.len());
    if file.seek(SeekFrom::Start(size.saturating_sub(TAIL))).is_err() {
        return String::new();
    }
    let mut data = Vec::new();
    if file.take(TAIL).read_to_end(&mut data).is_err() {
        return String::new();
    }
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in data.split_inclusive(|b| *b == b'\n') {
        if let Some(entry) = crate::logs::line::parse(line) {
            let mut text = entry.content.to_vec();
            if !entry.partial {
                text.push(b'\n');
            }
            lines.push(text);
        }
    }
    let text = lines[lines.len().saturating_sub(MAX_LINES)..].concat();
    String::from_utf8_lossy(&text[text.len().saturating_sub(MAX_LOG)..]).into_owned()
}
