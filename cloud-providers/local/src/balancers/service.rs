//! Makes the listeners match the records, and asks targets that have an HTTP check.

use super::proxy::{self, Route};
use super::{ranges, v4};
use crate::{LocalCloud, network};
use base::Shutdown;
use cloud_api::{CloudError, HealthCheck, LoadBalancer, Protocol};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// The time between two rounds of HTTP checks.
const CHECK_EVERY: Duration = Duration::from_secs(2);
/// How long one check may take.
const CHECK_LIMIT: Duration = Duration::from_secs(1);
/// When a listener could not be opened, it is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);

/// Carries the load balancers' traffic; made by [`LocalCloud::balancer_service`].
#[derive(Debug)]
pub struct BalancerService {
    cloud: LocalCloud,
    listeners: HashMap<Key, Open>,
}

type Key = (Ipv4Addr, u16, Protocol);

#[derive(Debug)]
struct Open {
    route: Arc<Route>,
    stop: Shutdown,
    /// The check's port and path, if it is by HTTP.
    check: Option<(u16, String)>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.stop.trigger();
    }
}

impl BalancerService {
    pub(crate) fn new(cloud: LocalCloud) -> Self {
        Self {
            cloud,
            listeners: HashMap::new(),
        }
    }

    /// Carries traffic until shut down.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut changed = self.cloud.0.balancers.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let complete = self.reconcile(&shutdown).await;
            let checks = self.listeners.values().any(|l| l.check.is_some());
            let pause = match (complete, checks) {
                (false, _) => RETRY,
                (true, true) => CHECK_EVERY,
                // Nothing to do until something changes.
                (true, false) => Duration::from_secs(86_400),
            };
            let wait = async {
                tokio::select! {
                    _ = changed.changed() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            };
            if shutdown.run_until(wait).await.is_none() {
                return;
            }
            if checks && shutdown.run_until(self.check_all()).await.is_none() {
                return;
            }
        }
    }

    /// Opens, changes and closes listeners. Says whether all of them are open.
    async fn reconcile(&mut self, shutdown: &Shutdown) -> bool {
        let records: Vec<LoadBalancer> = self.cloud.0.balancers.records.lock().values().cloned().collect();
        let mut wanted = Vec::new();
        for record in &records {
            let Some(address) = v4(record) else { continue };
            wanted.extend(
                record
                    .spec
                    .listeners
                    .iter()
                    .map(|l| ((address, l.port, l.protocol), record, l)),
            );
        }
        self.listeners
            .retain(|key, _| wanted.iter().any(|(k, ..)| k == key));
        let mut complete = true;
        for (key, record, listener) in wanted {
            if !self.listeners.contains_key(&key) {
                match self.open(key, shutdown).await {
                    Ok(open) => drop(self.listeners.insert(key, open)),
                    Err(error) => {
                        tracing::warn!(balancer = %record.id, address = %key.0, port = key.1, %error, "cannot listen yet");
                        complete = false;
                    }
                }
            }
            if let Some(open) = self.listeners.get_mut(&key) {
                open.route.targets.set(&listener.targets);
                *open.route.ranges.lock() = ranges::parse_all(&record.spec.source_ranges).unwrap_or_default();
                open.check = match &listener.health {
                    HealthCheck::Connect => None,
                    HealthCheck::Http { port, path } => Some((*port, path.clone())),
                };
            }
        }
        complete
    }

    async fn open(&self, (address, port, protocol): Key, shutdown: &Shutdown) -> Result<Open, CloudError> {
        // After a start the address may be gone with the host's last boot.
        network::ensure(self.cloud.options()).await?;
        network::add_address(self.cloud.options(), address).await?;
        let (route, stop) = (Arc::new(Route::default()), shutdown.child());
        let other = |e: std::io::Error| CloudError::Other(e.to_string());
        match protocol {
            Protocol::Tcp => {
                let listener = TcpListener::bind((address, port)).await.map_err(other)?;
                tokio::spawn(proxy::tcp(listener, route.clone(), stop.clone()));
            }
            Protocol::Udp => {
                let socket = UdpSocket::bind((address, port)).await.map_err(other)?;
                tokio::spawn(proxy::udp(socket, route.clone(), stop.clone()));
            }
        }
        Ok(Open {
            route,
            stop,
            check: None,
        })
    }

    async fn check_all(&self) {
        let mut asks = tokio::task::JoinSet::new();
        for open in self.listeners.values() {
            let Some((port, path)) = &open.check else { continue };
            for target in open.route.targets.all() {
                let (route, at, path) = (
                    open.route.clone(),
                    SocketAddr::new(target.ip(), *port),
                    path.clone(),
                );
                asks.spawn(async move {
                    let healthy = tokio::time::timeout(CHECK_LIMIT, ask(at, &path))
                        .await
                        .is_ok_and(|r| r.unwrap_or(false));
                    route.targets.checked(target, healthy);
                });
            }
        }
        asks.join_all().await;
    }
}

/// HTTP/1.0 keeps it to one request and one status line.
async fn ask(at: SocketAddr, path: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(at).await?;
    stream
        .write_all(format!("GET {path} HTTP/1.0\r\nHost: {at}\r\n\r\n").as_bytes())
        .await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    Ok(head.starts_with(b"HTTP/1.") && head.ends_with(b" 200"))
}
