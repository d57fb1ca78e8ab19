//! Frames on the wire.

use bytes::{BufMut, Bytes, BytesMut};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Ends a direction of a stream.
const FLAG_FIN: u8 = 1;
/// The longest payload of a control frame.
const MAX_CONTROL: usize = 64 * 1024;
/// The longest payload of a data frame.
const MAX_DATA: usize = 1024 * 1024;

/// Status of a RST_STREAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Reset {
    InvalidStream = 2,
    RefusedStream = 3,
    Cancel = 5,
}

/// A frame that arrived. Header blocks are still compressed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    SynStream {
        id: u32,
        fin: bool,
        block: Bytes,
    },
    SynReply {
        id: u32,
        fin: bool,
        block: Bytes,
    },
    Headers {
        id: u32,
        fin: bool,
        block: Bytes,
    },
    Reset {
        id: u32,
    },
    Ping {
        id: u32,
    },
    GoAway,
    Data {
        id: u32,
        fin: bool,
        data: Bytes,
    },
    /// SETTINGS, WINDOW_UPDATE and whatever else there may be: nothing to do.
    Other,
}

fn bad(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Reads one frame; `None` at a clean end.
pub(super) async fn read<R: AsyncRead + Unpin>(io: &mut R) -> io::Result<Option<Incoming>> {
    let mut head = [0u8; 8];
    let first = io.read(&mut head[..1]).await?;
    if first == 0 {
        return Ok(None);
    }
    io.read_exact(&mut head[1..]).await?;
    let word = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let flags = head[4];
    let len = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
    let control = word >> 31 == 1;
    if len > if control { MAX_CONTROL } else { MAX_DATA } {
        return Err(bad("SPDY frame is too long"));
    }
    let mut payload = BytesMut::zeroed(len);
    io.read_exact(&mut payload).await?;
    let payload = payload.freeze();
    let fin = flags & FLAG_FIN != 0;
    if !control {
        return Ok(Some(Incoming::Data {
            id: word,
            fin,
            data: payload,
        }));
    }
    if word >> 16 & 0x7fff != 3 {
        return Err(bad("not SPDY version 3"));
    }
    let number = |at: usize| -> io::Result<u32> {
        let bytes = payload.get(at..at + 4).and_then(|b| b.try_into().ok());
        bytes
            .map(|b| u32::from_be_bytes(b) & 0x7fff_ffff)
            .ok_or_else(|| bad("SPDY frame is too short"))
    };
    let block = |at: usize| {
        payload
            .get(at..)
            .map(|_| payload.slice(at..))
            .ok_or_else(|| bad("SPDY frame is too short"))
    };
    Ok(Some(match word & 0xffff {
        1 => Incoming::SynStream {
            id: number(0)?,
            fin,
            block: block(10)?,
        },
        2 => Incoming::SynReply {
            id: number(0)?,
            fin,
            block: block(4)?,
        },
        3 => Incoming::Reset { id: number(0)? },
        6 => Incoming::Ping { id: number(0)? },
        7 => Incoming::GoAway,
        8 => Incoming::Headers {
            id: number(0)?,
            fin,
            block: block(4)?,
        },
        _ => Incoming::Other,
    }))
}

fn control(kind: u16, flags: u8, payload: &[&[u8]]) -> Bytes {
    let len: usize = payload.iter().map(|p| p.len()).sum();
    let mut out = BytesMut::with_capacity(8 + len);
    out.put_u16(0x8003);
    out.put_u16(kind);
    out.put_u32(u32::from(flags) << 24 | len as u32);
    for part in payload {
        out.put_slice(part);
    }
    out.freeze()
}

pub(super) fn syn_stream(id: u32, block: &[u8]) -> Bytes {
    control(1, 0, &[&id.to_be_bytes(), &[0; 6], block])
}

pub(super) fn syn_reply(id: u32, block: &[u8]) -> Bytes {
    control(2, 0, &[&id.to_be_bytes(), block])
}

pub(super) fn reset(id: u32, why: Reset) -> Bytes {
    control(3, 0, &[&id.to_be_bytes(), &(why as u32).to_be_bytes()])
}

pub(super) fn ping(id: u32) -> Bytes {
    control(6, 0, &[&id.to_be_bytes()])
}

pub(super) fn go_away(last: u32) -> Bytes {
    control(7, 0, &[&last.to_be_bytes(), &[0; 4]])
}

/// The head of a data frame; the data follows.
pub(super) fn data_head(id: u32, fin: bool, len: usize) -> [u8; 8] {
    let mut head = [0; 8];
    head[..4].copy_from_slice(&id.to_be_bytes());
    head[4..].copy_from_slice(&(u32::from(fin) << 24 | len as u32).to_be_bytes());
    head
}
