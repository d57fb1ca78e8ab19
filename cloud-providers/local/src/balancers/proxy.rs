//! Carrying one listener's traffic.

use super::health::Targets;
use super::ranges::{Range, allowed};
use base::Shutdown;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

/// Connections that one listener carries at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 4096;
/// How long one target may take to accept.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a UDP client is remembered after its last datagram.
const UDP_IDLE: Duration = Duration::from_secs(60);
/// UDP clients that are remembered at once.
const UDP_CLIENTS: usize = 1024;

/// What a listener follows; its content changes while the listener stays.
#[derive(Debug, Default)]
pub(crate) struct Route {
    pub(crate) targets: Targets,
    pub(crate) ranges: Mutex<Vec<Range>>,
}

/// Accepts connections until shut down. Connections that exist are then dropped: their process ends.
pub(crate) async fn tcp(listener: TcpListener, route: Arc<Route>, shutdown: Shutdown) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Some(Ok(slot)) = shutdown.run_until(slots.clone().acquire_owned()).await else {
            return;
        };
        let (stream, peer) = match shutdown.run_until(listener.accept()).await {
            None => return,
            Some(Ok(accepted)) => accepted,
            Some(Err(error)) => {
                // Out of file descriptors, mostly: wait for some to come back.
                tracing::warn!(%error, "load balancer cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if !allowed(&route.ranges.lock(), peer.ip()) {
            continue;
        }
        let (route, shutdown) = (route.clone(), shutdown.clone());
        tokio::spawn(async move {
            let _slot = slot;
            shutdown.run_until(carry(stream, &route.targets)).await;
        });
    }
}

async fn carry(mut client: TcpStream, targets: &Targets) {
    for target in targets.order() {
        match tokio::time::timeout(CONNECT, TcpStream::connect(target)).await {
            Ok(Ok(mut server)) => {
                let _low_latency = (client.set_nodelay(true), server.set_nodelay(true));
                // Either side's reset ends both; there is nobody to tell.
                let _ended = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                return;
            }
            _ => targets.failed(target),
        }
    }
}

/// Carries datagrams: each client keeps one target for as long as it speaks.
pub(crate) async fn udp(socket: UdpSocket, route: Arc<Route>, shutdown: Shutdown) {
    let socket = Arc::new(socket);
    let clients: Arc<Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>> = Arc::default();
    let mut buffer = vec![0; 65_536];
    loop {
        let (length, peer) = match shutdown.run_until(socket.recv_from(&mut buffer)).await {
            None => return,
            Some(Ok(received)) => received,
            // An ICMP error of an earlier datagram; the socket is fine.
            Some(Err(_)) => continue,
        };
        if !allowed(&route.ranges.lock(), peer.ip()) {
            continue;
        }
        let known = clients.lock().get(&peer).cloned();
        let upstream = match known {
            Some(upstream) => upstream,
            None if clients.lock().len() >= UDP_CLIENTS => continue,
            None => {
                let Some(target) = route.targets.order().first().copied() else {
                    continue;
                };
                let Ok(upstream) = connected(target).await else {
                    continue;
                };
                let upstream = Arc::new(upstream);
                clients.lock().insert(peer, upstream.clone());
                let (socket, clients, answers, shutdown) = (
                    socket.clone(),
                    clients.clone(),
                    upstream.clone(),
                    shutdown.clone(),
                );
                tokio::spawn(async move {
                    shutdown.run_until(answer(&socket, &answers, peer)).await;
                    clients.lock().remove(&peer);
                });
                upstream
            }
        };
        // Datagrams may be lost; a full or refused one is.
        let _lost = upstream.send(&buffer[..length]).await;
    }
}

async fn connected(target: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = if target.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(target).await?;
    Ok(socket)
}

async fn answer(socket: &UdpSocket, upstream: &UdpSocket, peer: SocketAddr) {
    let mut buffer = vec![0; 65_536];
    while let Ok(Ok(length)) = tokio::time::timeout(UDP_IDLE, upstream.recv(&mut buffer)).await {
        let _lost = socket.send_to(&buffer[..length], peer).await;
    }
}
