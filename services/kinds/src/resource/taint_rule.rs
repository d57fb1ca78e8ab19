//! DeviceTaintRule.

use machinery::Value;

use crate::edit::{fill, within};
use crate::table::{AGE, NAME, age, cell, name as name_cell, since, text};
use crate::{Column, Cx, Rules};

/// Rules of rules of taints.
pub(crate) struct TaintRule;

impl Rules for TaintRule {
    fn default(&self, object: &mut Value, cx: &Cx<'_>) {
        within(object.at_mut(&["spec"]), "taint", |taint| {
            fill(taint, "timeAdded", crate::now(cx))
        });
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                text("Key"),
                text("Value"),
                text("Effect"),
                text("TimeAdded"),
                AGE,
            ]
        }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let taint = object.at(&["spec", "taint"]);
        let added = &taint["timeAdded"];
        vec![
            name_cell(object),
            cell(&taint["key"]),
            cell(&taint["value"]),
            cell(&taint["effect"]),
            if added.is_null() {
                "".into()
            } else {
                since(added, cx)
            },
            age(object, cx),
        ]
    }
}
