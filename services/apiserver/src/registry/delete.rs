//! Delete: graceful for pods, in two steps for namespaces, held back by finalizers for everything.
//!
//! Source: `k8s.io/apiserver/pkg/registry/rest/delete.go` and `generic/registry/store.go`, with the strategies of pods,
//! namespaces, jobs and replication controllers.

use super::{Op, meta};
use crate::admission::Operation;
use crate::alloc;
use crate::codec;
use crate::limits;
use crate::negotiate::Media;
use crate::status::{ApiError, Result, Status};
use crate::storage;
use jiff::{SignedDuration, Timestamp};
use machinery::Value;
use store_api::{Compare, Op as StoreOp, Record, Revision, Txn};

/// What becomes of the objects that the deleted one owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They are kept and lose their owner.
    Orphan,
    /// The garbage collector deletes them afterwards.
    Background,
    /// They are deleted first.
    Foreground,
}

/// `DeleteOptions`.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// Seconds; `None`: the object's own.
    pub grace_period: Option<i64>,
    /// The uid that the object must have.
    pub uid: Option<String>,
    /// The resourceVersion that the object must have.
    pub resource_version: Option<String>,
    /// What becomes of dependents; `None`: the kind's default.
    pub propagation: Option<Propagation>,
    /// Nothing is stored.
    pub dry_run: bool,
}

/// What a delete did.
#[derive(Debug)]
pub struct Deleted {
    /// The object as it was last.
    pub object: Value,
    /// Whether it is gone.
    pub gone: bool,
}

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

impl DeleteOptions {
    /// Reads the body, or without one the query.
    pub fn read(op: &Op<'_>, body: &[u8], media: Media) -> Result<Self> {
        let query = &op.cx.query;
        let mut options = Self {
            dry_run: op.dry_run()?,
            ..Self::default()
        };
        let invalid = |field: &str, message: &str| {
            ApiError::invalid_field("", "DeleteOptions", "", "FieldValueInvalid", field, message)
        };
        let (policy, orphan);
        if body.is_empty() {
            options.grace_period = query.get("gracePeriodSeconds").and_then(|v| v.parse().ok());
            policy = query.get("propagationPolicy").map(str::to_owned);
            orphan = query.get("orphanDependents").map(|v| v == "true" || v == "1");
        } else {
            let v = codec::decode_delete_options(body, media, op.kind.catalog)
                .map_err(|e| ApiError::bad_request(format!("cannot read DeleteOptions: {e}")))?;
            options.grace_period = v.int_at(&["gracePeriodSeconds"]);
            options.uid = v.str_at(&["preconditions", "uid"]).map(str::to_owned);
            options.resource_version = v.str_at(&["preconditions", "resourceVersion"]).map(str::to_owned);
            for value in v.list_at(&["dryRun"]) {
                match value.as_str() {
                    Some("All") => options.dry_run = true,
                    _ => return Err(invalid("dryRun", "Unsupported value: supported values: \"All\"")),
                }
            }
            policy = v.str_at(&["propagationPolicy"]).map(str::to_owned);
            orphan = v["orphanDependents"].as_bool();
        }
        if policy.is_some() && orphan.is_some() {
            let message = format!(
                "Invalid value: {:?}: orphanDependents and deletionPropagation cannot be both set",
                policy.as_deref().unwrap_or("")
            );
            return Err(invalid("propagationPolicy", &message));
        }
        options.propagation = match (policy.as_deref(), orphan) {
            (Some("Orphan"), _) | (None, Some(true)) => Some(Propagation::Orphan),
            (Some("Background"), _) | (None, Some(false)) => Some(Propagation::Background),
            (Some("Foreground"), _) => Some(Propagation::Foreground),
            (None | Some(""), None) | (Some(""), Some(_)) => None,
            (Some(other), _) => {
                let message = format!(
                    "Unsupported value: {other:?}: supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
                );
                return Err(ApiError::invalid_field(
                    "",
                    "DeleteOptions",
                    "",
                    "FieldValueNotSupported",
                    "propagationPolicy",
                    &message,
                ));
            }
        };
        Ok(options)
    }
}

/// What is to be done with a record.
enum Step {
    /// It goes now.
    Remove(Value),
    /// It is marked, and goes later.
    Mark(Value),
    /// It was marked before, and nothing changes.
    Pending(Value),
}

impl Op<'_> {
    /// Deletes an object, or begins to.
    pub async fn delete(&self, name: &str, options: &DeleteOptions) -> Result<Deleted> {
        self.delete_if(name, options, |_| true).await
    }

    /// As [`Self::delete`], for an object that `wanted` still holds for; what it does not hold for is left alone.
    pub async fn delete_if(
        &self,
        name: &str,
        options: &DeleteOptions,
        wanted: impl Fn(&Record) -> bool + Send,
    ) -> Result<Deleted> {
        for _ in 0..limits::RETRIES {
            let record = self.record(name).await?;
            let old = storage::load(&record, self.kind)?;
            if !wanted(&record) {
                return Ok(Deleted {
                    object: old,
                    gone: false,
                });
            }
            self.check_preconditions(name, &old, options)?;
            let attempt = self.attempt(Operation::Delete, "", name, Value::Null, &old, options.dry_run);
            self.admit(&attempt).await?;
            match self.step(&old, options) {
                Step::Pending(object) => return Ok(Deleted { object, gone: false }),
                Step::Remove(object) if options.dry_run => return Ok(Deleted { object, gone: true }),
                Step::Mark(object) if options.dry_run => return Ok(Deleted { object, gone: false }),
                Step::Remove(mut object) => {
                    if let Some(revision) = self.remove(&record, &object).await? {
                        storage::set_revision(&mut object, revision);
                        return Ok(Deleted { object, gone: true });
                    }
                }
                Step::Mark(object) => {
                    let mut object = codec::canonical(object, self.kind)?;
                    let value = self.dump(&object)?;
                    let txn = Txn {
                        compares: vec![Compare::unchanged(record.key.clone(), record.mod_revision)],
                        then: vec![StoreOp::Put {
                            key: record.key.clone(),
                            value,
                            lease: record.lease,
                        }],
                        ..Txn::default()
                    };
                    let outcome = self.transact(txn).await?;
                    if outcome.succeeded {
                        storage::set_revision(&mut object, outcome.revision);
                        return Ok(Deleted { object, gone: false });
                    }
                }
            }
            tokio::task::yield_now().await;
        }
        Err(ApiError::modified(self.kind.group(), self.kind.plural(), name))
    }

    fn check_preconditions(&self, name: &str, old: &Value, options: &DeleteOptions) -> Result<()> {
        let uid = old.str_at(&["metadata", "uid"]).unwrap_or_default();
        let version = old.str_at(&["metadata", "resourceVersion"]).unwrap_or_default();
        let why = match (&options.uid, &options.resource_version) {
            (Some(want), _) if want != uid => {
                format!("Precondition failed: UID in precondition: {want}, UID in object meta: {uid}")
            }
            (_, Some(want)) if want != version => format!(
                "Precondition failed: ResourceVersion in precondition: {want}, ResourceVersion in object meta: {version}"
            ),
            _ => return Ok(()),
        };
        Err(ApiError::conflict(
            self.kind.group(),
            self.kind.plural(),
            name,
            &why,
        ))
    }

    /// What deleting an object means now.
    fn step(&self, old: &Value, options: &DeleteOptions) -> Step {
        if self.kind.is("", "namespaces") {
            return self.namespace_step(old);
        }
        let now = self.cx.now;
        let mut object = old.clone();
        let mut graceful = None;
        if self.kind.is("", "pods") {
            match pod_grace(old, options.grace_period, now) {
                Grace::Pending => return Step::Pending(object),
                Grace::Now => {}
                Grace::Within {
                    seconds,
                    until,
                    first,
                } => {
                    let generation = object.int_at(&["metadata", "generation"]).unwrap_or(0);
                    let meta = meta::meta_mut(&mut object);
                    meta.insert("deletionTimestamp", base::clock::rfc3339(until));
                    meta.insert("deletionGracePeriodSeconds", seconds);
                    if first && generation > 0 {
                        meta.insert("generation", generation + 1);
                    }
                    graceful = Some(seconds);
                }
            }
        }
        self.adjust_finalizers(&mut object, options);
        let held = !object.list_at(&["metadata", "finalizers"]).is_empty();
        if held && graceful.is_none() {
            mark(&mut object, now);
        }
        match graceful {
            _ if held && object == *old => Step::Pending(object),
            _ if held => Step::Mark(object),
            Some(seconds) if seconds > 0 => Step::Mark(object),
            _ => Step::Remove(object),
        }
    }

    /// A namespace is marked first; its content goes before it does.
    fn namespace_step(&self, old: &Value) -> Step {
        let mut object = old.clone();
        if old["metadata"]["deletionTimestamp"].is_null() {
            meta::meta_mut(&mut object).insert("deletionTimestamp", self.cx.timestamp());
            object.at_mut(&["status"]).insert("phase", "Terminating");
            return Step::Mark(object);
        }
        let held = !old.list_at(&["spec", "finalizers"]).is_empty()
            || !old.list_at(&["metadata", "finalizers"]).is_empty();
        if held {
            Step::Pending(object)
        } else {
            Step::Remove(object)
        }
    }

    /// Sets or removes the garbage collector's finalizers as the propagation policy says.
    fn adjust_finalizers(&self, object: &mut Value, options: &DeleteOptions) {
        let list = object.list_at(&["metadata", "finalizers"]);
        let has = |name: &str| list.iter().any(|f| f.as_str() == Some(name));
        let policy = options.propagation.unwrap_or_else(|| {
            // A finalizer that is there already counts as a wish.
            if has(ORPHAN) {
                Propagation::Orphan
            } else if has(FOREGROUND) {
                Propagation::Foreground
            } else if orphans_by_default(self.kind.group(), self.kind.plural(), self.kind.resource.version) {
                Propagation::Orphan
            } else {
                Propagation::Background
            }
        });
        let mut new: Vec<Value> = list
            .iter()
            .filter(|f| !matches!(f.as_str(), Some(ORPHAN | FOREGROUND)))
            .cloned()
            .collect();
        match policy {
            Propagation::Orphan => new.push(ORPHAN.into()),
            Propagation::Foreground => new.push(FOREGROUND.into()),
            Propagation::Background => {}
        }
        let same = new.len() == list.len() && new.iter().all(|f| list.contains(f));
        if same {
            return;
        }
        let meta = meta::meta_mut(object);
        if new.is_empty() {
            meta.remove("finalizers");
        } else {
            meta.insert("finalizers", new);
        }
    }

    /// Deletes a record and what was allocated for it, if nobody was faster: the revision of the deletion.
    pub(crate) async fn remove(&self, record: &Record, object: &Value) -> Result<Option<Revision>> {
        let mut then = vec![StoreOp::delete(&record.key)];
        then.extend(alloc::on_delete(self, object)?.ops);
        let txn = Txn {
            compares: vec![Compare::unchanged(record.key.clone(), record.mod_revision)],
            then,
            ..Txn::default()
        };
        let outcome = self.transact(txn).await?;
        Ok(outcome.succeeded.then_some(outcome.revision))
    }

    /// The body of the answer to a delete.
    pub fn deleted_body(&self, deleted: Deleted) -> Value {
        if !deleted.gone || returns_object(self.kind.group(), self.kind.plural()) {
            return deleted.object;
        }
        let name = deleted.object.str_at(&["metadata", "name"]).unwrap_or_default();
        let uid = deleted.object.str_at(&["metadata", "uid"]).unwrap_or_default();
        Status::success(self.kind.group(), self.kind.plural(), name, uid)
    }
}

/// Marks an object that only finalizers hold back.
fn mark(object: &mut Value, now: Timestamp) {
    let generation = object.int_at(&["metadata", "generation"]).unwrap_or(0);
    let meta = meta::meta_mut(object);
    if meta.get("deletionTimestamp").is_none_or(Value::is_null) {
        if generation > 0 {
            meta.insert("generation", generation + 1);
        }
        meta.insert("deletionTimestamp", base::clock::rfc3339(now));
    }
    meta.insert("deletionGracePeriodSeconds", 0);
}

/// How gracefully a pod goes.
enum Grace {
    /// It was told before, and not to be faster now.
    Pending,
    /// At once.
    Now,
    /// Later (or at once, if `seconds` is 0).
    Within {
        seconds: i64,
        until: Timestamp,
        first: bool,
    },
}

fn pod_grace(pod: &Value, asked: Option<i64>, now: Timestamp) -> Grace {
    let meta = &pod["metadata"];
    let after = |t: Timestamp, s: i64| {
        t.saturating_add(SignedDuration::from_secs(s))
            .unwrap_or(Timestamp::MAX)
    };
    if let Some(text) = meta.str_at(&["deletionTimestamp"]) {
        let Some(before) = meta.int_at(&["deletionGracePeriodSeconds"]) else {
            return Grace::Now;
        };
        return match asked {
            Some(period) if period < before => {
                let due: Timestamp = text.parse().unwrap_or(now);
                Grace::Within {
                    seconds: period.max(0),
                    until: after(due, period.max(0) - before),
                    first: false,
                }
            }
            _ if before == 0 && meta.list_at(&["finalizers"]).is_empty() => Grace::Now,
            _ => Grace::Pending,
        };
    }
    let mut seconds = asked
        .or_else(|| pod.int_at(&["spec", "terminationGracePeriodSeconds"]))
        .unwrap_or(0);
    let unscheduled = pod.str_at(&["spec", "nodeName"]).unwrap_or_default().is_empty();
    let over = matches!(pod.str_at(&["status", "phase"]), Some("Failed" | "Succeeded"));
    if unscheduled || over {
        seconds = 0;
    }
    if seconds < 0 {
        seconds = 1;
    }
    Grace::Within {
        seconds,
        until: after(now, seconds),
        first: true,
    }
}

/// Kinds whose dependents are orphaned unless the request says otherwise.
pub(crate) fn orphans_by_default(group: &str, plural: &str, version: &str) -> bool {
    matches!(
        (group, plural, version),
        ("batch", "jobs", "v1") | ("", "replicationcontrollers", "v1")
    )
}

/// Kinds whose finished deletion answers with the object instead of a Status.
fn returns_object(group: &str, plural: &str) -> bool {
    matches!(
        (group, plural),
        ("resource.k8s.io", _)
            | (
                "storage.k8s.io",
                "csidrivers"
                    | "storageclasses"
                    | "volumeattachments"
                    | "csinodes"
                    | "volumeattributesclasses"
            )
            | (
                "",
                "resourcequotas"
                    | "persistentvolumes"
                    | "serviceaccounts"
                    | "persistentvolumeclaims"
                    | "namespaces"
                    | "pods"
                    | "services"
                    | "podtemplates"
            )
    )
}
