//! What becomes of an object, given what became of its owners.

use super::{FOREGROUND, ORPHAN};
use client::Propagation;
use runtime::header::{Header, Owner};

/// What became of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is there.
    Solid,
    /// It is being deleted and waits for this object.
    Waiting,
    /// It does not exist any more.
    Gone,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// Nothing.
    Keep,
    /// References to these uids are dropped.
    Drop(Vec<&'a str>),
    /// Nobody needs it any more.
    Delete(Propagation),
}

/// Upstream's `attemptToDeleteItem`.
pub(super) fn decide<'a>(
    owners: &[(&'a Owner, Found)],
    header: &Header,
    has_dependents: impl FnOnce() -> bool,
) -> Verdict<'a> {
    if owners.is_empty() {
        return Verdict::Keep;
    }
    let with = |f: Found| owners.iter().any(|(_, found)| *found == f);
    if with(Found::Solid) {
        let stale: Vec<&str> = owners
            .iter()
            .filter(|(_, f)| *f != Found::Solid)
            .map(|(o, _)| &*o.uid)
            .collect();
        return if stale.is_empty() {
            Verdict::Keep
        } else {
            Verdict::Drop(stale)
        };
    }
    if with(Found::Waiting) && has_dependents() {
        // Its owner waits for it, and so it waits for its own.
        return Verdict::Delete(Propagation::Foreground);
    }
    Verdict::Delete(if header.has_finalizer(ORPHAN) {
        Propagation::Orphan
    } else if header.has_finalizer(FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_lives_as_long_as_one_owner_does() {
        let owner = |uid: &str| Owner {
            uid: uid.into(),
            ..Owner::default()
        };
        let (a, b) = (owner("a"), owner("b"));
        let header = Header::default();
        let says =
            |owners: &[(&Owner, Found)], dependents| format!("{:?}", decide(owners, &header, || dependents));
        assert_eq!(says(&[], true), "Keep");
        assert_eq!(says(&[(&a, Found::Solid)], true), "Keep");
        assert_eq!(
            says(&[(&a, Found::Solid), (&b, Found::Gone)], true),
            "Drop([\"b\"])"
        );
        assert_eq!(says(&[(&a, Found::Gone)], true), "Delete(Background)");
        assert_eq!(
            says(&[(&a, Found::Waiting), (&b, Found::Gone)], true),
            "Delete(Foreground)"
        );
        assert_eq!(says(&[(&a, Found::Waiting)], false), "Delete(Background)");
    }
}
