//! ResourceClaimTemplate.

use machinery::Value;

use super::{default_claim_spec, validate_claim_spec};
use crate::{Cx, FieldErrors, Path, Rules};

/// Rules of templates of claims.
pub(crate) struct ClaimTemplate;

impl Rules for ClaimTemplate {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        default_claim_spec(object.at_mut(&["spec", "spec"]));
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        validate_claim_spec(object.at(&["spec", "spec"]), &Path::new("spec.spec"), errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        errors.immutable(&Path::new("spec"), &new["spec"], &old["spec"]);
    }
}
