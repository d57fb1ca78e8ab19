//! `/openapi/v2` and `/openapi/v3`.

use crate::cx::Cx;
use crate::status::Result;
use crate::{ApiServer, Body};
use http::{HeaderMap, Response};

/// Documents that were made.
#[derive(Default)]
pub(crate) struct Documents;

/// Answers what lies below `/openapi`.
pub(crate) fn answer(
    _server: &ApiServer,
    _cx: &Cx,
    _path: &str,
    _headers: &HeaderMap,
) -> Result<Option<Response<Body>>> {
    Ok(None)
}
