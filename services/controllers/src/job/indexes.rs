//! Sets of completion indexes as text: `1,3-5,7`.

use std::collections::BTreeSet;

/// Reads a set; what lies outside `0..completions` or makes no sense is left out.
pub(super) fn parse(text: Option<&str>, completions: i32) -> BTreeSet<i32> {
    let mut all = BTreeSet::new();
    for part in text.unwrap_or("").split(',').filter(|p| !p.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(from), Ok(to)) = (from.parse::<i32>(), to.parse::<i32>()) {
            all.extend(from.max(0)..=to.min(completions - 1));
        }
    }
    all
}

/// Writes a set; `None` if it is empty. Two neighbours are a list, three a range, as upstream has it.
pub(super) fn format(all: &BTreeSet<i32>) -> Option<String> {
    let mut ranges: Vec<(i32, i32)> = Vec::new();
    for &i in all {
        match ranges.last_mut() {
            Some((_, to)) if *to + 1 == i => *to = i,
            _ => ranges.push((i, i)),
        }
    }
    let text = |(from, to): (i32, i32)| match to - from {
        0 => from.to_string(),
        1 => format!("{from},{to}"),
        _ => format!("{from}-{to}"),
    };
    (!ranges.is_empty()).then(|| ranges.into_iter().map(text).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_survive_their_text() {
        let set = BTreeSet::from([0, 1, 3, 5, 6, 7]);
        assert_eq!(format(&set).as_deref(), Some("0,1,3,5-7"));
        assert_eq!(parse(Some("0,1,3,5-7"), 10), set);
        assert_eq!(parse(Some("0-100,x"), 3), BTreeSet::from([0, 1, 2]));
        assert_eq!(format(&BTreeSet::new()), None);
    }
}
