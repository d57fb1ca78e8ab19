//! The way of a request: identity, fairness, authorization, dispatch, answer; with metrics, audit and a span around it.
//!
//! What must stay true: nothing of a request is looked at by a handler before it is authenticated and authorized, and a panic
//! ends the one request that caused it.

mod dispatch;

use crate::cx::{Cx, warning_header};
use crate::negotiate::Accept;
use crate::query::Query;
use crate::request_info::RequestInfo;
use crate::status::ApiError;
use crate::{ApiServer, Body, audit, encode, limits, metrics};
use auth::{Attributes, Cluster, Credentials, Decision, ImpersonationError, Unauthenticated, User};
use base::trace::TRACEPARENT;
use futures::FutureExt;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use store_api::Guard;
use tracing::Instrument;

/// What is known of the other side before the first byte of a request is read.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// Where it comes from.
    pub peer: Option<SocketAddr>,
    /// The certificates it showed. TLS has checked possession of the key, nothing else.
    pub chain: Arc<auth::Chain>,
    /// Who it is, for calls inside this process. Never set by a listener.
    pub user: Option<User>,
    /// A fence for every transaction of this connection.
    pub guard: Option<Guard>,
}

impl Connection {
    /// A caller inside this process.
    pub fn in_process(user: User) -> Self {
        Self {
            user: Some(user),
            ..Self::default()
        }
    }
}

impl ApiServer {
    /// Answers one request. Never fails: every error is an answer.
    pub async fn handle(
        &self,
        cluster: Arc<Cluster>,
        connection: &Connection,
        request: Request<Body>,
    ) -> Response<Body> {
        let query = Query::parse(request.uri().query().unwrap_or(""));
        let info = RequestInfo::parse(request.method(), request.uri().path(), &query);
        let long = info.is_long_running();
        let id = uuid::Uuid::new_v4().to_string();
        let span = tracing::debug_span!(
            "request", cluster = %cluster.id, id = %id, verb = info.verb, resource = %info.resource, code = tracing::field::Empty
        );
        if let Some(parent) = request.headers().get(TRACEPARENT).and_then(|v| v.to_str().ok()) {
            base::trace::accept(&span, parent);
        }
        let mut entry = audit::Entry::begin(
            &id,
            &info,
            request.uri(),
            request.headers(),
            connection,
            self.clock().now(),
        );
        let head_only = request.method() == http::Method::HEAD;
        let parsed = Parsed {
            query,
            info,
            long,
            id,
        };
        let labels = metrics::Labels::of(&parsed.info, parsed.query.has("dryRun"));
        let counted = self.0.metrics.begin(&cluster.id, labels, long);
        let response = AssertUnwindSafe(self.answer(&cluster, connection, request, &parsed, &mut entry))
            .catch_unwind()
            .instrument(span.clone())
            .await;
        let mut response = response.unwrap_or_else(|_panic| {
            tracing::error!(cluster = %cluster.id, path = %parsed.info.path, "a request panicked");
            let error = ApiError::internal("the request failed unexpectedly");
            encode::error(&error, Accept::JSON, None)
        });
        if let Ok(id) = HeaderValue::from_str(&parsed.id) {
            response.headers_mut().insert("audit-id", id);
        }
        if head_only {
            *response.body_mut() = encode::full(bytes::Bytes::new());
        }
        let code = response.status().as_u16();
        span.record("code", code);
        counted.finish(code);
        if let Some(sink) = &self.0.options.audit {
            sink.log(&cluster.id, entry.finish(code, self.clock().now()));
        }
        response
    }

    async fn answer(
        &self,
        cluster: &Arc<Cluster>,
        connection: &Connection,
        request: Request<Body>,
        parsed: &Parsed,
        entry: &mut audit::Entry,
    ) -> Response<Body> {
        let kinds = self.kinds(cluster.minor);
        let convert = parsed.info.is_resource && parsed.info.subresource.is_empty();
        let accept = Accept::negotiate(
            request.headers(),
            parsed.query.get("pretty"),
            convert
                && matches!(
                    parsed.info.verb,
                    "get" | "list" | "watch" | "create" | "update" | "patch" | "delete"
                ),
            parsed.info.verb == "watch",
        );
        // Errors are sent in JSON to a client that accepts nothing we have.
        let fallback = accept.as_ref().map_or(Accept::JSON, |a| *a);
        let fail = |e: ApiError| encode::error(&e, fallback, Some(kinds.catalog));

        let user = match self
            .identify(cluster, connection, request.headers(), &parsed.info.path)
            .await
        {
            Ok(user) => user,
            Err(e) => return fail(e),
        };
        entry.set_user(&user);
        let Some(permit) = self.0.fairness.enter(&cluster.id, parsed.long) else {
            return fail(ApiError::too_many_requests(
                "too many requests, please try again later",
                1,
            ));
        };
        if let Err(e) = self.permit(cluster, &user, parsed).await {
            return fail(e);
        }
        let strict = parsed.info.is_resource
            && !matches!(
                parsed.info.subresource.as_str(),
                "log" | "proxy" | "exec" | "attach" | "portforward"
            );
        let accept = match accept {
            Ok(accept) => accept,
            Err(e) if strict => return fail(e),
            Err(_) => Accept::JSON,
        };
        let mut cx = Cx::new(
            cluster.clone(),
            user,
            parsed.info.clone(),
            parsed.query.clone(),
            accept,
            self.clock().now(),
            parsed.id.clone(),
            connection.guard.clone(),
        );
        cx.gzip = encode::takes_gzip(request.headers());
        let work = dispatch::dispatch(self, &cx, request);
        let result = if parsed.long {
            work.await
        } else {
            match tokio::time::timeout(limits::REQUEST, work).await {
                Ok(result) => result,
                Err(_elapsed) => Err(ApiError::timeout(
                    "request did not complete within requested timeout - context deadline exceeded",
                    0,
                )),
            }
        };
        let mut response = match result {
            Ok(response) => response,
            Err(e) => fail(e),
        };
        for warning in cx.warnings() {
            if let Some(value) = warning_header(&warning) {
                response.headers_mut().append("warning", value);
            }
        }
        if parsed.long {
            // The place is taken until the stream ends.
            response = response.map(|body| {
                body.map_frame(move |frame| {
                    let _held = &permit;
                    frame
                })
                .boxed_unsync()
            });
        }
        response
    }

    async fn identify(
        &self,
        cluster: &Arc<Cluster>,
        connection: &Connection,
        headers: &http::HeaderMap,
        path: &str,
    ) -> Result<User, ApiError> {
        let user = match &connection.user {
            Some(user) => return Ok(user.clone()),
            None => {
                let credentials = Credentials::new(connection.chain.clone(), headers);
                let user = self
                    .authenticator()
                    .authenticate(cluster, &credentials, path)
                    .await;
                user.map_err(|e| match e {
                    Unauthenticated::Refused(why) => {
                        tracing::debug!(cluster = %cluster.id, %why, "refused a credential");
                        ApiError::unauthorized()
                    }
                    Unauthenticated::Lookup(e) => ApiError::internal(e.to_string()),
                })?
            }
        };
        match auth::impersonate(self.authorizer(), &cluster.id, &user, headers).await {
            Ok(None) => Ok(user),
            Ok(Some(other)) => Ok(other),
            Err(e) => Err(impersonation_error(&e)),
        }
    }

    async fn permit(&self, cluster: &Arc<Cluster>, user: &User, parsed: &Parsed) -> Result<(), ApiError> {
        let info = &parsed.info;
        let attributes = attributes(info, user, &parsed.query);
        let decision = self.authorizer().authorize(&cluster.id, &attributes).await;
        match decision.map_err(|e| ApiError::internal(e.to_string()))? {
            Decision::Allow(_) => Ok(()),
            Decision::NoOpinion(why) | Decision::Deny(why) => {
                let mut error = ApiError::forbidden(&info.group, &info.resource, &info.name, "");
                error.0.message = attributes.forbidden_message(&why);
                Err(error)
            }
        }
    }
}

fn impersonation_error(error: &ImpersonationError) -> ApiError {
    let text = error.to_string();
    match error {
        ImpersonationError::BadRequest(_) => ApiError::bad_request(text),
        ImpersonationError::Forbidden(_) => {
            let mut e = ApiError::forbidden("", "", "", "");
            e.0.message = text;
            e
        }
        ImpersonationError::Lookup(_) => ApiError::internal(text),
    }
}

/// A request's attributes for authorization.
pub fn attributes<'a>(info: &'a RequestInfo, user: &'a User, query: &'a Query) -> Attributes<'a> {
    if !info.is_resource {
        return Attributes::path(user, info.verb, &info.path);
    }
    Attributes {
        version: &info.version,
        subresource: &info.subresource,
        namespace: &info.namespace,
        name: &info.name,
        field_selector: match info.verb {
            "list" | "watch" | "deletecollection" => query.get("fieldSelector").unwrap_or(""),
            _ => "",
        },
        ..Attributes::resource(user, info.verb, &info.group, &info.resource)
    }
}

struct Parsed {
    query: Query,
    info: RequestInfo,
    long: bool,
    id: String,
}

/// Reads a body up to the limit.
pub async fn read_body(body: Body) -> Result<bytes::Bytes, ApiError> {
    let limited = http_body_util::Limited::new(body, limits::MAX_BODY);
    let read = tokio::time::timeout(Duration::from_secs(30), limited.collect()).await;
    match read {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(e)) if e.is::<http_body_util::LengthLimitError>() => {
            Err(ApiError::too_large(limits::MAX_BODY))
        }
        Ok(Err(e)) => Err(ApiError::bad_request(format!("cannot read the body: {e}"))),
        Err(_elapsed) => Err(ApiError::timeout("the body did not arrive in time", 0)),
    }
}
