//! The table that a benchmark prints.

use serde::Serialize;

/// What every benchmark understands on its command line.
#[derive(Clone, Debug, Default)]
pub struct Args {
    /// Print JSON instead of a table.
    pub json: bool,
    /// Do a tenth of the work.
    pub quick: bool,
    /// Everything else, in order.
    pub rest: Vec<String>,
}

impl Args {
    /// Reads the process's arguments.
    pub fn parse() -> Self {
        let mut args = Self::default();
        for word in std::env::args().skip(1) {
            match word.as_str() {
                "--json" => args.json = true,
                "--quick" => args.quick = true,
                _ => args.rest.push(word),
            }
        }
        args
    }

    /// The word after `name`, or after `name=`.
    pub fn value(&self, name: &str) -> Option<&str> {
        let mut words = self.rest.iter();
        while let Some(word) = words.next() {
            if word == name {
                return words.next().map(String::as_str);
            }
            if let Some(value) = word.strip_prefix(name).and_then(|w| w.strip_prefix('=')) {
                return Some(value);
            }
        }
        None
    }
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub figure: String,
    /// What came out.
    pub ours: String,
    /// What upstream does (see the crate's documentation); "-" where nothing was measured.
    pub reference: String,
}

/// The figures of one benchmark.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The benchmark.
    pub name: String,
    /// `release`, or `debug` where the numbers mean nothing.
    pub build: &'static str,
    /// Whether only a tenth of the work was done.
    pub quick: bool,
    /// In the order in which they were added.
    pub figures: Vec<Figure>,
    #[serde(skip)]
    args: Args,
}

impl Report {
    /// An empty report, set up by the command line.
    pub fn from_args(name: &str) -> Self {
        Self::new(name, Args::parse())
    }

    /// An empty report.
    pub fn new(name: &str, args: Args) -> Self {
        let build = if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        };
        Self {
            name: name.into(),
            build,
            quick: args.quick,
            figures: Vec::new(),
            args,
        }
    }

    /// The command line.
    pub fn args(&self) -> &Args {
        &self.args
    }

    /// How much of something to do: `full`, or a tenth of it.
    pub fn scale(&self, full: u64) -> u64 {
        if self.quick { (full / 10).max(1) } else { full }
    }

    /// Adds a line; it is shown on stderr at once, because a benchmark takes a while.
    pub fn add(&mut self, figure: impl Into<String>, ours: impl Into<String>, reference: impl Into<String>) {
        let line = Figure {
            figure: figure.into(),
            ours: ours.into(),
            reference: reference.into(),
        };
        eprintln!("{}: {}", line.figure, line.ours);
        self.figures.push(line);
    }

    /// Prints the table, or the JSON document, on stdout.
    pub fn print(&self) {
        if self.args.json {
            println!(
                "{}",
                serde_json::to_string_pretty(self).unwrap_or_else(|e| format!("{{\"error\": \"{e}\"}}"))
            );
        } else {
            print!("{}", self.table());
        }
    }

    fn table(&self) -> String {
        let quick = if self.quick { ", a tenth of the work" } else { "" };
        let mut out = format!("# {} ({} build{quick})\n\n", self.name, self.build);
        let head = ["figure", "ours", "reference"].map(String::from);
        let rows = self
            .figures
            .iter()
            .map(|f| [f.figure.clone(), f.ours.clone(), f.reference.clone()]);
        let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
        let width = |n: usize| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or(0);
        let widths = [width(0), width(1), width(2)];
        for (n, [a, b, c]) in rows.iter().enumerate() {
            let [wa, wb, wc] = widths;
            out.push_str(&format!("| {a:wa$} | {b:wb$} | {c:wc$} |\n"));
            if n == 0 {
                out.push_str(&format!("|{:-<1$}", "", wa + 2));
                out.push_str(&format!("|{:-<1$}|{2:-<3$}|\n", "", wb + 2, "", wc + 2));
            }
        }
        out
    }
}

/// A rate as text: `12,345/s`.
pub fn per_second(rate: f64) -> String {
    let digits = format!("{rate:.0}");
    let mut out = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out + "/s"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_table_and_its_rates_can_be_read() {
        let rest = ["--etcd", "a", "--door=b"].map(String::from).to_vec();
        let args = Args {
            rest,
            ..Args::default()
        };
        assert_eq!(
            (args.value("--etcd"), args.value("--door"), args.value("--no")),
            (Some("a"), Some("b"), None)
        );
        let mut report = Report::new("store", args);
        report.add("put", per_second(1_234_567.4), "-");
        let table = report.table();
        let lines: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(lines[2], "| put    | 1,234,567/s | -         |");
        assert!(
            lines
                .iter()
                .all(|l| l.chars().count() == lines[0].chars().count()),
            "{table}"
        );
    }
}
