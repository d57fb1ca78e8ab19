//! One request on its way through the pipeline.

use crate::negotiate::Accept;
use crate::query::Query;
use crate::request_info::RequestInfo;
use auth::{Cluster, User};
use base::ClusterId;
use jiff::Timestamp;
use parking_lot::Mutex;
use std::sync::Arc;

/// What is known of a request once it is authenticated. Handlers share it by reference.
#[derive(Debug)]
pub struct Cx {
    /// The cluster it is for.
    pub cluster: Arc<Cluster>,
    /// Who asks.
    pub user: User,
    /// What is asked for.
    pub info: RequestInfo,
    /// Query parameters.
    pub query: Query,
    /// The form of the answer.
    pub accept: Accept,
    /// The moment the request came in: creation timestamps and the like.
    pub now: Timestamp,
    /// The request's id, also sent as `Audit-Id`.
    pub id: String,
    /// A fence that every transaction of this request carries.
    pub guard: Option<store_api::Guard>,
    /// Whether the client takes gzip.
    pub gzip: bool,
    /// What `Warning` headers will say.
    warnings: Mutex<Vec<String>>,
}

/// More warnings than this are dropped.
const MAX_WARNINGS: usize = 64;
/// Longer warnings are cut.
const MAX_WARNING: usize = 1024;

impl Cx {
    /// A request's context.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call site, and each is one fact of the request"
    )]
    pub fn new(
        cluster: Arc<Cluster>,
        user: User,
        info: RequestInfo,
        query: Query,
        accept: Accept,
        now: Timestamp,
        id: String,
        guard: Option<store_api::Guard>,
    ) -> Self {
        Self {
            cluster,
            user,
            info,
            query,
            accept,
            now,
            id,
            guard,
            gzip: false,
            warnings: Mutex::new(Vec::new()),
        }
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> &ClusterId {
        &self.cluster.id
    }

    /// The moment as `metav1.Time`.
    pub fn timestamp(&self) -> String {
        base::clock::rfc3339(self.now)
    }

    /// Adds a warning for the client, once.
    pub fn warn(&self, text: impl Into<String>) {
        let mut text: String = text.into();
        if text.len() > MAX_WARNING {
            let cut = (0..=MAX_WARNING)
                .rev()
                .find(|i| text.is_char_boundary(*i))
                .unwrap_or(0);
            text.truncate(cut);
        }
        let mut all = self.warnings.lock();
        if all.len() < MAX_WARNINGS && !all.contains(&text) {
            all.push(text);
        }
    }

    /// The warnings so far.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().clone()
    }
}

/// `299 - "text"`, RFC 7234 section 5.5, with quotes and control characters made harmless.
pub(crate) fn warning_header(text: &str) -> Option<http::HeaderValue> {
    let mut out = String::with_capacity(text.len() + 10);
    out.push_str("299 - \"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    http::HeaderValue::from_bytes(out.as_bytes()).ok()
}
