//! Hashes in names: FNV-1a, 32 bits, written with letters that make no words (upstream's `rand.SafeEncodeString`).
//!
//! The form is upstream's, the value is not: upstream hashes Go's own dump of the structure. Nothing depends on the value,
//! since controllers compare templates and use the hash only as a name, so that ReplicaSets made by either are found by both.

/// FNV-1a of 32 bits.
pub(crate) fn fnv32a(parts: &[&[u8]]) -> u32 {
    let bytes = parts.iter().flat_map(|p| p.iter());
    bytes.fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// A hash as text: its decimal digits in a safe alphabet.
pub(crate) fn safe(hash: u32) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    hash.to_string()
        .bytes()
        .map(|b| char::from(ALPHABET[usize::from(b) % ALPHABET.len()]))
        .collect()
}

/// The hash of a pod template (its JSON), told apart by the number of collisions so far.
pub(crate) fn template(json: &[u8], collisions: Option<i32>) -> String {
    let collisions = collisions.map(|n| n.to_le_bytes());
    safe(fnv32a(&[json, collisions.as_ref().map_or(&[][..], |b| &b[..])]))
}

/// `count` random letters of the same alphabet: the end of a generated name.
pub(crate) fn suffix(count: usize) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    (0..count)
        .map(|_| char::from(ALPHABET[rand::random_range(0..ALPHABET.len())]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv_and_alphabet_are_the_known_ones() {
        assert_eq!(fnv32a(&[b"foobar"]), 0xbf9c_f968);
        assert_eq!(fnv32a(&[b"foo", b"bar"]), 0xbf9c_f968);
        // '0' is 48, and 48 % 27 = 21.
        assert_eq!(safe(0), "4");
        assert_ne!(template(b"a", None), template(b"a", Some(1)));
        assert!(suffix(5).len() == 5);
    }
}
