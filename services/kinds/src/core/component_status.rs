//! ComponentStatus: deprecated, read-only, and its answers are made up when asked.

use machinery::Value;

use crate::table::{NAME, cell, name, text};
use crate::{Column, Cx, Rules};

/// Rules of component statuses.
pub(crate) struct ComponentStatus;

impl Rules for ComponentStatus {
    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("Status"), text("Message"), text("Error")] }
    }

    fn row(&self, object: &Value, _cx: &Cx<'_>) -> Vec<Value> {
        let healthy = object
            .list_at(&["conditions"])
            .iter()
            .find(|c| c["type"].as_str() == Some("Healthy"));
        let (status, message, error) = match healthy {
            Some(c) if c["status"].as_str() == Some("True") => {
                ("Healthy", cell(&c["message"]), cell(&c["error"]))
            }
            Some(c) => ("Unhealthy", cell(&c["message"]), cell(&c["error"])),
            None => ("Unknown", "".into(), "".into()),
        };
        vec![name(object), status.into(), message, error]
    }
}
