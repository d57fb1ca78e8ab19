//! Equal bytes of different clusters are kept once.
//!
//! A fresh cluster begins with some hundred objects that every cluster has. Their paths, and their values where the
//! writer makes them equal, are shared. Only the first revisions of a cluster pass through here: later objects are
//! hardly ever equal, and would pay for the look-up and for the table.

use bytes::Bytes;
use std::collections::HashSet;

/// Bytes above this length are not looked up.
const LONGEST: usize = 8 << 10;
/// Entries before the first clearing.
const FIRST_CLEARING: usize = 4096;

/// The table of shared bytes. Entries that nobody else holds are dropped when the table has doubled.
#[derive(Debug)]
pub(crate) struct Interner {
    shared: HashSet<Bytes>,
    clear_at: usize,
}

impl Default for Interner {
    fn default() -> Self {
        Self {
            shared: HashSet::new(),
            clear_at: FIRST_CLEARING,
        }
    }
}

impl Interner {
    /// Bytes equal to `bytes`, shared with whoever has the same.
    pub(crate) fn share(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.len() > LONGEST {
            return Bytes::copy_from_slice(bytes);
        }
        if let Some(known) = self.shared.get(bytes) {
            return known.clone();
        }
        if self.shared.len() >= self.clear_at {
            self.shared.retain(|b| !b.is_unique());
            self.shared.shrink_to_fit();
            self.clear_at = (self.shared.len() * 2).max(FIRST_CLEARING);
        }
        let fresh = Bytes::copy_from_slice(bytes);
        self.shared.insert(fresh.clone());
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_are_one_allocation_and_unused_ones_are_dropped() {
        let mut interner = Interner::default();
        let a = interner.share(b"/registry/clusterroles/view");
        let b = interner.share(b"/registry/clusterroles/view");
        assert_eq!(a.as_ptr(), b.as_ptr());
        for n in 0..FIRST_CLEARING * 3 {
            interner.share(format!("only once {n}").as_bytes());
        }
        assert!(interner.shared.len() <= FIRST_CLEARING);
        assert_eq!(
            interner.share(b"/registry/clusterroles/view").as_ptr(),
            a.as_ptr()
        );
    }
}
