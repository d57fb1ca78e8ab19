//! Delete of a collection: every object that the selectors match, one transaction each.

use super::Op;
use super::delete::DeleteOptions;
use super::list::ListQuery;
use crate::status::Result;
use crate::storage;
use machinery::Value;
use store_api::{Consistency, Range, Revision};

impl Op<'_> {
    /// Deletes what matches, and returns the objects as they were last, with the revision at which they were listed. An object
    /// that goes meanwhile is no error.
    pub async fn delete_collection(&self, options: &DeleteOptions) -> Result<(Vec<Value>, Revision)> {
        let query = ListQuery::read(self)?;
        let mut span = storage::span(self.cx.cluster_id(), self.kind, self.namespace())?;
        let mut deleted = Vec::new();
        let mut listed = None;
        loop {
            let range = Range {
                span: span.clone(),
                at: None,
                limit: crate::limits::PAGE,
                consistency: Consistency::Linearizable,
            };
            let page = self.server.store().range(range).await;
            let page = page.map_err(|e| storage::store_error(e, self.kind, "deletecollection"))?;
            let listed = *listed.get_or_insert(page.revision);
            for record in &page.records {
                if !query.selection.matches(storage::header(record, self.kind)) {
                    continue;
                }
                let object = storage::load(record, self.kind)?;
                let namespace = object.str_at(&["metadata", "namespace"]).unwrap_or_default();
                let name = object.str_at(&["metadata", "name"]).unwrap_or_default();
                if self.kind.resource.namespaced && namespace != self.namespace() {
                    continue;
                }
                let still = |now: &store_api::Record| now.create_revision == record.create_revision;
                match self.delete_if(name, options, still).await {
                    Ok(done) => deleted.push(done.object),
                    Err(e) if e.is_not_found() => {}
                    Err(e) => return Err(e),
                }
            }
            match page.records.last() {
                Some(last) if page.more => span = span.after(last.key.path()),
                _ => return Ok((deleted, listed)),
            }
        }
    }
}
