//! CronJob.

use machinery::{Value, name};

use super::job;
use crate::edit::{fill, fill_zero};
use crate::table::{
    AGE, NAME, age, cell, column, containers, name as name_cell, number, selector, since, text as string,
    wide,
};
use crate::{Column, Cx, FieldErrors, Path, Rules};

/// Rules of cron jobs.
pub(crate) struct CronJob;

impl Rules for CronJob {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        let spec = object.at_mut(&["spec"]);
        fill_zero(spec, "concurrencyPolicy", "Allow");
        fill(spec, "suspend", false);
        fill(spec, "successfulJobsHistoryLimit", 3);
        fill(spec, "failedJobsHistoryLimit", 1);
        let template = spec.map_entry("jobTemplate");
        template.map_entry("metadata");
        job::default_spec_in_cron_job(template.map_entry("spec"));
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let at = path.child("schedule");
        match spec["schedule"].as_str().unwrap_or_default() {
            "" => errors.required(&at, ""),
            text => {
                if let Some(wrong) = crate::cron::wrong(text) {
                    errors.invalid(&at, text.to_owned(), &wrong);
                }
                if text.contains("TZ") {
                    let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
                    errors.invalid(&at, text.to_owned(), detail);
                }
            }
        }
        if let Some(zone) = spec["timeZone"].as_str() {
            let at = path.child("timeZone");
            if zone.is_empty() {
                errors.invalid(&at, zone.to_owned(), "timeZone must be nil or non-empty string");
            } else if zone.eq_ignore_ascii_case("local") {
                let detail =
                    "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
                errors.invalid(&at, zone.to_owned(), detail);
            } else if jiff::tz::TimeZone::get(zone).is_err() {
                errors.invalid(&at, zone.to_owned(), &format!("unknown time zone {zone}"));
            }
        }
        errors.nonnegative(
            &path.child("startingDeadlineSeconds"),
            &spec["startingDeadlineSeconds"],
        );
        let policies = ["Allow", "Forbid", "Replace"];
        errors.enumeration(
            &path.child("concurrencyPolicy"),
            &spec["concurrencyPolicy"],
            &policies,
        );
        for field in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
            errors.nonnegative(&path.child(field), &spec[field]);
        }
        let template = path.child("jobTemplate.spec");
        let inner = spec.at(&["jobTemplate", "spec"]);
        if inner["manualSelector"].as_bool() == Some(true) {
            errors.not_supported(&template.child("manualSelector"), true, &["nil", "false"]);
        }
        if !inner["selector"].is_null() {
            errors.invalid(
                &template.child("selector"),
                inner["selector"].clone(),
                "`selector` will be auto-generated",
            );
        }
        job::validate_spec(inner, &template, errors);
        // Names of jobs are the name of the cron job and eleven more characters.
        let text = object.str_at(&["metadata", "name"]).unwrap_or_default();
        if text.len() > name::LABEL_MAX - 11 {
            errors.invalid(
                &Path::new("metadata.name"),
                text.to_owned(),
                "must be no more than 52 characters",
            );
        }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                string("Schedule"),
                string("Timezone"),
                column("Suspend", "boolean"),
                number("Active"),
                string("Last Schedule"),
                AGE,
                wide("Containers"),
                wide("Images"),
                wide("Selector"),
            ]
        }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let last = &status["lastScheduleTime"];
        let suspend = match spec["suspend"].as_bool() {
            Some(true) => "True",
            Some(false) => "False",
            None => "<unset>",
        };
        let [names, images] = containers(spec.at(&["jobTemplate", "spec", "template", "spec"]));
        vec![
            name_cell(object),
            cell(&spec["schedule"]),
            spec["timeZone"].as_str().unwrap_or("<none>").to_owned().into(),
            suspend.into(),
            (status.list_at(&["active"]).len() as i64).into(),
            if last.is_null() {
                "<none>".into()
            } else {
                since(last, cx)
            },
            age(object, cx),
            names,
            images,
            selector(spec.at(&["jobTemplate", "spec", "selector"])),
        ]
    }
}
