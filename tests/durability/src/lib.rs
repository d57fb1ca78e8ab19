//! Real processes for tests of what survives: `marinad`, killed and started again, and a cluster in it.
//!
//! The programs are those beside the test (`target/<profile>`), or in `MARINA_BIN_DIR`. Where one is missing the test
//! is skipped and says so; with `CI=true` it fails.

pub mod objects;

use client::{Client, Config, HttpTransport};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a program may take to be ready: debug builds on busy machines are slow.
const PATIENCE: Duration = Duration::from_secs(180);

/// A program of this repository; `None` after it was said that the test is skipped.
pub fn program(name: &str) -> Option<PathBuf> {
    let dir = std::env::var_os("MARINA_BIN_DIR").map(PathBuf::from).or_else(|| {
        // A test is in target/<profile>/deps.
        let test = std::env::current_exe().ok()?;
        Some(test.parent()?.parent()?.to_owned())
    });
    let path = dir.map(|dir| dir.join(name)).filter(|path| path.is_file());
    if path.is_none() {
        needs::skip(&format!(
            "{name} is not built: cargo build -p {name}, or set MARINA_BIN_DIR"
        ));
    }
    path
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has free ports");
    listener
        .local_addr()
        .expect("a bound socket has an address")
        .port()
}

/// A process that is killed when its owner goes.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program whose output goes into `log`, and waits until it has printed a line `ready` there.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .expect("the log can be written");
        let before = std::fs::read_to_string(log).unwrap_or_default().len();
        let errors = file.try_clone().expect("a file can be shared");
        let child = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn();
        let child = child.unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let mut process = Self {
            child,
            log: log.to_owned(),
        };
        let deadline = Instant::now() + PATIENCE;
        while !process.log()[before..].lines().any(|line| line == "ready") {
            let ended = process.child.try_wait().expect("a child can be waited for");
            assert!(
                ended.is_none(),
                "{command:?} ended with {ended:?}:\n{}",
                process.log()
            );
            assert!(
                Instant::now() < deadline,
                "{command:?} is not ready:\n{}",
                process.log()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        process
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGKILL: it runs no line of code any more.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have been killed already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// `marinad dev` with the store on disk and without machines.
#[derive(Debug)]
pub struct Marina {
    marinad: PathBuf,
    marina: PathBuf,
    dir: tempfile::TempDir,
    ports: (u16, u16),
}

impl Marina {
    /// `None` after it was said that the test is skipped.
    pub fn new() -> Option<Self> {
        let (marinad, marina) = (program("marinad")?, program("marina")?);
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        Some(Self {
            marinad,
            marina,
            dir,
            ports: (free_port(), free_port()),
        })
    }

    /// Starts it, or starts it again: the same directory, the same ports.
    pub fn start(&self) -> Process {
        let mut command = Command::new(&self.marinad);
        command
            .args(["dev", "--no-local-cloud", "--state-dir"])
            .arg(self.dir.path().join("state"));
        command.args([
            "--rest-port",
            &self.ports.0.to_string(),
            "--api-port",
            &self.ports.1.to_string(),
        ]);
        command.arg("--config").arg(self.config());
        Process::start(&mut command, &self.dir.path().join("log"))
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("config.json")
    }

    fn marina(&self, args: &[&str]) -> String {
        let mut command = Command::new(&self.marina);
        let output = command
            .args(args)
            .env("MARINA_CONFIG", self.config())
            .output()
            .expect("marina can be run");
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Makes a cluster, and gives a client of it.
    pub fn cluster(&self, name: &str) -> Client {
        self.marina(&["cluster", "create", name]);
        let kubeconfig = self.marina(&["kubeconfig", "--embed", name]);
        let config =
            Config::from_kubeconfig_text(&kubeconfig, self.dir.path(), None).expect("a valid kubeconfig");
        let transport = HttpTransport::new(config, base::Clock::system()).expect("a usable kubeconfig");
        Client::new(Arc::new(transport)).with_deadline(Duration::from_secs(60))
    }
}
