//! Selectors of typed objects.

use api::LabelSelector;
use machinery::selector::{Operator, Requirement, Selector, SelectorError};
use std::collections::BTreeMap;

/// The selector of a `metav1.LabelSelector`; `None` matches nothing, the empty one everything.
pub fn of(selector: Option<&LabelSelector>) -> Result<Selector, SelectorError> {
    let Some(selector) = selector else {
        return Ok(Selector::nothing());
    };
    let mut all = Vec::new();
    for (key, value) in selector.match_labels.iter().flatten() {
        all.push(Requirement::new(key, Operator::Equals, vec![value.clone()])?);
    }
    for e in selector.match_expressions.iter().flatten() {
        let operator = match e.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            other => {
                return Err(SelectorError(format!(
                    "{other:?} is not a valid label selector operator"
                )));
            }
        };
        all.push(Requirement::new(
            &e.key,
            operator,
            e.values.clone().unwrap_or_default(),
        )?);
    }
    Ok(if all.is_empty() {
        Selector::everything()
    } else {
        Selector::new(all)
    })
}

/// The selector of a plain map (a Service's, a ReplicationController's); empty or absent matches nothing.
pub fn of_map(labels: Option<&BTreeMap<String, String>>) -> Result<Selector, SelectorError> {
    let labels = labels.filter(|l| !l.is_empty());
    let Some(labels) = labels else {
        return Ok(Selector::nothing());
    };
    let all = labels
        .iter()
        .map(|(k, v)| Requirement::new(k, Operator::Equals, vec![v.clone()]));
    Ok(Selector::new(all.collect::<Result<_, _>>()?))
}

/// Whether a selector matches the labels of typed metadata.
pub fn matches(selector: &Selector, labels: Option<&BTreeMap<String, String>>) -> bool {
    selector.matches_by(|key| labels.and_then(|l| l.get(key)).map(String::as_str))
}
