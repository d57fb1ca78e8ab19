//! Names that users give to projects, clusters and node pools.

/// A text that is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} {name:?} is not a valid name: 1 to 40 lower-case letters, digits and '-', beginning with a letter and ending with a letter or digit"
)]
pub struct InvalidName {
    what: &'static str,
    name: String,
}

/// Checks a name. 40 characters leave room for the suffixes of node names inside the 63 of a DNS label (RFC 1123).
pub fn check_name(what: &'static str, name: &str) -> Result<(), InvalidName> {
    let good = (1..=40).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-');
    if good {
        Ok(())
    } else {
        Err(InvalidName {
            what,
            name: name.chars().take(80).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels_that_begin_with_a_letter() {
        for good in ["a", "shop", "shop-1", &"a".repeat(40)] {
            assert_eq!(check_name("cluster", good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "1a",
            "-a",
            "a-",
            "A",
            "a_b",
            "a.b",
            "../x",
            "ä",
            &"a".repeat(41),
        ] {
            assert!(check_name("cluster", bad).is_err(), "{bad}");
        }
    }
}
