//! A machine for one run of the tests: namespaces, containerd, images.
//!
//! The test program runs itself again inside (`enter.sh`), as process 1's only descendant but containerd's own; when it
//! ends, the kernel ends everything else. containerd's configuration is the node image's, with other paths and the image's other
//! runtime: this host's crun may be years older than the image's, its runc does.

use anyhow::{Context, Result, bail, ensure};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

const ENTER: &str = include_str!("enter.sh");
const CONFIG: &str = include_str!("../../../node-image/files/etc/containerd/config.toml");
/// The machine's disk, by which the program knows that it is inside.
const DIR: &str = "MARINA_TEST_DIR";
/// How the directory of a run begins; its process and a hyphen follow.
const PREFIX: &str = "marina-kubelet-";
/// Where images of nodes are by default; their containerd will do if the host has none.
const NODE_IMAGES: &str = "/var/lib/marina/images";
/// Containers that tests use.
const BUSYBOX: &str = oci::seeds::BUSYBOX[0];

/// What became of [`enter`].
pub(crate) enum Inside {
    /// This is the inner program; here is its machine.
    Yes(Machine),
    /// This was the outer program, and the inner one has ended.
    Ended(ExitCode),
    /// It cannot be done here.
    Skipped(String),
}

/// A running containerd with images.
pub struct Machine {
    dir: PathBuf,
    containerd: Child,
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone with the namespaces.
        let _gone = self.containerd.kill();
    }
}

/// Enters a machine: runs this program again inside one, or, inside, brings containerd up.
pub(crate) fn enter() -> Result<Inside> {
    if let Some(dir) = std::env::var_os(DIR) {
        return Ok(Inside::Yes(Machine::start(PathBuf::from(dir))?));
    }
    let tools = match Tools::find() {
        Ok(tools) => tools,
        Err(missing) => return Ok(Inside::Skipped(missing)),
    };
    // Not below /tmp, which may be a tmpfs or an overlay, on which containers' file systems cannot lie.
    let base = std::env::var_os("CARGO_TARGET_TMPDIR").map_or_else(|| "/var/tmp".into(), PathBuf::from);
    remove_dead(&base);
    let dir = tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", std::process::id()))
        .tempdir_in(base)?;
    let script = dir.path().join("enter.sh");
    std::fs::write(&script, ENTER)?;
    // Only containerd's own programs, for the rest of a node image need not run here.
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin)?;
    for program in ["containerd", "containerd-shim-runc-v2", "ctr"] {
        std::os::unix::fs::symlink(tools.containerd.join(program), bin.join(program))?;
    }
    let path = std::env::var("PATH").unwrap_or_default();
    // When this program is killed, the machine goes with it.
    let status = Command::new("setpriv")
        .args(["--pdeathsig", "TERM", "sh"])
        .arg(&script)
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(DIR, dir.path())
        // Spans are sent at once rather than every five seconds, where they are.
        .env("OTEL_BSP_SCHEDULE_DELAY", "200")
        .env("MARINA_TEST_BUSYBOX", &tools.busybox)
        .env("PATH", format!("{}:{path}:/usr/sbin:/sbin", bin.display()))
        .stdin(Stdio::null())
        .status()
        .context("setpriv")?;
    let code = status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1);
    Ok(Inside::Ended(code.into()))
}

/// Removes what runs left behind that were killed: their directories, for their namespaces died with them.
fn remove_dead(base: &Path) {
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let of = name
            .to_str()
            .and_then(|n| n.strip_prefix(PREFIX)?.split_once('-'));
        if of.is_some_and(|(process, _)| !Path::new("/proc").join(process).exists()) {
            // Left to the next run if it fails.
            let _removed = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// What the host must have.
struct Tools {
    /// The directory of containerd 2 and its shim.
    containerd: PathBuf,
    /// A busybox without libraries.
    busybox: PathBuf,
}

impl Tools {
    fn find() -> Result<Self, String> {
        if let Some(missing) = needs::missing_of_root(&["runc", "unshare", "setpriv", "nft", "ip"]) {
            return Err(missing);
        }
        let mut roots = vec![PathBuf::from("/")];
        let images = std::env::var_os("MARINA_IMAGE_DIR").map_or_else(|| NODE_IMAGES.into(), PathBuf::from);
        let images = std::fs::read_dir(images.join("base"))
            .into_iter()
            .flatten()
            .flatten();
        roots.extend(images.map(|e| e.path()));
        let find = |what: &str, fits: &dyn Fn(&Path) -> bool| {
            roots
                .iter()
                .flat_map(|r| [r.join("usr/local/bin"), r.join("usr/bin"), r.join("bin")])
                .find(|bin| fits(&bin.join(what)))
                .ok_or_else(|| format!("needs {what}; `make up` builds a node image that has it"))
        };
        let prints = |program: &Path, args: &[&str], text: &str| {
            Command::new(program)
                .args(args)
                .output()
                .is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains(text))
        };
        Ok(Self {
            containerd: find("containerd", &|p| prints(p, &["--version"], "containerd/v2"))?,
            busybox: find("busybox", &|p| {
                p.exists() && std::fs::read(p).is_ok_and(|bytes| is_static(&bytes))
            })?
            .join("busybox"),
        })
    }
}

/// Whether an ELF program names no interpreter: it can run in an image that has nothing else.
fn is_static(bytes: &[u8]) -> bool {
    let interpreter = b"/lib64/ld-";
    bytes.starts_with(b"\x7fELF")
        && !bytes
            .windows(interpreter.len())
            .take(4096)
            .any(|w| w == interpreter)
}

impl Machine {
    fn start(dir: PathBuf) -> Result<Self> {
        let config = CONFIG
            .replace("/opt/cni/bin", &dir.join("cni/bin").display().to_string())
            .replace("/etc/cni/net.d", &dir.join("cni/conf").display().to_string())
            .replace("default_runtime_name = 'crun'", "default_runtime_name = 'runc'");
        ensure!(
            !config.contains("/opt/cni") && !config.contains("/etc/cni") && config.contains("name = 'runc'"),
            "the node image's configuration has changed"
        );
        let file = dir.join("containerd.toml");
        std::fs::write(&file, config)?;
        for d in ["cni/bin", "cni/conf", "containerd"] {
            std::fs::create_dir_all(dir.join(d))?;
        }
        let log = std::fs::File::create(dir.join("containerd.log"))?;
        let containerd = Command::new("containerd")
            .arg("--config")
            .arg(&file)
            .arg("--root")
            .arg(dir.join("containerd"))
            .args(["--state", "/run/containerd"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("containerd")?;
        let machine = Self { dir, containerd };
        for _ in 0..6000 {
            if UnixStream::connect(Self::SOCKET).is_ok() {
                machine.load_images()?;
                return Ok(machine);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("containerd does not listen:\n{}", machine.containerd_log())
    }

    /// Where containerd listens.
    pub const SOCKET: &'static str = "/run/containerd/containerd.sock";

    /// The machine's disk.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What containerd has to say.
    pub fn containerd_log(&self) -> String {
        std::fs::read_to_string(self.dir.join("containerd.log")).unwrap_or_default()
    }

    fn load_images(&self) -> Result<()> {
        let store = oci::Store::open(&self.dir.join("images"))?;
        let busybox = std::env::var("MARINA_TEST_BUSYBOX").context("MARINA_TEST_BUSYBOX")?;
        oci::seeds::pause().store(&store)?;
        oci::seeds::busybox(BUSYBOX, Path::new(&busybox))?.store(&store)?;
        oci::seeds::shop(oci::seeds::SHOP[0], None)?.store(&store)?;
        for name in [oci::seeds::PAUSE, BUSYBOX, oci::seeds::SHOP[0]] {
            let tar = self.dir.join("image.tar");
            oci::write_archive(&store, name, std::fs::File::create(&tar)?)?;
            let out = Command::new("ctr")
                .args(["-a", Self::SOCKET, "-n", "k8s.io", "images", "import", "--local"])
                .arg(&tar)
                .output()
                .context("ctr")?;
            ensure!(
                out.status.success(),
                "{name}: {}",
                String::from_utf8_lossy(&out.stderr)
            );
        }
        Ok(())
    }
}
