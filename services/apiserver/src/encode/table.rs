//! `meta.k8s.io/v1` Table: what `kubectl get` shows.

use super::partial;
use crate::cx::Cx;
use crate::kind::Kind;
use crate::status::{ApiError, Result};
use jiff::Timestamp;
use machinery::{Map, Value};

/// What stands beside the cells of a row (`includeObject`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// The object's metadata.
    Metadata,
    /// The object.
    Object,
}

impl Include {
    /// Reads `includeObject`; the default is metadata.
    pub fn of(cx: &Cx) -> Result<Self> {
        match cx.query.get("includeObject") {
            None | Some("Metadata") => Ok(Self::Metadata),
            Some("None") => Ok(Self::None),
            Some("Object") => Ok(Self::Object),
            Some(other) => Err(ApiError::bad_request(format!(
                "unrecognized includeObject value: {other:?}"
            ))),
        }
    }
}

/// One row.
pub fn row(object: &Value, kind: &Kind, now: Timestamp, include: Include) -> Value {
    let cells = kind.rules.row(object, &kind.rules_cx("", now));
    let mut row = Map::with_capacity(2);
    row.push_new("cells", Value::List(cells));
    match include {
        Include::None => {}
        Include::Metadata => row.push_new("object", partial(object)),
        Include::Object => row.push_new("object", object.clone()),
    }
    Value::Map(row)
}

/// The columns of a kind.
pub fn columns(kind: &Kind) -> Value {
    let columns = kind.rules.columns().iter().map(|c| {
        let mut map = Map::with_capacity(5);
        map.push_new("name", c.name.into());
        map.push_new("type", c.ty.into());
        map.push_new("format", c.format.into());
        map.push_new("description", "".into());
        map.push_new("priority", c.priority.into());
        Value::Map(map)
    });
    Value::List(columns.collect())
}

/// A table. Events after the first of a watch carry no columns.
pub fn table(kind: &Kind, rows: Vec<Value>, version: &str, with_columns: bool) -> Value {
    let mut meta = Map::new();
    meta.push_new("resourceVersion", version.to_owned().into());
    let mut table = Map::with_capacity(5);
    table.push_new("kind", "Table".into());
    table.push_new("apiVersion", "meta.k8s.io/v1".into());
    table.push_new("metadata", meta.into());
    table.push_new(
        "columnDefinitions",
        if with_columns { columns(kind) } else { Value::Null },
    );
    table.push_new("rows", Value::List(rows));
    Value::Map(table)
}
