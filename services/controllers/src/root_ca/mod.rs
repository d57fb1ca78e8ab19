//! The ConfigMap `kube-root-ca.crt` in every namespace: the CA that pods verify the API server with.
//!
//! Each cluster has its own CA, so it is asked for by cluster.

use crate::common::Object;
use crate::kinds::{ConfigMap, Namespace, ObjectMeta};
use crate::serviceaccount::is_active;
use async_trait::async_trait;
use base::ClusterId;
use runtime::{Controller, Cx, Error, Key, Next, Wiring};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "kube-root-ca.crt";

/// The CA certificate of a cluster, PEM; `None` while it is not known.
pub type CaOf = Arc<dyn Fn(&ClusterId) -> Option<String> + Send + Sync>;

/// See the module. Keys are namespaces.
pub(crate) struct RootCa {
    ca: CaOf,
}

impl std::fmt::Debug for RootCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RootCa")
    }
}

impl RootCa {
    /// With the source of CAs.
    pub(crate) fn new(ca: CaOf) -> Self {
        Self { ca }
    }
}

#[async_trait]
impl Controller for RootCa {
    fn name(&self) -> &'static str {
        "root-ca-cert-publisher"
    }

    fn queue(&self) -> &'static str {
        "root_ca_cert_publisher"
    }

    fn wire(&self, w: &mut Wiring) {
        w.primary::<Namespace>();
        w.maps::<ConfigMap>(|_, change| {
            let mine = &*change.entry().key.name == NAME;
            mine.then(|| Key::new(&change.cluster, "", &change.entry().key.namespace))
                .into_iter()
                .collect()
        });
        w.writes::<ConfigMap>(&["create", "update"]);
    }

    async fn reconcile(&self, cx: &Cx, key: &Key) -> Result<Next, Error> {
        let Some(namespace) = cx.this::<Namespace>()?.filter(is_active) else {
            return Ok(Next::Done);
        };
        let Some(ca) = (self.ca)(&key.cluster) else {
            return Ok(Next::After(Duration::from_secs(5)));
        };
        let data = BTreeMap::from([("ca.crt".to_string(), ca)]);
        match cx.get::<ConfigMap>(namespace.name(), NAME)? {
            Some(found) if found.data.as_ref() == Some(&data) => {}
            Some(mut found) => {
                found.data = Some(data);
                cx.replace(&found).await?;
            }
            None => {
                let about = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
                             endpoints such as the internal service IP or kubernetes.default.svc. No other usage is \
                             guaranteed across distributions of Kubernetes clusters.";
                let map = ConfigMap {
                    metadata: ObjectMeta {
                        name: Some(NAME.into()),
                        namespace: Some(namespace.name().into()),
                        annotations: Some(BTreeMap::from([(
                            "kubernetes.io/description".into(),
                            about.into(),
                        )])),
                        ..ObjectMeta::default()
                    },
                    data: Some(data),
                    ..ConfigMap::default()
                };
                match cx.create(&map).await {
                    Err(e)
                        if !e.is_already_exists() && !e.is_namespace_terminating() && !e.is_not_found() =>
                    {
                        return Err(e.into());
                    }
                    _ => {}
                }
            }
        }
        Ok(Next::Done)
    }
}
