//! `pods/attach`: joins the streams of a running container.

use super::{Handler, remote};
use crate::cx::Cx;
use crate::kind::Kind;
use crate::status::Result;
use crate::{ApiServer, Body};
use async_trait::async_trait;
use http::Response;

/// The handler.
pub(super) struct Attach;

#[async_trait]
impl Handler for Attach {
    fn paths(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        &[("", "pods", "attach")]
    }

    async fn call(
        &self,
        server: &ApiServer,
        cx: &Cx,
        kind: &Kind,
        request: http::Request<Body>,
    ) -> Result<Response<Body>> {
        remote::session(server, cx, kind, request, "attach", false).await
    }
}
