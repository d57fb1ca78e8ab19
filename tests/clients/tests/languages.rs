//! The official clients of other languages list, watch, create and patch.
//!
//! `tests/clients/run` installs and builds them into a cache and names them in `MARINA_CLIENT_<LANGUAGE>`, a command line;
//! without it these tests say that they are skipped. Each program creates the ConfigMap `<language>`, sees it in a watch and
//! in a list, patches it, and sees that in the watch.

use clients::{Plane, run};
use std::time::Duration;
use tokio::process::Command;

async fn speaks(language: &str) {
    let variable = format!("MARINA_CLIENT_{}", language.to_uppercase());
    let Ok(line) = std::env::var(&variable) else {
        return needs::skip_also_on_ci(&format!("{variable} is not set (tests/clients/run sets it)"));
    };
    let plane = Plane::start().await;
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).env("KUBECONFIG", plane.kubeconfig());
    let said = run(command, Duration::from_secs(60)).await;
    assert!(said.ok, "{language}: {}", said.text);
    for word in [
        "listed default",
        "created",
        "watched ADDED",
        "found",
        "patched",
        "watched MODIFIED",
    ] {
        assert!(
            said.text.contains(word),
            "{language}: no {word:?} in {}",
            said.text
        );
    }
    let left = plane
        .admin
        .get(&format!("/api/v1/namespaces/default/configmaps/{language}"))
        .await;
    let left = left.ok();
    assert_eq!(left.str_at(&["data", "a"]), Some("1"));
    assert_eq!(left.str_at(&["data", "b"]), Some("2"));
    assert_eq!(left.str_at(&["metadata", "labels", "from"]), Some(language));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_works() {
    speaks("python").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_java_client_works() {
    speaks("java").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn client_go_works() {
    speaks("go").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kube_rs_works() {
    speaks("rust").await;
}
