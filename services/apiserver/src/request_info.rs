//! What a request asks for, read from its method, path and query alone.
//!
//! Source: the URL forms of upstream's `RequestInfoFactory`. A name in `fieldSelector=metadata.name=x` counts as the name, so that
//! a role with `resourceNames` can allow the list or watch of a single object.

use crate::query::Query;

/// A request, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether the path is `/api/…` or `/apis/…` with a resource.
    pub is_resource: bool,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; for other paths the method in lower
    /// case.
    pub verb: &'static str,
    /// API group; empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Namespace or empty.
    pub namespace: String,
    /// Plural.
    pub resource: String,
    /// Sub-resource or empty.
    pub subresource: String,
    /// Name or empty.
    pub name: String,
    /// What follows the sub-resource: the path of a proxied request.
    pub rest: String,
    /// The whole path.
    pub path: String,
}

/// What follows `/namespaces/<name>/` and is a sub-resource rather than a resource.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

/// Removes `%xx`; what is not UTF-8 afterwards is replaced.
pub fn percent_decode(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (bytes[i], hex(i + 1), hex(i + 2)) {
            (b'%', Some(a), Some(b)) => {
                out.push((a * 16 + b) as u8);
                i += 3;
                continue;
            }
            (b'+', ..) if plus_is_space => out.push(b' '),
            (other, ..) => out.push(other),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn method_verb(method: &http::Method) -> &'static str {
    match *method {
        http::Method::GET => "get",
        http::Method::HEAD => "head",
        http::Method::POST => "post",
        http::Method::PUT => "put",
        http::Method::PATCH => "patch",
        http::Method::DELETE => "delete",
        http::Method::OPTIONS => "options",
        _ => "unknown",
    }
}

impl RequestInfo {
    /// Takes a request apart. Never fails: what is no resource request is one for a path.
    pub fn parse(method: &http::Method, path: &str, query: &Query) -> Self {
        let mut info = Self {
            verb: method_verb(method),
            path: percent_decode(path, false),
            ..Self::default()
        };
        let parts: Vec<String> = match path.trim_matches('/') {
            "" => Vec::new(),
            inner => inner.split('/').map(|p| percent_decode(p, false)).collect(),
        };
        let mut parts = &parts[..];
        match parts.first().map(String::as_str) {
            Some("api") if parts.len() >= 3 => parts = &parts[1..],
            Some("apis") if parts.len() >= 4 => {
                info.group.clone_from(&parts[1]);
                parts = &parts[2..];
            }
            _ => return info,
        }
        info.is_resource = true;
        info.version.clone_from(&parts[0]);
        parts = &parts[1..];
        let mut watching = false;
        if parts[0] == "watch" && parts.len() >= 2 {
            watching = true;
            parts = &parts[1..];
        }
        info.verb = match *method {
            http::Method::POST => "create",
            http::Method::GET | http::Method::HEAD => "get",
            http::Method::PUT => "update",
            http::Method::PATCH => "patch",
            http::Method::DELETE => "delete",
            _ => "",
        };
        if parts[0] == "namespaces" && parts.len() > 1 {
            info.namespace.clone_from(&parts[1]);
            if parts.len() > 2 && !NAMESPACE_SUBRESOURCES.contains(&parts[2].as_str()) {
                parts = &parts[2..];
            }
        }
        info.resource.clone_from(&parts[0]);
        if let Some(name) = parts.get(1) {
            info.name.clone_from(name);
        }
        if let Some(sub) = parts.get(2) {
            info.subresource.clone_from(sub);
            info.rest = parts[3..].join("/");
        }
        if info.name.is_empty() && info.verb == "get" {
            info.verb = if watching || query.flag("watch") {
                "watch"
            } else {
                "list"
            };
            if let Some(name) = single_name(query) {
                info.name = name;
            }
        } else if watching && info.verb == "get" {
            info.verb = "watch";
        }
        if info.name.is_empty() && info.verb == "delete" {
            info.verb = "deletecollection";
        }
        info
    }

    /// Whether the answer may stay open for long: such requests are not counted against a cluster's limit.
    pub fn is_long_running(&self) -> bool {
        if !self.is_resource {
            return self.path.starts_with("/debug/pprof");
        }
        matches!(self.verb, "watch" | "proxy")
            || matches!(
                self.subresource.as_str(),
                "exec" | "attach" | "portforward" | "proxy" | "log"
            )
    }
}

/// The name in `metadata.name=x`, if the field selector requires one.
fn single_name(query: &Query) -> Option<String> {
    let selector = query.get("fieldSelector")?;
    selector.split(',').find_map(|term| {
        let (key, value) = term.split_once('=')?;
        let value = value.strip_prefix('=').unwrap_or(value);
        let ok = key == "metadata.name"
            && !value.is_empty()
            && !value.contains(['/', '%'])
            && value != "."
            && value != "..";
        ok.then(|| value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: http::Method, uri: &str) -> RequestInfo {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        RequestInfo::parse(&method, path, &Query::parse(query))
    }

    #[test]
    fn the_forms_of_upstream_are_understood() {
        use http::Method as M;
        let i = parse(M::GET, "/api/v1/namespaces/a/pods/x/log");
        assert_eq!(
            (i.verb, &*i.namespace, &*i.resource, &*i.name, &*i.subresource),
            ("get", "a", "pods", "x", "log")
        );
        let i = parse(M::GET, "/api/v1/namespaces/a");
        assert_eq!(
            (i.verb, &*i.namespace, &*i.resource, &*i.name),
            ("get", "a", "namespaces", "a")
        );
        let i = parse(M::PUT, "/api/v1/namespaces/a/finalize");
        assert_eq!(
            (i.verb, &*i.resource, &*i.name, &*i.subresource),
            ("update", "namespaces", "a", "finalize")
        );
        let i = parse(M::GET, "/apis/apps/v1/deployments?watch=true");
        assert_eq!(
            (i.verb, &*i.group, &*i.resource),
            ("watch", "apps", "deployments")
        );
        let i = parse(M::DELETE, "/apis/apps/v1/namespaces/a/deployments");
        assert_eq!(i.verb, "deletecollection");
        let i = parse(M::GET, "/api/v1/pods?fieldSelector=metadata.name%3Dx&watch=1");
        assert_eq!((i.verb, &*i.name), ("watch", "x"));
        let i = parse(M::POST, "/api/v1/namespaces/a/pods/x/proxy/b/c");
        assert_eq!((&*i.subresource, &*i.rest), ("proxy", "b/c"));
        for path in ["/apis/apps/v1", "/api/v1", "/version", "/", "/apis"] {
            assert!(!parse(M::GET, path).is_resource, "{path}");
        }
    }
}
