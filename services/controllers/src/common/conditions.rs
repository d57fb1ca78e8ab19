//! Conditions: one list entry for each type, and the time of the last change of status.

use jiff::Timestamp;

/// What all condition types have in common.
pub(crate) trait Condition: Clone {
    fn kind(&self) -> &str;
    fn status(&self) -> &str;
    fn reason(&self) -> &str;
    fn transition(&self) -> Option<Timestamp>;
    fn set_transition(&mut self, at: Option<Timestamp>);
}

macro_rules! conditions {
    ($($kind:ident $text:path),*) => { $(
        impl Condition for crate::kinds::$kind {
            fn kind(&self) -> &str {
                $text(&self.type_)
            }
            fn status(&self) -> &str {
                $text(&self.status)
            }
            fn reason(&self) -> &str {
                self.reason.as_deref().unwrap_or("")
            }
            fn transition(&self) -> Option<Timestamp> {
                self.last_transition_time.as_ref().map(|t| t.0)
            }
            fn set_transition(&mut self, at: Option<Timestamp>) {
                self.last_transition_time = at.map(crate::kinds::Time);
            }
        }
    )* };
}

/// The API of newer versions calls type and status of some conditions optional.
fn optional(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or("")
}

fn required(text: &String) -> &str {
    text
}

conditions![
    DeploymentCondition optional,
    ReplicaSetCondition optional,
    ReplicationControllerCondition required,
    JobCondition required,
    PodCondition required,
    NodeCondition required,
    NamespaceCondition required
];

/// The condition of a type.
pub(crate) fn find<'a, C: Condition>(list: &'a Option<Vec<C>>, kind: &str) -> Option<&'a C> {
    list.iter().flatten().find(|c| c.kind() == kind)
}

/// Whether a condition is `True`.
pub(crate) fn is_true<C: Condition>(list: &Option<Vec<C>>, kind: &str) -> bool {
    find(list, kind).is_some_and(|c| c.status() == "True")
}

/// Sets a condition, as upstream's `Set…Condition`: nothing happens if status and reason stay, and the transition time
/// moves only when the status changes.
pub(crate) fn set<C: Condition>(list: &mut Option<Vec<C>>, mut new: C) {
    if let Some(old) = find(list, new.kind()) {
        if old.status() == new.status() && old.reason() == new.reason() {
            return;
        }
        if old.status() == new.status() {
            new.set_transition(old.transition());
        }
    }
    let all = list.get_or_insert_default();
    all.retain(|c| c.kind() != new.kind());
    all.push(new);
}

/// Removes a condition.
pub(crate) fn remove<C: Condition>(list: &mut Option<Vec<C>>, kind: &str) {
    if let Some(all) = list {
        all.retain(|c| c.kind() != kind);
        if all.is_empty() {
            *list = None;
        }
    }
}
