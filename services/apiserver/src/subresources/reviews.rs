//! Reviews: questions about users and rights that are answered and never stored.
//!
//! `authentication.k8s.io`: TokenReview, SelfSubjectReview. `authorization.k8s.io`: SubjectAccessReview and its kin,
//! SelfSubjectRulesReview. Every answer is about the cluster of the request.

use super::Handler;
use crate::cx::Cx;
use crate::kind::Kind;
use crate::negotiate::Media;
use crate::pipeline::read_body;
use crate::registry::Op;
use crate::status::{ApiError, Result};
use crate::{ApiServer, Body, encode};
use async_trait::async_trait;
use auth::{Attributes, Decision, Rule, Unauthenticated, User};
use http::Response;
use machinery::{Map, Value};
use std::collections::BTreeMap;

/// The handler.
pub(super) struct Reviews;

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";
/// The most audiences and groups that a review may name.
const MAX_NAMES: usize = 1024;

#[async_trait]
impl Handler for Reviews {
    fn paths(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        &[
            (AUTHENTICATION, "tokenreviews", ""),
            (AUTHENTICATION, "selfsubjectreviews", ""),
            (AUTHORIZATION, "subjectaccessreviews", ""),
            (AUTHORIZATION, "localsubjectaccessreviews", ""),
            (AUTHORIZATION, "selfsubjectaccessreviews", ""),
            (AUTHORIZATION, "selfsubjectrulesreviews", ""),
        ]
    }

    async fn call(
        &self,
        server: &ApiServer,
        cx: &Cx,
        kind: &Kind,
        request: http::Request<Body>,
    ) -> Result<Response<Body>> {
        if cx.info.verb != "create" || !cx.info.name.is_empty() {
            return Err(ApiError::method_unknown());
        }
        let op = Op::new(server, cx, kind);
        op.dry_run()?;
        let media = Media::of_body(request.headers())?;
        let body = read_body(request.into_body()).await?;
        let mut review = op.decode(&body, media)?;
        let status = match kind.plural() {
            "tokenreviews" => token(server, cx, &review).await?,
            "selfsubjectreviews" => {
                let mut map = Map::new();
                map.insert("userInfo", user_info(&cx.user));
                map
            }
            "selfsubjectrulesreviews" => rules(server, cx, &review).await?,
            "selfsubjectaccessreviews" => access(server, cx, kind, &review, &cx.user).await?,
            other => {
                if other == "localsubjectaccessreviews" {
                    check_namespace(cx, kind, &review)?;
                }
                let subject = subject(kind, &review, cx)?;
                access(server, cx, kind, &review, &subject).await?
            }
        };
        if let Value::Map(map) = &mut review {
            map.insert("status", status);
            map.entry("metadata", Value::map);
        }
        encode::single(&review, 201, cx, kind)
    }
}

fn texts<'a>(list: impl IntoIterator<Item = &'a (impl AsRef<str> + ?Sized + 'a)>) -> Value {
    Value::List(
        list.into_iter()
            .map(|t| Value::from(t.as_ref().to_owned()))
            .collect(),
    )
}

/// `UserInfo`.
fn user_info(user: &User) -> Value {
    let mut map = Map::new();
    map.insert("username", user.name.clone());
    if !user.uid.is_empty() {
        map.insert("uid", user.uid.clone());
    }
    if !user.groups.is_empty() {
        map.insert("groups", texts(&user.groups));
    }
    if !user.extra.is_empty() {
        let extra: Map = user
            .extra
            .iter()
            .map(|(k, v)| (k.clone().into(), texts(v)))
            .collect();
        map.insert("extra", extra);
    }
    Value::Map(map)
}

async fn token(server: &ApiServer, cx: &Cx, review: &Value) -> Result<Map> {
    let token = review.str_at(&["spec", "token"]).unwrap_or_default();
    if token.is_empty() {
        return Err(ApiError::bad_request(
            "token is required for TokenReview in authentication",
        ));
    }
    let audiences = review.list_at(&["spec", "audiences"]);
    if audiences.len() > MAX_NAMES {
        return Err(ApiError::bad_request("too many audiences"));
    }
    let audiences: Vec<String> = audiences
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let mut status = Map::new();
    match server.authenticator().token(&cx.cluster, token, &audiences).await {
        Ok(known) => {
            status.insert("authenticated", true);
            status.insert("user", user_info(&known.user));
            if !known.audiences.is_empty() {
                status.insert("audiences", texts(&known.audiences));
            }
        }
        Err(Unauthenticated::Refused(why)) => {
            status.insert("user", Value::map());
            status.insert("error", format!("[invalid bearer token, {why}]"));
        }
        Err(Unauthenticated::Lookup(e)) => return Err(ApiError::internal(e.to_string())),
    }
    Ok(status)
}

fn invalid(kind: &Kind, field: &str, message: &str) -> ApiError {
    ApiError::invalid_field(
        AUTHORIZATION,
        kind.kind(),
        "",
        "FieldValueInvalid",
        field,
        message,
    )
}

fn check_namespace(cx: &Cx, kind: &Kind, review: &Value) -> Result<()> {
    let named = review
        .str_at(&["spec", "resourceAttributes", "namespace"])
        .unwrap_or_default();
    if review.at(&["spec", "resourceAttributes"]).is_null() {
        let message = "Invalid value: null: must be specified";
        return Err(invalid(kind, "spec.resourceAttributes", message));
    }
    if named != cx.info.namespace {
        let why = format!(
            "spec.resourceAttributes.namespace must match namespace: {}",
            cx.info.namespace
        );
        return Err(ApiError::bad_request(why));
    }
    Ok(())
}

/// Whom a SubjectAccessReview is about.
fn subject(kind: &Kind, review: &Value, cx: &Cx) -> Result<User> {
    let spec = &review["spec"];
    let groups = spec.list_at(&["groups"]);
    if groups.len() > MAX_NAMES {
        return Err(ApiError::bad_request("too many groups"));
    }
    let name = spec.str_at(&["user"]).unwrap_or_default();
    if name.is_empty() && groups.is_empty() {
        let message = "Invalid value: \"\": at least one of user or group must be specified";
        return Err(invalid(kind, "spec.user", message));
    }
    let strings = |list: &[Value]| {
        list.iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let extra: BTreeMap<String, Vec<String>> = spec
        .at(&["extra"])
        .as_map()
        .into_iter()
        .flat_map(Map::iter)
        .map(|(k, v)| (k.to_owned(), strings(v.as_list().unwrap_or_default())))
        .collect();
    Ok(User {
        name: name.to_owned(),
        uid: spec.str_at(&["uid"]).unwrap_or_default().to_owned(),
        groups: strings(groups),
        extra,
        source: cx.user.source,
    })
}

async fn access(server: &ApiServer, cx: &Cx, kind: &Kind, review: &Value, user: &User) -> Result<Map> {
    let spec = &review["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    if resource.is_null() == path.is_null() {
        let message =
            "Invalid value: exactly one of nonResourceAttributes or resourceAttributes must be specified";
        return Err(invalid(kind, "spec.resourceAttributes", message));
    }
    let selector = field_selector(&resource["fieldSelector"]);
    let text = |field: &'static str| resource.str_at(&[field]).unwrap_or_default();
    let asked = if resource.is_null() {
        let text = |field: &'static str| path.str_at(&[field]).unwrap_or_default();
        Attributes::path(user, text("verb"), text("path"))
    } else {
        Attributes {
            version: text("version"),
            subresource: text("subresource"),
            namespace: text("namespace"),
            name: text("name"),
            field_selector: &selector,
            ..Attributes::resource(user, text("verb"), text("group"), text("resource"))
        }
    };
    let decision = server.authorizer().authorize(cx.cluster_id(), &asked).await;
    let mut status = Map::new();
    let reason = match decision {
        Ok(Decision::Allow(why)) => {
            status.insert("allowed", true);
            why
        }
        Ok(Decision::NoOpinion(why)) => {
            status.insert("allowed", false);
            why
        }
        Ok(Decision::Deny(why)) => {
            status.insert("allowed", false);
            status.insert("denied", true);
            why
        }
        Err(e) => {
            status.insert("allowed", false);
            status.insert("evaluationError", e.to_string());
            String::new()
        }
    };
    if !reason.is_empty() {
        status.insert("reason", reason);
    }
    Ok(status)
}

/// A review's field selector as the text of a query.
fn field_selector(selector: &Value) -> String {
    if let Some(raw) = selector.str_at(&["rawSelector"]) {
        return raw.to_owned();
    }
    let terms = selector.list_at(&["requirements"]).iter().filter_map(|r| {
        let (key, values) = (r.str_at(&["key"])?, r.list_at(&["values"]));
        match (r.str_at(&["operator"]), values) {
            (Some("In"), [one]) => Some(format!("{key}={}", one.as_str()?)),
            (Some("NotIn"), [one]) => Some(format!("{key}!={}", one.as_str()?)),
            _ => None,
        }
    });
    terms.collect::<Vec<_>>().join(",")
}

async fn rules(server: &ApiServer, cx: &Cx, review: &Value) -> Result<Map> {
    let namespace = review.str_at(&["spec", "namespace"]).unwrap_or_default();
    if namespace.is_empty() {
        return Err(ApiError::bad_request("no namespace on request"));
    }
    let held = server
        .authorizer()
        .rules_for(cx.cluster_id(), &cx.user, namespace)
        .await;
    let held = held.map_err(|e| ApiError::internal(e.to_string()))?;
    let values = |rules: &[Rule], fields: &[&str]| {
        let one = |rule: &Rule| {
            let mut value = rule.to_value();
            if let Value::Map(map) = &mut value {
                map.retain(|k, _| fields.contains(&k));
            }
            value
        };
        Value::List(rules.iter().map(one).collect())
    };
    let mut status = Map::new();
    status.insert(
        "resourceRules",
        values(
            &held.resource,
            &["verbs", "apiGroups", "resources", "resourceNames"],
        ),
    );
    status.insert(
        "nonResourceRules",
        values(&held.non_resource, &["verbs", "nonResourceURLs"]),
    );
    status.insert("incomplete", held.incomplete);
    if !held.evaluation_error.is_empty() {
        status.insert("evaluationError", held.evaluation_error);
    }
    Ok(status)
}
