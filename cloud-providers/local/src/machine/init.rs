//! Process 1 of a machine: builds the root, brings the network up, starts containerd and `marina-node`, and then only reaps
//! and restarts.
//!
//! It is small on purpose: when it dies, the kernel kills everything in the machine. It uses no threads and no runtime.

use super::{Config, Context, MachineError, read_config, root};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long the network device may take to appear.
const NETWORK_PATIENCE: Duration = Duration::from_secs(20);
/// How long containerd may take until it listens.
const CONTAINERD_PATIENCE: Duration = Duration::from_secs(20);
/// The time between the end of a supervised program and its next start.
const RESTART_DELAY: Duration = Duration::from_secs(1);
/// The console is cut off here: it is for looking, not for keeping.
const CONSOLE_LIMIT: i64 = 8 << 20;

const CONTAINERD: &str = "/usr/bin/containerd";
const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";
const NODE: &str = "/usr/local/bin/marina-node";
/// Container images that come with the node image.
const SEEDS: &str = "/usr/share/marina/images";
/// Says that they are in containerd.
const SEEDED: &str = "/var/lib/containerd/.marina-seeded";

pub(super) fn init(dir: &Path) -> Result<(), MachineError> {
    let started = Instant::now();
    let config = read_config(dir)?;
    nix::unistd::sethostname(&config.metadata.name).context("sethostname")?;
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT] {
        signals.add(signal);
    }
    signals.thread_block().context("block signals")?;
    let events =
        SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context("signalfd")?;

    root::enter(dir, &config)?;
    network(&config)?;
    say(started, "network is up");
    let mut programs = Vec::new();
    if Path::new(CONTAINERD).exists() {
        let mut containerd = Supervised::new("containerd", CONTAINERD, &[]);
        containerd.start();
        programs.push(containerd);
        wait_for(CONTAINERD_PATIENCE, || {
            UnixStream::connect(CONTAINERD_SOCKET).is_ok()
        });
        say(started, "containerd is up");
        seed_images();
    }
    run_user_script();
    if Path::new(NODE).exists() {
        let mut node = Supervised::new("marina-node", NODE, &["run"]);
        node.start();
        programs.push(node);
    }
    say(started, "boot is complete");
    supervise(&events, &mut programs)
}

fn say(started: Instant, what: &str) {
    println!("init: {what} after {} ms", started.elapsed().as_millis());
}

fn network(config: &Config) -> Result<(), MachineError> {
    // Forwarding is what makes a node of a machine: pods are routed, not bridged.
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("ip_forward")?;
    if !wait_for(NETWORK_PATIENCE, || Path::new("/sys/class/net/eth0").exists()) {
        return Err(MachineError::Other("no eth0 appeared".into()));
    }
    let meta = &config.metadata;
    let (address, gateway) = (format!("{}/16", meta.address), meta.gateway.to_string());
    for args in [
        &["link", "set", "lo", "up"][..],
        &["addr", "add", &address, "dev", "eth0"],
        &["link", "set", "eth0", "up"],
        &["route", "add", "default", "via", &gateway],
    ] {
        let status = child("ip").args(args).status().context("run ip")?;
        if !status.success() {
            return Err(MachineError::Other(format!("ip {}: {status}", args.join(" "))));
        }
    }
    Ok(())
}

fn wait_for(patience: Duration, mut ready: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while !ready() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    true
}

/// Puts the images that came with the node image into containerd, once for each machine, beside everything else: nothing has
/// to wait for them, since containerd pulls what a pod needs before they are there.
fn seed_images() {
    if Path::new(SEEDED).exists() || !Path::new(SEEDS).exists() {
        return;
    }
    let script = format!(
        "for f in {SEEDS}/*.tar; do ctr -n k8s.io images import --local \"$f\" || exit 1; done; touch {SEEDED}"
    );
    // Nobody waits for it but process 1, which waits for every child.
    if let Err(error) = child("sh").args(["-c", &script]).spawn() {
        eprintln!("init: images are not seeded: {error}");
    }
}

/// User data that begins with `#!` is a program to run at each boot, as everywhere; its outcome does not stop the boot.
fn run_user_script() {
    const PATH: &str = "/run/marina/user-data";
    if fs::read(PATH).is_ok_and(|bytes| bytes.starts_with(b"#!")) {
        // /run is mounted without exec in no machine, so the file itself can be run.
        match child(PATH).status() {
            Ok(status) => println!("init: user data: {status}"),
            Err(error) => eprintln!("init: user data: {error}"),
        }
    }
}

/// A command with the signal mask that programs expect, which is not init's.
fn child(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    unblock_signals(&mut command);
    command
}

#[allow(unsafe_code)]
fn unblock_signals(command: &mut Command) {
    // SAFETY: between fork and exec only sigprocmask is called, which is async-signal-safe and allocates nothing.
    unsafe {
        command.pre_exec(|| SigSet::empty().thread_set_mask().map_err(std::io::Error::from));
    }
}

struct Supervised {
    name: &'static str,
    program: &'static str,
    args: &'static [&'static str],
    pid: Option<i32>,
    restart_at: Option<Instant>,
}

impl Supervised {
    fn new(name: &'static str, program: &'static str, args: &'static [&'static str]) -> Self {
        Self {
            name,
            program,
            args,
            pid: None,
            restart_at: None,
        }
    }

    fn start(&mut self) {
        self.restart_at = None;
        match child(self.program).args(self.args).process_group(0).spawn() {
            // Process 1 waits for every child by itself, so the handle is not needed.
            Ok(child) => self.pid = i32::try_from(child.id()).ok(),
            Err(error) => {
                eprintln!("init: {}: {error}", self.name);
                self.restart_at = Some(Instant::now() + RESTART_DELAY);
            }
        }
    }
}

fn supervise(events: &SignalFd, programs: &mut [Supervised]) -> Result<(), MachineError> {
    loop {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            if status == WaitStatus::StillAlive {
                break;
            }
            let Some(pid) = status.pid() else { continue };
            if let Some(program) = programs.iter_mut().find(|p| p.pid == Some(pid.as_raw())) {
                println!("init: {} ended: {status:?}", program.name);
                program.pid = None;
                program.restart_at = Some(Instant::now() + RESTART_DELAY);
            }
        }
        let now = Instant::now();
        for program in programs
            .iter_mut()
            .filter(|p| p.restart_at.is_some_and(|at| at <= now))
        {
            program.start();
        }
        trim_console();
        let wait = programs
            .iter()
            .filter_map(|p| p.restart_at)
            .min()
            .map_or(Duration::from_secs(60), |at| at - now);
        let timeout = PollTimeout::try_from(wait + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(events.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error).context("poll"),
        }
        while let Ok(Some(signal)) = events.read_signal() {
            if [Signal::SIGTERM as u32, Signal::SIGINT as u32].contains(&signal.ssi_signo) {
                println!("init: told to stop");
                return Ok(());
            }
        }
    }
}

/// The console is opened for appending, so cutting it makes everybody continue at its start.
fn trim_console() {
    let out = std::io::stdout();
    if nix::sys::stat::fstat(out.as_fd()).is_ok_and(|s| s.st_size > CONSOLE_LIMIT) {
        // Losing the console's old text is the purpose; failing to is harmless.
        let _kept = nix::unistd::ftruncate(out.as_fd(), 0);
    }
}
