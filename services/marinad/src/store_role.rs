//! `marinad store`: one member of a replicated store, set up by a file.
//!
//! ```toml
//! member = 1                      # this process's number in the list below
//! dir = "/var/lib/marina/store"
//! listen = "0.0.0.0:7380"         # for the other members
//!
//! [members]                       # the same on every member, and not to be changed after the first start
//! 1 = "store-1.internal:7380"
//! 2 = "store-2.internal:7380"
//! 3 = "store-3.internal:7380"
//!
//! [tls]                           # between members: both sides show a certificate of this authority, which issues
//! certificate = "member.pem"      # certificates for members alone; a member's certificate names its host above
//! key = "member.key"
//! authority = "members.pem"
//!
//! [etcd]                          # for API servers and etcdctl; a client's certificate says which cluster it sees
//! listen = "0.0.0.0:2379"
//! url = "https://store-1.internal:2379"
//! certificate = "etcd.pem"
//! key = "etcd.key"
//! client_authority = "etcd-clients.pem"
//! ```
//! Without `[members]` it is a group of one, which needs no `[tls]` and no `listen`. A member that lost its disk must
//! not come back with an empty one under its old number: it has voted before.

use anyhow::{Context, Result, bail};
use base::{Clock, Shutdown};
use clap::Args;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store_raft::tls::{Peer, TlsTransport};
use store_raft::{Alone, MemberId, Transport};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Streams of one connection of the etcd door: watches and calls in flight.
const STREAMS: u32 = 10_000;
/// How long the doors may take to close.
const DRAIN: Duration = Duration::from_secs(10);

/// `marinad store`.
#[derive(Args, Clone)]
pub(crate) struct Options {
    /// The file that describes this member (TOML).
    #[arg(long)]
    config: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    member: MemberId,
    dir: PathBuf,
    listen: Option<SocketAddr>,
    /// Keys of a TOML table are text.
    #[serde(default)]
    members: BTreeMap<String, String>,
    tls: Option<Tls>,
    etcd: Option<Etcd>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    authority: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Etcd {
    listen: SocketAddr,
    url: String,
    certificate: PathBuf,
    key: PathBuf,
    client_authority: PathBuf,
}

impl File {
    fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is no description of a member", path.display()))
    }

    /// The members by number; empty for a group of one.
    fn members(&self) -> Result<BTreeMap<MemberId, String>> {
        let number = |n: &str| n.parse().with_context(|| format!("members: {n:?} is no number"));
        let members = self
            .members
            .iter()
            .map(|(n, address)| Ok((number(n)?, address.clone())));
        let members = members.collect::<Result<BTreeMap<_, _>>>()?;
        match members.len() {
            0 | 1 => Ok(BTreeMap::new()),
            3 | 5 if members.contains_key(&self.member) => Ok(members),
            3 | 5 => bail!("member {} is not among the members", self.member),
            n => bail!("a group has 1, 3 or 5 members, not {n}"),
        }
    }
}

/// Runs until SIGTERM or SIGINT, or until the store fails.
pub(crate) async fn run(options: Options) -> Result<()> {
    let file = File::read(&options.config)?;
    // Paths in the file are meant from where the file is.
    let home = options.config.parent().unwrap_or(Path::new(".")).to_owned();
    let members = file.members()?;
    let shutdown = Shutdown::new();
    let mut doors = JoinSet::new();
    let (settings, transport, listening) = if members.is_empty() {
        let alone: Arc<dyn Transport> = Arc::new(Alone);
        (store_raft::Options::single(home.join(&file.dir)), alone, None)
    } else {
        let tls = file.tls.as_ref().context("members need [tls]")?;
        let listen = file.listen.context("members need an address to listen on")?;
        let listener = bind(listen).await?;
        let transport: Arc<dyn Transport> = Arc::new(TlsTransport::new(
            file.member,
            peers(&members)?,
            Arc::new(tls.client(&home)?),
        ));
        let settings = store_raft::Options::group(file.member, members, home.join(&file.dir));
        (
            settings,
            transport,
            Some((listener, Arc::new(tls.server(&home)?))),
        )
    };
    let (store, service) = store_raft::open(settings, Clock::system(), transport)
        .await
        .context("cannot open the store")?;
    if let Some((listener, config)) = listening {
        doors.spawn(store_raft::tls::listen(
            listener,
            config,
            store.answer(),
            shutdown.clone(),
        ));
    }
    let store_shutdown = Shutdown::new();
    let mut running = tokio::spawn(service.run(store_shutdown.clone()));
    if let Some(etcd) = &file.etcd {
        let door = etcd
            .options(&home)?
            .build(Arc::new(store), bind(etcd.listen).await?)?;
        let shutdown = shutdown.clone();
        doors.spawn(async move {
            if let Err(error) = door.run(shutdown).await {
                tracing::error!(%error, "the etcd door stopped");
            }
        });
    }
    println!("ready");
    tokio::select! {
        signal = crate::signals::wait() => signal?,
        // After a failed write nothing may be acknowledged: the process ends, and whoever watches it starts it again.
        ended = &mut running => {
            ended.context("the store ended")?.context("the store stopped")?;
            bail!("the store ended without being told to");
        }
    }
    shutdown.trigger();
    let closed = async { while doors.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, closed).await.is_err() {
        tracing::warn!("some connections were cut off");
        doors.shutdown().await;
    }
    store_shutdown.trigger();
    running
        .await
        .context("the store ended")?
        .context("the store stopped")
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))
}

/// A member's certificate names the host of its address.
fn peers(members: &BTreeMap<MemberId, String>) -> Result<BTreeMap<MemberId, Peer>> {
    let peer = |(id, address): (&MemberId, &String)| {
        let host = address
            .rsplit_once(':')
            .map(|(host, _)| host.trim_matches(['[', ']']));
        let host = host.with_context(|| format!("member {id}: {address:?} has no port"))?;
        let name = ServerName::try_from(host.to_owned())
            .with_context(|| format!("member {id}: {host:?} is no host"))?;
        Ok((
            *id,
            Peer {
                address: address.clone(),
                name,
            },
        ))
    };
    members.iter().map(peer).collect()
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let cannot = || format!("cannot read certificates from {}", path.display());
    let chain = CertificateDer::pem_file_iter(path).with_context(cannot)?;
    let chain = chain.collect::<Result<Vec<_>, _>>().with_context(cannot)?;
    if chain.is_empty() {
        bail!("{} holds no certificate", path.display());
    }
    Ok(chain)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path).with_context(|| format!("cannot read a key from {}", path.display()))
}

fn roots(path: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(path)? {
        roots
            .add(certificate)
            .with_context(|| format!("{} holds no authority", path.display()))?;
    }
    Ok(roots)
}

impl Tls {
    fn client(&self, home: &Path) -> Result<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots(&home.join(&self.authority))?);
        Ok(config
            .with_client_auth_cert(chain(&home.join(&self.certificate))?, key(&home.join(&self.key))?)?)
    }

    fn server(&self, home: &Path) -> Result<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let authority = Arc::new(roots(&home.join(&self.authority))?);
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(authority, provider.clone());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_client_cert_verifier(verifier.build()?);
        Ok(config.with_single_cert(chain(&home.join(&self.certificate))?, key(&home.join(&self.key))?)?)
    }
}

impl Etcd {
    fn options(&self, home: &Path) -> Result<etcd_door::Options> {
        Ok(etcd_door::Options {
            chain: chain(&home.join(&self.certificate))?,
            key: Arc::new(key(&home.join(&self.key))?),
            client_authorities: roots(&home.join(&self.client_authority))?,
            urls: vec![self.url.clone()],
            streams: STREAMS,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(members: &str) -> Result<BTreeMap<MemberId, String>> {
        toml::from_str::<File>(&format!("member = 1\ndir = \"store\"\n[members]\n{members}"))?.members()
    }

    #[test]
    fn a_group_has_one_three_or_five_members_and_its_own_among_them() {
        assert!(file("").unwrap().is_empty());
        assert_eq!(
            file("1 = \"a:1\"\n2 = \"b:1\"\n3 = \"[::1]:1\"").unwrap().len(),
            3
        );
        assert!(
            file("1 = \"a:1\"\n2 = \"b:1\"").is_err(),
            "two members cannot lose one"
        );
        assert!(
            file("2 = \"a:1\"\n3 = \"b:1\"\n4 = \"c:1\"").is_err(),
            "this one is missing"
        );
        assert!(
            file("one = \"a:1\"\n2 = \"b:1\"\n3 = \"c:1\"").is_err(),
            "no number"
        );
        let group = file("1 = \"10.0.0.1:7380\"\n2 = \"b:1\"\n3 = \"[::1]:1\"").unwrap();
        let peers = peers(&group).unwrap();
        assert_eq!(peers[&1].name, ServerName::try_from("10.0.0.1").unwrap());
        assert_eq!(peers[&3].name, ServerName::try_from("::1").unwrap());
    }
}
