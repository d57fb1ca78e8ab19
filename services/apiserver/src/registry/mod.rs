//! The generic registry: every verb on every kind.
//!
//! One [`Op`] is one request on one kind. Each verb is a file; they share reading, committing and the loop that repeats a
//! lost race ([`update`]). Nothing here knows a kind by name but `pods` and `namespaces` in `delete`, whose deletion has rules
//! of its own upstream.

pub mod create;
pub mod delete;
pub mod delete_collection;
pub mod get;
pub mod list;
pub mod meta;
pub mod patch;
pub mod token;
pub mod update;
pub mod watch;

use crate::ApiServer;
use crate::admission::{self, Attempt, Operation};
use crate::codec;
use crate::cx::Cx;
use crate::kind::Kind;
use crate::negotiate::Media;
use crate::reader::Reader;
use crate::status::{ApiError, Result};
use crate::storage;
use bytes::Bytes;
use machinery::Value;
use std::sync::Arc;
use store_api::{Compare, Consistency, Op as StoreOp, Record, Txn, TxnOutcome};

/// One request on one kind.
pub struct Op<'a> {
    /// The server.
    pub server: &'a ApiServer,
    /// The request.
    pub cx: &'a Cx,
    /// The kind in the request's version.
    pub kind: &'a Kind,
    /// Reads other objects.
    pub reader: Reader,
}

/// What a write did.
#[derive(Debug)]
pub struct Written {
    /// The object as it is now, in the request's version.
    pub object: Value,
    /// Whether it was created.
    pub created: bool,
    /// Whether it is gone.
    pub deleted: bool,
}

/// How strict a body is read (`fieldValidation`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    /// Unknown and duplicate fields are dropped.
    Ignore,
    /// They are dropped with a warning.
    Warn,
    /// They are an error.
    Strict,
}

/// Further conditions and operations that go with a write in one transaction.
#[derive(Debug, Default)]
pub struct Extra {
    /// Conditions.
    pub compares: Vec<Compare>,
    /// Operations.
    pub ops: Vec<StoreOp>,
}

impl<'a> Op<'a> {
    /// One request on one kind.
    pub fn new(server: &'a ApiServer, cx: &'a Cx, kind: &'a Kind) -> Self {
        Self {
            server,
            cx,
            kind,
            reader: server.reader(&cx.cluster),
        }
    }

    /// `dryRun=All`; any other value is an error.
    pub fn dry_run(&self) -> Result<bool> {
        let mut dry = false;
        for value in self.cx.query.all("dryRun") {
            match value {
                "" => {}
                "All" => dry = true,
                other => return Err(self.bad_option("dryRun", other, "All")),
            }
        }
        Ok(dry)
    }

    fn bad_option(&self, field: &str, value: &str, supported: &str) -> ApiError {
        let kind = match self.cx.info.verb {
            "create" => "CreateOptions",
            "patch" => "PatchOptions",
            "delete" | "deletecollection" => "DeleteOptions",
            _ => "UpdateOptions",
        };
        let message = format!("Unsupported value: {value:?}: supported values: {supported}");
        ApiError::invalid_field("meta.k8s.io", kind, "", "FieldValueNotSupported", field, &message)
    }

    /// `fieldValidation`; the default is to warn.
    pub fn field_validation(&self) -> Result<FieldValidation> {
        match self.cx.query.get("fieldValidation") {
            None | Some("Warn") => Ok(FieldValidation::Warn),
            Some("Ignore") => Ok(FieldValidation::Ignore),
            Some("Strict") => Ok(FieldValidation::Strict),
            Some(other) => Err(self.bad_option("fieldValidation", other, r#""Ignore", "Strict", "Warn""#)),
        }
    }

    /// Decodes a body that should hold an object of `resource`'s type: the kind itself, or that of a sub-resource.
    pub fn decode(&self, body: &[u8], media: Media) -> Result<Value> {
        let want = (
            self.kind.resource.group,
            self.kind.resource.version,
            self.kind.resource.kind,
        );
        self.decode_as(body, media, want, self.kind.resource.ty)
    }

    /// Decodes a body that should hold an object of the given group, version and kind.
    pub fn decode_as(
        &self,
        body: &[u8],
        media: Media,
        (group, version, kind): (&str, &str, &str),
        ty: machinery::TypeId,
    ) -> Result<Value> {
        let api_version = if group.is_empty() {
            version.to_owned()
        } else {
            format!("{group}/{version}")
        };
        let validation = self.field_validation()?;
        let cannot = |k: &str, v: &str, why: &str| {
            ApiError::bad_request(format!(
                "{k} in version {v:?} cannot be handled as a {kind}: {why}"
            ))
        };
        let decoded = codec::decode(body, media, self.kind.catalog, ty, validation)
            .map_err(|e| cannot(kind, version, &e.to_string()))?;
        let mut object = decoded.object;
        let got_version = object.str_at(&["apiVersion"]).unwrap_or_default();
        let got_kind = object.str_at(&["kind"]).unwrap_or_default();
        if !got_kind.is_empty() && got_kind != kind {
            let version = got_version.rsplit('/').next().unwrap_or_default();
            let why = format!(
                "converting ({got_version}.{got_kind}) to ({api_version}.{kind}): unknown conversion"
            );
            return Err(cannot(got_kind, version, &why));
        }
        if !got_version.is_empty() && got_version != api_version {
            return Err(ApiError::bad_request(format!(
                "the API version in the data ({got_version}) does not match the expected API version ({api_version})"
            )));
        }
        match validation {
            FieldValidation::Ignore => {}
            FieldValidation::Warn => decoded.strict.iter().for_each(|w| self.cx.warn(w.clone())),
            FieldValidation::Strict if decoded.strict.is_empty() => {}
            FieldValidation::Strict => {
                let why = format!("strict decoding error: {}", decoded.strict.join(", "));
                return Err(cannot(kind, version, &why));
            }
        }
        if let Value::Map(map) = &mut object {
            map.insert("apiVersion", api_version);
            map.insert("kind", kind.to_owned());
        } else {
            return Err(cannot(kind, version, "the body is no object"));
        }
        Ok(object)
    }

    /// The namespace of the request.
    pub fn namespace(&self) -> &str {
        if self.kind.resource.namespaced {
            &self.cx.info.namespace
        } else {
            ""
        }
    }

    /// The newest record of an object of the request's kind and namespace.
    pub async fn record(&self, name: &str) -> Result<Arc<Record>> {
        self.reader
            .record(self.kind, self.namespace(), name, Consistency::Linearizable)
            .await?
            .ok_or_else(|| self.not_found(name))
    }

    /// 404 for an object of this kind.
    pub fn not_found(&self, name: &str) -> ApiError {
        ApiError::not_found(self.kind.group(), self.kind.plural(), name)
    }

    /// What the rules may know.
    pub fn rules_cx<'s>(&self, subresource: &'s str) -> kinds::Cx<'s> {
        self.kind.rules_cx(subresource, self.cx.now)
    }

    /// An attempt, for admission.
    pub fn attempt<'s>(
        &'s self,
        operation: Operation,
        subresource: &'s str,
        name: &'s str,
        object: Value,
        old: &'s Value,
        dry_run: bool,
    ) -> Attempt<'s> {
        Attempt {
            cx: self.cx,
            kind: self.kind,
            operation,
            subresource,
            namespace: self.namespace_of_attempt(),
            name,
            object,
            old,
            dry_run,
            reader: &self.reader,
            authorizer: self.server.authorizer(),
        }
    }

    fn namespace_of_attempt(&self) -> &str {
        &self.cx.info.namespace
    }

    /// Mutating admission.
    pub async fn mutate(&self, attempt: &mut Attempt<'_>) -> Result<()> {
        admission::mutate(self.server.plugins(), attempt).await
    }

    /// Validating admission.
    pub async fn admit(&self, attempt: &Attempt<'_>) -> Result<()> {
        admission::validate(self.server.plugins(), attempt).await
    }

    /// Sends a transaction with the request's fence.
    pub async fn transact(&self, mut txn: Txn) -> Result<TxnOutcome> {
        txn.guards.extend(self.cx.guard.clone());
        self.server
            .store()
            .txn(self.cx.cluster_id(), txn)
            .await
            .map_err(|e| storage::store_error(e, self.kind, self.cx.info.verb))
    }

    /// The stored bytes of an object.
    pub fn dump(&self, object: &Value) -> Result<Bytes> {
        storage::dump(object, self.kind)
    }

    /// Puts the header beside a record that was just written, so that nobody has to decode it again.
    pub fn remember(&self, record: &Record, object: &Value) {
        if self.kind.is_stored_version() {
            record
                .derived
                .get_or_init(|| storage::Header::of(object, self.kind));
        }
    }
}
