//! The little protobuf that lists and watches are framed with.
//!
//! Objects themselves are encoded by `machinery`; a list is a ListMeta (field 1) and items (field 2) for every kind, and a
//! watch event is a type (1) and a `RawExtension` (2) whose only field is the object's bytes.

/// The four bytes before every object.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// Appends a varint.
pub fn varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push((n as u8) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// How many bytes a varint takes.
pub fn varint_len(n: u64) -> usize {
    (64 - (n | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends a length-delimited field's tag and length.
pub fn head(field: u32, len: usize, out: &mut Vec<u8>) {
    varint(u64::from(field) << 3 | 2, out);
    varint(len as u64, out);
}

/// Appends a length-delimited field.
pub fn bytes(field: u32, value: &[u8], out: &mut Vec<u8>) {
    head(field, value.len(), out);
    out.extend_from_slice(value);
}

/// The size of a length-delimited field whose number is below 16.
pub fn field_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

/// `runtime.TypeMeta`.
pub fn type_meta(api_version: &str, kind: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(api_version.len() + kind.len() + 4);
    bytes(1, api_version.as_bytes(), &mut out);
    bytes(2, kind.as_bytes(), &mut out);
    out
}

/// The head of an enveloped object whose message has `len` bytes and follows; [`envelope_tail`] comes after it.
pub fn envelope_head(api_version: &str, kind: &str, len: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(MAGIC);
    bytes(1, &type_meta(api_version, kind), out);
    head(2, len, out);
}

/// What follows the message: empty contentEncoding and contentType, as upstream writes them.
pub const ENVELOPE_TAIL: [u8; 4] = [0x1a, 0, 0x22, 0];

/// `metav1.ListMeta`.
pub fn list_meta(version: &str, token: Option<&str>, remaining: Option<i64>) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(1, b"", &mut out);
    bytes(2, version.as_bytes(), &mut out);
    bytes(3, token.unwrap_or("").as_bytes(), &mut out);
    if let Some(n) = remaining {
        varint(4 << 3, &mut out);
        varint(n as u64, &mut out);
    }
    out
}

/// A framed watch event: four bytes of length, then `WatchEvent`.
pub fn watch_event(ty: &str, object: &[u8]) -> Vec<u8> {
    let raw = field_len(object.len());
    let message = field_len(ty.len()) + field_len(raw);
    let mut out = Vec::with_capacity(message + 4);
    out.extend_from_slice(&u32::try_from(message).unwrap_or(u32::MAX).to_be_bytes());
    bytes(1, ty.as_bytes(), &mut out);
    head(2, raw, &mut out);
    bytes(1, object, &mut out);
    out
}

/// The first field of a message, if it is length-delimited and has this number: `metadata` of any object.
pub fn first_field(message: &[u8], field: u32) -> Option<&[u8]> {
    let mut at = 0;
    let tag = read_varint(message, &mut at)?;
    if tag != u64::from(field) << 3 | 2 {
        return None;
    }
    let len = usize::try_from(read_varint(message, &mut at)?).ok()?;
    message.get(at..at.checked_add(len)?)
}

fn read_varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        n |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

/// The message inside an enveloped object (`k8s\0` and `runtime.Unknown`).
pub fn unwrap_envelope(bytes: &[u8]) -> Option<&[u8]> {
    let body = bytes.strip_prefix(MAGIC)?;
    let mut at = 0;
    while at < body.len() {
        let tag = read_varint(body, &mut at)?;
        if tag & 7 != 2 {
            return None;
        }
        let len = usize::try_from(read_varint(body, &mut at)?).ok()?;
        let value = body.get(at..at.checked_add(len)?)?;
        if tag >> 3 == 2 {
            return Some(value);
        }
        at += len;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_opens_again() {
        let mut out = Vec::new();
        envelope_head("v1", "Pod", 3, &mut out);
        out.extend_from_slice(b"abc");
        out.extend_from_slice(&ENVELOPE_TAIL);
        assert_eq!(unwrap_envelope(&out), Some(&b"abc"[..]));
        assert_eq!(unwrap_envelope(b"k8s\0\x12\xff"), None);
    }

    #[test]
    fn lengths_are_exact() {
        for n in [0u64, 1, 127, 128, 16_383, 16_384, u64::MAX] {
            let mut out = Vec::new();
            varint(n, &mut out);
            assert_eq!(out.len(), varint_len(n), "{n}");
        }
        let event = watch_event("ADDED", &[7; 300]);
        assert_eq!(
            event.len() - 4,
            u32::from_be_bytes([event[0], event[1], event[2], event[3]]) as usize
        );
    }
}
