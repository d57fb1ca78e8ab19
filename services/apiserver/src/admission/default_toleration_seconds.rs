//! DefaultTolerationSeconds: a pod stays for five minutes on a node that is not ready or cannot be reached.

use super::{Attempt, Operation, Plugin, pods};
use crate::kind::Kind;
use crate::status::Result;
use async_trait::async_trait;
use machinery::{Value, value};

/// The plugin.
pub(super) struct DefaultTolerationSeconds;

#[async_trait]
impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn handles(&self, operation: Operation, kind: &Kind, subresource: &str) -> bool {
        pods::is_create(operation, kind, subresource)
    }

    async fn mutate(&self, attempt: &mut Attempt<'_>) -> Result<()> {
        let spec = pods::spec_mut(attempt);
        for taint in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            let list = spec.entry("tolerations", || Value::List(Vec::new()));
            let Value::List(list) = list else { continue };
            let tolerated = list.iter().any(|t| {
                let matches = |field: &str, wanted: &str| {
                    t.str_at(&[field]).is_none_or(|v| v.is_empty() || v == wanted)
                };
                matches("key", taint) && matches("effect", "NoExecute")
            });
            if !tolerated {
                list.push(value!({
                    "key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300
                }));
            }
        }
        if spec.get("tolerations").is_some_and(Value::is_zero) {
            spec.remove("tolerations");
        }
        Ok(())
    }
}
