//! Credential plugins: `client.authentication.k8s.io/v1` and `v1beta1` ExecCredential.

use serde::Deserialize;
use std::process::Stdio;
use std::time::Duration;

/// How to run a plugin: the `exec` stanza of a kubeconfig's user.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecPlugin {
    /// Version of the protocol.
    pub api_version: String,
    /// The program; looked up in PATH.
    pub command: String,
    /// Its arguments.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub args: Vec<String>,
    /// Variables added to the environment.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub env: Vec<EnvVar>,
}

/// One variable of a plugin's environment.
#[derive(Clone, Debug, Deserialize)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Its value.
    #[serde(default)]
    pub value: String,
}

fn null_is_empty<'de, D, T>(d: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

/// What a plugin answered.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ExecStatus {
    /// RFC 3339; after it the plugin is asked again.
    pub(crate) expiration_timestamp: Option<String>,
    /// Bearer token.
    pub(crate) token: Option<String>,
    /// PEM.
    pub(crate) client_certificate_data: Option<String>,
    /// PEM.
    pub(crate) client_key_data: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    api_version: String,
    kind: String,
    #[serde(default)]
    status: Option<ExecStatus>,
}

impl ExecPlugin {
    /// Runs the plugin once. It may take 60 s; it never gets a terminal.
    pub(crate) async fn run(&self) -> Result<ExecStatus, String> {
        if !matches!(
            self.api_version.as_str(),
            "client.authentication.k8s.io/v1" | "client.authentication.k8s.io/v1beta1"
        ) {
            return Err(format!("exec plugin: unknown version {:?}", self.api_version));
        }
        let info = serde_json::json!({
            "apiVersion": self.api_version,
            "kind": "ExecCredential",
            "spec": { "interactive": false },
        });
        let mut command = tokio::process::Command::new(&self.command);
        command
            .args(&self.args)
            .envs(self.env.iter().map(|v| (&v.name, &v.value)))
            .env("KUBERNETES_EXEC_INFO", info.to_string())
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_secs(60), command.output())
            .await
            .map_err(|_| format!("exec plugin {} gave no answer in 60 s", self.command))?
            .map_err(|e| format!("exec plugin {}: {e}", self.command))?;
        if !output.status.success() {
            return Err(format!("exec plugin {} failed: {}", self.command, output.status));
        }
        self.parse(&output.stdout)
    }

    fn parse(&self, stdout: &[u8]) -> Result<ExecStatus, String> {
        let answer: Answer =
            serde_json::from_slice(stdout).map_err(|e| format!("exec plugin's answer: {e}"))?;
        if answer.kind != "ExecCredential" || answer.api_version != self.api_version {
            return Err(format!(
                "exec plugin answered with {} {}",
                answer.api_version, answer.kind
            ));
        }
        let status = answer.status.unwrap_or_default();
        if status.token.is_none() && status.client_certificate_data.is_none() {
            return Err("exec plugin answered with neither token nor certificate".into());
        }
        Ok(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_plugin_gives_a_token() {
        let answer = r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"t"}}"#;
        let mut plugin = ExecPlugin {
            api_version: "client.authentication.k8s.io/v1".into(),
            command: "sh".into(),
            args: vec![
                "-c".into(),
                r#"test -n "$KUBERNETES_EXEC_INFO" && printf %s "$ANSWER""#.into(),
            ],
            env: vec![EnvVar {
                name: "ANSWER".into(),
                value: answer.into(),
            }],
        };
        assert_eq!(plugin.run().await.unwrap().token.as_deref(), Some("t"));
        plugin.api_version = "client.authentication.k8s.io/v1beta1".into();
        assert!(plugin.run().await.is_err(), "the answer is of another version");
    }
}
