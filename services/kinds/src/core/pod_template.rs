//! PodTemplate.

use machinery::Value;

use crate::table::{NAME, containers, labels, name as name_cell, text};
use crate::types::pod_template;
use crate::{Column, Cx, FieldErrors, Path, Rules};

/// Rules of pod templates.
pub(crate) struct PodTemplate;

impl Rules for PodTemplate {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        pod_template::default(object.at_mut(&[]), "template");
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        pod_template::validate(&object["template"], &Path::new("template"), errors);
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("Containers"), text("Images"), text("Pod Labels")] }
    }

    fn row(&self, object: &Value, _cx: &Cx<'_>) -> Vec<Value> {
        let [names, images] = containers(object.at(&["template", "spec"]));
        vec![
            name_cell(object),
            names,
            images,
            labels(object.at(&["template", "metadata", "labels"])),
        ]
    }
}
