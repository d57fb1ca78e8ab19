//! Header blocks: pairs of names and values, compressed by one zlib stream for the whole connection and direction.

use super::dictionary::dictionary;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Names (lower case) and values.
pub type Headers = Vec<(String, String)>;

/// The most bytes a block may inflate to.
const MAX_BLOCK: usize = 64 * 1024;
/// The most pairs in a block.
const MAX_PAIRS: usize = 128;

/// Why a block cannot be read; the connection is then lost, because the compression state is.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum HeaderError {
    #[error("header block is too large")]
    TooLarge,
    #[error("header block is malformed")]
    Malformed,
}

/// Compresses the blocks that are sent.
pub(super) struct Encoder(Compress);

impl Encoder {
    pub(super) fn new() -> Result<Self, HeaderError> {
        let mut zlib = Compress::new(Compression::fast(), true);
        zlib.set_dictionary(&dictionary())
            .map_err(|_| HeaderError::Malformed)?;
        Ok(Self(zlib))
    }

    pub(super) fn encode(&mut self, headers: &[(String, String)]) -> Result<Vec<u8>, HeaderError> {
        let mut plain = Vec::with_capacity(128);
        let mut put = |bytes: &[u8]| {
            plain.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
            plain.extend_from_slice(bytes);
        };
        for (name, value) in headers {
            put(name.to_ascii_lowercase().as_bytes());
            put(value.as_bytes());
        }
        let mut block = (headers.len() as u32).to_be_bytes().to_vec();
        block.append(&mut plain);
        let mut out = Vec::with_capacity(block.len() + 64);
        let start = self.0.total_in();
        loop {
            let done = (self.0.total_in() - start) as usize;
            out.reserve(256);
            self.0
                .compress_vec(&block[done..], &mut out, FlushCompress::Sync)
                .map_err(|_| HeaderError::Malformed)?;
            let done = (self.0.total_in() - start) as usize;
            // Room left over after a sync flush means that everything was flushed.
            if done == block.len() && out.len() < out.capacity() {
                return Ok(out);
            }
        }
    }
}

/// Reads the blocks that arrive.
pub(super) struct Decoder(Decompress);

impl Decoder {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    pub(super) fn decode(&mut self, block: &[u8]) -> Result<Headers, HeaderError> {
        let mut plain = Vec::with_capacity(1024);
        let start = self.0.total_in();
        let mut dictionary_given = false;
        loop {
            let used = (self.0.total_in() - start) as usize;
            plain.reserve(1024);
            match self
                .0
                .decompress_vec(&block[used..], &mut plain, FlushDecompress::Sync)
            {
                Ok(Status::StreamEnd) => return Err(HeaderError::Malformed),
                Ok(_) => {}
                Err(e) if e.needs_dictionary().is_some() && !dictionary_given => {
                    dictionary_given = true;
                    self.0
                        .set_dictionary(&dictionary())
                        .map_err(|_| HeaderError::Malformed)?;
                    continue;
                }
                Err(_) => return Err(HeaderError::Malformed),
            }
            if plain.len() > MAX_BLOCK {
                return Err(HeaderError::TooLarge);
            }
            let used = (self.0.total_in() - start) as usize;
            if used == block.len() && plain.len() < plain.capacity() {
                return parse(&plain);
            }
        }
    }
}

fn parse(mut plain: &[u8]) -> Result<Headers, HeaderError> {
    fn number(plain: &mut &[u8]) -> Result<usize, HeaderError> {
        let (head, rest) = plain.split_first_chunk::<4>().ok_or(HeaderError::Malformed)?;
        *plain = rest;
        Ok(u32::from_be_bytes(*head) as usize)
    }
    fn text(plain: &mut &[u8]) -> Result<String, HeaderError> {
        let len = number(plain)?;
        if len > plain.len() {
            return Err(HeaderError::Malformed);
        }
        let (head, rest) = plain.split_at(len);
        *plain = rest;
        String::from_utf8(head.to_vec()).map_err(|_| HeaderError::Malformed)
    }
    let count = number(&mut plain)?;
    if count > MAX_PAIRS {
        return Err(HeaderError::TooLarge);
    }
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        headers.push((text(&mut plain)?, text(&mut plain)?));
    }
    if plain.is_empty() {
        Ok(headers)
    } else {
        Err(HeaderError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Headers {
        list.iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn blocks_share_one_compression_state() {
        let (mut encoder, mut decoder) = (Encoder::new().unwrap(), Decoder::new());
        let long = "x".repeat(5000);
        for headers in [
            pairs(&[("streamtype", "error")]),
            pairs(&[]),
            pairs(&[("a", &long), ("Port", "80")]),
        ] {
            let block = encoder.encode(&headers).unwrap();
            let lower: Headers = headers
                .iter()
                .map(|(k, v)| (k.to_lowercase(), v.clone()))
                .collect();
            assert_eq!(decoder.decode(&block).unwrap(), lower);
        }
    }

    #[test]
    fn a_bomb_and_nonsense_are_refused() {
        let mut encoder = Encoder::new().unwrap();
        let bomb = encoder.encode(&pairs(&[("a", &"0".repeat(10_000_000))])).unwrap();
        assert!(bomb.len() < 10_000_000 / 50);
        assert_eq!(Decoder::new().decode(&bomb), Err(HeaderError::TooLarge));
        assert_eq!(Decoder::new().decode(&[1, 2, 3, 4]), Err(HeaderError::Malformed));
        assert_eq!(
            parse(&[0, 0, 0, 1, 0, 0, 0, 9, b'a']),
            Err(HeaderError::Malformed)
        );
        assert_eq!(parse(&[0xff; 4]), Err(HeaderError::TooLarge));
    }
}
