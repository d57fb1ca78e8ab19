//! `scale`: `autoscaling/v1` Scale over any kind that says where its numbers are.

use super::Handler;
use crate::admission::Operation;
use crate::cx::Cx;
use crate::kind::Kind;
use crate::negotiate::Media;
use crate::pipeline::read_body;
use crate::registry::Op;
use crate::registry::patch::{Language, Patch};
use crate::registry::update::{Mutation, UpdateOptions};
use crate::status::{ApiError, Result};
use crate::{ApiServer, Body, codec, encode, storage};
use async_trait::async_trait;
use machinery::selector::Selector;
use machinery::{Map, Value};

/// The handler.
pub(super) struct Scale;

/// The Scale of an object.
fn scale_of(object: &Value, at: &kinds::Scale) -> Value {
    let mut meta = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.at(&["metadata"]).get(field) {
            meta.insert(field, value.clone());
        }
    }
    let mut spec = Map::new();
    let replicas = object.at(at.spec_replicas).as_i64().unwrap_or(0);
    if replicas != 0 {
        spec.insert("replicas", replicas);
    }
    let mut status = Map::new();
    status.insert("replicas", object.at(at.status_replicas).as_i64().unwrap_or(0));
    let selector = object.at(at.selector);
    let structured = !selector["matchLabels"].is_null() || !selector["matchExpressions"].is_null();
    let parsed = if structured {
        Selector::from_object(selector).ok()
    } else {
        Some(Selector::from_map(selector))
    };
    if let Some(text) = parsed.map(|s| s.to_string()).filter(|t| !t.is_empty()) {
        status.insert("selector", text);
    }
    let mut scale = Map::new();
    scale.insert("kind", "Scale");
    scale.insert("apiVersion", "autoscaling/v1");
    scale.insert("metadata", meta);
    scale.insert("spec", spec);
    scale.insert("status", status);
    Value::Map(scale)
}

enum Change {
    Replace(Value),
    Patch(Patch),
}

/// A new Scale, to be applied to its object.
struct SetScale {
    change: Change,
    at: kinds::Scale,
}

impl Mutation for SetScale {
    fn apply(&self, old: &Value, op: &Op<'_>) -> Result<Value> {
        let name = old.str_at(&["metadata", "name"]).unwrap_or_default();
        let scale = match &self.change {
            Change::Replace(scale) => scale.clone(),
            Change::Patch(patch) => patch.patched(&scale_of(old, &self.at), op)?,
        };
        let given = scale.str_at(&["metadata", "name"]).unwrap_or_default();
        if !given.is_empty() && given != name {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({given}) does not match the name on the URL ({name})"
            )));
        }
        let replicas = scale.int_at(&["spec", "replicas"]).unwrap_or(0);
        if replicas < 0 {
            let message = format!("Invalid value: {replicas}: must be greater than or equal to 0");
            return Err(ApiError::invalid_field(
                "autoscaling",
                "Scale",
                name,
                "FieldValueInvalid",
                "spec.replicas",
                &message,
            ));
        }
        let mut new = old.clone();
        for field in ["resourceVersion", "uid"] {
            match scale.str_at(&["metadata", field]).filter(|v| !v.is_empty()) {
                Some(value) => new.at_mut(&["metadata"]).insert(field, value.to_owned()),
                None => new.at_mut(&["metadata"]).remove(field),
            };
        }
        if let Some((last, path)) = self.at.spec_replicas.split_last() {
            new.at_mut(path).insert(*last, replicas);
        }
        Ok(new)
    }
}

#[async_trait]
impl Handler for Scale {
    fn paths(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        &[
            ("apps", "deployments", "scale"),
            ("apps", "replicasets", "scale"),
            ("apps", "statefulsets", "scale"),
            ("", "replicationcontrollers", "scale"),
        ]
    }

    async fn call(
        &self,
        server: &ApiServer,
        cx: &Cx,
        kind: &Kind,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>> {
        let op = Op::new(server, cx, kind);
        let Some(at) = kind.rules.scale() else {
            return Err(ApiError::no_resource());
        };
        let name = cx.info.name.as_str();
        let ty = codec::named_type(kind.catalog, "io.k8s.api.autoscaling.v1.Scale")?;
        let change = match cx.info.verb {
            "get" => {
                let object = storage::load(&*op.get(name).await?, kind)?;
                return encode::other(&scale_of(&object, &at), 200, cx, kind.catalog);
            }
            "update" => {
                let media = Media::of_body(request.headers())?;
                let body = read_body(request.into_body()).await?;
                Change::Replace(op.decode_as(&body, media, ("autoscaling", "v1", "Scale"), ty)?)
            }
            "patch" => {
                let language = Language::of(request.headers())?;
                let body = read_body(request.into_body()).await?;
                Change::Patch(Patch::read(&op, language, &body, ty)?)
            }
            _ => return Err(ApiError::method_unknown()),
        };
        let options = UpdateOptions {
            subresource: "scale",
            rules_subresource: "",
            operation: Operation::Update,
            dry_run: op.dry_run()?,
            judged: true,
        };
        let written = op.update(name, &SetScale { change, at }, options).await?;
        encode::other(&scale_of(&written.object, &at), 200, cx, kind.catalog)
    }
}
