//! Upstream's `etcdctl` on the door, over mutual TLS. It is a judge, not a dependency: it is taken from
//! `MARINA_UPSTREAM_DIR` or the PATH, and without it the test is skipped.

use base::{ClusterId, Shutdown};
use etcd_door::{Options, identity};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::PrivateKeyDer;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store_mem::MemStore;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

type Authority = CertifiedIssuer<'static, KeyPair>;

fn issue(authority: &Authority, names: Vec<SanType>) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.subject_alt_names = names;
    (params.signed_by(&key, authority).unwrap(), key)
}

struct Etcdctl {
    program: PathBuf,
    dir: PathBuf,
    address: SocketAddr,
}

impl Etcdctl {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg(format!("--endpoints=https://{}", self.address))
            .args(["--cacert", "ca.pem"]);
        command
            .args([
                "--cert",
                "client.pem",
                "--key",
                "client.key",
                "--command-timeout=20s",
            ])
            .args(args);
        command.current_dir(&self.dir).kill_on_drop(true);
        command
    }

    async fn run(&self, args: &[&str]) -> Result<String, String> {
        self.with_input(args, "").await
    }

    async fn with_input(&self, args: &[&str], input: &str) -> Result<String, String> {
        use std::process::Stdio;
        let mut command = self.command(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .await
            .unwrap();
        let output = child.wait_with_output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }
}

/// A door on the memory store, and etcdctl with a certificate for one cluster.
async fn door(program: PathBuf, dir: &Path, shutdown: &Shutdown) -> Etcdctl {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let (certificate, key) = issue(&authority, vec![SanType::IpAddress(HOST)]);
    let cluster: ClusterId = "tenant".parse().unwrap();
    let client = issue(
        &authority,
        vec![SanType::URI(identity::uri(&cluster).try_into().unwrap())],
    );
    std::fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(dir.join("client.pem"), client.0.pem()).unwrap();
    std::fs::write(dir.join("client.key"), client.1.serialize_pem()).unwrap();
    let mut client_authorities = rustls::RootCertStore::empty();
    client_authorities.add(authority.der().clone()).unwrap();
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let options = Options {
        chain: vec![certificate.der().clone()],
        key: Arc::new(PrivateKeyDer::try_from(key.serialize_der()).unwrap()),
        client_authorities,
        urls: vec![format!("https://{address}")],
        streams: 100,
    };
    let service = options.build(Arc::new(MemStore::default()), listener).unwrap();
    tokio::spawn(service.run(shutdown.clone()));
    Etcdctl {
        program,
        dir: dir.to_owned(),
        address,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcdctl_reads_writes_watches_and_leases() {
    let Some(program) = needs::upstream("etcdctl") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let shutdown = Shutdown::new();
    let etcdctl = door(program, dir.path(), &shutdown).await;

    // A watch that sees what follows.
    let mut watch = etcdctl.command(&["watch", "--prefix", "/a"]);
    let mut watch = watch.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut seen = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut line = async || {
        tokio::time::timeout(Duration::from_secs(20), seen.next_line())
            .await
            .unwrap()
            .unwrap()
    };

    assert_eq!(etcdctl.run(&["put", "/b", "first"]).await.unwrap(), "OK");
    // etcdctl does not say when its watch stands: write until it is seen.
    let mut number = 0;
    let first = loop {
        number += 1;
        etcdctl.run(&["put", "/a/x", &number.to_string()]).await.unwrap();
        tokio::select! {
            first = line() => break first,
            () = tokio::time::sleep(Duration::from_millis(300)) => assert!(number < 50, "the watch sees nothing"),
        }
    };
    assert_eq!(first.as_deref(), Some("PUT"));
    assert_eq!(line().await.as_deref(), Some("/a/x"));
    line().await;
    assert_eq!(
        etcdctl.run(&["get", "/a/x", "--print-value-only"]).await.unwrap(),
        number.to_string()
    );
    assert_eq!(
        etcdctl
            .run(&["get", "", "--prefix", "--keys-only"])
            .await
            .unwrap(),
        "/a/x\n\n/b"
    );
    let count = etcdctl
        .run(&["get", "/", "--prefix", "--count-only", "--write-out=fields"])
        .await
        .unwrap();
    assert!(count.contains("\"Count\" : 2"), "{count}");
    assert_eq!(
        etcdctl.run(&["get", "/b", "--rev=1"]).await.unwrap(),
        "",
        "before it was written"
    );

    let txn = "value(\"/b\") = \"first\"\n\nput /b second\nget /b\n\nput /b never\n\n";
    let answer = etcdctl.with_input(&["txn"], txn).await.unwrap();
    assert!(
        answer.starts_with("SUCCESS") && answer.ends_with("/b\nsecond"),
        "{answer}"
    );
    let answer = etcdctl.with_input(&["txn"], txn).await.unwrap();
    assert!(answer.starts_with("FAILURE"), "{answer}");

    let granted = etcdctl.run(&["lease", "grant", "300"]).await.unwrap();
    let lease = granted.split(' ').nth(1).unwrap().to_owned();
    etcdctl
        .run(&["put", "--lease", &lease, "/leased", "1"])
        .await
        .unwrap();
    let alive = etcdctl
        .run(&["lease", "timetolive", &lease, "--keys"])
        .await
        .unwrap();
    assert!(
        alive.contains("granted with TTL(300s)") && alive.contains("attached keys([/leased])"),
        "{alive}"
    );
    assert!(
        etcdctl
            .run(&["lease", "keep-alive", "--once", &lease])
            .await
            .unwrap()
            .contains("TTL(300)")
    );
    assert!(etcdctl.run(&["lease", "list"]).await.unwrap().contains(&lease));
    etcdctl.run(&["lease", "revoke", &lease]).await.unwrap();
    assert_eq!(
        etcdctl.run(&["get", "/leased"]).await.unwrap(),
        "",
        "it went with its lease"
    );

    assert_eq!(
        etcdctl.run(&["del", "/b", "--prev-kv"]).await.unwrap(),
        "1\n/b\nnever"
    );
    let status = etcdctl
        .run(&["endpoint", "status", "--write-out=json"])
        .await
        .unwrap();
    let revision = status
        .split("\"revision\":")
        .nth(1)
        .and_then(|s| s.split([',', '}']).next())
        .unwrap()
        .to_owned();
    etcdctl.run(&["compact", &revision]).await.unwrap();
    let refused = etcdctl.run(&["get", "/b", "--rev=2"]).await.unwrap_err();
    assert!(
        refused.contains("required revision has been compacted"),
        "{refused}"
    );
    assert!(etcdctl.run(&["endpoint", "health"]).await.is_ok());
    assert!(
        etcdctl
            .run(&["member", "list"])
            .await
            .unwrap()
            .contains("started")
    );
    assert!(etcdctl.run(&["defrag"]).await.is_ok());
    drop(watch);
    shutdown.trigger();
}
