//! The ruleset on this kernel, with real connections between a node, two pods and a client outside, each a network namespace.
//! Needs root, `ip` and `nft`.

use crate::endpoints::Place;
use crate::rules::{self, ServiceRules};
use crate::table::{Delta, Table};
use crate::view::{EndpointView, PortView, Protocol, ServiceName, ServiceView, SliceView};
use nix::sched::{CloneFlags, setns};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PODS: &str = "10.244.0.0/16";

/// A node with the pods 10.244.0.2 and 10.244.0.3, and a client outside at 192.0.2.2, which sees the node as 192.0.2.1.
struct World(String);

impl World {
    fn new(tag: &str) -> Option<Self> {
        if !needs::root_with(&["ip", "nft"]) {
            return None;
        }
        let world = Self(format!("kp{}{tag}", std::process::id()));
        for name in ["n", "a", "b", "c"] {
            run("ip", &["netns", "add", &world.name(name)], "");
        }
        let mut node = String::from("link set lo up\n");
        for (name, address, gateway) in [
            ("a", "10.244.0.2", "10.244.0.1"),
            ("b", "10.244.0.3", "10.244.0.1"),
            ("c", "192.0.2.2", "192.0.2.1"),
        ] {
            let netns = world.name(name);
            node += &format!(
                "link add v{name} type veth peer name eth0 netns {netns}\naddr add {gateway}/32 dev v{name}\nlink set v{name} up\n\
                 route add {address}/32 dev v{name}\n"
            );
        }
        // Without any route to a ClusterIP the node itself could not even begin.
        node += "route add default via 192.0.2.2 dev vc onlink\n";
        run("ip", &["-n", &world.name("n"), "-batch", "-"], &node);
        for (name, address, gateway) in [
            ("a", "10.244.0.2", "10.244.0.1"),
            ("b", "10.244.0.3", "10.244.0.1"),
            ("c", "192.0.2.2", "192.0.2.1"),
        ] {
            let inside = format!(
                "link set lo up\naddr add {address}/32 dev eth0\nlink set eth0 up\nroute add {gateway}/32 dev eth0 scope link\n\
                 route add default via {gateway}\n"
            );
            run("ip", &["-n", &world.name(name), "-batch", "-"], &inside);
        }
        world.within("n", || {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap()
        });
        for (name, letter) in [("a", "a"), ("b", "b")] {
            let listener = world.within(name, || TcpListener::bind("0.0.0.0:8080").unwrap());
            // Answers with its letter and the client's address; ends with the process.
            std::thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    let peer = stream.peer_addr().map(|p| p.ip().to_string()).unwrap_or_default();
                    let _closed = stream.write_all(format!("{letter} {peer}").as_bytes());
                }
            });
        }
        Some(world)
    }

    fn name(&self, n: &str) -> String {
        format!("{}{n}", self.0)
    }

    fn within<T: Send + 'static>(&self, n: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
        let path = format!("/run/netns/{}", self.name(n));
        let thread = std::thread::spawn(move || {
            setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        thread.join().unwrap()
    }

    fn apply(&self, delta: &Delta) {
        let text = delta.text.clone();
        self.within("n", move || run("nft", &["-f", "-"], &text));
    }

    /// What a client at `from` hears, or `None` if it is refused or not answered.
    fn ask(&self, from: &str, to: &str) -> Option<String> {
        let to: SocketAddr = to.parse().unwrap();
        self.within(from, move || {
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_millis(500)).ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            Some(answer)
        })
    }

    fn letters(&self, from: &str, to: &str) -> String {
        let heard: BTreeSet<char> = (0..24)
            .filter_map(|_| self.ask(from, to)?.chars().next())
            .collect();
        heard.into_iter().collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for name in ["n", "a", "b", "c"] {
            let _gone = Command::new("ip")
                .args(["netns", "del", &self.name(name)])
                .status();
        }
    }
}

fn run(program: &str, args: &[&str], input: &str) {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let feed = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let _closed = feed.join().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program}: {}",
        complaint.chars().take(3000).collect::<String>()
    );
}

fn service(cluster_ip: [u8; 4], node_port: Option<u16>) -> ServiceView {
    ServiceView {
        cluster_ips: vec![cluster_ip.into()],
        ports: vec![PortView {
            name: String::new(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port,
        }],
        ..ServiceView::default()
    }
}

fn slice(addresses: &[[u8; 4]]) -> SliceView {
    let endpoint = |address: &[u8; 4]| EndpointView {
        address: Ipv4Addr::from(*address),
        ready: true,
        serving: true,
        terminating: false,
        node: Some("n".into()),
        zones: BTreeSet::new(),
        nodes: BTreeSet::new(),
    };
    SliceView {
        ports: vec![(String::new(), Protocol::Tcp, 8080)],
        endpoints: addresses.iter().map(endpoint).collect(),
    }
}

fn decide(service: &ServiceView, slice: &SliceView, before: &ServiceRules) -> ServiceRules {
    let place = Place {
        node: "n".into(),
        zone: None,
    };
    rules::decide(service, std::iter::once(slice), &place, &BTreeSet::new(), before)
}

fn name(n: &str) -> ServiceName {
    ("default".into(), n.into())
}

const A: [u8; 4] = [10, 244, 0, 2];
const B: [u8; 4] = [10, 244, 0, 3];

#[test]
fn connections_go_where_services_say() {
    let Some(world) = World::new("x") else { return };
    let both = slice(&[A, B]);
    let empty = ServiceRules::default();
    let web = service([10, 96, 0, 5], Some(30_080));
    let keep = ServiceView {
        balancer_ips: vec![Ipv4Addr::new(203, 0, 113, 7)],
        external_local: true,
        ..service([10, 96, 0, 6], Some(30_081))
    };
    let sticky = ServiceView {
        affinity: Some(60),
        ..service([10, 96, 0, 7], None)
    };
    let guarded = ServiceView {
        balancer_ips: vec![Ipv4Addr::new(203, 0, 113, 8)],
        source_ranges: vec!["10.0.0.0/8".into()],
        ..service([10, 96, 0, 8], None)
    };
    let void = service([10, 96, 0, 9], Some(30_082));
    let mut table = Table::default();
    let all = [
        ("web", &web),
        ("keep", &keep),
        ("sticky", &sticky),
        ("guarded", &guarded),
    ];
    let mut all: BTreeMap<_, _> = all
        .into_iter()
        .map(|(n, s)| (name(n), decide(s, &both, &empty)))
        .collect();
    all.insert(name("void"), decide(&void, &slice(&[]), &empty));
    world.apply(&table.full(PODS, all));

    // From a pod (also to itself), from the node, from outside.
    assert_eq!(world.letters("a", "10.96.0.5:80"), "ab");
    assert_eq!(world.letters("n", "10.96.0.5:80"), "ab");
    assert_eq!(world.letters("c", "192.0.2.1:30080"), "ab");
    assert_eq!(world.letters("n", "192.0.2.1:30080"), "ab");
    assert_eq!(world.letters("a", "192.0.2.1:30081"), "ab");
    // Pods are seen as they are, clients outside only where the policy keeps them.
    let seen = |from: &str, to: &str| world.ask(from, to).unwrap()[2..].to_owned();
    let other = (0..24)
        .filter_map(|_| world.ask("a", "10.96.0.5:80"))
        .find(|h| h.starts_with('b'));
    assert_eq!(other.as_deref(), Some("b 10.244.0.2"));
    assert_ne!(seen("c", "192.0.2.1:30080"), "192.0.2.2");
    assert_eq!(seen("c", "203.0.113.7:80"), "192.0.2.2");
    assert_eq!(
        world.letters("a", "10.96.0.7:80").len(),
        1,
        "a client with affinity stays"
    );
    assert_eq!(world.letters("a", "203.0.113.8:80"), "ab");
    assert_eq!(world.ask("c", "203.0.113.8:80"), None, "not in the source ranges");
    // Refused, not left waiting.
    for (from, to) in [
        ("a", "10.96.0.9:80"),
        ("n", "10.96.0.9:80"),
        ("c", "192.0.2.1:30082"),
    ] {
        let begun = Instant::now();
        assert_eq!(world.ask(from, to), None);
        assert!(
            begun.elapsed() < Duration::from_millis(400),
            "{from} waited for {to}"
        );
    }

    // Changes: an endpoint goes, the first comes, all go, a Service goes.
    let change = |table: &mut Table, n: &str, service: Option<(&ServiceView, &SliceView)>| {
        let new = service.map(|(s, e)| decide(s, e, &table.rules(&name(n))));
        let delta = table.change(vec![(name(n), new)]);
        assert!(delta.text.lines().count() <= 24, "small: {}", delta.text);
        world.apply(&delta);
    };
    change(&mut table, "web", Some((&web, &slice(&[B]))));
    assert_eq!(world.letters("a", "10.96.0.5:80"), "b");
    assert_eq!(world.letters("c", "192.0.2.1:30080"), "b");
    change(&mut table, "void", Some((&void, &slice(&[A]))));
    assert_eq!(world.letters("b", "10.96.0.9:80"), "a");
    change(&mut table, "web", Some((&web, &slice(&[]))));
    assert_eq!(world.ask("a", "10.96.0.5:80"), None);
    change(&mut table, "web", None);
    change(&mut table, "keep", None);
    assert_eq!(world.ask("c", "203.0.113.7:80"), None);
    assert_eq!(world.letters("a", "10.96.0.7:80").len(), 1);
}

#[test]
fn thousands_of_services_load_at_once_and_one_more_costs_one() {
    let Some(world) = World::new("y") else { return };
    let mut table = Table::default();
    let both = slice(&[A, B]);
    let cluster_ip = |n: u16| [10, 97, n.to_be_bytes()[0], n.to_be_bytes()[1]];
    let all = (0..5000u16).map(|n| {
        (
            name(&n.to_string()),
            decide(&service(cluster_ip(n), None), &both, &ServiceRules::default()),
        )
    });
    let delta = table.full(PODS, all.collect());
    let begun = Instant::now();
    world.apply(&delta);
    let full = begun.elapsed();
    let more = decide(&service([10, 98, 0, 1], None), &both, &ServiceRules::default());
    let delta = table.change(vec![(name("more"), Some(more))]);
    let begun = Instant::now();
    world.apply(&delta);
    eprintln!("5,000 Services: {full:?}, one more: {:?}", begun.elapsed());
    assert!(full < Duration::from_secs(20), "{full:?}");
    assert_eq!(world.letters("a", "10.97.19.135:80"), "ab");
    assert_eq!(world.letters("a", "10.98.0.1:80"), "ab");
}
