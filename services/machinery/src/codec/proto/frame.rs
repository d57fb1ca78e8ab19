//! Frames of a watch in protobuf: a length of four bytes, big endian, then a bare `WatchEvent` message (no envelope)
//! whose `object` holds an enveloped object.

use super::super::DecodeError;
use super::wire::{Reader, put_bytes, put_message};

/// Appends one frame. `object` is enveloped (`k8s\0`).
pub fn put_event(out: &mut Vec<u8>, kind: &str, object: &[u8]) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    put_bytes(out, 1, kind.as_bytes());
    let written: Result<(), std::convert::Infallible> = put_message(out, 2, |out| {
        put_bytes(out, 1, object);
        Ok(())
    });
    match written {
        Ok(()) => {}
        Err(never) => match never {},
    }
    let n = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&n.to_be_bytes());
}

/// One frame of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    pub kind: &'a str,
    /// The enveloped object.
    pub object: &'a [u8],
    /// Bytes that the frame took of the input.
    pub used: usize,
}

/// Takes one frame off the front. `None` until it is complete.
///
/// # Errors
/// [`DecodeError::Limit`] for a frame longer than `max` bytes, [`DecodeError::Proto`] for what is no event.
pub fn take_event(bytes: &[u8], max: usize) -> Result<Option<Event<'_>>, DecodeError> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length) as usize;
    if length > max {
        return Err(DecodeError::Limit("watch event is too large"));
    }
    let Some(message) = rest.get(..length) else {
        return Ok(None);
    };
    let reader = Reader::new(message);
    let kind = reader.find(1)?.map_or(Ok(""), |item| item.str())?;
    let object = match reader.find(2)? {
        Some(item) => Reader::new(item.bytes()?)
            .find(1)?
            .map_or(Ok(&[][..]), |item| item.bytes())?,
        None => &[],
    };
    Ok(Some(Event {
        kind,
        object,
        used: length + 4,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_read_back_one_by_one_and_wait_for_the_rest() {
        let mut out = Vec::new();
        put_event(&mut out, "ADDED", &[7; 300]);
        put_event(&mut out, "BOOKMARK", b"x");
        let first = take_event(&out, 1 << 20).unwrap().unwrap();
        assert_eq!((first.kind, first.object.len()), ("ADDED", 300));
        assert_eq!(
            take_event(&out[first.used..], 1 << 20).unwrap().unwrap().kind,
            "BOOKMARK"
        );
        assert_eq!(take_event(&out[..first.used - 1], 1 << 20), Ok(None));
        assert!(take_event(&out, 100).is_err());
    }
}
