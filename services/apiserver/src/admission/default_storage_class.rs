//! DefaultStorageClass: a claim that names no class gets the default one.

use super::{Attempt, Operation, Plugin};
use crate::kind::Kind;
use crate::status::Result;
use async_trait::async_trait;
use machinery::Value;

const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const IS_DEFAULT: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];

/// The plugin.
pub(super) struct DefaultStorageClass;

/// Whether one of these annotations is `true`.
pub(super) fn is_marked(object: &Value, annotations: &[&str]) -> bool {
    annotations
        .iter()
        .any(|a| object.str_at(&["metadata", "annotations", a]) == Some("true"))
}

/// The newest of the marked objects; of several of the same second the first by name.
pub(super) fn newest_marked(objects: Vec<Value>, annotations: &[&str]) -> Option<Value> {
    let text = |o: &Value, field: &'static str| o.str_at(&["metadata", field]).unwrap_or_default().to_owned();
    let marked = objects.into_iter().filter(|o| is_marked(o, annotations));
    marked.max_by(|a, b| {
        let created = text(a, "creationTimestamp").cmp(&text(b, "creationTimestamp"));
        created.then_with(|| text(b, "name").cmp(&text(a, "name")))
    })
}

#[async_trait]
impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn handles(&self, operation: Operation, kind: &Kind, subresource: &str) -> bool {
        operation == Operation::Create && kind.is("", "persistentvolumeclaims") && subresource.is_empty()
    }

    async fn mutate(&self, attempt: &mut Attempt<'_>) -> Result<()> {
        let claim = &attempt.object;
        let named = !claim.at(&["spec", "storageClassName"]).is_null()
            || !claim.at(&["metadata", "annotations", BETA_CLASS]).is_null();
        if named {
            return Ok(());
        }
        let all = attempt
            .reader
            .list("storage.k8s.io", "storageclasses", "")
            .await?;
        if let Some(class) = newest_marked(all, &IS_DEFAULT) {
            let name = class.str_at(&["metadata", "name"]).unwrap_or_default().to_owned();
            attempt.object.at_mut(&["spec"]).insert("storageClassName", name);
        }
        Ok(())
    }
}
