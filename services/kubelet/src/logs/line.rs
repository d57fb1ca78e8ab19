//! One line of a CRI log: `<RFC 3339 time> <stdout|stderr> <P|F>[:tags] <content>`.

/// A parsed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The time as written, with nanoseconds.
    pub time: &'a str,
    /// Whether it was written to standard error.
    pub stderr: bool,
    /// Whether the line goes on in the next entry.
    pub partial: bool,
    /// What was written, without the newline.
    pub content: &'a [u8],
}

/// Parses one line, with or without its newline; `None` if it is no CRI log line.
pub fn parse(line: &[u8]) -> Option<Line<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut parts = line.splitn(4, |b| *b == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stderr = match parts.next()? {
        b"stdout" => false,
        b"stderr" => true,
        _ => return None,
    };
    let partial = match parts.next()?.split(|b| *b == b':').next()? {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    Some(Line {
        time,
        stderr,
        partial,
        content: parts.next().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_are_taken_apart() {
        let l = parse(b"2026-01-02T03:04:05.000000006Z stderr P hello  world\n").unwrap();
        assert_eq!(
            (l.time, l.stderr, l.partial),
            ("2026-01-02T03:04:05.000000006Z", true, true)
        );
        assert_eq!(l.content, b"hello  world");
        assert_eq!(parse(b"2026-01-02T03:04:05Z stdout F ").unwrap().content, b"");
        assert_eq!(
            parse(b"2026-01-02T03:04:05Z stdout F:x \xff").unwrap().content,
            b"\xff"
        );
        assert!(parse(b"garbage").is_none() && parse(b"t stdin F x").is_none());
    }
}
