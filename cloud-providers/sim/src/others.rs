//! Routes, images and identities: small tables.

use crate::{Operation, SimCloud};
use async_trait::async_trait;
use base::ClusterId;
use cloud_api::{
    CloudError, Identity, Image, Images, InstanceIdentity, InstanceState, Result, Route, Routes, Token,
};
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Debug, Default)]
pub(crate) struct Table {
    routes: BTreeMap<(ClusterId, String), String>,
    images: BTreeMap<String, (String, String)>,
}

#[async_trait]
impl Routes for SimCloud {
    async fn list(&self, cluster: &ClusterId) -> Result<Vec<Route>> {
        self.call(Operation::ReadRoute, |state, _| {
            let all = state.others.routes.iter().filter(|((c, _), _)| c == cluster);
            Ok(all
                .map(|((_, d), i)| Route {
                    destination: d.clone(),
                    instance: i.clone(),
                })
                .collect())
        })
        .await
    }

    async fn ensure(&self, cluster: &ClusterId, route: &Route) -> Result<()> {
        self.call(Operation::ChangeRoute, |state, _| {
            state.instances.zone_of(&route.instance)?;
            state.others.routes.insert(
                (cluster.clone(), route.destination.clone()),
                route.instance.clone(),
            );
            Ok(())
        })
        .await
    }

    async fn delete(&self, cluster: &ClusterId, destination: &str) -> Result<()> {
        self.call(Operation::ChangeRoute, |state, _| {
            let gone = state
                .others
                .routes
                .remove(&(cluster.clone(), destination.to_owned()));
            gone.map(drop)
                .ok_or_else(|| CloudError::NotFound(format!("route {destination}")))
        })
        .await
    }
}

#[async_trait]
impl Images for SimCloud {
    async fn list(&self) -> Result<Vec<Image>> {
        self.call(Operation::Image, |state, _| {
            let all = state.others.images.iter();
            Ok(all
                .map(|(name, (id, _))| Image {
                    id: id.clone(),
                    name: name.clone(),
                    ready: true,
                })
                .collect())
        })
        .await
    }

    async fn import(&self, name: &str, source: &Path, _token: &Token) -> Result<Image> {
        self.call(Operation::Image, |state, _| {
            let source = source.display().to_string();
            if let Some((id, known)) = state.others.images.get(name) {
                return if *known == source {
                    Ok(Image {
                        id: id.clone(),
                        name: name.into(),
                        ready: true,
                    })
                } else {
                    Err(CloudError::Invalid(format!("the name {name} is taken")))
                };
            }
            let id = state.id("img");
            state.others.images.insert(name.into(), (id.clone(), source));
            Ok(Image {
                id,
                name: name.into(),
                ready: true,
            })
        })
        .await
    }

    async fn delete(&self, id: &str) -> Result<()> {
        self.call(Operation::Image, |state, _| {
            let before = state.others.images.len();
            state.others.images.retain(|_, (known, _)| known != id);
            if state.others.images.len() == before {
                return Err(CloudError::NotFound(format!("image {id}")));
            }
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl Identity for SimCloud {
    /// A simulated machine's document is its id: whoever plays the machine can write it, so trust it only in tests.
    async fn verify(&self, document: &[u8]) -> Result<InstanceIdentity> {
        self.call(Operation::Identity, |state, _| {
            let id = std::str::from_utf8(document).unwrap_or_default();
            let denied = || CloudError::Denied("no such instance".into());
            let found = state.instances.look(id).map_err(|_| denied())?;
            if found.state == InstanceState::Terminating {
                return Err(denied());
            }
            Ok(InstanceIdentity {
                id: found.id,
                name: found.name,
                zone: found.zone,
                tags: found.tags,
            })
        })
        .await
    }
}
