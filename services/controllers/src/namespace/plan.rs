//! What is left of a namespace's content, and the conditions that tell it.

use crate::kinds::NamespaceCondition;
use client::Resource;
use std::collections::BTreeMap;

/// What one pass left behind.
#[derive(Debug, Default)]
pub(super) struct Remains {
    /// Why discovery is incomplete.
    pub(super) discovery: Option<String>,
    /// What could not be deleted or listed.
    pub(super) errors: Vec<String>,
    /// Objects left, by `plural.group`.
    pub(super) counts: BTreeMap<String, usize>,
    /// Objects left, by finalizer.
    pub(super) finalizers: BTreeMap<String, usize>,
    /// The longest grace period of an object that is left.
    pub(super) grace: i64,
}

impl Remains {
    pub(super) fn is_nothing(&self) -> bool {
        self.discovery.is_none() && self.errors.is_empty() && self.counts.is_empty()
    }

    pub(super) fn add<'a>(
        &mut self,
        resource: &Resource,
        left: usize,
        finalizers: impl Iterator<Item = &'a str>,
        grace: i64,
    ) {
        if left > 0 {
            *self
                .counts
                .entry(format!("{}.{}", resource.plural, resource.group))
                .or_default() += left;
        }
        for finalizer in finalizers {
            *self.finalizers.entry(finalizer.into()).or_default() += 1;
        }
        self.grace = self.grace.max(grace);
    }

    /// Seconds until the next pass: soon, but half the grace period that pods still have.
    pub(super) fn patience(&self) -> u64 {
        u64::try_from(self.grace / 2).unwrap_or(0).clamp(1, 15)
    }

    pub(super) fn conditions(&self) -> Vec<NamespaceCondition> {
        let join = |map: &BTreeMap<String, usize>, word: &str| {
            map.iter()
                .map(|(k, n)| format!("{k} {word} {n} resource instances"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let mut errors = self.errors.clone();
        errors.sort();
        let failed = (!errors.is_empty()).then(|| {
            format!(
                "Failed to delete all resource types, {} remaining: {}",
                errors.len(),
                errors.join(", ")
            )
        });
        let left = (!self.counts.is_empty())
            .then(|| format!("Some resources are remaining: {}", join(&self.counts, "has")));
        let held = (!self.finalizers.is_empty()).then(|| {
            format!(
                "Some content in the namespace has finalizers remaining: {}",
                join(&self.finalizers, "in")
            )
        });
        [
            (
                "NamespaceDeletionDiscoveryFailure",
                self.discovery.clone(),
                "DiscoveryFailed",
                ("ResourcesDiscovered", "All resources successfully discovered"),
            ),
            (
                "NamespaceDeletionGroupVersionParsingFailure",
                None,
                "GroupVersionParsingFailed",
                ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
            ),
            (
                "NamespaceDeletionContentFailure",
                failed,
                "ContentDeletionFailed",
                (
                    "ContentDeleted",
                    "All content successfully deleted, may be waiting on finalization",
                ),
            ),
            (
                "NamespaceContentRemaining",
                left,
                "SomeResourcesRemain",
                ("ContentRemoved", "All content successfully removed"),
            ),
            (
                "NamespaceFinalizersRemaining",
                held,
                "SomeFinalizersRemain",
                (
                    "ContentHasNoFinalizers",
                    "All content-preserving finalizers finished",
                ),
            ),
        ]
        .into_iter()
        .map(|(kind, problem, reason, (ok, message))| NamespaceCondition {
            type_: kind.into(),
            status: if problem.is_some() {
                "True".into()
            } else {
                "False".into()
            },
            reason: Some(if problem.is_some() {
                reason.into()
            } else {
                ok.into()
            }),
            message: Some(problem.unwrap_or_else(|| message.into())),
            last_transition_time: None,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_tell_what_is_left_and_who_holds_it() {
        let mut remains = Remains::default();
        assert!(remains.is_nothing());
        let resource = Resource {
            group: "apps".into(),
            version: "v1".into(),
            kind: "Deployment".into(),
            plural: "deployments".into(),
            namespaced: true,
        };
        remains.add(&resource, 2, ["example.com/hold"].into_iter(), 0);
        assert!(!remains.is_nothing());
        let all = remains.conditions();
        let text = |kind: &str| {
            all.iter()
                .find(|c| c.type_ == kind)
                .map(|c| (c.status.as_str(), c.message.as_deref().unwrap()))
        };
        assert_eq!(
            text("NamespaceContentRemaining"),
            Some((
                "True",
                "Some resources are remaining: deployments.apps has 2 resource instances"
            ))
        );
        assert_eq!(
            text("NamespaceFinalizersRemaining"),
            Some((
                "True",
                "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
            ))
        );
        assert_eq!(text("NamespaceDeletionContentFailure").unwrap().0, "False");
    }
}
