//! `healthCheckNodePort`: tells load balancers whether this node has endpoints of a Service.
//!
//! One listener for each such Service, only while it exists. The answer is upstream's: 200 with a count, 503 without.

use crate::view::ServiceName;
use base::Shutdown;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How long one check may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The listeners by port.
#[derive(Debug, Default)]
pub(crate) struct HealthPorts(Mutex<HashMap<u16, Open>>);

#[derive(Debug)]
struct Open {
    service: ServiceName,
    endpoints: Arc<AtomicUsize>,
    stop: Shutdown,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.stop.trigger();
    }
}

impl HealthPorts {
    /// Makes the listeners those of `wanted`: port, Service and number of local endpoints.
    pub(crate) fn set(&self, wanted: &BTreeMap<u16, (ServiceName, usize)>, shutdown: &Shutdown) {
        let mut open = self.0.lock();
        open.retain(|port, o| wanted.get(port).is_some_and(|(name, _)| *name == o.service));
        for (port, (service, endpoints)) in wanted {
            let entry = open.entry(*port).or_insert_with(|| {
                let (count, stop) = (Arc::new(AtomicUsize::new(0)), shutdown.child());
                tokio::spawn(serve(*port, service.clone(), count.clone(), stop.clone()));
                Open {
                    service: service.clone(),
                    endpoints: count,
                    stop,
                }
            });
            entry.endpoints.store(*endpoints, Ordering::Relaxed);
        }
    }
}

async fn serve(port: u16, service: ServiceName, endpoints: Arc<AtomicUsize>, stop: Shutdown) {
    let listen = async {
        loop {
            match TcpListener::bind(("0.0.0.0", port)).await {
                Ok(listener) => return listener,
                Err(error) => tracing::warn!(port, %error, "the health check port of a Service is taken"),
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    };
    let Some(listener) = stop.run_until(listen).await else {
        return;
    };
    while let Some(accepted) = stop.run_until(listener.accept()).await {
        match accepted {
            // One at a time and each for a short while: load balancers ask seldom.
            Ok((stream, _)) => {
                let _late =
                    tokio::time::timeout(LIMIT, answer(stream, &service, endpoints.load(Ordering::Relaxed)))
                        .await;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn answer(mut stream: TcpStream, service: &ServiceName, endpoints: usize) -> std::io::Result<()> {
    let mut request = [0; 1024];
    if stream.read(&mut request).await? == 0 {
        return Ok(());
    }
    let status = if endpoints > 0 {
        "200 OK"
    } else {
        "503 Service Unavailable"
    };
    let body = serde_json::json!({
        "service": { "namespace": service.0, "name": service.1 },
        "localEndpoints": endpoints,
        "serviceProxyHealthy": true,
    })
    .to_string();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await
}
