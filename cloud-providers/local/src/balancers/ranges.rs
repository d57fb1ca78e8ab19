//! Ranges of addresses that may connect.

use cloud_api::{CloudError, Result};
use std::net::IpAddr;

/// An address range as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    base: u128,
    mask: u128,
}

/// IPv4 addresses are compared as IPv4-mapped IPv6 ones, so one form does for both.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.trim().split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let (length, offset): (u32, u32) = (length.parse().ok()?, if address.is_ipv4() { 96 } else { 0 });
        if length + offset > 128 {
            return None;
        }
        let mask = u128::MAX.checked_shl(128 - length - offset).unwrap_or(0);
        Some(Self {
            base: bits(address) & mask,
            mask,
        })
    }

    fn contains(self, address: IpAddr) -> bool {
        bits(address) & self.mask == self.base
    }
}

/// Parses ranges; `Invalid` names the first that is none.
pub(crate) fn parse_all(texts: &[String]) -> Result<Vec<Range>> {
    texts
        .iter()
        .map(|t| Range::parse(t).ok_or_else(|| CloudError::Invalid(format!("{t:?} is no address range"))))
        .collect()
}

/// Whether this address may connect; no ranges let everybody.
pub(crate) fn allowed(ranges: &[Range], address: IpAddr) -> bool {
    ranges.is_empty() || ranges.iter().any(|r| r.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_let_in_by_any_range_that_holds_it() {
        let ranges = parse_all(&["10.0.0.0/8".into(), "192.0.2.7/32".into(), "fd00::/8".into()]).unwrap();
        for (address, expect) in [
            ("10.255.0.1", true),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("fd12::1", true),
            ("::1", false),
        ] {
            assert_eq!(allowed(&ranges, address.parse().unwrap()), expect, "{address}");
        }
        assert!(allowed(
            &parse_all(&["0.0.0.0/0".into()]).unwrap(),
            "9.9.9.9".parse().unwrap()
        ));
        for bad in ["10.0.0.0", "10.0.0.0/33", "x/8", "::/129"] {
            assert!(parse_all(&[bad.into()]).is_err(), "{bad}");
        }
    }
}
