//! The ServiceAccount `default` in every namespace that is not being deleted.

use crate::common::{Meta, Object};
use crate::kinds::{Namespace, ObjectMeta, ServiceAccount};
use async_trait::async_trait;
use runtime::{Controller, Cx, Error, Key, Next, Wiring};

/// See the module. Keys are namespaces.
#[derive(Debug, Default)]
pub(crate) struct ServiceAccounts;

#[async_trait]
impl Controller for ServiceAccounts {
    fn name(&self) -> &'static str {
        "service-account-controller"
    }

    fn queue(&self) -> &'static str {
        "serviceaccount"
    }

    fn wire(&self, w: &mut Wiring) {
        w.primary::<Namespace>();
        w.maps::<ServiceAccount>(|_, change| {
            let gone = change.new.is_none() && &*change.entry().key.name == "default";
            gone.then(|| Key::new(&change.cluster, "", &change.entry().key.namespace))
                .into_iter()
                .collect()
        });
        w.writes::<ServiceAccount>(&["create"]);
    }

    async fn reconcile(&self, cx: &Cx, key: &Key) -> Result<Next, Error> {
        let Some(namespace) = cx.this::<Namespace>()? else {
            return Ok(Next::Done);
        };
        if !is_active(&namespace) || cx.get::<ServiceAccount>(&key.name, "default")?.is_some() {
            return Ok(Next::Done);
        }
        let account = ServiceAccount {
            metadata: ObjectMeta {
                name: Some("default".into()),
                namespace: Some(namespace.name().into()),
                ..ObjectMeta::default()
            },
            ..ServiceAccount::default()
        };
        match cx.create(&account).await {
            Err(e) if !e.is_already_exists() && !e.is_namespace_terminating() && !e.is_not_found() => {
                Err(e.into())
            }
            _ => Ok(Next::Done),
        }
    }
}

/// Whether a namespace takes new objects.
pub(crate) fn is_active(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|s| s.phase.as_deref());
    !namespace.deleting() && phase.is_none_or(|p| p == "Active")
}
