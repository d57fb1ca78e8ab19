//! `pods/eviction`: deletes a pod if its PodDisruptionBudget allows it.
//!
//! The budget is decremented by a write of its own before the pod is marked, so that two evictions can never share one
//! allowed disruption. Source: upstream's `pkg/registry/core/pod/storage/eviction.go`.

use super::Handler;
use crate::admission::Operation;
use crate::cx::Cx;
use crate::kind::Kind;
use crate::negotiate::Media;
use crate::pipeline::read_body;
use crate::registry::Op;
use crate::registry::delete::DeleteOptions;
use crate::registry::update::{Mutation, UpdateOptions};
use crate::status::{ApiError, Result, Status};
use crate::{ApiServer, Body, codec, encode, storage};
use async_trait::async_trait;
use machinery::selector::Selector;
use machinery::{Map, Value, value};

/// The handler.
pub(super) struct Eviction;

/// A budget remembers no more pods than this (upstream's limit).
const MAX_DISRUPTED: usize = 2000;

fn refused(message: &str) -> ApiError {
    ApiError::too_many_requests(
        "Cannot evict pod as it would violate the pod's disruption budget.",
        0,
    )
    .with_causes(vec![(
        "DisruptionBudget".into(),
        message.to_owned(),
        String::new(),
    )])
}

/// Takes one disruption from a budget.
struct Decrement {
    pod: String,
}

impl Mutation for Decrement {
    fn apply(&self, old: &Value, op: &Op<'_>) -> Result<Value> {
        let name = old.str_at(&["metadata", "name"]).unwrap_or_default();
        let status = |field: &str| old.int_at(&["status", field]).unwrap_or(0);
        if status("observedGeneration") < old.int_at(&["metadata", "generation"]).unwrap_or(0) {
            let mut e = refused(&format!(
                "The disruption budget {name} is still being processed by the server."
            ));
            if let Some(details) = &mut e.0.details {
                details.retry_after_seconds = 10;
            }
            return Err(e);
        }
        let allowed = status("disruptionsAllowed");
        if allowed < 0 {
            return Err(ApiError::forbidden(
                "policy",
                "poddisruptionbudget",
                name,
                "pdb disruptions allowed is negative",
            ));
        }
        if old.at(&["status", "disruptedPods"]).as_map().map_or(0, Map::len) > MAX_DISRUPTED {
            let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
            return Err(ApiError::forbidden("policy", "poddisruptionbudget", name, why));
        }
        if allowed == 0 {
            return Err(refused(&format!(
                "The disruption budget {name} needs {} healthy pods and has {} currently",
                status("desiredHealthy"),
                status("currentHealthy")
            )));
        }
        let mut new = old.clone();
        let fields = new.at_mut(&["status"]);
        fields.insert("disruptionsAllowed", allowed - 1);
        fields
            .map_entry("disruptedPods")
            .insert(self.pod.clone(), op.cx.timestamp());
        if allowed == 1
            && let Some(Value::List(conditions)) = fields.get_mut("conditions")
        {
            for condition in conditions
                .iter_mut()
                .filter(|c| c.str_at(&["type"]) == Some("DisruptionAllowed"))
            {
                if let Value::Map(map) = condition {
                    map.insert("status", "False");
                    map.insert("reason", "InsufficientPods");
                    map.insert("lastTransitionTime", op.cx.timestamp());
                }
            }
        }
        Ok(new)
    }
}

/// Adds the condition that says why the pod goes.
struct Mark;

impl Mutation for Mark {
    fn apply(&self, old: &Value, op: &Op<'_>) -> Result<Value> {
        let mut pod = old.clone();
        let conditions = pod
            .at_mut(&["status"])
            .entry("conditions", || Value::List(Vec::new()));
        if let Value::List(list) = conditions {
            list.retain(|c| c.str_at(&["type"]) != Some("DisruptionTarget"));
            list.push(value!({
                "type": "DisruptionTarget",
                "status": "True",
                "lastProbeTime": null,
                "lastTransitionTime": (op.cx.timestamp()),
                "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting"
            }));
        }
        Ok(pod)
    }
}

fn is_ready(pod: &Value) -> bool {
    let mut conditions = pod.list_at(&["status", "conditions"]).iter();
    conditions.any(|c| c.str_at(&["type"]) == Some("Ready") && c.str_at(&["status"]) == Some("True"))
}

fn ignores_budget(pod: &Value) -> bool {
    matches!(
        pod.str_at(&["status", "phase"]),
        Some("Succeeded" | "Failed" | "Pending")
    ) || !pod.at(&["metadata", "deletionTimestamp"]).is_null()
}

/// Whether an unready pod may go without touching the budget.
fn unready_may_go(budget: &Value) -> bool {
    let status = |field: &str| budget.int_at(&["status", field]).unwrap_or(0);
    budget.str_at(&["spec", "unhealthyPodEvictionPolicy"]) == Some("AlwaysAllow")
        || (status("currentHealthy") >= status("desiredHealthy") && status("desiredHealthy") > 0)
}

impl Eviction {
    /// The budgets that cover a pod.
    async fn budgets(&self, op: &Op<'_>, pod: &Value) -> Result<Vec<Value>> {
        let labels = pod.at(&["metadata", "labels"]);
        let all = op
            .reader
            .list("policy", "poddisruptionbudgets", op.namespace())
            .await?;
        Ok(all
            .into_iter()
            .filter(|budget| {
                let selector = budget.at(&["spec", "selector"]);
                !selector.is_null() && Selector::from_object(selector).is_ok_and(|s| s.matches_map(labels))
            })
            .collect())
    }

    async fn take(
        &self,
        server: &ApiServer,
        cx: &Cx,
        budget: &Value,
        pod: &str,
        dry_run: bool,
    ) -> Result<()> {
        let kind = server
            .reader(&cx.cluster)
            .kind("policy", "poddisruptionbudgets")?;
        let op = Op::new(server, cx, &kind);
        let name = budget.str_at(&["metadata", "name"]).unwrap_or_default();
        let options = UpdateOptions {
            subresource: "status",
            rules_subresource: "status",
            operation: Operation::Update,
            dry_run,
            judged: false,
        };
        op.update(name, &Decrement { pod: pod.to_owned() }, options)
            .await?;
        Ok(())
    }
}

#[async_trait]
impl Handler for Eviction {
    fn paths(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        &[("", "pods", "eviction")]
    }

    async fn call(
        &self,
        server: &ApiServer,
        cx: &Cx,
        kind: &Kind,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>> {
        if cx.info.verb != "create" {
            return Err(ApiError::method_unknown());
        }
        let op = Op::new(server, cx, kind);
        let media = Media::of_body(request.headers())?;
        let body = read_body(request.into_body()).await?;
        let ty = codec::named_type(kind.catalog, "io.k8s.api.policy.v1.Eviction")?;
        let mut eviction = op.decode_as(&body, media, ("policy", "v1", "Eviction"), ty)?;
        let name = cx.info.name.as_str();
        if eviction.str_at(&["metadata", "name"]).is_some_and(|n| n != name) {
            return Err(ApiError::bad_request(
                "name in URL does not match name in Eviction object",
            ));
        }
        crate::registry::meta::ensure_name(&mut eviction, name)?;
        let delete_options = eviction.at(&["deleteOptions"]).clone();
        let raw = match &delete_options {
            Value::Null => Vec::new(),
            other => codec::to_json(other, false),
        };
        let mut options = DeleteOptions::read(&op, &raw, Media::Json)?;
        let pod = storage::load(&*op.record(name).await?, kind)?;
        let attempt = op.attempt(
            Operation::Create,
            "eviction",
            name,
            eviction,
            &Value::Null,
            options.dry_run,
        );
        op.admit(&attempt).await?;

        if !ignores_budget(&pod) {
            let budgets = self.budgets(&op, &pod).await?;
            if budgets.len() > 1 {
                return Err(ApiError::unknown(
                    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
                ));
            }
            if let Some(budget) = budgets.first() {
                if !is_ready(&pod) && unready_may_go(budget) {
                    let version = pod.str_at(&["metadata", "resourceVersion"]).map(str::to_owned);
                    options.resource_version = options.resource_version.or(version);
                } else {
                    self.take(server, cx, budget, name, options.dry_run).await?;
                }
            }
        }
        if !options.dry_run {
            let update = UpdateOptions {
                subresource: "eviction",
                rules_subresource: "status",
                operation: Operation::Update,
                dry_run: false,
                judged: false,
            };
            let marked = op.update(name, &Mark, update).await?;
            if options.resource_version.is_some() {
                options.resource_version = marked
                    .object
                    .str_at(&["metadata", "resourceVersion"])
                    .map(str::to_owned);
            }
        }
        op.delete(name, &options).await?;
        let mut status = Status::success("", "", "", "");
        if let Value::Map(map) = &mut status {
            map.remove("details");
            map.insert("code", 201);
        }
        encode::other(&status, 201, cx, kind.catalog)
    }
}
