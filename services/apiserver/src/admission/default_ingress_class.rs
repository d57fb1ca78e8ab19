//! DefaultIngressClass: an Ingress that names no class gets the default one.

use super::default_storage_class::newest_marked;
use super::{Attempt, Operation, Plugin};
use crate::kind::Kind;
use crate::status::Result;
use async_trait::async_trait;

const CLASS: &str = "kubernetes.io/ingress.class";
const IS_DEFAULT: [&str; 1] = ["ingressclass.kubernetes.io/is-default-class"];

/// The plugin.
pub(super) struct DefaultIngressClass;

#[async_trait]
impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn handles(&self, operation: Operation, kind: &Kind, subresource: &str) -> bool {
        operation == Operation::Create && kind.is("networking.k8s.io", "ingresses") && subresource.is_empty()
    }

    async fn mutate(&self, attempt: &mut Attempt<'_>) -> Result<()> {
        let ingress = &attempt.object;
        let named = !ingress.at(&["spec", "ingressClassName"]).is_null()
            || !ingress.at(&["metadata", "annotations", CLASS]).is_null();
        if named {
            return Ok(());
        }
        let all = attempt
            .reader
            .list("networking.k8s.io", "ingressclasses", "")
            .await?;
        if let Some(class) = newest_marked(all, &IS_DEFAULT) {
            let name = class.str_at(&["metadata", "name"]).unwrap_or_default().to_owned();
            attempt.object.at_mut(&["spec"]).insert("ingressClassName", name);
        }
        Ok(())
    }
}
