//! Real machines on this kernel: needs root, `ip` and a static busybox, which serves as a node image of one file.
//!
//! Everything is made under a name of this process's own and removed even if a check fails.

use base::{ClusterId, Shutdown};
use cloud_api::{
    Cloud, CloudError, HealthCheck, InstanceSpec, InstanceState, Listener, LoadBalancerSpec, Protocol, Tags,
    Target, VolumeSpec, VolumeState, conformance,
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
            "mnt",
            "var/lib",
        ] {
            std::fs::create_dir_all(root.join(d)).unwrap();
        }
        std::fs::copy(busybox?, root.join("bin/busybox")).unwrap();
        for applet in [
            "sh", "ip", "sleep", "hostname", "httpd", "echo", "cat", "ps", "touch", "ls", "mkdir", "mount",
            "sync",
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
    assert_limited(&world.options.name, &found.id);

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

/// The loop devices on a file, as the kernel knows them.
fn loop_devices(disk: &Path) -> String {
    let listed = std::process::Command::new("losetup")
        .arg("--associated")
        .arg(disk)
        .output();
    String::from_utf8(listed.unwrap().stdout).unwrap()
}

/// Waits until the machine's console has this line so many times, and answers with all of it.
async fn console(cloud: &LocalCloud, machine: &str, line: &str, times: usize) -> String {
    let mut text = String::new();
    for _ in 0..200 {
        text = String::from_utf8(cloud.instances().unwrap().console(machine).await.unwrap()).unwrap();
        if text.lines().filter(|l| *l == line).count() >= times {
            return text;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the console of {machine} has {line:?} less than {times} times:\n{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_machine_wrote_to_a_volume_is_read_by_the_next_one_and_never_by_two_at_once() {
    let Some(world) = World::new(203) else { return };
    let Some(mkfs) = needs::program("mkfs.ext4") else {
        return;
    };
    // Each machine shows what others left on the volume, and signs.
    let sign = "#!/bin/sh\n(until mount -t ext4 /dev/vol-* /mnt; do sleep 0.05; done\n\
                cat /mnt/signed; hostname >>/mnt/signed; sync; echo signed) 2>/dev/null &\n";
    let mut cloud = world.open().await;
    let in_zone = |name: &str, zone: &str| InstanceSpec {
        zone: zone.into(),
        ..spec(name, sign)
    };
    let first = cloud
        .instances()
        .unwrap()
        .create(&in_zone("m1", "a"))
        .await
        .unwrap();
    let second = cloud
        .instances()
        .unwrap()
        .create(&in_zone("m2", "a"))
        .await
        .unwrap();
    let far = cloud
        .instances()
        .unwrap()
        .create(&in_zone("m3", "b"))
        .await
        .unwrap();

    let wanted = VolumeSpec {
        name: "data".into(),
        zone: "a".into(),
        size: (16 << 20) - 1,
        snapshot: None,
        tags: Tags::new(),
        token: "data".into(),
    };
    let volume = cloud.volumes().unwrap().create(&wanted).await.unwrap();
    assert_eq!(volume.size, 16 << 20, "rounded up");
    let disk = world
        .options
        .state_dir
        .join("volumes")
        .join(&volume.id)
        .join("disk");
    let made = std::process::Command::new(mkfs).arg("-q").arg(&disk).status();
    assert!(made.unwrap().success());
    let refused = cloud.volumes().unwrap().attach(&volume.id, &far.id).await;
    assert!(matches!(refused, Err(CloudError::Invalid(_))), "{refused:?}");
    // One whose making was interrupted is nobody's: its machine could not start again.
    let unmade = VolumeSpec {
        token: "unmade".into(),
        ..wanted.clone()
    };
    let unmade = cloud.volumes().unwrap().create(&unmade).await.unwrap();
    std::fs::remove_file(
        world
            .options
            .state_dir
            .join("volumes")
            .join(&unmade.id)
            .join("disk"),
    )
    .unwrap();
    let refused = cloud.volumes().unwrap().attach(&unmade.id, &first.id).await;
    assert!(matches!(refused, Err(CloudError::NotReady(_))), "{refused:?}");
    let state = cloud.volumes().unwrap().get(&unmade.id).await.unwrap().state;
    assert_eq!(state, VolumeState::Available);
    let device = cloud
        .volumes()
        .unwrap()
        .attach(&volume.id, &first.id)
        .await
        .unwrap();
    console(&cloud, &first.id, "signed", 1).await;

    // In use it is neither taken away nor given to another, whoever asks.
    drop(cloud);
    cloud = world.open().await;
    let volumes = cloud.volumes().unwrap();
    for refused in [
        volumes.detach(&volume.id, &first.id).await,
        volumes.attach(&volume.id, &second.id).await.map(drop),
        volumes.delete(&volume.id).await,
    ] {
        assert!(matches!(refused, Err(CloudError::NotReady(_))), "{refused:?}");
    }
    // Where the filesystem cannot copy it in one moment, no snapshot is taken.
    if let Err(refused) = volumes.snapshot(&volume.id, &Tags::new(), &"s".into()).await {
        assert!(matches!(refused, CloudError::NotReady(_)), "{refused:?}");
        assert_eq!(volumes.snapshots(&Tags::new()).await.unwrap(), vec![]);
    }
    let state = volumes.get(&volume.id).await.unwrap().state;
    let instance = first.id.clone();
    assert_eq!(state, VolumeState::Attached { instance, device });

    // It grows under the machine's eyes, and is there again after a reboot.
    volumes.resize(&volume.id, 32 << 20).await.unwrap();
    let known = loop_devices(&disk);
    let name = known.split(':').next().unwrap().strip_prefix("/dev/").unwrap();
    let sectors = std::fs::read_to_string(format!("/sys/class/block/{name}/size")).unwrap();
    assert_eq!(sectors.trim(), "65536");
    cloud.instances().unwrap().reboot(&first.id).await.unwrap();
    let text = console(&cloud, &first.id, "signed", 2).await;
    assert_eq!(text.matches("\nm1\n").count(), 1, "{text}");

    cloud.instances().unwrap().terminate(&first.id).await.unwrap();
    assert_eq!(
        volumes.get(&volume.id).await.unwrap().state,
        VolumeState::Available
    );
    assert_eq!(loop_devices(&disk), "");
    volumes.attach(&volume.id, &second.id).await.unwrap();
    let text = console(&cloud, &second.id, "signed", 1).await;
    assert!(text.contains("m1\nm1\nsigned\n"), "{text}");
}

/// The type `small` stands in the machine's control groups; on version 2 what runs inside can set limits of its own, since
/// the machine's processes sit in a group below.
fn assert_limited(cloud: &str, id: &str) {
    let read = |controller: &str, file: &str| {
        let path = Path::new("/sys/fs/cgroup")
            .join(controller)
            .join(cloud)
            .join(id)
            .join(file);
        std::fs::read_to_string(&path).map(|text| text.trim().to_owned())
    };
    const MEMORY: &str = "2147483648";
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        assert_eq!(read("memory", "memory.limit_in_bytes").unwrap(), MEMORY);
        assert_eq!(read("cpu", "cpu.cfs_quota_us").unwrap(), "100000");
        return;
    }
    assert_eq!(read("", "memory.max").unwrap(), MEMORY);
    assert_eq!(read("", "cpu.max").unwrap(), "100000 100000");
    assert_eq!(read("", "cgroup.procs").unwrap(), "");
    assert_ne!(read("", "init/cgroup.procs").unwrap(), "");
    let passed_down = read("", "cgroup.subtree_control").unwrap();
    for controller in ["cpu", "memory", "pids"] {
        assert!(passed_down.split(' ').any(|c| c == controller), "{passed_down}");
    }
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
