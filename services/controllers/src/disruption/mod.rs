//! PodDisruptionBudgets: how many of the selected pods may go at present.
//!
//! The eviction subresource takes from `status.disruptionsAllowed` and notes the pod in `status.disruptedPods`; this
//! controller gives back: it counts the healthy pods anew, and forgets noted pods that went, or that did not go within
//! two minutes. When a size cannot be found nothing is allowed, so that a doubt never costs a pod.

mod plan;

use crate::common::claim::controller_of;
use crate::common::{Meta, Object, until};
use crate::kinds::{Deployment, Pod, PodDisruptionBudget, ReplicaSet, ReplicationController, StatefulSet};
use async_trait::async_trait;
use plan::{Expected, Wish};
use runtime::{Controller, Cx, Error, EventType, Key, Next, Wiring};
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Disruption;

#[async_trait]
impl Controller for Disruption {
    fn name(&self) -> &'static str {
        // The source of its events, as upstream has it.
        "controllermanager"
    }

    fn queue(&self) -> &'static str {
        "disruption"
    }

    fn account(&self) -> &'static str {
        "disruption-controller"
    }

    fn wire(&self, w: &mut Wiring) {
        w.primary::<PodDisruptionBudget>();
        w.maps::<Pod>(|caches, change| {
            let namespace = &change.entry().key.namespace;
            let budgets = caches.list::<PodDisruptionBudget>(&change.cluster, Some(namespace), |_| true);
            let covers = |entry: &runtime::Entry| {
                let budget = entry.decode::<PodDisruptionBudget>().ok();
                let selector = budget.and_then(|b| selector(&b).ok());
                selector.is_some_and(|s| change.sides().any(|pod| pod.header.matches(&s)))
            };
            budgets
                .iter()
                .filter(|b| covers(b))
                .map(|b| b.key.clone())
                .collect()
        });
        w.reads::<Deployment>()
            .reads::<ReplicaSet>()
            .reads::<ReplicationController>()
            .reads::<StatefulSet>();
        w.writes::<PodDisruptionBudget>(&["update"]);
    }

    async fn reconcile(&self, cx: &Cx, _key: &Key) -> Result<Next, Error> {
        let Some(budget) = cx.this::<PodDisruptionBudget>()?.filter(|b| !b.deleting()) else {
            return Ok(Next::Done);
        };
        let pods: Vec<Pod> = match selector(&budget) {
            Ok(selector) => cx.select(Some(budget.ns()), &selector)?,
            Err(e) => {
                cx.event(
                    &budget,
                    EventType::Warning,
                    "NoPods",
                    format!("Failed to get pods: {e}"),
                );
                Vec::new()
            }
        };
        if pods.is_empty() {
            cx.event(&budget, EventType::Normal, "NoPods", "No matching pods found");
        }
        let expected = match plan::wish(&budget) {
            Wish::Healthy(n) => Ok(Expected::healthy(n, &pods)),
            wish => expected(cx, &pods).map(|(total, unmanaged)| {
                if !unmanaged.is_empty() {
                    let text = format!(
                        "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, \
                         the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To \
                         account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.",
                        selector(&budget).map(|s| s.to_string()).unwrap_or_default()
                    );
                    cx.event(&budget, EventType::Warning, "UnmanagedPods", text);
                }
                wish.of(total)
            }),
        };
        if let Err(Error::NotYet(why)) = &expected {
            let text = format!("Failed to calculate the number of expected pods: {why}");
            cx.event(
                &budget,
                EventType::Warning,
                "CalculateExpectedPodCountFailed",
                text,
            );
        }
        let failed = match &expected {
            Err(Error::NotYet(why)) => Some(why.clone()),
            _ => None,
        };
        let plan = match expected {
            Ok(expected) => plan::decide(&budget, &pods, expected, cx.now()),
            Err(Error::NotYet(why)) => plan::refuse(&budget, &why, cx.now()),
            Err(other) => return Err(other),
        };
        for name in &plan.overdue {
            if let Some(pod) = pods.iter().find(|p| p.name() == name) {
                let text = format!(
                    "Pod was expected by PDB {}/{} to be deleted but it wasn't",
                    budget.ns(),
                    budget.name()
                );
                cx.event(pod, EventType::Warning, "NotDeleted", text);
            }
        }
        if budget.status.as_ref() != Some(&plan.status) {
            let mut new = budget.clone();
            new.status = Some(plan.status);
            cx.replace_status(&new).await?;
        }
        match failed {
            Some(why) => Err(Error::NotYet(why)),
            None => Ok(plan
                .look_at
                .map_or(Next::Done, |at| Next::After(until(at, cx.now())))),
        }
    }
}

/// Pods that a budget covers; the empty selector covers all of the namespace.
fn selector(
    budget: &PodDisruptionBudget,
) -> Result<machinery::selector::Selector, machinery::selector::SelectorError> {
    runtime::selector::of(budget.spec.as_ref().and_then(|s| s.selector.as_ref()))
}

/// How many pods there should be, from the sizes of their owners, and the pods that nobody manages.
fn expected(cx: &Cx, pods: &[Pod]) -> Result<(i32, Vec<String>), Error> {
    let mut sizes: BTreeMap<String, i32> = BTreeMap::new();
    let mut unmanaged = Vec::new();
    for pod in pods {
        let Some(owner) = controller_of(pod) else {
            unmanaged.push(pod.name().to_owned());
            continue;
        };
        if sizes.contains_key(&owner.uid) {
            continue;
        }
        let size = match owner.kind.as_str() {
            "ReplicaSet" => match cx.get::<ReplicaSet>(pod.ns(), &owner.name)? {
                Some(set) => {
                    let above = controller_of(&set).filter(|o| o.kind == "Deployment");
                    let deployment = match above {
                        Some(o) => cx
                            .get::<Deployment>(pod.ns(), &o.name)?
                            .filter(|d| d.uid() == o.uid),
                        None => None,
                    };
                    Some(match deployment {
                        Some(d) => (d.uid().to_owned(), d.spec.replicas),
                        None => (set.uid().to_owned(), set.spec.replicas),
                    })
                }
                None => None,
            },
            "ReplicationController" => cx
                .get::<ReplicationController>(pod.ns(), &owner.name)?
                .map(|rc| (rc.uid().to_owned(), rc.spec.as_ref().and_then(|s| s.replicas))),
            "StatefulSet" => cx
                .get::<StatefulSet>(pod.ns(), &owner.name)?
                .map(|set| (set.uid().to_owned(), set.spec.replicas)),
            other => {
                return Err(Error::NotYet(format!(
                    "{} {} does not implement the scale subresource",
                    other, owner.name
                )));
            }
        };
        let Some((uid, replicas)) = size else {
            return Err(Error::NotYet(format!(
                "found no controllers for pod {:?}",
                pod.name()
            )));
        };
        sizes.insert(uid, replicas.unwrap_or(1));
    }
    Ok((sizes.values().sum(), unmanaged))
}
