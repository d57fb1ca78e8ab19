//! Job.

mod validate;

use machinery::{Map, Value};

use crate::edit::{each, fill, fill_zero, lacks, within};
use crate::table::{
    AGE, NAME, age, containers, human_duration, name as name_cell, parse_time, selector, text as string, wide,
};
use crate::types::pod_template;
use crate::{Column, Cx, FieldErrors, Rules, strategy};

pub(crate) use validate::spec as validate_spec;

/// Rules of jobs.
pub(crate) struct Job;

const JOB_NAME: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];
const CONTROLLER_UID: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];

/// Defaults of a job's spec that also jobs in CronJobs get.
pub(crate) fn default_spec_in_cron_job(spec: &mut Map) {
    pod_template::default(spec, "template");
    within(spec, "podFailurePolicy", |policy| {
        each(policy, "rules", |rule| {
            each(rule, "onPodConditions", |pattern| {
                fill_zero(pattern, "status", "True")
            });
        });
    });
}

impl Rules for Job {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        let spec = object.at_mut(&["spec"]);
        if lacks_pointer(spec, "completions") && lacks_pointer(spec, "parallelism") {
            spec.insert("completions", 1);
        }
        fill(spec, "parallelism", 1);
        let limit = if lacks_pointer(spec, "backoffLimitPerIndex") {
            6
        } else {
            i64::from(i32::MAX)
        };
        fill(spec, "backoffLimit", limit);
        fill(spec, "completionMode", "NonIndexed");
        fill(spec, "suspend", false);
        let policy = if lacks_pointer(spec, "podFailurePolicy") {
            "TerminatingOrFailed"
        } else {
            "Failed"
        };
        fill(spec, "podReplacementPolicy", policy);
        fill(spec, "manualSelector", false);
        default_spec_in_cron_job(spec);
        let labels = spec
            .map_entry("template")
            .map_entry("metadata")
            .get("labels")
            .cloned();
        let metadata = object.at_mut(&["metadata"]);
        if let Some(labels) = labels
            && lacks(metadata, "labels")
        {
            metadata.insert("labels", labels);
        }
    }

    fn prepare_create(&self, object: &mut Value, cx: &Cx<'_>) {
        let name = object
            .str_at(&["metadata", "name"])
            .unwrap_or_default()
            .to_owned();
        let uid = object.str_at(&["metadata", "uid"]).unwrap_or_default().to_owned();
        strategy::prepare_create(object, true, cx);
        // A job without labels of its own has those of its template, also the generated ones.
        let own = object.at(&["metadata", "labels"]);
        let borrowed = own.is_zero() || own == object.at(&["spec", "template", "metadata", "labels"]);
        let spec = object.at_mut(&["spec"]);
        if spec.get("manualSelector").and_then(Value::as_bool) == Some(true) {
            return;
        }
        let labels = spec
            .map_entry("template")
            .map_entry("metadata")
            .map_entry("labels");
        JOB_NAME
            .into_iter()
            .for_each(|key| fill(labels, key, name.clone()));
        CONTROLLER_UID
            .into_iter()
            .for_each(|key| fill(labels, key, uid.clone()));
        let labels = labels.clone();
        fill(
            spec.map_entry("selector").map_entry("matchLabels"),
            CONTROLLER_UID[1],
            uid,
        );
        if borrowed {
            object.at_mut(&["metadata"]).insert("labels", labels);
        }
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        validate::job(object, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
        if cx.subresource.is_empty() {
            validate::update(new, old, errors);
        }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                string("Status"),
                string("Completions"),
                string("Duration"),
                AGE,
                wide("Containers"),
                wide("Images"),
                wide("Selector"),
            ]
        }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let succeeded = status["succeeded"].as_i64().unwrap_or(0);
        let completions = match (
            spec["completions"].as_i64(),
            spec["parallelism"].as_i64().unwrap_or(0),
        ) {
            (Some(n), _) => format!("{succeeded}/{n}"),
            (None, p) if p > 1 => format!("{succeeded}/1 of {p}"),
            (None, _) => format!("{succeeded}/1"),
        };
        let duration = parse_time(&status["startTime"]).map_or(String::new(), |start| {
            let end = parse_time(&status["completionTime"]).unwrap_or(cx.now);
            human_duration(end.as_second() - start.as_second())
        });
        let [names, images] = containers(spec.at(&["template", "spec"]));
        vec![
            name_cell(object),
            state(object).into(),
            completions.into(),
            duration.into(),
            age(object, cx),
            names,
            images,
            selector(&spec["selector"]),
        ]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![(
            "status.successful",
            object.int_at(&["status", "succeeded"]).unwrap_or(0).to_string(),
        )]
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        &["status.successful"]
    }
}

fn lacks_pointer(map: &Map, key: &str) -> bool {
    map.get(key).is_none_or(Value::is_null)
}

fn state(object: &Value) -> &'static str {
    let has = |kind: &str| {
        let conditions = object.list_at(&["status", "conditions"]);
        let found = conditions.iter().find(|c| c["type"].as_str() == Some(kind));
        found.is_some_and(|c| c["status"].as_str() == Some("True"))
    };
    if has("Complete") {
        "Complete"
    } else if has("Failed") {
        "Failed"
    } else if !object.at(&["metadata", "deletionTimestamp"]).is_null() {
        "Terminating"
    } else if has("Suspended") {
        "Suspended"
    } else if has("FailureTarget") {
        "FailureTarget"
    } else if has("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}
