//! The store's contract on a real etcd. Upstream's binaries are judges, not dependencies: they are taken from
//! `MARINA_UPSTREAM_DIR` or the PATH, and without them the test is skipped.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store_api::Store;
use store_api::suite::{self, Traits};
use store_etcd::{EtcdStore, Layout};
use tonic::transport::{Channel, Endpoint};

struct Etcd {
    process: Child,
    url: String,
    _dir: tempfile::TempDir,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Etcd {
    fn start(etcd: &std::path::Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let free = || {
            format!(
                "http://{}",
                std::net::TcpListener::bind("127.0.0.1:0")
                    .unwrap()
                    .local_addr()
                    .unwrap()
            )
        };
        let (client, peer) = (free(), free());
        let process = Command::new(etcd)
            .arg("--data-dir")
            .arg(dir.path())
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args([
                "--initial-cluster",
                &format!("default={peer}"),
                "--log-level",
                "error",
            ])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            process,
            url: client,
            _dir: dir,
        }
    }

    async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(self.url.clone()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match endpoint.connect().await {
                Ok(channel) => return channel,
                Err(e) => assert!(Instant::now() < deadline, "etcd does not come up: {e}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_etcd_keeps_the_contract() {
    let Some(binary) = needs::upstream("etcd") else {
        return;
    };
    let etcd = Etcd::start(&binary);
    let channel = etcd.channel().await;
    let traits = Traits {
        own_revisions: false,
        tenancy: false,
        slow_reader: None,
        ..Traits::all()
    };
    suite::run(traits, async || {
        Arc::new(EtcdStore::new(channel.clone(), Layout::Prefix("/marina/".into()))) as Arc<dyn Store>
    })
    .await;
}
