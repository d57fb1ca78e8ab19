//! `componentstatuses`: a deprecated list that upstream computes when it is asked; here it says how the store does.

use super::Handler;
use crate::cx::Cx;
use crate::kind::Kind;
use crate::status::{ApiError, Result};
use crate::{ApiServer, Body, encode};
use async_trait::async_trait;
use machinery::value;
use store_api::Consistency;

/// The handler.
pub(super) struct ComponentStatuses;

#[async_trait]
impl Handler for ComponentStatuses {
    fn paths(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        &[("", "componentstatuses", "")]
    }

    async fn call(
        &self,
        server: &ApiServer,
        cx: &Cx,
        kind: &Kind,
        _request: http::Request<Body>,
    ) -> Result<http::Response<Body>> {
        cx.warn("v1 ComponentStatus is deprecated in v1.19+");
        let healthy = server
            .store()
            .revision(&cx.cluster.id, Consistency::Linearizable)
            .await
            .is_ok();
        let status = |name: &'static str, ok: bool| {
            value!({
                "kind": "ComponentStatus",
                "apiVersion": "v1",
                "metadata": {"name": name},
                "conditions": [{
                    "type": "Healthy",
                    "status": (if ok { "True" } else { "False" }),
                    "message": (if ok { "ok" } else { "the store does not answer" })
                }]
            })
        };
        let all = vec![status("etcd-0", healthy)];
        match cx.info.verb {
            "list" => encode::list::objects(all, None, cx, &std::sync::Arc::new(kind.clone())),
            "get" => {
                let found = all
                    .iter()
                    .find(|c| c.str_at(&["metadata", "name"]) == Some(&cx.info.name));
                let not_found = || ApiError::not_found("", "componentstatuses", &cx.info.name);
                encode::single(found.ok_or_else(not_found)?, 200, cx, kind)
            }
            _ => Err(ApiError::method_unknown()),
        }
    }
}
