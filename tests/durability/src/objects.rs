//! Numbered ConfigMaps: written one by one, read back all at once.

use client::{Call, Client, Error};
use std::collections::BTreeSet;

const PATH: &str = "/api/v1/namespaces/default/configmaps";

/// Creates number `n`; `Ok` means that it was acknowledged.
pub async fn create(client: &Client, n: u64) -> Result<(), Error> {
    let object = serde_json::json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": format!("n-{n}") },
        "data": { "n": n.to_string() },
    });
    let call = Call {
        method: http::Method::POST,
        uri: PATH.into(),
        content_type: client::client::JSON,
        accept: client::client::JSON,
        body: object.to_string().into(),
    };
    client.call(call).await.map(drop)
}

/// The numbers that are there.
pub async fn list(client: &Client) -> Result<BTreeSet<u64>, Error> {
    let mut found = BTreeSet::new();
    let mut next = String::new();
    loop {
        let page = client
            .get_json(&format!("{PATH}?limit=1000&continue={next}"))
            .await?;
        for object in page["items"].as_array().into_iter().flatten() {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            found.extend(name.strip_prefix("n-").and_then(|n| n.parse::<u64>().ok()));
        }
        next = page["metadata"]["continue"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if next.is_empty() {
            return Ok(found);
        }
    }
}
