//! The gRPC health protocol's `Check`, by hand: one message of one field in each direction.

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// What an answer may have, bytes.
const MAX_BODY: usize = 4096;

/// Asks `address` whether `service` is serving.
pub async fn check(address: &str, service: &str) -> Result<(), String> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|e| format!("dial tcp {address}: {e}"))?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|e| format!("gRPC to {address}: {e}"))?;
    let connection = tokio::spawn(connection);
    let result = exchange(&mut sender, address, service).await;
    connection.abort();
    result
}

async fn exchange(
    sender: &mut hyper::client::conn::http2::SendRequest<Full<Bytes>>,
    address: &str,
    service: &str,
) -> Result<(), String> {
    let failed = |e: &dyn std::fmt::Display| format!("gRPC to {address}: {e}");
    let request = http::Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.37")
        .body(Full::new(frame(service)))
        .map_err(|e| failed(&e))?;
    let answer = sender.send_request(request).await.map_err(|e| failed(&e))?;
    let mut code = grpc_status(answer.headers());
    let mut body = answer.into_body();
    let mut data = BytesMut::new();
    while let Some(part) = body.frame().await {
        let part = part.map_err(|e| failed(&e))?;
        if let Some(trailers) = part.trailers_ref() {
            code = code.or(grpc_status(trailers));
        }
        if let Ok(bytes) = part.into_data() {
            if data.len() + bytes.len() > MAX_BODY {
                return Err(failed(&"answer too large"));
            }
            data.extend_from_slice(&bytes);
        }
    }
    if let Some(code) = code.filter(|c| *c != 0) {
        return Err(format!("rpc error: code = {code}"));
    }
    match serving(&data) {
        Some(1) => Ok(()),
        status => Err(format!(
            "service unhealthy (responded with status {})",
            status.unwrap_or(0)
        )),
    }
}

fn grpc_status(headers: &http::HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// `HealthCheckRequest { string service = 1 }` in a gRPC frame.
fn frame(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut n = service.len();
        while n >= 0x80 {
            message.put_u8(u8::try_from(n & 0x7f).unwrap_or(0) | 0x80);
            n >>= 7;
        }
        message.put_u8(u8::try_from(n).unwrap_or(0));
        message.put_slice(service.as_bytes());
    }
    let mut out = BytesMut::with_capacity(message.len() + 5);
    out.put_u8(0);
    out.put_u32(u32::try_from(message.len()).unwrap_or(0));
    out.put_slice(&message);
    out.freeze()
}

/// `HealthCheckResponse { ServingStatus status = 1 }`: 1 is SERVING.
fn serving(data: &[u8]) -> Option<u8> {
    match data.get(5..)? {
        [] => Some(0),
        [0x08, status, ..] => Some(*status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_messages_are_framed_as_grpc_wants() {
        assert_eq!(&frame("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&frame("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(serving(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(serving(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(serving(&[]), None);
    }
}
