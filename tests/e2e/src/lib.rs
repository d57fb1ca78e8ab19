//! The real programs, driven as a user drives them: `marinad dev` as root, machines with containerd, a real kubectl.
//!
//! A [`World`] is one installation with a state directory, ports, network and cloud name of its own, so that it meets neither a
//! running service nor another test. Dropping it stops everything, also after a failed check. Checks of what is left
//! on the host look for that name only.
//!
//! Found by: `MARINA_BIN_DIR` (else the directory of the test's own build), `MARINA_KUBECTLS` (paths with colons between;
//! else the kubectl on `PATH`). What is missing is a reason to skip, or to fail where `CI=true`.

mod host;
mod http;
mod program;

pub use host::Leftovers;
pub use http::get;
pub use program::{Forward, Program, wait_for};

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long `marinad dev` may take until it is ready.
const START: Duration = Duration::from_secs(120);

/// One installation of Marina on this host.
pub struct World {
    dir: tempfile::TempDir,
    bin: PathBuf,
    name: String,
    network: String,
    ports: (u16, u16),
    variables: Vec<(&'static str, String)>,
    marinad: Option<Child>,
    before: host::Host,
}

/// The reason why this machine cannot run these tests, if there is one.
fn problem(bin: &Path) -> Option<String> {
    let missing = ["marinad", "marina", "marina-node"]
        .into_iter()
        .find(|p| !bin.join(p).exists());
    if let Some(missing) = missing {
        return Some(format!(
            "{} is not there; build it first",
            bin.join(missing).display()
        ));
    }
    needs::missing_of_root(&["ip", "nft", "mmdebstrap"])
}

fn bin_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("MARINA_BIN_DIR") {
        return dir.into();
    }
    // target/debug/deps/test-1234
    let me = std::env::current_exe().unwrap_or_default();
    me.ancestors().nth(2).unwrap_or(Path::new("target/debug")).into()
}

impl World {
    /// Starts an installation. `tag` is different for each test: it becomes part of name, network and ports. `None`, with the
    /// reason printed, where this machine cannot.
    pub fn start(tag: u8) -> Option<Self> {
        Self::start_with(tag, |_gateway| Vec::new())
    }

    /// The same, with more variables in the environment of `marinad dev`: made of the address at which its machines see
    /// the host.
    pub fn start_with(tag: u8, variables: impl FnOnce(&str) -> Vec<(&'static str, String)>) -> Option<Self> {
        let bin = bin_dir();
        if let Some(reason) = problem(&bin) {
            needs::skip(&reason);
            return None;
        }
        // Not under /tmp, which may be an overlay or a tmpfs without the features of an overlay's upper directory.
        let dir = tempfile::Builder::new()
            .prefix("marina-e2e")
            .tempdir_in("/var/tmp")
            .expect("a directory can be made");
        let network = format!("10.{}", 180 + tag);
        let mut world = Self {
            variables: variables(&format!("{network}.0.1")),
            dir,
            bin,
            name: format!("e2e{tag}"),
            network,
            ports: (17_400 + u16::from(tag), 16_400 + u16::from(tag)),
            marinad: None,
            before: host::Host::look(),
        };
        if let Err(reason) = world.marinad(&["node-image"]).limit(600).try_run() {
            needs::skip(&format!("the node image cannot be built: {reason}"));
            return None;
        }
        // Whatever a killed run of this test left.
        world.marinad(&["down"]).run();
        world.before = host::Host::look();
        world.up();
        Some(world)
    }

    /// Starts `marinad dev` and waits until it is ready.
    pub fn up(&mut self) {
        let log = self.dir.path().join("marinad.log");
        let out = std::fs::File::create(&log).expect("the log can be written");
        let errors = out.try_clone().expect("the log can be written");
        let mut command = Command::new(self.bin.join("marinad"));
        let (rest, api) = (self.ports.0.to_string(), self.ports.1.to_string());
        command.args(["dev", "--rest-port", &rest, "--api-port", &api]);
        command
            .envs(self.environment())
            .envs(self.variables.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(errors);
        self.marinad = Some(command.spawn().expect("marinad can be started"));
        wait_for("marinad to be ready", START, || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            assert!(!text.contains("\nerror:"), "{text}");
            text.lines().any(|l| l == "ready").then_some(())
        });
    }

    /// Kills `marinad` as a crash does.
    pub fn kill(&mut self) {
        if let Some(mut marinad) = self.marinad.take() {
            marinad.kill().expect("marinad can be killed");
            marinad.wait().expect("marinad ends");
        }
    }

    fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        let images = self.bin.join("e2e-images");
        vec![
            ("MARINA_STATE_DIR", self.dir.path().join("state")),
            ("MARINA_IMAGE_DIR", images),
            ("MARINA_CONFIG", self.dir.path().join("config.json")),
            ("KUBECONFIG", self.kubeconfig()),
            ("MARINA_LOCAL_NAME", PathBuf::from(&self.name)),
            ("MARINA_LOCAL_NETWORK", PathBuf::from(&self.network)),
        ]
    }

    /// The kubeconfig of this world.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// Where the state is.
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// A file of this world's own, for what is copied or applied.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).expect("the file can be written");
        path
    }

    /// What `marinad` printed since it was started last.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("marinad.log")).unwrap_or_default()
    }

    /// `marinad` with these arguments, in this world.
    pub fn marinad(&self, args: &[&str]) -> Program {
        Program::new(self.bin.join("marinad"), args, self.environment())
    }

    /// `marina` with these arguments (words), in this world.
    pub fn marina(&self, words: &str) -> Program {
        let args: Vec<&str> = words.split_whitespace().collect();
        let mut environment = self.environment();
        // kubectl finds the credential plugin on PATH, and so do users.
        environment.push(("PATH", self.search_path()));
        Program::new(self.bin.join("marina"), &args, environment)
    }

    /// This kubectl with these arguments, in this world.
    pub fn kubectl(&self, kubectl: &Path, args: &[&str]) -> Program {
        let mut environment = self.environment();
        environment.push(("PATH", self.search_path()));
        environment.push(("KUBECACHEDIR", self.dir.path().join("cache")));
        Program::new(kubectl.into(), args, environment)
    }

    fn search_path(&self) -> PathBuf {
        let old = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(self.bin.clone()).chain(std::env::split_paths(&old));
        std::env::join_paths(all).expect("paths without colons").into()
    }

    /// The process that is process 1 of the machine with this node's name.
    pub fn init_of(&self, node: &str) -> Option<i32> {
        let machines = self.state().join("local/machines");
        std::fs::read_dir(machines).ok()?.flatten().find_map(|entry| {
            let read = |file: &str| -> Option<serde_json::Value> {
                serde_json::from_slice(&std::fs::read(entry.path().join(file)).ok()?).ok()
            };
            if read("machine.json")?["spec"]["name"] != node {
                return None;
            }
            read("run.json")?["pid"].as_i64()?.try_into().ok()
        })
    }

    /// The end of the machine's console.
    pub fn console_of(&self, node: &str) -> String {
        let Ok(entries) = std::fs::read_dir(self.state().join("local/machines")) else {
            return String::new();
        };
        let named = entries.flatten().find(|entry| {
            let record = std::fs::read_to_string(entry.path().join("machine.json")).unwrap_or_default();
            record.contains(&format!("\"name\": \"{node}\""))
        });
        let text = named.and_then(|e| std::fs::read_to_string(e.path().join("console.log")).ok());
        text.unwrap_or_default()
    }

    /// Stops everything as a user does.
    pub fn down(&mut self) {
        self.marinad(&["down"]).run();
        if let Some(mut marinad) = self.marinad.take() {
            marinad.wait().expect("marinad ends");
        }
    }

    /// What this world has on the host, and what the host has more of than before this world began.
    pub fn leftovers(&self) -> Leftovers {
        host::leftovers(&self.name, self.dir.path(), &self.before)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(4000);
            eprintln!(
                "the end of marinad's log:\n{}",
                log.get(from..).unwrap_or_default()
            );
        }
        let down = self.marinad(&["down"]).try_run();
        if let (Err(reason), false) = (down, std::thread::panicking()) {
            eprintln!("marinad down: {reason}");
        }
        if let Some(mut marinad) = self.marinad.take() {
            let deadline = Instant::now() + Duration::from_secs(5);
            while Instant::now() < deadline && !matches!(marinad.try_wait(), Ok(Some(_))) {
                std::thread::sleep(Duration::from_millis(50));
            }
            // It has ended, mostly; if not, it must.
            let _ended = marinad.kill();
            let _status = marinad.wait();
        }
    }
}
