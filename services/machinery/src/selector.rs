//! Label and field selectors.
//!
//! A selector is parsed once and asked for many objects, without allocation: labels come as a function from key to value.
//! Grammar and error texts are upstream's (`k8s.io/apimachinery/pkg/labels`, `pkg/fields`, `metav1.LabelSelectorAsSelector`).

use std::fmt;

use crate::quote::{go_json, go_quote};
use crate::{Value, name};

mod parse;

/// What a requirement asks of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// One of the values.
    In,
    /// None of the values, or no such label.
    NotIn,
    /// `=`.
    Equals,
    /// `==`.
    DoubleEquals,
    /// `!=`: another value, or no such label.
    NotEquals,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
    /// `>`, as integers.
    GreaterThan,
    /// `<`, as integers.
    LessThan,
}

/// One part of a label selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

/// A label selector: all of its requirements must hold. The empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

/// Why a selector cannot be used; the text is what upstream says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);

impl Requirement {
    /// A requirement.
    ///
    /// # Errors
    /// If the key, a value or the number of values is not allowed.
    pub fn new(key: &str, operator: Operator, mut values: Vec<String>) -> Result<Self, SelectorError> {
        use Operator::{
            DoesNotExist, DoubleEquals, Equals, Exists, GreaterThan, In, LessThan, NotEquals, NotIn,
        };
        let mut errors = Vec::new();
        let bad = name::qualified_name(key);
        if !bad.is_empty() {
            errors.push(format!(
                "key: Invalid value: {}: {}",
                go_quote(key),
                bad.join("; ")
            ));
        }
        let shown = || {
            go_json(&Value::List(
                values.iter().map(|v| Value::from(v.clone())).collect(),
            ))
        };
        let mut count = |ok: bool, text: &str| {
            if !ok {
                errors.push(format!("values: Invalid value: {}: {text}", shown()));
            }
        };
        match operator {
            In | NotIn => count(
                !values.is_empty(),
                "for 'in', 'notin' operators, values set can't be empty",
            ),
            Equals | DoubleEquals | NotEquals => {
                count(
                    values.len() == 1,
                    "exact-match compatibility requires one single value",
                );
            }
            Exists | DoesNotExist => {
                count(
                    values.is_empty(),
                    "values set must be empty for exists and does not exist",
                );
            }
            GreaterThan | LessThan => {
                count(
                    values.len() == 1,
                    "for 'Gt', 'Lt' operators, exactly one value is required",
                );
                for (i, v) in values.iter().enumerate() {
                    if v.parse::<i64>().is_err() {
                        errors.push(format!(
                            "values[{i}]: Invalid value: {}: for 'Gt', 'Lt' operators, the value must be an integer",
                            go_quote(v)
                        ));
                    }
                }
            }
        }
        for (i, v) in values.iter().enumerate() {
            let bad = name::label_value(v);
            if !bad.is_empty() {
                errors.push(format!(
                    "values[{i}][{key}]: Invalid value: {}: {}",
                    go_quote(v),
                    bad.join("; ")
                ));
            }
        }
        match &errors[..] {
            [] => {
                values.sort_unstable();
                values.dedup();
                Ok(Self {
                    key: key.to_owned(),
                    operator,
                    values,
                })
            }
            [one] => Err(SelectorError(one.clone())),
            many => Err(SelectorError(format!("[{}]", many.join(", ")))),
        }
    }

    /// The label's key.
    pub fn key(&self) -> &str {
        &self.key
    }
    /// What is asked.
    pub fn operator(&self) -> Operator {
        self.operator
    }
    /// The values, sorted.
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// Whether it holds for a label's value (`None`: no such label).
    pub fn holds(&self, label: Option<&str>) -> bool {
        use Operator::{
            DoesNotExist, DoubleEquals, Equals, Exists, GreaterThan, In, LessThan, NotEquals, NotIn,
        };
        let listed = |v: &str| self.values.iter().any(|w| w == v);
        match self.operator {
            In | Equals | DoubleEquals => label.is_some_and(listed),
            NotIn | NotEquals => !label.is_some_and(listed),
            Exists => label.is_some(),
            DoesNotExist => label.is_none(),
            GreaterThan | LessThan => {
                let (Some(have), Some(want)) = (
                    label.and_then(|l| l.parse::<i64>().ok()),
                    self.values.first().and_then(|w| w.parse().ok()),
                ) else {
                    return false;
                };
                if self.operator == GreaterThan {
                    have > want
                } else {
                    have < want
                }
            }
        }
    }
}

impl Selector {
    /// Matches every object.
    pub fn everything() -> Self {
        Self::default()
    }
    /// Matches no object.
    pub fn nothing() -> Self {
        Self {
            requirements: Vec::new(),
            nothing: true,
        }
    }
    /// All of the requirements.
    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self {
            requirements,
            nothing: false,
        }
    }

    /// Reads a selector as query strings and kubectl write it: `a=b,c!=d,e in (x,y),!f,g,h>1`.
    ///
    /// # Errors
    /// With upstream's text, e.g. `unable to parse requirement: found …`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        parse::requirements(text).map(Self::new)
    }

    /// The selector of a plain map of labels (`spec.selector` of a Service). Keys and values are not checked.
    pub fn from_map(labels: &Value) -> Self {
        let requirements = labels
            .as_map()
            .into_iter()
            .flat_map(|m| m.iter())
            .map(|(k, v)| Requirement {
                key: k.to_owned(),
                operator: Operator::Equals,
                values: vec![v.as_str().unwrap_or_default().to_owned()],
            });
        Self::new(requirements.collect())
    }

    /// The selector of a `metav1.LabelSelector`. Null matches nothing, the empty one everything.
    ///
    /// # Errors
    /// If an operator, a key or a value is not allowed.
    pub fn from_object(object: &Value) -> Result<Self, SelectorError> {
        if object.is_null() {
            return Ok(Self::nothing());
        }
        let mut requirements = Vec::new();
        for (key, value) in object["matchLabels"].as_map().into_iter().flat_map(|m| m.iter()) {
            let value = value.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement::new(key, Operator::Equals, vec![value])?);
        }
        for expression in object.list_at(&["matchExpressions"]) {
            let operator = match expression["operator"].as_str().unwrap_or_default() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    let text = format!("{} is not a valid label selector operator", go_quote(other));
                    return Err(SelectorError(text));
                }
            };
            let values = expression
                .list_at(&["values"])
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned);
            let key = expression["key"].as_str().unwrap_or_default();
            requirements.push(Requirement::new(key, operator, values.collect())?);
        }
        Ok(Self::new(requirements))
    }

    /// Whether it matches whatever it is asked.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }
    /// Whether it matches nothing at all.
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }
    /// Its requirements, sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
    /// The only value that `key` may have, if there is just one.
    pub fn exact(&self, key: &str) -> Option<&str> {
        use Operator::{DoubleEquals, Equals, In};
        let r = self.requirements.iter().find(|r| r.key == key)?;
        match (&r.operator, &r.values[..]) {
            (Equals | DoubleEquals | In, [one]) => Some(one),
            _ => None,
        }
    }

    /// Whether it matches labels, given as a lookup.
    pub fn matches_by<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.holds(label(&r.key)))
    }
    /// Whether it matches labels, given as pairs in any order.
    pub fn matches<'a, I>(&self, labels: I) -> bool
    where
        I: IntoIterator<Item = (&'a str, &'a str)> + Clone,
    {
        self.matches_by(|key| {
            labels
                .clone()
                .into_iter()
                .find(|(k, _)| *k == key)
                .map(|(_, v)| v)
        })
    }
    /// Whether it matches a map of labels.
    pub fn matches_map(&self, labels: &Value) -> bool {
        self.matches_by(|key| labels[key].as_str())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.values.join(",");
        let key = &self.key;
        match self.operator {
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{r}")?;
        }
        Ok(())
    }
}

/// A field selector: `metadata.name=x,status.phase!=Running`. The empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<FieldTerm>);

/// One part of a field selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTerm {
    /// The field's path.
    pub field: String,
    /// The value.
    pub value: String,
    /// Whether the field must have the value, or must not.
    pub equal: bool,
}

impl FieldSelector {
    /// Reads a field selector.
    ///
    /// # Errors
    /// With upstream's text.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        parse::field_terms(text).map(Self)
    }
    /// Whether it matches whatever it is asked.
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }
    /// Its parts.
    pub fn terms(&self) -> &[FieldTerm] {
        &self.0
    }
    /// The only value that `field` may have, if one is named.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|t| t.equal && t.field == field)
            .map(|t| &*t.value)
    }
    /// Whether it matches an object, given as a lookup of its selectable fields; a field that the lookup does not know
    /// counts as empty.
    pub fn matches_by<S: AsRef<str>>(&self, field: impl Fn(&str) -> Option<S>) -> bool {
        self.0.iter().all(|t| {
            let have = field(&t.field);
            (have.as_ref().map_or("", AsRef::as_ref) == t.value) == t.equal
        })
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, t) in self.0.iter().enumerate() {
            let value = t
                .value
                .replace('\\', "\\\\")
                .replace(',', "\\,")
                .replace('=', "\\=");
            let comma = if i > 0 { "," } else { "" };
            write!(f, "{comma}{}{}{value}", t.field, if t.equal { "=" } else { "!=" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
