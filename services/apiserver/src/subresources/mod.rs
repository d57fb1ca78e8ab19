//! Sub-resources that are more than a partial write of their object.
//!
//! `status` and its like are handled by the registry itself. Everything else is one file here and one line in
//! [`handlers`]: binding, eviction, scale, and what streams (log, exec, attach, portforward, proxy). So are kinds that
//! are answered and never stored: the reviews.

mod attach;
mod binding;
mod component_status;
mod eviction;
mod exec;
mod kubelet;
mod log;
mod portforward;
mod proxy;
mod remote;
mod reviews;
mod scale;
mod serviceaccount_token;

use crate::cx::Cx;
use crate::kind::Kind;
use crate::status::Result;
use crate::{ApiServer, Body, encode};
use async_trait::async_trait;
use http::Response;

/// Answers the requests of one sub-resource. Authentication, authorization and fairness have passed.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// The parent's group and plural, and the sub-resource's name. A handler may answer several. An empty name means the
    /// resource itself, for kinds that are not stored (access reviews, token reviews, component statuses).
    fn paths(&self) -> &'static [(&'static str, &'static str, &'static str)];

    /// Answers one request. `kind` is the parent's. The request's extensions carry hyper's `OnUpgrade` where the connection
    /// can be upgraded. Errors become `Status` answers.
    async fn call(
        &self,
        server: &ApiServer,
        cx: &Cx,
        kind: &Kind,
        request: http::Request<Body>,
    ) -> Result<Response<Body>>;
}

/// All handlers.
pub fn handlers() -> Vec<Box<dyn Handler>> {
    vec![
        Box::new(attach::Attach),
        Box::new(binding::Binding),
        Box::new(component_status::ComponentStatuses),
        Box::new(eviction::Eviction),
        Box::new(exec::Exec),
        Box::new(log::Log),
        Box::new(portforward::PortForward),
        Box::new(proxy::Proxy),
        Box::new(reviews::Reviews),
        Box::new(scale::Scale),
        Box::new(serviceaccount_token::ServiceAccountToken),
    ]
}

/// Documents of the cluster's token issuer, for anyone who verifies its tokens.
pub(crate) fn public_documents(cx: &Cx, path: &str) -> Option<Response<Body>> {
    let (ty, document) = match path {
        "/.well-known/openid-configuration" => (
            "application/json",
            pki::ClusterKeys::openid_configuration(&cx.cluster.issuer),
        ),
        "/openid/v1/jwks" => ("application/jwk-set+json", cx.cluster.keys.jwks()),
        _ => return None,
    };
    Some(encode::respond(200, ty, document.to_string()))
}
