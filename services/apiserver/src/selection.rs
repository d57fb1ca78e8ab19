//! Which objects a list or a watch is about: label and field selectors, matched on the header alone.

use crate::kind::Kind;
use crate::query::Query;
use crate::status::{ApiError, Result};
use crate::storage::Header;
use machinery::selector::{FieldSelector, Selector};

/// Both selectors of a request, checked against the kind.
#[derive(Clone, Debug)]
pub struct Selection {
    labels: Selector,
    fields: FieldSelector,
    /// The name, if the field selector allows only one.
    pub name: Option<String>,
    /// The namespace, if the field selector allows only one.
    pub namespace: Option<String>,
    everything: bool,
}

impl Selection {
    /// Reads `labelSelector` and `fieldSelector`.
    pub fn parse(query: &Query, kind: &Kind) -> Result<Self> {
        let labels = Selector::parse(query.get("labelSelector").unwrap_or(""))
            .map_err(|e| ApiError::bad_request(e.to_string()))?;
        let text = query.get("fieldSelector").unwrap_or("");
        let fields = FieldSelector::parse(text).map_err(|e| ApiError::bad_request(e.to_string()))?;
        let known = kind.rules.selectable_field_names();
        for term in fields.terms() {
            let name = term.field.as_str();
            let meta = name == "metadata.name" || (name == "metadata.namespace" && kind.resource.namespaced);
            // Upstream's conversion lets `metadata.namespace` pass for every kind without rules of its own.
            if !meta && name != "metadata.namespace" && !known.contains(&name) {
                return Err(ApiError::bad_request(format!(
                    "Unable to find {:?} that match label selector {:?}, field selector {text:?}: field label not supported: {name}",
                    format!("{}, Resource={}", kind.resource.api_version(), kind.plural()),
                    query.get("labelSelector").unwrap_or(""),
                )));
            }
        }
        let exact = |field: &str| fields.exact(field).map(str::to_owned);
        Ok(Self {
            name: exact("metadata.name"),
            namespace: exact("metadata.namespace"),
            everything: labels.is_everything() && fields.is_everything(),
            labels,
            fields,
        })
    }

    /// Whether nothing is filtered.
    pub fn is_everything(&self) -> bool {
        self.everything
    }

    /// Whether an object belongs to it.
    pub fn matches(&self, header: &Header) -> bool {
        self.everything
            || (self.labels.matches_by(|key| header.label(key))
                && self.fields.matches_by(|field| header.field(field)))
    }
}
