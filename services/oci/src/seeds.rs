//! Images that Marina brings along, made from programs of this repository and, for busybox, of the node image.

use crate::{File, Image, ImageConfig, OciError, Store};
use std::path::Path;

/// The sandbox image, by the name in the node image's configuration.
pub const PAUSE: &str = "registry.k8s.io/pause:3.10";
/// The test server; `v2` differs in what it says.
pub const SHOP: [&str; 2] = ["marina.local/shop:v1", "marina.local/shop:v2"];
/// Debian's static busybox under the names that examples use.
pub const BUSYBOX: [&str; 2] = [
    "docker.io/library/busybox:1.36",
    "docker.io/library/busybox:latest",
];

const PAUSE_PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));
const SHOP_PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/shop"));

fn program(path: &str, content: &[u8]) -> File {
    File::Regular {
        path: path.into(),
        mode: 0o755,
        content: content.to_vec(),
    }
}

fn directory(path: &str, mode: u32) -> File {
    File::Directory {
        path: path.into(),
        mode,
    }
}

fn text(path: &str, content: &str) -> File {
    File::Regular {
        path: path.into(),
        mode: 0o644,
        content: content.into(),
    }
}

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The sandbox image.
pub fn pause() -> Image {
    Image {
        name: PAUSE.into(),
        config: ImageConfig {
            entrypoint: vec!["/pause".into()],
            user: "65535:65535".into(),
            ..Default::default()
        },
        files: vec![program("pause", PAUSE_PROGRAM)],
    }
}

/// The test server in this version (`v1`, `v2`), on busybox if its program is given: then it has a shell, and `tar` for
/// `kubectl cp`.
pub fn shop(name: &str, busybox_binary: Option<&Path>) -> Result<Image, OciError> {
    let version = name.rsplit(':').next().unwrap_or("v0");
    let mut files = match busybox_binary {
        Some(binary) => busybox(name, binary)?.files,
        None => vec![directory("tmp", 0o1777), directory("etc", 0o755)],
    };
    files.push(program("shop", SHOP_PROGRAM));
    let config = ImageConfig {
        entrypoint: vec!["/shop".into()],
        env: vec![PATH.into(), format!("VERSION={version}")],
        user: "65532:65532".into(),
        ports: vec!["8080/tcp".into()],
        ..Default::default()
    };
    Ok(Image {
        name: name.into(),
        config,
        files,
    })
}

/// Busybox from this static program, with a link for each of its applets.
pub fn busybox(name: &str, binary: &Path) -> Result<Image, OciError> {
    let content = std::fs::read(binary)?;
    let listed = std::process::Command::new(binary).arg("--list").output()?;
    let applets = String::from_utf8_lossy(&listed.stdout).into_owned();
    let mut files: Vec<File> = [
        "bin",
        "dev",
        "etc",
        "home",
        "proc",
        "root",
        "sys",
        "usr",
        "usr/bin",
        "var",
        "var/spool",
    ]
    .map(|d| directory(d, 0o755))
    .into();
    files.push(directory("tmp", 0o1777));
    files.push(text(
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    ));
    files.push(text("etc/group", "root:x:0:\nnogroup:x:65534:\n"));
    files.push(program("bin/busybox", &content));
    for applet in applets
        .lines()
        .filter(|a| !a.is_empty() && !a.contains('/') && *a != "busybox")
    {
        files.push(File::Link {
            path: format!("bin/{applet}"),
            target: "busybox".into(),
        });
    }
    let config = ImageConfig {
        command: vec!["sh".into()],
        env: vec![PATH.into()],
        ..Default::default()
    };
    Ok(Image {
        name: name.into(),
        config,
        files,
    })
}

/// Puts all of them into a store; busybox only if its program is given.
pub fn install(store: &Store, busybox_binary: Option<&Path>) -> Result<(), OciError> {
    pause().store(store)?;
    for name in SHOP {
        shop(name, busybox_binary)?.store(store)?;
    }
    if let Some(binary) = busybox_binary {
        for name in BUSYBOX {
            busybox(name, binary)?.store(store)?;
        }
    }
    Ok(())
}
