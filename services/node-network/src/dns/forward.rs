//! Passing on what is not the cluster's to the node's own resolvers.
//!
//! Questions and answers pass as they are, but for the identifier. Nothing is cached: the resolvers behind do that, and a cache
//! here would be one more place to be wrong.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// How long one resolver may take.
const LIMIT: Duration = Duration::from_secs(2);

/// Asks the resolvers in turn, by the transport the client used; the first answer counts.
pub(crate) async fn ask(question: &[u8], resolvers: &[SocketAddr], tcp: bool) -> Option<Vec<u8>> {
    for resolver in resolvers.iter().take(3) {
        let asked = async {
            if tcp {
                over_tcp(question, *resolver).await
            } else {
                over_udp(question, *resolver).await
            }
        };
        match tokio::time::timeout(LIMIT, asked).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => tracing::debug!(%resolver, %error, "a resolver does not answer"),
            Err(_late) => tracing::debug!(%resolver, "a resolver is silent"),
        }
    }
    None
}

/// A socket and an identifier of its own for each question make answers hard to forge.
async fn over_udp(question: &[u8], resolver: SocketAddr) -> io::Result<Vec<u8>> {
    let local: SocketAddr = if resolver.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        ([0u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(resolver).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if length >= 12 && buffer[..2] == question[..2] {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn over_tcp(question: &[u8], resolver: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream
        .write_all(&[&length.to_be_bytes(), question].concat())
        .await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// The resolvers of a `resolv.conf`, without those that are `own` (which would be asked in a circle).
pub(crate) fn resolvers(text: &str, own: &[SocketAddr]) -> Vec<SocketAddr> {
    let addresses = text.lines().filter_map(|l| l.trim().strip_prefix("nameserver"));
    let parsed = addresses.filter_map(|a| Some(SocketAddr::new(a.trim().parse().ok()?, 53)));
    parsed.filter(|a| own.iter().all(|o| o.ip() != a.ip())).collect()
}
