//! Scale: what the sub-resource `scale` takes and gives.

use machinery::Value;

use crate::table::{AGE, age, column, int, name as name_cell, number};
use crate::{Column, Cx, FieldErrors, Path, Rules};

/// Rules of scales.
pub(crate) struct ScaleKind;

impl Rules for ScaleKind {
    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        errors.nonnegative(&Path::new("spec.replicas"), object.at(&["spec", "replicas"]));
    }

    fn columns(&self) -> &'static [Column] {
        const NAME: Column = column("Name", "string");
        const { &[NAME, number("Desired"), number("Available"), AGE] }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let count = |part: &str| int(object.at(&[part, "replicas"]));
        vec![name_cell(object), count("spec"), count("status"), age(object, cx)]
    }
}
