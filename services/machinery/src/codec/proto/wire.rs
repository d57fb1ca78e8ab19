//! Varints, tags and length-delimited fields.

use super::super::DecodeError;

pub(crate) const VARINT: u32 = 0;
pub(crate) const FIXED64: u32 = 1;
pub(crate) const BYTES: u32 = 2;
pub(crate) const FIXED32: u32 = 5;

const SHORT: DecodeError = DecodeError::Proto("unexpected end of message");

/// Reads a message field by field.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) rest: &'a [u8],
}

/// What stands in a field.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Item<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut n = 0u64;
        for (at, &b) in self.rest.iter().enumerate().take(10) {
            n |= u64::from(b & 0x7f) << (7 * at);
            if b < 0x80 {
                self.rest = &self.rest[at + 1..];
                return Ok(n);
            }
        }
        Err(if self.rest.len() < 10 {
            SHORT
        } else {
            DecodeError::Proto("integer overflow")
        })
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(SHORT)?;
        self.rest = rest;
        Ok(head)
    }

    /// The next field and its number; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Item<'a>)>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| DecodeError::Proto("illegal tag"))?;
        if number == 0 {
            return Err(DecodeError::Proto("illegal tag 0"));
        }
        let item = match tag as u32 & 7 {
            VARINT => Item::Varint(self.varint()?),
            FIXED64 => {
                let b = self.take(8)?;
                Item::Fixed64(u64::from_le_bytes([
                    b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7],
                ]))
            }
            BYTES => {
                let n = self.varint()?;
                Item::Bytes(self.take(usize::try_from(n).map_err(|_| SHORT)?)?)
            }
            FIXED32 => {
                let b = self.take(4)?;
                Item::Fixed32(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            }
            _ => return Err(DecodeError::Proto("illegal wire type")),
        };
        Ok(Some((number, item)))
    }

    /// The first field with a number, skipping others.
    pub(crate) fn find(mut self, wanted: u32) -> Result<Option<Item<'a>>, DecodeError> {
        while let Some((number, item)) = self.next()? {
            if number == wanted {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }
}

impl<'a> Item<'a> {
    pub(crate) fn bytes(self) -> Result<&'a [u8], DecodeError> {
        match self {
            Self::Bytes(b) => Ok(b),
            _ => Err(DecodeError::Proto("wrong wire type")),
        }
    }
    pub(crate) fn str(self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| DecodeError::Proto("invalid UTF-8 in a string"))
    }
    pub(crate) fn int(self) -> Result<u64, DecodeError> {
        match self {
            Self::Varint(n) => Ok(n),
            _ => Err(DecodeError::Proto("wrong wire type")),
        }
    }
}

/// Bytes that a varint takes.
pub(crate) fn varint_len(n: u64) -> usize {
    (70 - (n | 1).leading_zeros() as usize) / 7
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

pub(crate) fn put_tag(out: &mut Vec<u8>, number: u32, wire: u32) {
    put_varint(out, u64::from(number << 3 | wire));
}

pub(crate) fn put_int(out: &mut Vec<u8>, number: u32, n: i64) {
    put_tag(out, number, VARINT);
    put_varint(out, n as u64);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_tag(out, number, BYTES);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Writes a message whose length is not known before: one byte is kept free, and what follows moves if it is too short.
/// Most messages are below 128 bytes, so that little is moved.
pub(crate) fn put_message<E>(
    out: &mut Vec<u8>,
    number: u32,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    put_tag(out, number, BYTES);
    let at = out.len();
    out.push(0);
    write(out)?;
    let n = out.len() - at - 1;
    if n < 0x80 {
        out[at] = n as u8;
        return Ok(());
    }
    let more = varint_len(n as u64) - 1;
    out.resize(out.len() + more, 0);
    out.copy_within(at + 1..at + 1 + n, at + 1 + more);
    let mut rest = n as u64;
    for (i, slot) in out[at..=at + more].iter_mut().enumerate() {
        *slot = rest as u8 & 0x7f | if i < more { 0x80 } else { 0 };
        rest >>= 7;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_every_length_read_back() {
        for n in [0usize, 1, 127, 128, 300, 16_383, 16_384, 70_000] {
            let mut out = Vec::new();
            put_message(&mut out, 7, |o| {
                o.resize(o.len() + n, 9);
                Ok::<(), ()>(())
            })
            .unwrap();
            let mut reader = Reader::new(&out);
            let (number, item) = reader.next().unwrap().unwrap();
            assert_eq!((number, item.bytes().unwrap().len()), (7, n));
            assert!(item.bytes().unwrap().iter().all(|b| *b == 9) && reader.rest.is_empty());
        }
        assert_eq!(
            [0, 127, 128, 16_383, 16_384, u64::MAX].map(varint_len),
            [1, 1, 2, 2, 3, 10]
        );
    }

    #[test]
    fn cut_bytes_are_an_error_and_never_a_panic() {
        let mut out = Vec::new();
        put_bytes(&mut out, 1, b"abcdef");
        put_int(&mut out, 2, -1);
        for cut in 1..out.len() {
            let mut reader = Reader::new(&out[..cut]);
            let mut last = reader.next();
            while let Ok(Some(_)) = last {
                last = reader.next();
            }
            assert!(last.is_err() || cut == 8, "{cut}");
        }
    }
}
