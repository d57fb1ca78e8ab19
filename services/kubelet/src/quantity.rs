//! Amounts in resource lists as integers: milli-units for CPU, whole units rounded up for everything else.
//!
//! Malformed amounts cannot come from an API server that validates; here they count as absent.

use crate::k8s::{Quantity, ResourceList};

/// The amount in thousandths, rounded up; `None` if the text is no quantity.
pub fn milli(q: &Quantity) -> Option<i64> {
    machinery::quantity::Quantity::parse(&q.0)
        .ok()
        .map(machinery::quantity::Quantity::millis)
}

/// The amount in whole units, rounded up; `None` if the text is no quantity.
pub fn units(q: &Quantity) -> Option<i64> {
    machinery::quantity::Quantity::parse(&q.0)
        .ok()
        .map(machinery::quantity::Quantity::value)
}

/// One entry of a list in whole units; `None` if absent or malformed.
pub fn units_of(list: Option<&ResourceList>, name: &str) -> Option<i64> {
    list?.get(name).and_then(units)
}

/// One entry of a list in milli-units; `None` if absent or malformed.
pub fn milli_of(list: Option<&ResourceList>, name: &str) -> Option<i64> {
    list?.get(name).and_then(milli)
}
