//! RuntimeClass: a pod gets the overhead, node selector and tolerations of its RuntimeClass.

use super::{Attempt, Operation, Plugin, pods};
use crate::kind::Kind;
use crate::status::Result;
use async_trait::async_trait;
use machinery::Value;
use machinery::quote::go_quote;

/// The plugin.
pub(super) struct RuntimeClass;

#[async_trait]
impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn handles(&self, operation: Operation, kind: &Kind, subresource: &str) -> bool {
        pods::is_create(operation, kind, subresource)
    }

    async fn mutate(&self, attempt: &mut Attempt<'_>) -> Result<()> {
        let Some(name) = attempt
            .object
            .str_at(&["spec", "runtimeClassName"])
            .map(str::to_owned)
        else {
            if !attempt.object.at(&["spec", "overhead"]).is_zero() {
                return Err(attempt.forbidden(
                    "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
                ));
            }
            return Ok(());
        };
        let found = attempt
            .reader
            .get("node.k8s.io", "runtimeclasses", "", &name)
            .await?;
        let Some(class) = found else {
            return Err(attempt.forbidden(&format!(
                "pod rejected: RuntimeClass {} not found",
                go_quote(&name)
            )));
        };
        let overhead = class.at(&["overhead", "podFixed"]).clone();
        let given = attempt.object.at(&["spec", "overhead"]);
        if !given.is_zero() && *given != overhead {
            let why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
            return Err(attempt.forbidden(why));
        }
        let selector = class.at(&["scheduling", "nodeSelector"]);
        for (key, wanted) in selector.as_map().into_iter().flat_map(machinery::Map::iter) {
            let there = attempt.object.at(&["spec", "nodeSelector", key]);
            if !there.is_null() && there != wanted {
                let why = "conflict: runtimeClass.scheduling.nodeSelector != pod.nodeSelector";
                return Err(attempt.forbidden(&format!("{why}: label {} differs", go_quote(key))));
            }
        }
        let spec = pods::spec_mut(attempt);
        if !overhead.is_zero() {
            spec.insert("overhead", overhead);
        }
        if let Some(selector) = selector.as_map() {
            let own = spec.map_entry("nodeSelector");
            for (key, wanted) in selector.iter() {
                own.insert(key.to_owned(), wanted.clone());
            }
        }
        let more = class.list_at(&["scheduling", "tolerations"]);
        if !more.is_empty()
            && let Value::List(own) = spec.entry("tolerations", || Value::List(Vec::new()))
        {
            let new: Vec<Value> = more.iter().filter(|t| !own.contains(t)).cloned().collect();
            own.extend(new);
        }
        Ok(())
    }
}
