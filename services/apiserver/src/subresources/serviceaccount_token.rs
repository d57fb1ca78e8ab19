//! `serviceaccounts/token`: TokenRequest, by which kubelets and people get tokens of a service account.
//!
//! Source: upstream's `pkg/registry/core/serviceaccount/storage/token.go`. Differences: tokens never live longer than a day,
//! and the hour that kubelets ask for is not secretly extended to a year.

use super::Handler;
use crate::admission::Operation;
use crate::cx::Cx;
use crate::kind::Kind;
use crate::negotiate::Media;
use crate::pipeline::read_body;
use crate::registry::Op;
use crate::status::{ApiError, Result};
use crate::{ApiServer, Body, codec, encode};
use async_trait::async_trait;
use http::Response;
use jiff::SignedDuration;
use machinery::quote::go_quote;
use machinery::{Map, Value};
use pki::{BoundObject, ServiceAccountRef, TokenRequest};

/// The handler.
pub(super) struct ServiceAccountToken;

const GROUP: &str = "authentication.k8s.io";
const KIND: &str = "TokenRequest";
/// What a request that names no time gets, in seconds.
const DEFAULT_SECONDS: i64 = 3600;
/// The shortest life (upstream).
const MIN_SECONDS: i64 = 600;
/// The longest life.
const MAX_SECONDS: i64 = 24 * 3600;

/// What a token is bound to.
#[derive(Default)]
struct Bound {
    pod: Option<BoundObject>,
    node: Option<BoundObject>,
    secret: Option<BoundObject>,
}

fn reference(object: &Value) -> BoundObject {
    let text = |field: &'static str| object.str_at(&["metadata", field]).unwrap_or_default().to_owned();
    BoundObject {
        name: text("name"),
        uid: text("uid"),
    }
}

async fn must_get(op: &Op<'_>, plural: &str, namespace: &str, name: &str) -> Result<Value> {
    let found = op.reader.get_live("", plural, namespace, name).await?;
    found.ok_or_else(|| ApiError::not_found("", plural, name))
}

async fn bind(op: &Op<'_>, account: &str, wanted: &Value) -> Result<Bound> {
    let mut bound = Bound::default();
    if wanted.is_null() {
        return Ok(bound);
    }
    let text = |field: &'static str| wanted.str_at(&[field]).unwrap_or_default();
    let (name, namespace) = (text("name"), op.namespace());
    let object = match (text("apiVersion"), text("kind")) {
        ("v1", "Pod") => {
            let pod = must_get(op, "pods", namespace, name).await?;
            if pod.str_at(&["spec", "serviceAccountName"]) != Some(account) {
                return Err(ApiError::bad_request(format!(
                    "cannot bind token for serviceaccount {} to pod running with different serviceaccount name.",
                    go_quote(account)
                )));
            }
            if let Some(node) = pod.str_at(&["spec", "nodeName"]).filter(|n| !n.is_empty()) {
                let found = op.reader.get("", "nodes", "", node).await?;
                let nameless = || BoundObject {
                    name: node.to_owned(),
                    uid: String::new(),
                };
                bound.node = Some(found.as_ref().map_or_else(nameless, reference));
            }
            bound.pod = Some(reference(&pod));
            pod
        }
        ("v1", "Node") => {
            let node = must_get(op, "nodes", "", name).await?;
            bound.node = Some(reference(&node));
            node
        }
        ("v1", "Secret") => {
            let secret = must_get(op, "secrets", namespace, name).await?;
            bound.secret = Some(reference(&secret));
            secret
        }
        (version, kind) => {
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            let ty = format!("{group}/{version}, Kind={kind}");
            return Err(ApiError::bad_request(format!(
                "cannot bind token to object of type {ty}"
            )));
        }
    };
    let uid = text("uid");
    if !uid.is_empty() && object.str_at(&["metadata", "uid"]) != Some(uid) {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        );
        return Err(ApiError::conflict("", text("kind"), name, &why));
    }
    Ok(bound)
}

fn invalid(name: &str, field: &str, message: String) -> ApiError {
    ApiError::invalid_field(GROUP, KIND, name, "FieldValueInvalid", field, &message)
}

/// Fills in what the request leaves open and checks the rest.
fn complete(op: &Op<'_>, request: &mut Value, account: &Value) -> Result<i64> {
    let name = op.cx.info.name.as_str();
    for (field, must) in [("name", name), ("namespace", op.namespace())] {
        let given = request.str_at(&["metadata", field]).unwrap_or_default();
        if !given.is_empty() && given != must {
            let message = format!(
                "Invalid value: {}: must match the service account {field} if specified",
                go_quote(given)
            );
            return Err(invalid(name, &format!("metadata.{field}"), message));
        }
    }
    let uid = account.str_at(&["metadata", "uid"]).unwrap_or_default();
    if let Some(given) = request
        .str_at(&["metadata", "uid"])
        .filter(|u| !u.is_empty() && *u != uid)
    {
        let why = format!(
            "the UID in the token request ({given}) does not match the UID of the service account ({uid})"
        );
        return Err(ApiError::conflict(GROUP, KIND, name, &why));
    }
    let mut seconds = request
        .int_at(&["spec", "expirationSeconds"])
        .unwrap_or(DEFAULT_SECONDS);
    if seconds < MIN_SECONDS {
        let message = format!("Invalid value: {seconds}: may not specify a duration less than 10 minutes");
        return Err(invalid("", "spec.expirationSeconds", message));
    }
    if seconds > 1 << 32 {
        let message =
            format!("Invalid value: {seconds}: may not specify a duration larger than 2^32 seconds");
        return Err(invalid("", "spec.expirationSeconds", message));
    }
    if seconds > MAX_SECONDS {
        op.cx.warn(format!(
            "requested expiration of {seconds} seconds shortened to {MAX_SECONDS} seconds"
        ));
        seconds = MAX_SECONDS;
    }
    let meta = request.at_mut(&["metadata"]);
    meta.insert("name", name.to_owned());
    meta.insert("namespace", op.namespace().to_owned());
    meta.insert("uid", uid.to_owned());
    meta.insert("creationTimestamp", op.cx.timestamp());
    let spec = request.at_mut(&["spec"]);
    spec.insert("expirationSeconds", seconds);
    if spec.get("audiences").is_none_or(Value::is_zero) {
        spec.insert(
            "audiences",
            Value::List(vec![op.cx.cluster.issuer.clone().into()]),
        );
    }
    if let Value::Map(map) = request {
        map.remove("status");
    }
    Ok(seconds)
}

#[async_trait]
impl Handler for ServiceAccountToken {
    fn paths(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        &[("", "serviceaccounts", "token")]
    }

    async fn call(
        &self,
        server: &ApiServer,
        cx: &Cx,
        kind: &Kind,
        request: http::Request<Body>,
    ) -> Result<Response<Body>> {
        if cx.info.verb != "create" {
            return Err(ApiError::method_unknown());
        }
        let op = Op::new(server, cx, kind);
        let media = Media::of_body(request.headers())?;
        let body = read_body(request.into_body()).await?;
        let ty = codec::named_type(kind.catalog, "io.k8s.api.authentication.v1.TokenRequest")?;
        let mut wanted = op.decode_as(&body, media, (GROUP, "v1", KIND), ty)?;
        let name = cx.info.name.as_str();
        let account = must_get(&op, "serviceaccounts", op.namespace(), name).await?;
        let seconds = complete(&op, &mut wanted, &account)?;
        let mut attempt = op.attempt(
            Operation::Create,
            "token",
            name,
            wanted,
            &Value::Null,
            op.dry_run()?,
        );
        op.mutate(&mut attempt).await?;
        op.admit(&attempt).await?;
        let mut answer = attempt.object;
        let bound = bind(&op, name, answer.at(&["spec", "boundObjectRef"])).await?;
        let audiences = answer
            .list_at(&["spec", "audiences"])
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned);
        let request = TokenRequest {
            issuer: &cx.cluster.issuer,
            audiences: audiences.collect(),
            namespace: op.namespace(),
            account: {
                let BoundObject { name, uid } = reference(&account);
                ServiceAccountRef { name, uid }
            },
            pod: bound.pod,
            node: bound.node,
            secret: bound.secret,
            seconds,
            warn_after: None,
        };
        let signed = cx.cluster.keys.sign_token(request, cx.now);
        let (token, _) = signed.map_err(|e| ApiError::internal(format!("failed to generate token: {e}")))?;
        let ends = cx
            .now
            .saturating_add(SignedDuration::from_secs(seconds))
            .unwrap_or(cx.now);
        let mut status = Map::new();
        status.insert("token", token);
        status.insert("expirationTimestamp", base::clock::rfc3339(ends));
        if let Value::Map(map) = &mut answer {
            map.insert("status", status);
        }
        encode::other(&answer, 201, cx, kind.catalog)
    }
}
