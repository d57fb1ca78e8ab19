//! PodGroup.

use machinery::Value;

use crate::table::{AGE, NAME, age, cell, name as name_cell, text};
use crate::{Column, Cx, Rules};

/// Rules of pod groups.
pub(crate) struct PodGroup;

impl Rules for PodGroup {
    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("Policy"), text("Workload"), text("Status"), AGE] }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let spec = &object["spec"];
        let gang = !spec.at(&["schedulingPolicy", "gang"]).is_null();
        let condition = |kind: &str| {
            object
                .list_at(&["status", "conditions"])
                .iter()
                .rfind(|c| c["type"].as_str() == Some(kind))
        };
        let status = match (condition("DisruptionTarget"), condition("PodGroupScheduled")) {
            (Some(c), _) => cell(&c["reason"]),
            (None, Some(c)) if c["status"].as_str() == Some("True") => "Scheduled".into(),
            (None, Some(_)) => "Unschedulable".into(),
            (None, None) => "Pending".into(),
        };
        let workload = spec
            .str_at(&["podGroupTemplateRef", "workload", "workloadName"])
            .unwrap_or("<none>");
        vec![
            name_cell(object),
            if gang { "Gang".into() } else { "Basic".into() },
            workload.to_owned().into(),
            status,
            age(object, cx),
        ]
    }
}
