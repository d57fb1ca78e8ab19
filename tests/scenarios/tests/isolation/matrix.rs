//! The rows: every verb of every kind.

use bytes::Bytes;
use serde_json::json;

/// One request.
pub(crate) struct Row {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
    pub(crate) verb: &'static str,
    pub(crate) streams: bool,
    /// Whether a node would answer it.
    pub(crate) passed_on: bool,
}

/// Every verb of every kind and sub-resource, and the paths that are about no kind. Writes are dry runs, so that the rows
/// can be tried in a cluster that goes on.
pub(crate) fn matrix() -> Vec<Row> {
    let mut rows = Vec::new();
    let streaming = [
        "twin/proxy",
        "twin/log",
        "twin/exec",
        "twin/attach",
        "twin/portforward",
    ];
    let mut row = |method, path: String, content_type, body: String, verb| {
        let passed_on = streaming.iter().any(|s| path.contains(s));
        rows.push(Row {
            method,
            path,
            content_type,
            body: body.into(),
            verb,
            streams: verb == "watch",
            passed_on,
        });
    };
    for r in &api::newest().resources {
        let prefix = if r.group.is_empty() {
            format!("/api/{}", r.version)
        } else {
            format!("/apis/{}/{}", r.group, r.version)
        };
        let scope = if r.namespaced { "/namespaces/default" } else { "" };
        let collection = format!("{prefix}{scope}/{}", r.plural);
        let version = if r.group.is_empty() {
            r.version.to_owned()
        } else {
            format!("{}/{}", r.group, r.version)
        };
        let object = json!({"apiVersion": version, "kind": r.kind, "metadata": {"name": "twin"}}).to_string();
        let subs = r.subresources.iter().map(|s| (s.name, &s.verbs));
        for (sub, verbs) in std::iter::once(("", &r.verbs)).chain(subs) {
            let one = if sub.is_empty() {
                format!("{collection}/twin")
            } else {
                format!("{collection}/twin/{sub}")
            };
            for &verb in verbs {
                let (json, patch, none) = ("application/json", "application/merge-patch+json", String::new());
                match verb {
                    "get" => row("GET", one.clone(), "", none, verb),
                    "list" => row("GET", collection.clone(), "", none, verb),
                    "watch" => row(
                        "GET",
                        format!("{collection}?watch=true&timeoutSeconds=60"),
                        "",
                        none,
                        verb,
                    ),
                    "create" if sub.is_empty() => row(
                        "POST",
                        format!("{collection}?dryRun=All"),
                        json,
                        object.clone(),
                        verb,
                    ),
                    "create" => row("POST", format!("{one}?dryRun=All"), json, "{}".into(), verb),
                    "update" => row("PUT", format!("{one}?dryRun=All"), json, object.clone(), verb),
                    "patch" => row(
                        "PATCH",
                        format!("{one}?dryRun=All"),
                        patch,
                        r#"{"metadata":{"labels":{"a":"b"}}}"#.into(),
                        verb,
                    ),
                    "delete" => row("DELETE", format!("{one}?dryRun=All"), "", none, verb),
                    "deletecollection" => row("DELETE", format!("{collection}?dryRun=All"), "", none, verb),
                    other => panic!("{} has a verb that this matrix does not know: {other}", r.plural),
                }
            }
        }
    }
    for path in [
        "/api",
        "/apis",
        "/api/v1",
        "/apis/apps/v1",
        "/openapi/v2",
        "/openapi/v3",
        "/metrics",
        "/nowhere",
    ] {
        row("GET", path.into(), "", String::new(), "get");
    }
    rows
}
