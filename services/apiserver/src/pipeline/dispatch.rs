//! From an authorized request to the code that answers it.

use super::read_body;
use crate::admission::Operation;
use crate::cx::Cx;
use crate::encode;
use crate::encode::event::EventEncoder;
use crate::encode::table::Include;
use crate::kind::Kind;
use crate::negotiate::Media;
use crate::registry::Op;
use crate::registry::delete::{DeleteOptions, Propagation, orphans_by_default};
use crate::registry::list::ListQuery;
use crate::registry::patch::{Language, Patch};
use crate::registry::update::{Replace, UpdateOptions};
use crate::status::{ApiError, Result};
use crate::{ApiServer, Body, discovery, health, openapi, subresources};
use futures::StreamExt;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use std::sync::Arc;

/// Answers a request.
pub(super) async fn dispatch(server: &ApiServer, cx: &Cx, request: Request<Body>) -> Result<Response<Body>> {
    if !cx.info.is_resource {
        let (parts, _body) = request.into_parts();
        return path(server, cx, &parts).await;
    }
    let info = &cx.info;
    let Some(kind) = server
        .kinds(cx.cluster.minor)
        .get(&info.group, &info.version, &info.resource)
        .cloned()
    else {
        return Ok(encode::text(404, "404 page not found\n"));
    };
    let scoped = !info.namespace.is_empty() && !kind.is("", "namespaces");
    if scoped && !kind.resource.namespaced {
        return Ok(encode::text(404, "404 page not found\n"));
    }
    if !info.subresource.is_empty() {
        return subresource(server, cx, &kind, request).await;
    }
    if kind.resource.namespaced
        && info.namespace.is_empty()
        && !matches!(info.verb, "list" | "watch" | "create")
    {
        return Ok(encode::text(404, "404 page not found\n"));
    }
    if let Some(handler) = handler(server, &kind, "") {
        return handler.call(server, cx, &kind, request).await;
    }
    if !kind.allows("", info.verb) || (request.method() == Method::POST && !info.name.is_empty()) {
        return Err(ApiError::method_unknown());
    }
    verb(server, cx, &kind, request).await
}

fn handler<'s>(server: &'s ApiServer, kind: &Kind, sub: &str) -> Option<&'s dyn subresources::Handler> {
    let wanted = (kind.group(), kind.plural(), sub);
    server
        .0
        .handlers
        .iter()
        .find(|h| h.paths().contains(&wanted))
        .map(|h| &**h)
}

async fn verb(
    server: &ApiServer,
    cx: &Cx,
    kind: &Arc<Kind>,
    request: Request<Body>,
) -> Result<Response<Body>> {
    let op = Op::new(server, cx, kind);
    let name = cx.info.name.as_str();
    match cx.info.verb {
        "get" => encode::record(&*op.get(name).await?, cx, kind),
        "list" => {
            let query = ListQuery::read(&op)?;
            let page = op.list(&query).await?;
            encode::list::page(page, cx, kind)
        }
        "watch" => watch(&op, kind).await,
        "create" => {
            let media = Media::of_body(request.headers())?;
            let body = read_body(request.into_body()).await?;
            let written = op.create(op.decode(&body, media)?).await?;
            encode::single(&written.object, 201, cx, kind)
        }
        "update" => {
            let media = Media::of_body(request.headers())?;
            let body = read_body(request.into_body()).await?;
            let object = op.decode(&body, media)?;
            crate::registry::meta::ensure_name(&mut object.clone(), name)?;
            let options = UpdateOptions::plain("", op.dry_run()?);
            match op.update(name, &Replace(object.clone()), options).await {
                Err(e) if e.is_not_found() && kind.rules.create_on_update() => {
                    let written = op.create(object).await?;
                    encode::single(&written.object, 201, cx, kind)
                }
                result => encode::single(&result?.object, 200, cx, kind),
            }
        }
        "patch" => {
            let language = Language::of(request.headers())?;
            let body = read_body(request.into_body()).await?;
            let patch = Patch::read(&op, language, &body, kind.resource.ty)?;
            let written = op
                .update(name, &patch, UpdateOptions::plain("", op.dry_run()?))
                .await?;
            encode::single(&written.object, 200, cx, kind)
        }
        "delete" => {
            let media = Media::of_body(request.headers())?;
            let body = read_body(request.into_body()).await?;
            let options = DeleteOptions::read(&op, &body, media)?;
            if options.propagation.is_none()
                && kind.is("batch", "jobs")
                && orphans_by_default("batch", "jobs", "v1")
            {
                cx.warn(
                    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to \
                     remove them or set propagationPolicy=Orphan to suppress this warning",
                );
            }
            let deleted = op.delete(name, &options).await?;
            let cascades = matches!(options.propagation, Some(Propagation::Foreground));
            let code = if !deleted.gone && cascades { 202 } else { 200 };
            let body = op.deleted_body(deleted);
            if body.str_at(&["kind"]) == Some("Status") {
                return encode::other(&body, code, cx, kind.catalog);
            }
            encode::single(&body, code, cx, kind)
        }
        "deletecollection" => {
            let media = Media::of_body(request.headers())?;
            let body = read_body(request.into_body()).await?;
            let options = DeleteOptions::read(&op, &body, media)?;
            let (deleted, listed) = op.delete_collection(&options).await?;
            encode::list::objects(deleted, Some(listed), cx, kind)
        }
        _ => Err(ApiError::method_unknown()),
    }
}

async fn watch(op: &Op<'_>, kind: &Arc<Kind>) -> Result<Response<Body>> {
    let cx = op.cx;
    let query = ListQuery::read(op)?;
    let encoder = EventEncoder::new(cx.accept, Include::of(cx)?, cx.now);
    let content_type = encoder.content_type();
    let stream = op.watch(kind.clone(), query, encoder).await?;
    let guard = op.server.0.metrics.long_running(cx);
    let frames = futures::stream::unfold((stream, guard), |(mut stream, guard)| async move {
        let bytes = stream.next().await?;
        Some((Ok::<_, std::io::Error>(Frame::data(bytes)), (stream, guard)))
    });
    let mut response = encode::respond(200, content_type, bytes::Bytes::new());
    *response.body_mut() = StreamBody::new(frames.boxed()).boxed_unsync();
    Ok(response)
}

async fn subresource(
    server: &ApiServer,
    cx: &Cx,
    kind: &Arc<Kind>,
    request: Request<Body>,
) -> Result<Response<Body>> {
    let info = &cx.info;
    let sub = info.subresource.as_str();
    if let Some(handler) = handler(server, kind, sub) {
        return handler.call(server, cx, kind, request).await;
    }
    if kind.subresource(sub).is_none() {
        return Ok(encode::text(404, "404 page not found\n"));
    }
    if !kind.allows(sub, info.verb) {
        return Err(ApiError::method_unknown());
    }
    // What is left is a part of the object itself: status, approval, ephemeralcontainers, resize, finalize.
    let op = Op::new(server, cx, kind);
    match info.verb {
        "get" => encode::record(&*op.get(&info.name).await?, cx, kind),
        "update" => {
            let media = Media::of_body(request.headers())?;
            let body = read_body(request.into_body()).await?;
            let object = op.decode(&body, media)?;
            let written = op.update(&info.name, &Replace(object), part(sub, &op)?).await?;
            encode::single(&written.object, 200, cx, kind)
        }
        "patch" => {
            let language = Language::of(request.headers())?;
            let body = read_body(request.into_body()).await?;
            let patch = Patch::read(&op, language, &body, kind.resource.ty)?;
            let written = op.update(&info.name, &patch, part(sub, &op)?).await?;
            encode::single(&written.object, 200, cx, kind)
        }
        _ => Err(ApiError::method_unknown()),
    }
}

fn part<'a>(sub: &'a str, op: &Op<'_>) -> Result<UpdateOptions<'a>> {
    Ok(UpdateOptions {
        operation: Operation::Update,
        ..UpdateOptions::plain(sub, op.dry_run()?)
    })
}

/// Requests that are about no resource.
async fn path(server: &ApiServer, cx: &Cx, request: &http::request::Parts) -> Result<Response<Body>> {
    let path = cx.info.path.as_str();
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return Err(ApiError::method_unknown());
    }
    if let Some(response) = health::answer(server, cx, path).await {
        return Ok(response);
    }
    if let Some(response) = openapi::answer(server, cx, path, &request.headers)? {
        return Ok(response);
    }
    if let Some(response) = discovery::answer(server, cx, path, &request.headers)? {
        return Ok(response);
    }
    if let Some(response) = subresources::public_documents(cx, path) {
        return Ok(response);
    }
    Ok(encode::text(404, "404 page not found\n"))
}
