//! ResourcePoolStatusRequest.

use machinery::Value;

use crate::table::{NAME, cell, int, name as name_cell, number, since, text};
use crate::{Column, Cx, Rules};

/// Rules of requests for the status of pools.
pub(crate) struct PoolStatus;

impl Rules for PoolStatus {
    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                text("Driver"),
                text("Total"),
                text("Available"),
                text("Allocated"),
                text("Unavailable"),
                text("Errors"),
                number("Pools"),
                text("Status"),
                text("Completed"),
            ]
        }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let status = &object["status"];
        let condition = |kind: &str| {
            let is = |c: &&Value| c["type"].as_str() == Some(kind) && c["status"].as_str() == Some("True");
            status.list_at(&["conditions"]).iter().find(is)
        };
        let (complete, failed) = (condition("Complete"), condition("Failed"));
        let pools = status.list_at(&["pools"]);
        let count = status["poolCount"].as_i64().unwrap_or(0);
        let state = match (complete, failed) {
            (Some(_), _) if count > pools.len() as i64 => format!("Complete ({}/{count} pools)", pools.len()),
            (Some(_), _) => "Complete".to_owned(),
            (None, Some(_)) => "Failed".to_owned(),
            (None, None) => "Pending".to_owned(),
        };
        let known = !status.is_zero() && failed.is_none();
        let shown = |n: i64| -> Value { if known { n.to_string().into() } else { "-".into() } };
        let sum = |field: &str| shown(pools.iter().filter_map(|p| p[field].as_i64()).sum());
        let wrong = pools.iter().filter(|p| !p["validationError"].is_null()).count();
        vec![
            name_cell(object),
            cell(object.at(&["spec", "driver"])),
            sum("totalDevices"),
            sum("availableDevices"),
            sum("allocatedDevices"),
            sum("unavailableDevices"),
            shown(wrong as i64),
            int(&status["poolCount"]),
            state.into(),
            complete.map_or("<none>".into(), |c| since(&c["lastTransitionTime"], cx)),
        ]
    }
}
