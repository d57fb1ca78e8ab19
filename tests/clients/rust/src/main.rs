//! Lists, creates, watches and patches with kube-rs.

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::try_default().await?;
    Api::<Namespace>::all(client.clone()).get("default").await?;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let begin = maps.list(&ListParams::default()).await?;
    println!("listed default");
    let version = begin.metadata.resource_version.unwrap_or_default();
    let only = "metadata.name=rust";
    let mut events = Box::pin(maps.watch(&WatchParams::default().fields(only), &version).await?);
    let object = serde_json::from_value(json!({"metadata": {"name": "rust"}, "data": {"a": "1"}}))?;
    maps.create(&PostParams::default(), &object).await?;
    println!("created");
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Added(_) => {
                println!("watched ADDED");
                let found = maps.list(&ListParams::default().fields(only).limit(1)).await?;
                assert_eq!(found.items.len(), 1);
                println!("found");
                let patch = json!({"metadata": {"labels": {"from": "rust"}}, "data": {"b": "2"}});
                maps.patch("rust", &PatchParams::default(), &Patch::Strategic(patch)).await?;
                println!("patched");
            }
            WatchEvent::Modified(changed) => {
                assert_eq!(changed.data.unwrap_or_default().get("b").map(String::as_str), Some("2"));
                println!("watched MODIFIED");
                return Ok(());
            }
            _ => {}
        }
    }
    Err("the watch ended".into())
}
