//! TaintNodesByCondition: a new node takes no pods before it is ready.

use super::{Attempt, Operation, Plugin};
use crate::kind::Kind;
use crate::status::Result;
use async_trait::async_trait;
use machinery::{Value, value};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// The plugin.
pub(super) struct TaintNodesByCondition;

#[async_trait]
impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn handles(&self, operation: Operation, kind: &Kind, subresource: &str) -> bool {
        operation == Operation::Create && kind.is("", "nodes") && subresource.is_empty()
    }

    async fn mutate(&self, attempt: &mut Attempt<'_>) -> Result<()> {
        let taints = attempt
            .object
            .at_mut(&["spec"])
            .entry("taints", || Value::List(Vec::new()));
        if let Value::List(taints) = taints {
            let there = |t: &Value| {
                t.str_at(&["key"]) == Some(NOT_READY) && t.str_at(&["effect"]) == Some("NoSchedule")
            };
            if !taints.iter().any(there) {
                taints.push(value!({"key": NOT_READY, "effect": "NoSchedule"}));
            }
        }
        Ok(())
    }
}
