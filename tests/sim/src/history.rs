//! What clients and watchers saw, and whether it fits what survived.
//!
//! Revisions are the witness: each acknowledged write has one, so its place in the history is known, and checking is
//! a comparison instead of a search.

use std::collections::BTreeMap;
use store_api::Revision;

/// The changes of a revision: name and value, `None` for a deletion.
pub(crate) type Changes = Vec<(String, Option<String>)>;
/// Everything that survived.
pub(crate) type Survived = BTreeMap<Revision, Changes>;

/// A write that was acknowledged. Times are simulated microseconds.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Write {
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) revision: Revision,
    pub(crate) name: String,
    pub(crate) value: Option<String>,
}

/// A linearizable read of one key that was answered.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Read {
    pub(crate) began: u64,
    pub(crate) revision: Revision,
    pub(crate) name: String,
    pub(crate) value: Option<String>,
}

/// Every acknowledged write is there, where it was said to be, and real time is never contradicted.
pub(crate) fn check_writes(writes: &[Write], survived: &Survived) -> Result<(), String> {
    for write in writes {
        let there = survived.get(&write.revision);
        let found = there.is_some_and(|c| c.contains(&(write.name.clone(), write.value.clone())));
        if !found {
            return Err(format!(
                "an acknowledged write is lost: {write:?}; revision {} is {there:?}",
                write.revision
            ));
        }
    }
    let mut by_end: Vec<&Write> = writes.iter().collect();
    by_end.sort_by_key(|w| w.ended);
    let mut by_begin: Vec<&Write> = writes.iter().collect();
    by_begin.sort_by_key(|w| w.began);
    let mut ended = by_end.into_iter().peekable();
    let mut newest = 0;
    for write in by_begin {
        while let Some(before) = ended.next_if(|w| w.ended < write.began) {
            newest = newest.max(before.revision);
        }
        if write.revision <= newest {
            return Err(format!(
                "a write went back in time: {write:?} after revision {newest} was acknowledged"
            ));
        }
    }
    Ok(())
}

/// Every linearizable read shows what was true at its revision, and nothing older than what was acknowledged before.
pub(crate) fn check_reads(reads: &[Read], writes: &[Write], survived: &Survived) -> Result<(), String> {
    for read in reads {
        let acknowledged = writes
            .iter()
            .filter(|w| w.ended < read.began)
            .map(|w| w.revision)
            .max()
            .unwrap_or(0);
        if read.revision < acknowledged {
            return Err(format!(
                "a stale read: {read:?}, revision {acknowledged} was acknowledged before it began"
            ));
        }
        let newest = survived.range(..=read.revision).rev().find_map(|(_, changes)| {
            changes
                .iter()
                .find(|(name, _)| *name == read.name)
                .map(|(_, value)| value.clone())
        });
        if newest.clone().flatten() != read.value {
            return Err(format!(
                "a read of what never was: {read:?}, it should be {newest:?}"
            ));
        }
    }
    Ok(())
}

/// A watcher saw every revision up to where it came, once, in order, as it survived.
pub(crate) fn check_watch(seen: &[(Revision, Changes)], survived: &Survived) -> Result<(), String> {
    for ((revision, changes), (expected, kept)) in seen.iter().zip(survived) {
        if (revision, changes) != (expected, kept) {
            return Err(format!(
                "a watch saw {revision} {changes:?}, but {expected} is {kept:?}"
            ));
        }
    }
    if seen.len() > survived.len() {
        return Err(format!(
            "a watch saw more than survived: {:?}",
            &seen[survived.len()..]
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survived() -> Survived {
        let put = |n: &str, v: &str| vec![(n.to_owned(), Some(v.to_owned()))];
        [
            (2, put("a", "1")),
            (3, put("a", "2")),
            (4, vec![("a".to_owned(), None)]),
        ]
        .into()
    }

    fn write(began: u64, ended: u64, revision: Revision, value: Option<&str>) -> Write {
        Write {
            began,
            ended,
            revision,
            name: "a".into(),
            value: value.map(str::to_owned),
        }
    }

    #[test]
    fn a_broken_store_is_found_out() {
        let good = [
            write(0, 1, 2, Some("1")),
            write(2, 3, 3, Some("2")),
            write(2, 4, 4, None),
        ];
        check_writes(&good, &survived()).unwrap();
        assert!(
            check_writes(&[write(0, 1, 5, Some("9"))], &survived()).is_err(),
            "lost"
        );
        assert!(
            check_writes(&[write(0, 1, 2, Some("9"))], &survived()).is_err(),
            "replaced"
        );
        let reordered = [write(0, 1, 3, Some("2")), write(2, 3, 2, Some("1"))];
        assert!(check_writes(&reordered, &survived()).is_err(), "back in time");

        let read = |began, revision, value: Option<&str>| {
            [Read {
                began,
                revision,
                name: "a".into(),
                value: value.map(str::to_owned),
            }]
        };
        check_reads(&read(2, 2, Some("1")), &good, &survived()).unwrap();
        check_reads(&read(9, 4, None), &good, &survived()).unwrap();
        assert!(
            check_reads(&read(9, 3, Some("2")), &good, &survived()).is_err(),
            "stale"
        );
        assert!(
            check_reads(&read(0, 3, Some("1")), &good, &survived()).is_err(),
            "never was"
        );

        let seen: Vec<_> = survived().into_iter().collect();
        check_watch(&seen[..2], &survived()).unwrap();
        assert!(check_watch(&seen[1..], &survived()).is_err(), "gap");
        let twice = [seen[0].clone(), seen[0].clone()];
        assert!(check_watch(&twice, &survived()).is_err(), "duplicate");
    }
}
