//! Where an API server is and how to prove who we are: kubeconfig files and the in-cluster files.
//!
//! The format is client-go's (`clientcmd`): current context, cluster, user. Legacy auth providers and passwords are
//! refused by name; `insecure-skip-tls-verify` is refused too, because nothing of ours should run that way.

use crate::exec::ExecPlugin;
use base64::Engine;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Everything needed to reach one API server as one identity.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `https://host:port`, perhaps with a path prefix.
    pub server: String,
    /// PEM certificates that the server's must chain to; empty means that TLS cannot succeed.
    pub ca_pem: Vec<u8>,
    /// Name to ask for and verify in place of the URL's host.
    pub tls_server_name: Option<String>,
    /// How to prove who we are.
    pub auth: Auth,
    /// The context's namespace.
    pub namespace: Option<String>,
}

/// A proof of identity.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// None.
    #[default]
    Anonymous,
    /// A client certificate and its key, both PEM.
    Certificate { cert_pem: Vec<u8>, key_pem: Vec<u8> },
    /// A bearer token that never changes.
    Token(String),
    /// A file with a bearer token, read again every minute (bound service account tokens rotate).
    TokenFile(PathBuf),
    /// A credential plugin.
    Exec(ExecPlugin),
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file could not be read.
    #[error("cannot read {}: {error}", path.display())]
    Read { path: PathBuf, error: std::io::Error },
    /// A file is no kubeconfig.
    #[error("{} is no kubeconfig: {error}", path.display())]
    Parse { path: PathBuf, error: String },
    /// Something it names is not there, or not supported.
    #[error("kubeconfig: {0}")]
    Content(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    current_context: String,
    #[serde(default)]
    clusters: Option<Vec<NamedCluster>>,
    #[serde(default)]
    users: Option<Vec<NamedUser>>,
    #[serde(default)]
    contexts: Option<Vec<NamedContext>>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    tls_server_name: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
    proxy_url: Option<String>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    #[serde(default)]
    user: Option<User>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(alias = "tokenFile")]
    token_file: Option<PathBuf>,
    username: Option<String>,
    auth_provider: Option<serde_json::Value>,
    exec: Option<ExecPlugin>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    #[serde(default)]
    user: String,
    namespace: Option<String>,
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|error| ConfigError::Read {
        path: path.into(),
        error,
    })
}

fn material(
    data: Option<String>,
    file: Option<PathBuf>,
    base: &Path,
    what: &str,
) -> Result<Option<Vec<u8>>, ConfigError> {
    if let Some(text) = data.filter(|d| !d.is_empty()) {
        let bytes = base64::engine::general_purpose::STANDARD.decode(text.trim());
        return bytes
            .map(Some)
            .map_err(|e| ConfigError::Content(format!("{what}: {e}")));
    }
    file.filter(|f| !f.as_os_str().is_empty())
        .map(|f| read(&base.join(f)))
        .transpose()
}

impl Config {
    /// Reads a kubeconfig and takes the named context, or its current one. Relative files are relative to it.
    pub fn from_kubeconfig(path: &Path, context: Option<&str>) -> Result<Self, ConfigError> {
        let bytes = read(path)?;
        let base = path.parent().unwrap_or(Path::new("."));
        Self::from_kubeconfig_text(&String::from_utf8_lossy(&bytes), base, context).map_err(|e| match e {
            ConfigError::Parse { error, .. } => ConfigError::Parse {
                path: path.into(),
                error,
            },
            other => other,
        })
    }

    /// The same from text; `base` is the folder that relative files are relative to.
    pub fn from_kubeconfig_text(text: &str, base: &Path, context: Option<&str>) -> Result<Self, ConfigError> {
        let file: File = serde_saphyr::from_str(text).map_err(|e| ConfigError::Parse {
            path: PathBuf::new(),
            error: e.to_string(),
        })?;
        let wanted = context.unwrap_or(&file.current_context);
        let context = file
            .contexts
            .unwrap_or_default()
            .into_iter()
            .find(|c| c.name == wanted);
        let context = context
            .ok_or_else(|| ConfigError::Content(format!("there is no context {wanted:?}")))?
            .context;
        let cluster = file
            .clusters
            .unwrap_or_default()
            .into_iter()
            .find(|c| c.name == context.cluster);
        let cluster = cluster
            .ok_or_else(|| ConfigError::Content(format!("there is no cluster {:?}", context.cluster)))?
            .cluster;
        let user = if context.user.is_empty() {
            User::default()
        } else {
            let user = file
                .users
                .unwrap_or_default()
                .into_iter()
                .find(|u| u.name == context.user);
            user.ok_or_else(|| ConfigError::Content(format!("there is no user {:?}", context.user)))?
                .user
                .unwrap_or_default()
        };
        if cluster.insecure_skip_tls_verify {
            return Err(ConfigError::Content(
                "insecure-skip-tls-verify is not supported: give the CA".into(),
            ));
        }
        if cluster.proxy_url.is_some_and(|p| !p.is_empty()) {
            return Err(ConfigError::Content("proxy-url is not supported".into()));
        }
        let ca = material(
            cluster.certificate_authority_data,
            cluster.certificate_authority,
            base,
            "certificate-authority-data",
        )?;
        Ok(Self {
            server: cluster.server,
            ca_pem: ca.unwrap_or_default(),
            tls_server_name: cluster.tls_server_name.filter(|n| !n.is_empty()),
            auth: user.auth(base)?,
            namespace: context.namespace.filter(|n| !n.is_empty()),
        })
    }

    /// What a pod finds: the service's address in the environment, CA and token in files.
    pub fn in_cluster() -> Result<Self, ConfigError> {
        const FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
        let var = |name: &str| {
            std::env::var(name).map_err(|_| ConfigError::Content(format!("{name} is not set: not in a pod")))
        };
        let (host, port) = (var("KUBERNETES_SERVICE_HOST")?, var("KUBERNETES_SERVICE_PORT")?);
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host
        };
        let folder = Path::new(FOLDER);
        let namespace = std::fs::read_to_string(folder.join("namespace")).ok();
        Ok(Self {
            server: format!("https://{host}:{port}"),
            ca_pem: read(&folder.join("ca.crt"))?,
            tls_server_name: None,
            auth: Auth::TokenFile(folder.join("token")),
            namespace,
        })
    }
}

impl User {
    fn auth(self, base: &Path) -> Result<Auth, ConfigError> {
        if self.auth_provider.is_some() {
            return Err(ConfigError::Content(
                "auth-provider is not supported: use exec".into(),
            ));
        }
        if self.username.is_some_and(|u| !u.is_empty()) {
            return Err(ConfigError::Content("passwords are not supported".into()));
        }
        let cert = material(
            self.client_certificate_data,
            self.client_certificate,
            base,
            "client-certificate-data",
        )?;
        let key = material(self.client_key_data, self.client_key, base, "client-key-data")?;
        match (cert, key) {
            (Some(cert_pem), Some(key_pem)) => return Ok(Auth::Certificate { cert_pem, key_pem }),
            (None, None) => {}
            _ => {
                return Err(ConfigError::Content(
                    "a client certificate and its key come together".into(),
                ));
            }
        }
        if let Some(file) = self.token_file.filter(|f| !f.as_os_str().is_empty()) {
            return Ok(Auth::TokenFile(base.join(file)));
        }
        if let Some(token) = self.token.filter(|t| !t.is_empty()) {
            return Ok(Auth::Token(token));
        }
        Ok(self.exec.map_or(Auth::Anonymous, Auth::Exec))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r"
apiVersion: v1
kind: Config
current-context: b
clusters:
- name: one
  cluster: {server: 'https://127.64.0.1:6443', certificate-authority-data: Y2E=, tls-server-name: one.example}
contexts:
- name: a
  context: {cluster: one, user: cert}
- name: b
  context: {cluster: one, user: plugin, namespace: shop}
- name: bad
  context: {cluster: one, user: half}
users:
- name: cert
  user: {client-certificate-data: Yw==, client-key-data: aw==}
- name: half
  user: {client-certificate-data: Yw==}
- name: plugin
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      command: marina
      args: [token, --cluster, one]
      env: null
      interactiveMode: IfAvailable
";

    #[test]
    fn contexts_choose_cluster_and_user() {
        let load = |c| Config::from_kubeconfig_text(TEXT, Path::new("."), c);
        let b = load(None).unwrap();
        assert_eq!(
            (b.ca_pem.as_slice(), b.namespace.as_deref()),
            (&b"ca"[..], Some("shop"))
        );
        assert_eq!(b.tls_server_name.as_deref(), Some("one.example"));
        assert!(matches!(&b.auth, Auth::Exec(p) if p.command == "marina" && p.args.len() == 3));
        assert!(matches!(load(Some("a")).unwrap().auth, Auth::Certificate { .. }));
        assert!(load(Some("bad")).is_err() && load(Some("no")).is_err());
    }
}
