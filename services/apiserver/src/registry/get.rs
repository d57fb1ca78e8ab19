//! Get.

use super::Op;
use crate::status::{ApiError, Result};
use std::sync::Arc;
use store_api::{Consistency, Record};

impl Op<'_> {
    /// The record of an object, as fresh as `resourceVersion` asks: absent means the newest, `0` whatever this member knows,
    /// anything else at least that revision.
    pub async fn get(&self, name: &str) -> Result<Arc<Record>> {
        let consistency = match self.cx.query.get("resourceVersion") {
            Some("0") => Consistency::Local,
            Some(text) if text.parse::<u64>().is_err() => return Err(bad_version(text)),
            _ => Consistency::Linearizable,
        };
        let record = self
            .reader
            .record(self.kind, self.namespace(), name, consistency)
            .await?;
        record.ok_or_else(|| self.not_found(name))
    }
}

/// 400 for a resourceVersion that is no number.
pub(super) fn bad_version(text: &str) -> ApiError {
    let message = format!("Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax");
    ApiError::invalid_field(
        "meta.k8s.io",
        "ListOptions",
        "",
        "FieldValueInvalid",
        "resourceVersion",
        &message,
    )
}
