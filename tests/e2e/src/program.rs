//! Running programs with a time limit, and saying what they said when they fail.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// One call of a program.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    args: Vec<String>,
    environment: Vec<(&'static str, PathBuf)>,
    input: String,
    limit: u32,
}

impl Program {
    pub(crate) fn new(path: PathBuf, args: &[&str], environment: Vec<(&'static str, PathBuf)>) -> Self {
        let args = args.iter().map(|a| (*a).to_owned()).collect();
        Self {
            path,
            args,
            environment,
            input: String::new(),
            limit: 300,
        }
    }

    /// How many seconds it may take; 300 if this is not called.
    #[must_use]
    pub fn limit(mut self, seconds: u32) -> Self {
        self.limit = seconds;
        self
    }

    /// What it reads from its standard input.
    #[must_use]
    pub fn input(mut self, text: &str) -> Self {
        text.clone_into(&mut self.input);
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new("timeout");
        command
            .arg("--kill-after=5")
            .arg(self.limit.to_string())
            .arg(&self.path)
            .args(&self.args);
        command.envs(self.environment.iter().map(|(k, v)| (k, v)));
        command
    }

    fn line(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        format!("{name} {}", self.args.join(" "))
    }

    /// Runs it to its end; its output, or else what it complained about.
    pub fn try_run(&self) -> Result<String, String> {
        let mut child = self
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{}: {e}", self.line()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that does not read closes the pipe.
            let _closed = stdin.write_all(self.input.as_bytes());
        }
        let output = child
            .wait_with_output()
            .map_err(|e| format!("{}: {e}", self.line()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(format!("{}: {}\n{text}{errors}", self.line(), output.status))
    }

    /// Runs it to its end; its output. A failure fails the test.
    pub fn run(&self) -> String {
        self.try_run().unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// Starts it and reads its first line; it runs until the answer is dropped.
    pub fn start(&self) -> Forward {
        let mut command = self.command();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", self.line()));
        let mut first = String::new();
        if let Some(out) = child.stdout.take() {
            let mut reader = BufReader::new(out);
            reader
                .read_line(&mut first)
                .unwrap_or_else(|e| panic!("{}: {e}", self.line()));
            // The rest is read to nowhere, so that the program is never held up.
            std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        }
        Forward { child, first }
    }
}

/// A program that runs beside the test.
#[derive(Debug)]
pub struct Forward {
    child: Child,
    first: String,
}

impl Forward {
    /// The first line that it printed.
    pub fn first_line(&self) -> &str {
        &self.first
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        // `timeout` passes a signal on to its child, but not SIGKILL.
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX));
        let _ended = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _status = self.child.wait();
    }
}

/// Asks again and again until there is an answer; panics when it takes too long.
pub fn wait_for<T>(what: &str, patience: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "waited {patience:?} in vain for {what}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}
