//! The plugin on this kernel: a node and two pods, each a network namespace of its own. Needs root, `ip` and `nft`.

use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

struct Namespaces(Vec<String>);

impl Namespaces {
    fn new(names: &[&str]) -> Option<Self> {
        if !needs::root_with(&["ip", "nft"]) {
            return None;
        }
        let made = Self(
            names
                .iter()
                .map(|n| format!("cni{}{n}", std::process::id()))
                .collect(),
        );
        for name in &made.0 {
            assert!(
                Command::new("ip")
                    .args(["netns", "add", name])
                    .status()
                    .unwrap()
                    .success()
            );
        }
        Some(made)
    }

    fn path(&self, n: usize) -> String {
        format!("/run/netns/{}", self.0[n])
    }

    /// Runs `work` in a thread of its own that has entered a namespace.
    fn within<T: Send + 'static>(
        &self,
        n: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let path = self.path(n);
        std::thread::spawn(move || {
            setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            work()
        })
    }

    fn cni(&self, command: &str, pod: usize, config: &str) -> (bool, serde_json::Value) {
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.0[0], env!("CARGO_BIN_EXE_marina-cni")])
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", format!("container-{pod}"))
            .env("CNI_NETNS", self.path(pod))
            .env("CNI_IFNAME", "eth0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (
            output.status.success(),
            serde_json::from_slice(&output.stdout).unwrap_or_default(),
        )
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.0 {
            let _gone = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn serve(listener: TcpListener, times: usize) {
    for stream in listener.incoming().take(times) {
        let mut stream = stream.unwrap();
        let peer = stream.peer_addr().unwrap().ip().to_string();
        stream.write_all(peer.as_bytes()).unwrap();
    }
}

fn ask(to: &str) -> Option<String> {
    let to: SocketAddr = to.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(1)).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn pods_reach_each_other_and_host_ports_reach_pods_and_nothing_is_left() {
    let Some(ns) = Namespaces::new(&["n", "a", "b"]) else {
        return;
    };
    let state = tempfile::tempdir().unwrap();
    let setup = ns.within(0, || {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        assert!(
            Command::new("ip")
                .args(["link", "set", "lo", "up"])
                .status()
                .unwrap()
                .success()
        );
    });
    setup.join().unwrap();
    let config = |ports: &str| {
        format!(
            r#"{{"cniVersion":"1.0.0","name":"marina","type":"marina","podCIDR":"10.244.9.0/24","stateDir":{:?},"runtimeConfig":{{"portMappings":{ports}}}}}"#,
            state.path()
        )
    };
    let mapped = config(r#"[{"hostPort":8080,"containerPort":80,"protocol":"tcp","hostIP":""}]"#);
    let (ok, a) = ns.cni("ADD", 1, &mapped);
    assert!(ok, "{a}");
    assert_eq!(a["ips"][0]["address"], "10.244.9.2/32");
    let (ok, b) = ns.cni("ADD", 2, &config("[]"));
    assert!(ok, "{b}");
    assert_eq!(b["ips"][0]["address"], "10.244.9.3/32");

    let server = ns
        .within(1, || TcpListener::bind("0.0.0.0:80").unwrap())
        .join()
        .unwrap();
    let server = std::thread::spawn(move || serve(server, 3));
    // A pod sees the other pod's own address; the node by its own address and by its loopback reaches the host port.
    assert_eq!(
        ns.within(2, || ask("10.244.9.2:80")).join().unwrap().as_deref(),
        Some("10.244.9.3")
    );
    assert!(ns.within(0, || ask("127.0.0.1:8080")).join().unwrap().is_some());
    assert!(ns.within(2, || ask("10.244.9.1:8080")).join().unwrap().is_some());
    server.join().unwrap();
    assert!(ns.cni("CHECK", 1, &mapped).0);

    for _ in 0..2 {
        assert!(ns.cni("DEL", 1, &mapped).0, "deleting twice is fine");
    }
    assert!(!ns.cni("CHECK", 1, &mapped).0);
    assert!(
        ns.cni("GC", 1, &config("[]")).0,
        "the other pod is no longer valid"
    );
    let left = ns
        .within(0, || Command::new("ip").args(["-o", "link"]).output().unwrap())
        .join()
        .unwrap();
    assert!(
        !String::from_utf8_lossy(&left.stdout).contains("veth"),
        "{left:?}"
    );
    let records = std::fs::read_dir(state.path())
        .unwrap()
        .flatten()
        .filter(|e| !e.file_name().to_string_lossy().starts_with('.'));
    assert_eq!(records.count(), 0);
    let (ok, error) = ns.cni(
        "ADD",
        1,
        r#"{"cniVersion":"1.0.0","name":"marina","podCIDR":"nonsense"}"#,
    );
    assert!(!ok && error["code"] == 7, "{error}");
}
