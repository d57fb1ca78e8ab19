//! Update: one loop for PUT, PATCH and every sub-resource that writes its object.
//!
//! The loop reads, lets a [`Mutation`] make the new object from the old one, and commits if nobody was faster, else it begins
//! anew. A change that changes nothing is not written, so that it makes no event.

use super::{Op, Written, meta};
use crate::admission::Operation;
use crate::alloc;
use crate::codec;
use crate::limits;
use crate::status::{ApiError, Result};
use crate::storage;
use machinery::Value;
use store_api::{Compare, Op as StoreOp, OpResult, Record, Txn};

/// Makes the new object from the old one. Called once for each try.
pub trait Mutation: Send + Sync {
    /// The new object, in the request's version.
    fn apply(&self, old: &Value, op: &Op<'_>) -> Result<Value>;

    /// What admission is shown instead of the object: a Scale, a Binding. The new object comes from [`Self::apply`]
    /// nevertheless.
    fn admission_object(&self) -> Option<&Value> {
        None
    }
}

/// PUT: the body is the new object.
pub struct Replace(pub Value);

impl Mutation for Replace {
    fn apply(&self, _old: &Value, _op: &Op<'_>) -> Result<Value> {
        Ok(self.0.clone())
    }
}

/// Details of an update.
#[derive(Clone, Copy, Debug)]
pub struct UpdateOptions<'a> {
    /// The sub-resource that is written, as authorization and admission see it.
    pub subresource: &'a str,
    /// The sub-resource as the rules see it: `scale` writes the object itself.
    pub rules_subresource: &'a str,
    /// Which admission operation it is: `pods/binding` is a create.
    pub operation: Operation,
    /// Whether nothing is stored.
    pub dry_run: bool,
    /// Whether the rules of the kind judge the result. Not for `binding`, which changes what an update may not.
    pub judged: bool,
}

impl<'a> UpdateOptions<'a> {
    /// A write of the object itself or of a sub-resource that is a part of it.
    pub fn plain(subresource: &'a str, dry_run: bool) -> Self {
        Self {
            subresource,
            rules_subresource: subresource,
            operation: Operation::Update,
            dry_run,
            judged: true,
        }
    }
}

/// How a try ended.
enum Try {
    Done(Written),
    Again,
}

impl Op<'_> {
    /// Changes an object until the change sticks.
    pub async fn update(
        &self,
        name: &str,
        mutation: &dyn Mutation,
        options: UpdateOptions<'_>,
    ) -> Result<Written> {
        for _ in 0..limits::RETRIES {
            let record = self.record(name).await?;
            match self.try_update(name, &record, mutation, options).await? {
                Try::Done(written) => return Ok(written),
                Try::Again => tokio::task::yield_now().await,
            }
        }
        Err(ApiError::modified(self.kind.group(), self.kind.plural(), name))
    }

    async fn try_update(
        &self,
        name: &str,
        record: &Record,
        mutation: &dyn Mutation,
        options: UpdateOptions<'_>,
    ) -> Result<Try> {
        let old = storage::load(record, self.kind)?;
        let mut new = mutation.apply(&old, self)?;
        self.check_identity(name, &new, &old)?;
        meta::ensure_name(&mut new, name)?;
        meta::ensure_namespace(&mut new, self)?;
        meta::carry_over(&mut new, &old);
        let cx = self.rules_cx(options.rules_subresource);
        self.kind.rules.default(&mut new, &cx);

        let shown = mutation.admission_object();
        let subject = shown.cloned().unwrap_or_else(|| std::mem::take(&mut new));
        let mut attempt = self.attempt(
            options.operation,
            options.subresource,
            name,
            subject,
            &old,
            options.dry_run,
        );
        self.mutate(&mut attempt).await?;
        if shown.is_none() {
            new = std::mem::take(&mut attempt.object);
            self.kind.rules.default(&mut new, &cx);
        }
        let mut extra = super::Extra::default();
        if options.judged {
            self.kind.rules.prepare_update(&mut new, &old, &cx);
            if options.rules_subresource.is_empty() {
                extra = alloc::on_update(self, &mut new, &old, options.dry_run).await?;
            }
            let errors = kinds::check_update(self.kind.rules, &new, &old, &cx);
            if !errors.is_empty() {
                return Err(ApiError::invalid(
                    self.kind.group(),
                    self.kind.kind(),
                    name,
                    &errors,
                ));
            }
        }
        if shown.is_none() {
            attempt.object = new;
            self.admit(&attempt).await?;
            new = attempt.object;
        } else {
            self.admit(&attempt).await?;
        }
        let new = codec::canonical(new, self.kind)?;
        if meta::is_finished(&new, self) {
            return self.finish(record, new, options.dry_run).await;
        }
        self.put(record, new, extra, options.dry_run).await
    }

    /// The resourceVersion and the uid that the client believes in.
    fn check_identity(&self, name: &str, new: &Value, old: &Value) -> Result<()> {
        let wanted = new.str_at(&["metadata", "resourceVersion"]).unwrap_or_default();
        let current = old.str_at(&["metadata", "resourceVersion"]).unwrap_or_default();
        let uid = new.str_at(&["metadata", "uid"]).unwrap_or_default();
        let is = old.str_at(&["metadata", "uid"]).unwrap_or_default();
        if !uid.is_empty() && uid != is {
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {is}");
            return Err(ApiError::conflict(
                self.kind.group(),
                self.kind.plural(),
                name,
                &why,
            ));
        }
        if wanted.is_empty() || wanted == "0" {
            if needs_version(self.kind.group(), self.kind.plural()) {
                let message = "Invalid value: 0: must be specified for an update";
                return Err(ApiError::invalid_field(
                    self.kind.group(),
                    self.kind.kind(),
                    name,
                    "FieldValueInvalid",
                    "metadata.resourceVersion",
                    message,
                ));
            }
            return Ok(());
        }
        if wanted.parse::<i64>().is_err() {
            let message =
                format!("Invalid value: {wanted:?}: strconv.ParseUint: parsing {wanted:?}: invalid syntax");
            return Err(ApiError::invalid_field(
                self.kind.group(),
                self.kind.kind(),
                name,
                "FieldValueInvalid",
                "metadata.resourceVersion",
                &message,
            ));
        }
        if wanted != current {
            return Err(ApiError::modified(self.kind.group(), self.kind.plural(), name));
        }
        Ok(())
    }

    async fn put(&self, record: &Record, mut new: Value, extra: super::Extra, dry_run: bool) -> Result<Try> {
        let value = self.dump(&new)?;
        let unchanged = value == record.value && extra.ops.is_empty();
        if dry_run || unchanged {
            storage::set_revision(&mut new, record.mod_revision);
            return Ok(Try::Done(Written {
                object: new,
                created: false,
                deleted: false,
            }));
        }
        let key = record.key.clone();
        let lease = self.server.lease_for(self.cx.cluster_id(), self.kind).await?;
        let mut then = vec![StoreOp::Put {
            key: key.clone(),
            value,
            lease,
        }];
        then.extend(extra.ops);
        let mut compares = vec![Compare::unchanged(key, record.mod_revision)];
        compares.extend(extra.compares);
        let outcome = self
            .transact(Txn {
                guards: vec![],
                compares,
                then,
                otherwise: vec![],
            })
            .await?;
        match outcome.results.first() {
            Some(OpResult::Put { record, .. }) if outcome.succeeded => {
                storage::set_revision(&mut new, record.mod_revision);
                self.remember(record, &new);
                Ok(Try::Done(Written {
                    object: new,
                    created: false,
                    deleted: false,
                }))
            }
            _ => Ok(Try::Again),
        }
    }

    /// The update took the last thing that held a dying object back: it is deleted instead.
    async fn finish(&self, record: &Record, mut last: Value, dry_run: bool) -> Result<Try> {
        if dry_run {
            return Ok(Try::Done(Written {
                object: last,
                created: false,
                deleted: true,
            }));
        }
        match self.remove(record, &last).await? {
            Some(revision) => {
                storage::set_revision(&mut last, revision);
                Ok(Try::Done(Written {
                    object: last,
                    created: false,
                    deleted: true,
                }))
            }
            None => Ok(Try::Again),
        }
    }
}

/// Kinds that cannot be replaced without a resourceVersion (upstream's `AllowUnconditionalUpdate` is false).
fn needs_version(group: &str, plural: &str) -> bool {
    matches!(
        (group, plural),
        (
            "certificates.k8s.io",
            "podcertificaterequests" | "clustertrustbundles"
        ) | ("node.k8s.io", "runtimeclasses")
            | ("policy", "poddisruptionbudgets")
            | (
                "storage.k8s.io",
                "csidrivers" | "csistoragecapacities" | "volumeattachments" | "csinodes"
            )
            | ("coordination.k8s.io", "leases" | "leasecandidates")
            | ("admissionregistration.k8s.io", _)
    )
}
