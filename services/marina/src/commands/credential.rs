//! `marina credential`: kubectl's credential plugin (`client.authentication.k8s.io/v1`).

use super::{Common, Cx, checked};
use anyhow::Result;
use clap::Args;
use serde_json::json;
use service_api::Credential;

#[derive(Args)]
pub(super) struct Command {
    cluster: String,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(command: Command) -> Result<()> {
    let cx = Cx::new(&command.common)?;
    let cluster = checked("cluster", &command.cluster)?;
    let path = cx.path(&format!("clusters/{cluster}/credential"));
    let credential: Credential = cx.service.post(&path, &json!({})).await?;
    println!(
        "{}",
        json!({
            "apiVersion": "client.authentication.k8s.io/v1",
            "kind": "ExecCredential",
            "status": {
                "clientCertificateData": credential.client_certificate,
                "clientKeyData": credential.client_key,
                "expirationTimestamp": credential.expires_at,
            },
        })
    );
    Ok(())
}
