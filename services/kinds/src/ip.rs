//! IP addresses and networks in fields.

use std::net::IpAddr;

use crate::{FieldErrors, Path};

/// An address, if it is written canonically enough: no leading zeros, no zone.
pub(crate) fn parse(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

/// A network, `10.0.0.0/8`: the address and the length of the prefix.
pub(crate) fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let address = parse(address)?;
    if bits.len() > 1 && bits.starts_with('0') {
        return None;
    }
    let bits: u8 = bits.parse().ok()?;
    (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
}

/// Refuses what is no address.
pub(crate) fn check(text: &str, path: &Path, errors: &mut FieldErrors) {
    if parse(text).is_none() {
        errors.invalid(
            path,
            text.to_owned(),
            "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        );
    }
}

/// Refuses what is no network.
pub(crate) fn check_cidr(text: &str, path: &Path, errors: &mut FieldErrors) {
    if parse_cidr(text).is_none() {
        let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        errors.invalid(path, text.to_owned(), detail);
    }
}

/// Refuses addresses that no endpoint can have.
pub(crate) fn check_not_special(text: &str, path: &Path, errors: &mut FieldErrors) {
    let Some(ip) = parse(text) else { return };
    let mut bad = |yes: bool, detail: &str| {
        if yes {
            errors.invalid(path, text.to_owned(), detail);
        }
    };
    bad(ip.is_unspecified(), &format!("may not be unspecified ({text})"));
    bad(
        ip.is_loopback(),
        "may not be in the loopback range (127.0.0.0/8, ::1/128)",
    );
    let (link, multicast) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(ip) => (
            ip.segments()[0] & 0xffc0 == 0xfe80,
            ip.segments()[0] & 0xff0f == 0xff02,
        ),
    };
    bad(
        link,
        "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
    );
    bad(
        multicast,
        "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
    );
}
