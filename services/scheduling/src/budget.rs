//! PodDisruptionBudgets, reduced to what preemption asks of them: whose departure would break one.

use crate::pod::{Pod, PodKey};
use machinery::Value;
use machinery::selector::Selector;
use std::sync::Arc;

/// A PodDisruptionBudget.
#[derive(Clone, Debug)]
pub struct Budget {
    pub key: PodKey,
    /// `None`: it matches no pod, as one whose selector is missing, empty or wrong does.
    selector: Option<Selector>,
    /// How many more pods may go now.
    allowed: i64,
    /// Names of pods whose going the budget knows of.
    going: Vec<String>,
}

impl Budget {
    /// Reads a PodDisruptionBudget object.
    pub fn read(object: &Value) -> Self {
        let text = |path: &[&str]| object.str_at(path).unwrap_or_default().to_owned();
        let selector = Selector::from_object(&object["spec"]["selector"]).ok();
        let going = object.at(&["status", "disruptedPods"]).as_map();
        Self {
            key: PodKey {
                namespace: text(&["metadata", "namespace"]),
                name: text(&["metadata", "name"]),
            },
            selector: selector.filter(|s| !s.requirements().is_empty()),
            allowed: object.int_at(&["status", "disruptionsAllowed"]).unwrap_or(0),
            going: going
                .into_iter()
                .flat_map(|m| m.iter().map(|(name, _)| name.to_owned()))
                .collect(),
        }
    }

    fn minds(&self, pod: &Pod) -> bool {
        self.key.namespace == pod.key.namespace
            && !pod.labels.is_empty()
            && self
                .selector
                .as_ref()
                .is_some_and(|s| s.matches_by(|key| pod.label(key)))
            && !self.going.contains(&pod.key.name)
    }
}

/// Parts pods, if they went in this order, into those whose going would break a budget and those whose would not. The order
/// stays.
pub(crate) fn part<'a>(
    pods: Vec<Arc<Pod>>,
    budgets: impl Iterator<Item = &'a Budget>,
) -> (Vec<Arc<Pod>>, Vec<Arc<Pod>>) {
    let mut left: Vec<(&Budget, i64)> = budgets.map(|b| (b, b.allowed)).collect();
    pods.into_iter().partition(|pod| {
        let mut broken = false;
        for (_, left) in left.iter_mut().filter(|(budget, _)| budget.minds(pod)) {
            *left -= 1;
            broken |= *left < 0;
        }
        broken
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::value;

    #[test]
    fn a_budget_minds_pods_that_it_selects_and_does_not_know_to_be_going() {
        let pod = |name: &'static str, namespace: &'static str, app: &'static str| {
            let object = value!({"metadata": {"name": name, "namespace": namespace, "labels": {"app": app}}});
            Arc::new(Pod::read(&object))
        };
        let budget = |selector: Value, allowed: i64| {
            let mut object = value!({"metadata": {"name": "b", "namespace": "d"},
                "status": {"disruptedPods": {"going": "2026-01-01T00:00:00Z"}}});
            object.at_mut(&["status"]).insert("disruptionsAllowed", allowed);
            object.at_mut(&["spec"]).insert("selector", selector);
            Budget::read(&object)
        };
        let web = || value!({"matchLabels": {"app": "web"}});
        let all = || {
            vec![
                pod("a", "d", "web"),
                pod("going", "d", "web"),
                pod("b", "d", "web"),
                pod("elsewhere", "e", "web"),
                pod("other", "d", "db"),
                pod("c", "d", "web"),
            ]
        };
        let broken = |budgets: &[Budget]| {
            let (broken, kept) = part(all(), budgets.iter());
            assert_eq!(broken.len() + kept.len(), 6);
            broken.iter().map(|p| p.key.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(broken(&[budget(web(), 1)]), ["b", "c"]);
        assert_eq!(broken(&[budget(web(), 2), budget(web(), 5)]), ["c"]);
        assert!(
            broken(&[budget(value!({}), 0)]).is_empty(),
            "an empty selector matches nothing here"
        );
        assert!(broken(&[budget(Value::Null, 0)]).is_empty());
    }
}
