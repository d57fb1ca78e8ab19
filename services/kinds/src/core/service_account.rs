//! ServiceAccount.

use machinery::Value;

use crate::table::{AGE, NAME};
use crate::{Column, Cx, Names, Rules, edit, strategy};

/// Rules of service accounts.
pub(crate) struct ServiceAccount;

impl Rules for ServiceAccount {
    fn prepare_create(&self, object: &mut Value, _cx: &Cx<'_>) {
        clean(object);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, cx: &Cx<'_>) {
        strategy::prepare_update(new, old, false, cx);
        clean(new);
    }

    fn names(&self, _cx: &Cx<'_>) -> Names {
        Names::ServiceAccount
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, AGE] }
    }
}

/// References to secrets keep nothing but the name.
fn clean(object: &mut Value) {
    edit::each(object.at_mut(&[]), "secrets", |secret| {
        secret.retain(|k, _| k == "name")
    });
}
