//! What is printed: tables for people, JSON for programs.

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::Serialize;

/// `-o`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// The REST API's own JSON.
    Json,
}

/// Prints a value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Prints rows under headers, aligned, without lines: as kubectl does, so that `awk` works.
pub(crate) fn table(headers: &[&str], rows: &[Vec<String>]) {
    let widths = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells
            .chain(headers.get(column).map(|header| header.len()))
            .max()
            .unwrap_or(0)
    };
    let print = |cells: &mut dyn Iterator<Item = &str>| {
        let line: String = cells
            .enumerate()
            .map(|(i, cell)| format!("{cell:<width$}", width = widths(i) + 3))
            .collect();
        println!("{}", line.trim_end());
    };
    if !headers.is_empty() {
        print(&mut headers.iter().copied());
    }
    for row in rows {
        print(&mut row.iter().map(String::as_str));
    }
}

/// Asks a yes-or-no question on the terminal; refuses where there is none.
pub(crate) fn confirm(question: &str) -> Result<()> {
    use std::io::{IsTerminal, Write};
    if !std::io::stdin().is_terminal() {
        bail!("{question} Say --yes where nobody can be asked.");
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        bail!("nothing was done")
    }
}

/// How long ago an RFC 3339 time was, in the short form of kubectl.
pub(crate) fn age(timestamp: &str) -> String {
    let Ok(then) = timestamp.parse::<jiff::Timestamp>() else {
        return "<unknown>".into();
    };
    let seconds = base::Clock::system().now().duration_since(then).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
