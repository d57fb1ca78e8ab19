//! Create.

use super::{Extra, Op, Written, meta};
use crate::admission::Operation;
use crate::alloc;
use crate::codec;
use crate::limits;
use crate::status::{ApiError, Result};
use crate::storage;
use machinery::Value;
use store_api::{Compare, Op as StoreOp, OpResult, Txn};

/// How often a generated name is made anew when it is taken (upstream: 8).
const NAME_TRIES: usize = 8;

impl Op<'_> {
    /// Creates an object. `object` is decoded and stamped.
    pub async fn create(&self, mut object: Value) -> Result<Written> {
        let dry_run = self.dry_run()?;
        if object
            .str_at(&["metadata", "resourceVersion"])
            .is_some_and(|v| !v.is_empty() && v != "0")
        {
            return Err(ApiError::unknown(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        if self.kind.resource.namespaced && self.namespace().is_empty() {
            return Err(ApiError::bad_request(
                "an empty namespace may not be set during creation",
            ));
        }
        meta::ensure_namespace(&mut object, self)?;
        let prefix = object
            .str_at(&["metadata", "generateName"])
            .unwrap_or_default()
            .to_owned();
        let generated = object
            .str_at(&["metadata", "name"])
            .unwrap_or_default()
            .is_empty()
            && !prefix.is_empty();
        meta::fill_system_fields(&mut object, &self.cx.timestamp());

        let cx = self.rules_cx("");
        self.kind.rules.default(&mut object, &cx);
        let name = object
            .str_at(&["metadata", "name"])
            .unwrap_or_default()
            .to_owned();
        let mut attempt = self.attempt(Operation::Create, "", &name, object, &Value::Null, dry_run);
        self.mutate(&mut attempt).await?;
        let mut object = attempt.object;
        self.kind.rules.default(&mut object, &cx);
        self.kind.rules.prepare_create(&mut object, &cx);

        for _ in 0..NAME_TRIES {
            if generated {
                meta::meta_mut(&mut object).insert("name", meta::generate_name(&prefix));
            }
            match self.create_named(object.clone(), dry_run).await {
                Err(e) if generated && e.0.reason == "AlreadyExists" => {}
                other => return other,
            }
        }
        let mut e = ApiError::already_exists(self.kind.group(), self.kind.plural(), &prefix);
        e.0.message = format!(
            "{}, the server was not able to generate a unique name for the object",
            e.0.message
        );
        Err(e)
    }

    /// The part of a create that is repeated under another name.
    async fn create_named(&self, wanted: Value, dry_run: bool) -> Result<Written> {
        let name = wanted
            .str_at(&["metadata", "name"])
            .unwrap_or_default()
            .to_owned();
        for _ in 0..limits::RETRIES {
            let mut object = wanted.clone();
            let extra = alloc::on_create(self, &mut object, dry_run).await?;
            let errors = kinds::check_create(self.kind.rules, &object, &self.rules_cx(""));
            if !errors.is_empty() {
                return Err(ApiError::invalid(
                    self.kind.group(),
                    self.kind.kind(),
                    &name,
                    &errors,
                ));
            }
            let attempt = self.attempt(Operation::Create, "", &name, object, &Value::Null, dry_run);
            self.admit(&attempt).await?;
            object = codec::canonical(attempt.object, self.kind)?;
            match self.insert(&name, &mut object, extra, dry_run).await? {
                Inserted::Yes => {
                    return Ok(Written {
                        object,
                        created: true,
                        deleted: false,
                    });
                }
                Inserted::Exists => {
                    return Err(ApiError::already_exists(
                        self.kind.group(),
                        self.kind.plural(),
                        &name,
                    ));
                }
                Inserted::AllocationLost => {}
            }
        }
        Err(ApiError::server_timeout(
            self.kind.group(),
            self.kind.plural(),
            "create",
            1,
        ))
    }

    async fn insert(&self, name: &str, object: &mut Value, extra: Extra, dry_run: bool) -> Result<Inserted> {
        let key = storage::key(self.cx.cluster_id(), self.kind, self.namespace(), name)?;
        if dry_run {
            let there = self.reader.record(
                self.kind,
                self.namespace(),
                name,
                store_api::Consistency::Linearizable,
            );
            return Ok(if there.await?.is_some() {
                Inserted::Exists
            } else {
                Inserted::Yes
            });
        }
        let value = self.dump(object)?;
        let lease = self.server.lease_for(self.cx.cluster_id(), self.kind).await?;
        let mut then = vec![StoreOp::Put {
            key: key.clone(),
            value,
            lease,
        }];
        then.extend(extra.ops);
        let mut compares = vec![Compare::absent(key.clone())];
        compares.extend(extra.compares);
        let txn = Txn {
            guards: vec![],
            compares,
            then,
            otherwise: vec![StoreOp::get(&key)],
        };
        let outcome = self.transact(txn).await?;
        match outcome.results.first() {
            Some(OpResult::Put { record, .. }) if outcome.succeeded => {
                storage::set_revision(object, record.mod_revision);
                self.remember(record, object);
                Ok(Inserted::Yes)
            }
            Some(OpResult::Range { records, .. }) if records.is_empty() => Ok(Inserted::AllocationLost),
            _ => Ok(Inserted::Exists),
        }
    }
}

/// What an insert came to.
enum Inserted {
    Yes,
    Exists,
    /// Another request took an address or port that was picked for this object.
    AllocationLost,
}
