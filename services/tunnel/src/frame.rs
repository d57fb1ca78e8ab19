//! Frames: kind (1 byte), stream (4 bytes), length (4 bytes), payload; numbers big-endian.

use bytes::{BufMut, Bytes, BytesMut};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest payload.
pub(crate) const MAX_PAYLOAD: usize = 16 * 1024;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A stream to the target named in the payload.
    Open { id: u32, target: Bytes },
    /// It was opened.
    Accept { id: u32 },
    /// It was not; the payload says why.
    Refuse { id: u32, why: Bytes },
    /// Bytes; never more than the receiver has granted.
    Data { id: u32, data: Bytes },
    /// As many bytes more may be sent.
    Credit { id: u32, bytes: u32 },
    /// No more bytes in this direction.
    Fin { id: u32 },
    /// The stream is dead both ways.
    Reset { id: u32 },
    /// The sender reads no more; what it has sent still counts.
    Stop { id: u32 },
    /// Are you there?
    Ping,
    /// Yes.
    Pong,
}

impl Frame {
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        let mut put = |kind: u8, id: u32, payload: &[u8]| {
            out.put_u8(kind);
            out.put_u32(id);
            out.put_u32(payload.len() as u32);
            out.put_slice(payload);
        };
        match self {
            Self::Open { id, target } => put(1, *id, target),
            Self::Accept { id } => put(2, *id, &[]),
            Self::Refuse { id, why } => put(3, *id, why),
            Self::Data { id, data } => put(4, *id, data),
            Self::Credit { id, bytes } => put(5, *id, &bytes.to_be_bytes()),
            Self::Fin { id } => put(6, *id, &[]),
            Self::Reset { id } => put(7, *id, &[]),
            Self::Stop { id } => put(10, *id, &[]),
            Self::Ping => put(8, 0, &[]),
            Self::Pong => put(9, 0, &[]),
        }
    }

    /// Reads one frame; `None` at a clean end. Unknown kinds are an error: versions are told apart by ALPN.
    pub(crate) async fn read<R: AsyncRead + Unpin>(io: &mut R) -> io::Result<Option<Self>> {
        let bad = |why| io::Error::new(io::ErrorKind::InvalidData, why);
        let mut head = [0u8; 9];
        if io.read(&mut head[..1]).await? == 0 {
            return Ok(None);
        }
        io.read_exact(&mut head[1..]).await?;
        let id = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let len = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) as usize;
        if len > MAX_PAYLOAD {
            return Err(bad("tunnel frame is too long"));
        }
        let mut payload = BytesMut::zeroed(len);
        io.read_exact(&mut payload).await?;
        let payload = payload.freeze();
        Ok(Some(match head[0] {
            1 => Self::Open { id, target: payload },
            2 => Self::Accept { id },
            3 => Self::Refuse { id, why: payload },
            4 => Self::Data { id, data: payload },
            5 => {
                let bytes = payload[..]
                    .try_into()
                    .map_err(|_| bad("tunnel credit is not a number"))?;
                Self::Credit {
                    id,
                    bytes: u32::from_be_bytes(bytes),
                }
            }
            6 => Self::Fin { id },
            7 => Self::Reset { id },
            10 => Self::Stop { id },
            8 => Self::Ping,
            9 => Self::Pong,
            _ => return Err(bad("unknown tunnel frame")),
        }))
    }
}
