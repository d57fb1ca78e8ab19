//! Real machines on this kernel: needs root, `ip` and a static busybox, which serves as a node image of one file.
//!
//! Everything is made under a name of this process's own and removed even if a check fails.

use base::{ClusterId, Shutdown};
use cloud_api::{
    Cloud, HealthCheck, InstanceSpec, InstanceState, Listener, LoadBalancerSpec, Protocol, Tags, Target,
    conformance,
};
use cloud_local::{LocalCloud, Options};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A cloud with a busybox image in a directory of its own; removed when dropped.
struct World {
    dir: tempfile::TempDir,
    options: Options,
}

impl World {
    /// `None`, with the reason printed, where this machine cannot run the test; on CI that is a failure.
    fn new(tag: u8) -> Option<Self> {
        if !needs::root_with(&["busybox"]) {
            return None;
        }
        let busybox = needs::program("busybox");
        // Not under /tmp, which may be an overlay or a tmpfs without the features of an upper directory.
        let dir = tempfile::Builder::new()
            .prefix("marina-test")
            .tempdir_in("/var/tmp")
            .unwrap();
        let root = dir.path().join("rootfs");
        for d in [
            "bin",
            "sbin",
            "usr/local/bin",
            "etc",
            "proc",
            "sys",
            "dev",
            "run",
            "tmp",
            "var/lib",
        ] {
            std::fs::create_dir_all(root.join(d)).unwrap();
        }
        std::fs::copy(busybox?, root.join("bin/busybox")).unwrap();
        for applet in [
            "sh", "ip", "sleep", "hostname", "httpd", "echo", "cat", "ps", "touch", "ls",
        ] {
            std::os::unix::fs::symlink("/bin/busybox", root.join("bin").join(applet)).unwrap();
        }
        let options = Options {
            name: format!("m{tag:x}{:x}", std::process::id() & 0xfffff),
            network: [10, tag],
            launcher: vec![env!("CARGO_BIN_EXE_marina-machine").into()],
            ..Options::new(dir.path())
        };
        Some(Self { dir, options })
    }

    async fn open(&self) -> LocalCloud {
        let cloud = LocalCloud::open(self.options.clone()).unwrap();
        let source = self.dir.path().join("rootfs");
        cloud
            .images()
            .unwrap()
            .import("default", &source, &"image".into())
            .await
            .unwrap();
        cloud
    }

    fn cgroups(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir("/sys/fs/cgroup") else {
            return vec![];
        };
        let mut at: Vec<PathBuf> = entries
            .flatten()
            .map(|e| e.path().join(&self.options.name))
            .collect();
        at.push(Path::new("/sys/fs/cgroup").join(&self.options.name));
        at.into_iter().filter(|p| p.exists()).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let options = self.options.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let Ok(cloud) = LocalCloud::open(options) else {
                    return;
                };
                let instances = cloud.instances().unwrap();
                for machine in instances.list(&Tags::new()).await.unwrap_or_default() {
                    let _gone = instances.terminate(&machine.id).await;
                }
                let balancers = cloud.load_balancers().unwrap();
                for balancer in balancers.list(&Tags::new()).await.unwrap_or_default() {
                    let _gone = balancers
                        .delete(&balancer.spec.cluster, &balancer.spec.name)
                        .await;
                }
                let _gone = cloud.remove_network_if_unused().await;
            });
        })
        .join()
        .unwrap();
    }
}

fn spec(name: &str, user_data: &str) -> InstanceSpec {
    InstanceSpec {
        name: name.into(),
        zone: "a".into(),
        instance_type: "small".into(),
        image: String::new(),
        user_data: user_data.into(),
        tags: Tags::new(),
        token: name.into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_cloud_keeps_the_promises_of_every_cloud_and_leaves_nothing_behind() {
    let Some(world) = World::new(201) else { return };
    let cloud = world.open().await;
    let options = conformance::Options {
        image: String::new(),
        user_data: b"#!/bin/sh\necho hello from $(hostname)\n".to_vec(),
        patience: Duration::from_secs(20),
        run: format!("l{}", std::process::id()),
    };
    conformance::run(&cloud, &options).await.unwrap();
    assert_eq!(world.cgroups(), Vec::<PathBuf>::new());
    assert!(!Path::new("/run/netns").join(&world.options.name).exists());
    assert!(
        !Path::new("/sys/class/net")
            .join(format!("{}0", world.options.name))
            .exists()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_outlive_the_program_and_a_load_balancer_reaches_them() {
    let Some(world) = World::new(202) else { return };
    let serve = "#!/bin/sh\nmkdir -p /www\nhostname > /www/index.html\necho serving >> /kept\nhttpd -p 8080 -h /www\n";
    let first = world.open().await;
    let made = first
        .instances()
        .unwrap()
        .create(&spec("m1", serve))
        .await
        .unwrap();
    drop(first);

    let cloud = world.open().await;
    let instances = cloud.instances().unwrap();
    let found = instances.get(&made.id).await.unwrap();
    assert_eq!(found.state, InstanceState::Running);
    assert_eq!(instances.create(&spec("m1", serve)).await.unwrap().id, made.id);
    assert!(instances.create(&spec("m1", "other")).await.is_err());

    let target = Target {
        addr: (found.address.unwrap(), 8080).into(),
        zone: None,
    };
    let dead = Target {
        addr: (found.address.unwrap(), 9).into(),
        zone: None,
    };
    let balancers = cloud.load_balancers().unwrap();
    let made = balancers
        .ensure(&LoadBalancerSpec {
            name: "web".into(),
            cluster: ClusterId::management(),
            listeners: vec![Listener {
                port: 80,
                protocol: Protocol::Tcp,
                targets: vec![dead, target],
                health: HealthCheck::Connect,
            }],
            source_ranges: vec![],
            tags: Tags::new(),
        })
        .await
        .unwrap();
    let shutdown = Shutdown::new();
    let service = tokio::spawn(cloud.balancer_service().run(shutdown.clone()));
    let body = get(made.address.unwrap(), 80).await;
    assert!(body.ends_with("m1\n"), "{body:?}");

    // The same disk after a reboot: the script has written its line twice by then.
    instances.reboot(&found.id).await.unwrap();
    assert!(get(made.address.unwrap(), 80).await.ends_with("m1\n"));
    let kept = world
        .options
        .state_dir
        .join("machines")
        .join(&found.id)
        .join("upper/kept");
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "serving\nserving\n");
    shutdown.trigger();
    service.await.unwrap();
    balancers.delete(&ClusterId::management(), "web").await.unwrap();
}

/// An HTTP GET that is repeated until it succeeds.
async fn get(address: std::net::IpAddr, port: u16) -> String {
    for _ in 0..200 {
        if let Ok(mut stream) = tokio::net::TcpStream::connect((address, port)).await {
            let mut answer = String::new();
            let sent = stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await;
            if sent.is_ok()
                && stream.read_to_string(&mut answer).await.is_ok()
                && answer.starts_with("HTTP/1")
            {
                return answer;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{address}:{port} never answered");
}
