//! `pods/binding` (and `POST /bindings`): gives a pod its node.
//!
//! Source: upstream's `pkg/registry/core/pod/storage`: a pod is bound once, never while it is being deleted, and not while
//! scheduling gates remain; annotations and labels of the Binding go to the pod.

use super::Handler;
use crate::admission::Operation;
use crate::cx::Cx;
use crate::kind::Kind;
use crate::negotiate::Media;
use crate::pipeline::read_body;
use crate::registry::Op;
use crate::registry::update::{Mutation, UpdateOptions};
use crate::status::{ApiError, Result, Status};
use crate::{ApiServer, Body, codec, encode};
use async_trait::async_trait;
use machinery::{Value, value};

/// The handler.
pub(super) struct Binding;

/// A Binding that waits to be applied to its pod.
struct Bind(Value);

impl Mutation for Bind {
    fn apply(&self, old: &Value, op: &Op<'_>) -> Result<Value> {
        let name = old.str_at(&["metadata", "name"]).unwrap_or_default();
        let refuse = |why: &str| ApiError::conflict("", "pods/binding", name, why);
        if let Some(uid) = self.0.str_at(&["metadata", "uid"]).filter(|u| !u.is_empty())
            && old.str_at(&["metadata", "uid"]) != Some(uid)
        {
            let is = old.str_at(&["metadata", "uid"]).unwrap_or_default();
            return Err(refuse(&format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {is}"
            )));
        }
        if !old.at(&["metadata", "deletionTimestamp"]).is_null() {
            return Err(refuse(&format!(
                "pod {name} is being deleted, cannot be assigned to a host"
            )));
        }
        if let Some(node) = old.str_at(&["spec", "nodeName"]).filter(|n| !n.is_empty()) {
            return Err(refuse(&format!(
                "pod {name} is already assigned to node {node:?}"
            )));
        }
        if !old.list_at(&["spec", "schedulingGates"]).is_empty() {
            return Err(refuse(&format!("pod {name} has non-empty .spec.schedulingGates")));
        }
        let mut pod = old.clone();
        let node = self.0.at(&["target", "name"]).clone();
        pod.at_mut(&["spec"]).insert("nodeName", node);
        for field in ["annotations", "labels"] {
            for (key, value) in self
                .0
                .at(&["metadata", field])
                .as_map()
                .into_iter()
                .flat_map(machinery::Map::iter)
            {
                let path: &[&'static str] = if field == "labels" {
                    &["metadata", "labels"]
                } else {
                    &["metadata", "annotations"]
                };
                pod.at_mut(path).insert(key.to_owned(), value.clone());
            }
        }
        let now = op.cx.timestamp();
        let conditions = pod
            .at_mut(&["status"])
            .entry("conditions", || Value::List(Vec::new()));
        if let Value::List(list) = conditions {
            let before = list
                .iter()
                .position(|c| c.str_at(&["type"]) == Some("PodScheduled"));
            let mut changed = now.clone();
            if let Some(i) = before {
                let old = list.remove(i);
                if old.str_at(&["status"]) == Some("True")
                    && let Some(time) = old.str_at(&["lastTransitionTime"])
                {
                    changed = time.to_owned();
                }
            }
            list.push(value!({
                "type": "PodScheduled",
                "status": "True",
                "lastProbeTime": null,
                "lastTransitionTime": changed
            }));
        }
        Ok(pod)
    }

    fn admission_object(&self) -> Option<&Value> {
        Some(&self.0)
    }
}

#[async_trait]
impl Handler for Binding {
    fn paths(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        &[("", "pods", "binding"), ("", "bindings", "")]
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
        // The old form names the pod in the body: `POST …/bindings`.
        let pods = server.reader(&cx.cluster).kind("", "pods")?;
        let kind = if kind.plural() == "bindings" { &*pods } else { kind };
        let op = Op::new(server, cx, kind);
        let media = Media::of_body(request.headers())?;
        let body = read_body(request.into_body()).await?;
        let ty = codec::named_type(kind.catalog, "io.k8s.api.core.v1.Binding")?;
        let mut binding = op.decode_as(&body, media, ("", "v1", "Binding"), ty)?;
        let given = binding
            .str_at(&["metadata", "name"])
            .unwrap_or_default()
            .to_owned();
        let name = if cx.info.name.is_empty() {
            given.as_str()
        } else {
            cx.info.name.as_str()
        };
        if !given.is_empty() && given != name {
            return Err(ApiError::bad_request(
                "name in URL does not match name in Binding object",
            ));
        }
        crate::registry::meta::ensure_name(&mut binding, name)?;
        crate::registry::meta::ensure_namespace(&mut binding, &op)?;
        let invalid = |reason: &'static str, field: &str, message: &str| {
            ApiError::invalid_field("", "Binding", name, reason, field, message)
        };
        match binding.str_at(&["target", "kind"]).unwrap_or_default() {
            "" | "Node" => {}
            other => {
                let message =
                    format!("Unsupported value: {other:?}: supported values: \"Node\", \"<empty>\"");
                return Err(invalid("FieldValueNotSupported", "target.kind", &message));
            }
        }
        if binding.str_at(&["target", "name"]).unwrap_or_default().is_empty() {
            return Err(invalid("FieldValueRequired", "target.name", "Required value"));
        }
        let dry_run = op.dry_run()?;
        let options = UpdateOptions {
            subresource: "binding",
            rules_subresource: "binding",
            operation: Operation::Create,
            dry_run,
            judged: false,
        };
        op.update(name, &Bind(binding), options).await?;
        let mut status = Status::success("", "", "", "");
        if let Value::Map(map) = &mut status {
            map.remove("details");
            map.insert("code", 201);
        }
        encode::other(&status, 201, cx, kind.catalog)
    }
}
