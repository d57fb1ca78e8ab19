//! StorageVersion.

use machinery::Value;

use crate::table::{AGE, NAME, age, name as name_cell, shortened, text};
use crate::{Column, Cx, Rules};

/// Rules of storage versions.
pub(crate) struct StorageVersion;

impl Rules for StorageVersion {
    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("CommonEncodingVersion"), text("StorageVersions"), AGE] }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let common = object
            .str_at(&["status", "commonEncodingVersion"])
            .unwrap_or("<unset>")
            .to_owned();
        let versions: Vec<String> = object
            .list_at(&["status", "storageVersions"])
            .iter()
            .map(|v| {
                let of = |field: &str| v[field].as_str().unwrap_or_default();
                format!("{}={}", of("apiServerID"), of("encodingVersion"))
            })
            .collect();
        let shown = if versions.is_empty() {
            "<unset>".to_owned()
        } else {
            shortened(&versions)
        };
        vec![name_cell(object), common.into(), shown.into(), age(object, cx)]
    }
}
