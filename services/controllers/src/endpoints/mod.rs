//! Endpoints (core/v1) of Services with a selector: the old form, which some clients still read.
//!
//! One object for each Service with at most 1000 addresses; more are cut off and marked by an annotation.

mod plan;

use crate::common::{Meta, Object, services};
use crate::kinds::{Endpoints, ObjectMeta, Pod, Service};
use async_trait::async_trait;
use client::DeleteParams;
use runtime::{Controller, Cx, Error, Key, Next, Wiring};

/// See the module. Keys are Services.
#[derive(Debug, Default)]
pub(crate) struct EndpointsController;

#[async_trait]
impl Controller for EndpointsController {
    fn name(&self) -> &'static str {
        "endpoint-controller"
    }

    fn queue(&self) -> &'static str {
        "endpoint"
    }

    fn wire(&self, w: &mut Wiring) {
        w.primary::<Service>().maps::<Pod>(services::of_pod);
        w.maps::<Endpoints>(|caches, change| {
            let key = &change.entry().key;
            // Only a Service's own endpoints; leader election uses some too.
            let known = caches
                .of::<Service>()
                .ok()
                .and_then(|c| c.get(&change.cluster, &key.namespace, &key.name));
            known.map(|s| s.key.clone()).into_iter().collect()
        });
        w.writes::<Endpoints>(&["create", "update", "delete"]);
    }

    async fn reconcile(&self, cx: &Cx, key: &Key) -> Result<Next, Error> {
        let found: Option<Endpoints> = cx.get(&key.namespace, &key.name)?;
        let Some(service) = cx.this::<Service>()? else {
            let managed = found.filter(|e| e.label(plan::MANAGED_BY) == Some(plan::MANAGER));
            if let Some(left) = managed {
                cx.delete(&left, DeleteParams::default()).await?;
            }
            return Ok(Next::Done);
        };
        if service.deleting() || services::is_manual(&service) {
            return Ok(Next::Done);
        }
        let selector = services::selector(&service).map_err(|e| Error::Invalid(e.to_string()))?;
        let pods: Vec<Pod> = cx.select(Some(&key.namespace), &selector)?;
        let (subsets, cut) = plan::subsets(&service, &pods);
        let labels = plan::labels(&service);
        let mut new = found.clone().unwrap_or_else(|| Endpoints {
            metadata: ObjectMeta {
                name: Some(service.name().into()),
                namespace: service.metadata.namespace.clone(),
                ..ObjectMeta::default()
            },
            subsets: None,
        });
        new.subsets = (!subsets.is_empty()).then_some(subsets);
        new.metadata.labels = Some(labels);
        let annotations = new.metadata.annotations.get_or_insert_default();
        if cut {
            annotations.insert(plan::OVER_CAPACITY.into(), "truncated".into());
        } else {
            annotations.remove(plan::OVER_CAPACITY);
        }
        new.metadata.annotations = new.metadata.annotations.take().filter(|a| !a.is_empty());
        match found {
            Some(old) if old == new => {}
            Some(_) => {
                cx.replace(&new).await?;
            }
            None => match cx.create(&new).await {
                Err(e) if e.is_namespace_terminating() => {}
                other => {
                    other?;
                }
            },
        }
        Ok(Next::Done)
    }
}
