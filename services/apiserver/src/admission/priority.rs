//! Priority: a pod's priority and preemption policy come from its PriorityClass, never from its author.

use super::{Attempt, Operation, Plugin, pods};
use crate::kind::Kind;
use crate::status::Result;
use async_trait::async_trait;
use machinery::Value;
use machinery::quote::go_quote;

/// The plugin.
pub(super) struct Priority;

const GROUP: &str = "scheduling.k8s.io";

#[async_trait]
impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn handles(&self, operation: Operation, kind: &Kind, subresource: &str) -> bool {
        let writes = matches!(operation, Operation::Create | Operation::Update);
        pods::is_create(operation, kind, subresource)
            || (writes && kind.is(GROUP, "priorityclasses") && subresource.is_empty())
    }

    async fn mutate(&self, attempt: &mut Attempt<'_>) -> Result<()> {
        if !attempt.kind.is("", "pods") {
            return Ok(());
        }
        let named = attempt
            .object
            .str_at(&["spec", "priorityClassName"])
            .unwrap_or_default()
            .to_owned();
        let class = if named.is_empty() {
            default_class(attempt).await?
        } else {
            let found = attempt.reader.get(GROUP, "priorityclasses", "", &named).await?;
            let missing = || attempt.forbidden(&format!("no PriorityClass with name {named} was found"));
            Some(found.ok_or_else(missing)?)
        };
        let class = class.unwrap_or_default();
        let priority = class.int_at(&["value"]).unwrap_or(0);
        let policy = class
            .str_at(&["preemptionPolicy"])
            .unwrap_or("PreemptLowerPriority")
            .to_owned();
        let spec = &attempt.object["spec"];
        if let Some(given) = spec.int_at(&["priority"]).filter(|p| *p != priority) {
            return Err(attempt.forbidden(&format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission \
                 controller computed {priority} from the given PriorityClass name"
            )));
        }
        if let Some(given) = spec.str_at(&["preemptionPolicy"]).filter(|p| *p != policy) {
            return Err(attempt.forbidden(&format!(
                "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
                 controller computed {policy} from the given PriorityClass name"
            )));
        }
        let name = class.str_at(&["metadata", "name"]).unwrap_or_default().to_owned();
        let spec = pods::spec_mut(attempt);
        if !name.is_empty() {
            spec.insert("priorityClassName", name);
        }
        spec.insert("priority", priority);
        spec.insert("preemptionPolicy", policy);
        Ok(())
    }

    async fn validate(&self, attempt: &Attempt<'_>) -> Result<()> {
        if !attempt.kind.is(GROUP, "priorityclasses")
            || attempt.object["globalDefault"].as_bool() != Some(true)
        {
            return Ok(());
        }
        for other in attempt.reader.list(GROUP, "priorityclasses", "").await? {
            let name = other.str_at(&["metadata", "name"]).unwrap_or_default();
            if other["globalDefault"].as_bool() == Some(true) && name != attempt.name {
                let why = format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    go_quote(name)
                );
                return Err(attempt.forbidden(&why));
            }
        }
        Ok(())
    }
}

/// The class that is marked as default; of several the one with the lowest value.
async fn default_class(attempt: &Attempt<'_>) -> Result<Option<Value>> {
    let all = attempt.reader.list(GROUP, "priorityclasses", "").await?;
    let defaults = all
        .into_iter()
        .filter(|c| c["globalDefault"].as_bool() == Some(true));
    Ok(defaults.min_by_key(|c| c.int_at(&["value"]).unwrap_or(0)))
}
