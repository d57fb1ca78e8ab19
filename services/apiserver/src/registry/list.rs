//! List: paged, at one revision, filtered on headers.
//!
//! Source of the semantics: "Resource versions" and "Retrieving large results sets in chunks" of the Kubernetes API concepts.
//! A list holds records, not trees; what is sent is encoded while it streams.

use super::Op;
use super::get::bad_version;
use super::token::Token;
use crate::limits;
use crate::selection::Selection;
use crate::status::{ApiError, Result};
use crate::storage;
use kinds::FieldError;
use std::sync::Arc;
use store_api::{Consistency, Error, Key, Range, Record, Revision, Span};

/// `resourceVersionMatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionMatch {
    /// Exactly that revision.
    Exact,
    /// That revision or a newer one.
    NotOlderThan,
}

/// The parameters of a list or a watch, checked.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// Selectors.
    pub selection: Selection,
    /// Page size; 0 is everything.
    pub limit: usize,
    /// Where to go on.
    pub token: Option<Token>,
    /// `resourceVersion`; `None` asks for the newest state, 0 for any.
    pub version: Option<Revision>,
    /// `resourceVersionMatch`.
    pub matching: Option<VersionMatch>,
    /// `sendInitialEvents`, for watches.
    pub initial_events: Option<bool>,
}

/// A page of a list.
#[derive(Debug)]
pub struct Page {
    /// The records, in key order.
    pub records: Vec<Arc<Record>>,
    /// The revision of the list.
    pub revision: Revision,
    /// Where the next page begins.
    pub next: Option<Token>,
    /// How many objects follow, where that is known.
    pub remaining: Option<i64>,
}

impl ListQuery {
    /// Reads and checks the query.
    pub fn read(op: &Op<'_>) -> Result<Self> {
        let query = &op.cx.query;
        let watch = op.cx.info.verb == "watch";
        let mut errors: Vec<FieldError> = Vec::new();
        let mut wrong = |reason: &'static str, field: &str, message: String| {
            errors.push(FieldError {
                reason,
                field: field.into(),
                message,
            });
        };
        let version = match query.get("resourceVersion") {
            None => None,
            Some(text) => Some(
                text.parse::<i64>()
                    .ok()
                    .filter(|n| *n >= 0)
                    .ok_or_else(|| bad_version(text))?,
            ),
        };
        let token = query.get("continue").map(Token::decode).transpose()?;
        let initial_events = query
            .has("sendInitialEvents")
            .then(|| query.flag("sendInitialEvents"));
        const FIELD: &str = "resourceVersionMatch";
        let matching = match query.get(FIELD) {
            None => None,
            Some("Exact") => Some(VersionMatch::Exact),
            Some("NotOlderThan") => Some(VersionMatch::NotOlderThan),
            Some(other) => {
                let known = if watch {
                    r#""NotOlderThan""#
                } else {
                    r#""Exact", "NotOlderThan", """#
                };
                wrong(
                    "FieldValueNotSupported",
                    FIELD,
                    format!("Unsupported value: {other:?}: supported values: {known}"),
                );
                None
            }
        };
        let mut forbidden =
            |field: &str, why: &str| wrong("FieldValueForbidden", field, format!("Forbidden: {why}"));
        if watch {
            if initial_events.is_some() && matching != Some(VersionMatch::NotOlderThan) {
                forbidden(
                    FIELD,
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                );
            }
            if matching.is_some() && initial_events.is_none() {
                forbidden(
                    FIELD,
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                );
            }
        } else {
            if matching.is_some() && version.is_none() {
                forbidden(
                    FIELD,
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                );
            }
            if matching == Some(VersionMatch::Exact) && version == Some(0) {
                forbidden(
                    FIELD,
                    "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
                );
            }
            if initial_events.is_some() {
                forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list");
            }
        }
        if matching.is_some() && token.is_some() {
            forbidden(
                FIELD,
                "resourceVersionMatch is forbidden when continue is provided",
            );
        }
        if !errors.is_empty() {
            return Err(ApiError::invalid_fields(
                "meta.k8s.io",
                "ListOptions",
                "",
                &errors,
            ));
        }
        if token.is_some() && version.is_some_and(|v| v != 0) {
            return Err(ApiError::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let limit = match query.get("limit") {
            None => 0,
            Some(text) => text
                .parse::<i64>()
                .map(|n| usize::try_from(n).unwrap_or(0))
                .map_err(|_| {
                    ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
                })?,
        };
        Ok(Self {
            selection: Selection::parse(query, op.kind)?,
            limit,
            token,
            version,
            matching,
            initial_events,
        })
    }

    /// The span that holds everything that can match, and the prefix that continue tokens are relative to.
    pub fn span(&self, op: &Op<'_>) -> Result<(Span, usize)> {
        let mut namespace = op.namespace();
        if namespace.is_empty()
            && op.kind.resource.namespaced
            && let Some(only) = &self.selection.namespace
        {
            namespace = only;
        }
        let span = storage::span(op.cx.cluster_id(), op.kind, namespace)?;
        let prefix = span.start.len();
        let known_place = !op.kind.resource.namespaced || !namespace.is_empty();
        if let Some(name) = &self.selection.name
            && known_place
        {
            let scope = op.kind.resource.namespaced.then_some(namespace);
            if let Ok(key) = Key::object(op.cx.cluster_id(), op.kind.resource.storage_prefix, scope, name) {
                return Ok((Span::one(&key), prefix));
            }
        }
        Ok((span, prefix))
    }
}

impl Op<'_> {
    /// Reads one page.
    pub async fn list(&self, query: &ListQuery) -> Result<Page> {
        let (mut span, prefix) = query.span(self)?;
        let base = span.start.slice(..prefix);
        let mut at = None;
        let mut consistency = Consistency::Linearizable;
        let mut not_older = 0;
        match (&query.token, query.version) {
            (Some(token), _) => {
                at = (token.revision > 0).then_some(token.revision);
                let mut start = base.to_vec();
                start.extend_from_slice(token.start.as_bytes());
                span.start = start.into();
            }
            (None, None) => {}
            (None, Some(0)) => consistency = Consistency::Local,
            (None, Some(n)) => {
                let exact = query.matching == Some(VersionMatch::Exact)
                    || (query.matching.is_none() && query.limit > 0);
                if exact {
                    at = Some(n);
                } else {
                    not_older = n;
                    consistency = Consistency::Local;
                }
            }
        }
        let mut records: Vec<Arc<Record>> = Vec::new();
        let everything = query.selection.is_everything();
        let mut revision = at;
        loop {
            let want = match (query.limit, everything) {
                (0, _) => 0,
                (n, true) => n,
                (n, false) => n.max(limits::PAGE),
            };
            let range = Range {
                span: span.clone(),
                at: revision,
                limit: want,
                consistency,
            };
            let result = match self.server.store().range(range).await {
                Ok(result) => result,
                Err(Error::Compacted { .. }) => return Err(expired(query, &span, prefix)),
                Err(e) => return Err(storage::store_error(e, self.kind, "list")),
            };
            if not_older > result.revision {
                if consistency == Consistency::Linearizable {
                    return Err(ApiError::future_version(not_older, result.revision));
                }
                consistency = Consistency::Linearizable;
                continue;
            }
            let revision = *revision.get_or_insert(result.revision);
            let mut full_at = None;
            for (i, record) in result.records.iter().enumerate() {
                if everything || query.selection.matches(storage::header(record, self.kind)) {
                    records.push(record.clone());
                    if query.limit > 0 && records.len() == query.limit {
                        full_at = Some(i);
                        break;
                    }
                }
            }
            let after = |record: &Record| {
                let mut start = String::from_utf8_lossy(&record.key.path()[prefix..]).into_owned();
                start.push('\0');
                Token { revision, start }
            };
            if let Some(i) = full_at {
                let more = result.more || i + 1 < result.records.len();
                let left = result.count.saturating_sub(i + 1);
                let next = more.then(|| after(&result.records[i]));
                let remaining = (more && everything).then(|| i64::try_from(left).unwrap_or(i64::MAX));
                return Ok(Page {
                    records,
                    revision,
                    next,
                    remaining,
                });
            }
            match result.records.last() {
                Some(last) if result.more => span = span.after(last.key.path()),
                _ => {
                    return Ok(Page {
                        records,
                        revision,
                        next: None,
                        remaining: None,
                    });
                }
            }
        }
    }
}

/// 410: with a token that goes on inconsistently, if the list was a page.
fn expired(query: &ListQuery, span: &Span, prefix: usize) -> ApiError {
    if query.token.is_none() {
        return ApiError::expired("The resourceVersion for the provided list is too old.");
    }
    let mut error = ApiError::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
         results. Continuing with the provided token results in an inconsistent list - objects that were created, \
         modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    let start = String::from_utf8_lossy(&span.start[prefix..]).into_owned();
    error.0.continue_token = Some(Token { revision: -1, start }.encode());
    error
}
