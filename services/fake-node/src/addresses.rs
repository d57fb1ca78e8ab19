//! Addresses of a node's pods, out of the node's range (`spec.podCIDR`), so that no two pods of a cluster share one.
//!
//! As with CNI's host-local plugin: the next free one after the last, not the lowest, so that an address rests before it is
//! used again. The first two and the last of a range are left out: network, gateway, broadcast.

use std::collections::HashMap;
use std::net::Ipv4Addr;

/// What a node has to give, and who has what.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    range: Option<Range>,
    /// By the pods' uids.
    taken: HashMap<String, Ipv4Addr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u32,
    count: u32,
    /// What was given last, counted from the first.
    last: u32,
}

impl Range {
    fn parse(cidr: &str) -> Option<Self> {
        let (base, prefix) = cidr.split_once('/')?;
        let base: Ipv4Addr = base.parse().ok()?;
        let prefix: u32 = prefix.parse().ok().filter(|p| *p <= 32)?;
        let all = u32::MAX.checked_shr(prefix).unwrap_or(0);
        let count = all.checked_sub(2).filter(|c| *c > 0)?;
        let first = (u32::from(base) & !all).checked_add(2)?;
        Some(Self {
            first,
            count,
            last: count - 1,
        })
    }
}

impl Addresses {
    /// The node's range is known now. Whether that is news.
    pub(crate) fn set_range(&mut self, cidr: &str) -> bool {
        if self.range.is_some() {
            return false;
        }
        self.range = Range::parse(cidr);
        self.range.is_some()
    }

    /// A pod's address: the one that it has, or a new one. `None` if there is no range yet, or nothing is free.
    pub(crate) fn take(&mut self, uid: &str) -> Option<Ipv4Addr> {
        if let Some(address) = self.taken.get(uid) {
            return Some(*address);
        }
        let range = self.range.as_mut()?;
        let used: std::collections::HashSet<u32> = self.taken.values().map(|a| u32::from(*a)).collect();
        let mut places = (1..=range.count).map(|step| (range.last + step) % range.count);
        let place = places.find(|place| !used.contains(&(range.first + place)))?;
        range.last = place;
        let address = Ipv4Addr::from(range.first + place);
        self.taken.insert(uid.to_owned(), address);
        Some(address)
    }

    /// A pod has this address already: it was given before this process began.
    pub(crate) fn note(&mut self, uid: &str, address: Ipv4Addr) {
        self.taken.entry(uid.to_owned()).or_insert(address);
    }

    /// The pod is gone. Whether it had an address.
    pub(crate) fn release(&mut self, uid: &str) -> bool {
        self.taken.remove(uid).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pod_has_its_own_and_a_free_one_is_used_again_last() {
        let mut all = Addresses::default();
        assert_eq!(all.take("a"), None, "no range yet");
        assert!(all.set_range("10.128.3.0/29") && !all.set_range("10.128.4.0/29"));
        all.note("old", "10.128.3.3".parse().unwrap());
        let mut take = |uid: &str| all.take(uid).map(|a| a.to_string());
        assert_eq!(take("a").as_deref(), Some("10.128.3.2"));
        assert_eq!(take("a").as_deref(), Some("10.128.3.2"), "it keeps its own");
        for (uid, last) in [("b", 4), ("c", 5), ("d", 6)] {
            assert_eq!(take(uid), Some(format!("10.128.3.{last}")));
        }
        assert_eq!(take("e"), None, "all are taken");
        assert!(all.release("b") && !all.release("b"));
        assert_eq!(
            all.take("e").map(|a| a.to_string()).as_deref(),
            Some("10.128.3.4")
        );
    }

    #[test]
    fn a_range_that_is_none_gives_nothing() {
        for cidr in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/31", "fd00::/64"] {
            let mut all = Addresses::default();
            assert!(!all.set_range(cidr), "{cidr}");
            assert_eq!(all.take("a"), None);
        }
    }
}
