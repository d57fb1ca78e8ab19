//! `/livez`, `/readyz`, `/healthz`, `/version` and `/metrics`.

use crate::cx::Cx;
use crate::{ApiServer, Body, codec, encode};
use http::Response;
use machinery::value;
use store_api::Consistency;

/// Answers what is about the server itself.
pub(crate) async fn answer(server: &ApiServer, cx: &Cx, path: &str) -> Option<Response<Body>> {
    let path = path.trim_end_matches('/');
    match path {
        "/version" => Some(version(cx)),
        "/metrics" => {
            let text = server.0.metrics.of_cluster(&cx.cluster.id);
            Some(encode::respond(
                200,
                "text/plain; version=0.0.4; charset=utf-8",
                crate::metrics::classic(&text),
            ))
        }
        _ => {
            let (name, check) = path
                .strip_prefix('/')?
                .split_once('/')
                .unwrap_or((path.strip_prefix('/')?, ""));
            if !matches!(name, "livez" | "readyz" | "healthz") {
                return None;
            }
            Some(health(server, cx, name, check).await)
        }
    }
}

async fn health(server: &ApiServer, cx: &Cx, name: &str, only: &str) -> Response<Body> {
    let mut checks = vec![("ping", Ok(()))];
    if name != "livez" {
        let store = server.store().revision(&cx.cluster.id, Consistency::Linearizable);
        let store = tokio::time::timeout(std::time::Duration::from_secs(2), store).await;
        let ok = matches!(store, Ok(Ok(_)));
        checks.push((
            "etcd",
            if ok {
                Ok(())
            } else {
                Err("the store does not answer")
            },
        ));
    }
    if name == "readyz" {
        let stopping = server.shutdown().is_triggered();
        checks.push((
            "shutdown",
            if stopping {
                Err("the process is shutting down")
            } else {
                Ok(())
            },
        ));
    }
    if !only.is_empty() {
        checks.retain(|(check, _)| *check == only);
        if checks.is_empty() {
            return encode::text(404, "404 page not found\n");
        }
    }
    let excluded: Vec<&str> = cx.query.all("exclude").collect();
    let mut text = String::new();
    let mut failed = false;
    for (check, result) in &checks {
        match result {
            _ if excluded.contains(check) => text.push_str(&format!("[+]{check} excluded: ok\n")),
            Ok(()) => text.push_str(&format!("[+]{check} ok\n")),
            Err(why) => {
                failed = true;
                text.push_str(&format!("[-]{check} failed: {why}\n"));
            }
        }
    }
    if failed {
        return encode::text(500, format!("{text}{name} check failed\n"));
    }
    if cx.query.has("verbose") && only.is_empty() {
        return encode::text(200, format!("{text}{name} check passed\n"));
    }
    encode::text(200, "ok")
}

fn version(cx: &Cx) -> Response<Body> {
    let minor = cx.cluster.minor;
    let info = value!({
        "major": "1",
        "minor": (minor.to_string()),
        "emulationMajor": "1",
        "emulationMinor": (minor.to_string()),
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": (minor.saturating_sub(1).to_string()),
        "gitVersion": (format!("v1.{minor}.0+marina.{}", env!("CARGO_PKG_VERSION"))),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": (format!("linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }))
    });
    encode::respond(200, "application/json", codec::to_json(&info, true))
}
