//! The node's end: keeps one connection to each API server, forwards local connections to it, and dials what it asks for.

use crate::ALPN;
use crate::dialer::{BoxIo, DialError, Target, connect, reachable};
use crate::mux::{Mux, Request, Role};
use base::Shutdown;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsConnector;

/// The first and the longest pause between attempts; doubled each time, with up to half of it taken off by chance.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// A connection that lasted this long starts the pauses anew.
const LASTED: Duration = Duration::from_secs(10);
/// How long a local client waits for a tunnel that is down.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long TCP and TLS to the API server may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Local connections that may be open at once.
const MAX_LOCAL: usize = 512;

/// TLS settings for the next attempt: asked each time, because the node's certificate is renewed. The ALPN protocol is set
/// by the agent.
pub type TlsSource = Arc<dyn Fn() -> io::Result<ClientConfig> + Send + Sync>;

/// What an agent needs to know.
#[derive(Clone)]
pub struct AgentOptions {
    /// API servers, `host:port`; one tunnel is kept to each.
    pub servers: Vec<String>,
    /// The name to ask for and to check in TLS (`<cluster-id>.<domain>`, or the address).
    pub server_name: ServerName<'static>,
    /// TLS settings with the node's client certificate.
    pub tls: TlsSource,
    /// Where this node's own kubelet listens.
    pub kubelet: SocketAddr,
    /// Addresses to listen on for the node and its pods: the one of the `kubernetes` EndpointSlice.
    pub listen: Vec<SocketAddr>,
}

/// The agent. Cheap to clone.
#[derive(Clone)]
pub struct Agent {
    options: Arc<AgentOptions>,
    current: Arc<watch::Sender<Vec<Arc<Mux>>>>,
}

impl Agent {
    /// An agent that is not connected yet.
    pub fn new(options: AgentOptions) -> Self {
        Self {
            options: Arc::new(options),
            current: Arc::new(watch::Sender::new(Vec::new())),
        }
    }

    /// Whether a tunnel is up.
    pub fn is_connected(&self) -> bool {
        !self.current.borrow().is_empty()
    }

    /// Completes once a tunnel is up.
    pub async fn connected(&self) {
        let mut current = self.current.subscribe();
        let _sender_lives_in_self = current.wait_for(|list| !list.is_empty()).await;
    }

    /// A raw connection to the API server through the tunnel, for programs of the node itself.
    pub async fn api_server(&self) -> Result<BoxIo, DialError> {
        let mut current = self.current.subscribe();
        let wait = current.wait_for(|list| !list.is_empty());
        let list = match tokio::time::timeout(PATIENCE, wait).await {
            Ok(Ok(list)) => list.clone(),
            _ => return Err(DialError::NotConnected(String::new())),
        };
        let mut last = DialError::NotConnected(String::new());
        for mux in list {
            match mux.open(&Target::ApiServer.to_string()).await {
                Ok(stream) => return Ok(Box::new(stream)),
                Err(e) => last = e.into(),
            }
        }
        Err(last)
    }

    /// Listens and keeps the tunnels until it is told to stop. Fails only if an address cannot be listened on.
    pub async fn run(&self, shutdown: Shutdown) -> io::Result<()> {
        let mut tasks = tokio::task::JoinSet::new();
        for at in &self.options.listen {
            let listener = TcpListener::bind(at).await?;
            let (agent, stop) = (self.clone(), shutdown.clone());
            tasks.spawn(async move {
                let _stopped = stop.run_until(agent.forward(listener)).await;
            });
        }
        for server in &self.options.servers {
            let (agent, stop, server) = (self.clone(), shutdown.clone(), server.clone());
            tasks.spawn(async move {
                let _stopped = stop.run_until(agent.keep(&server)).await;
            });
        }
        while tasks.join_next().await.is_some() {}
        Ok(())
    }

    /// Accepts local connections for ever.
    async fn forward(&self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(MAX_LOCAL));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            let mut local = match listener.accept().await {
                Ok((local, _)) => local,
                Err(e) => {
                    tracing::warn!(error = %e, "tunnel: cannot accept");
                    tokio::time::sleep(FIRST_PAUSE).await;
                    continue;
                }
            };
            let agent = self.clone();
            tokio::spawn(async move {
                match agent.api_server().await {
                    Ok(mut remote) => {
                        let _either_end_is_gone =
                            tokio::io::copy_bidirectional(&mut local, &mut remote).await;
                    }
                    Err(e) => tracing::debug!(error = %e, "tunnel: local connection dropped"),
                }
                drop(place);
            });
        }
    }

    /// Keeps a tunnel to one API server for ever.
    async fn keep(&self, server: &str) {
        let mut pause = FIRST_PAUSE;
        loop {
            let began = tokio::time::Instant::now();
            match self.connect(server).await {
                Ok(mux) => {
                    tracing::info!(server, "tunnel connected");
                    self.serve(Arc::new(mux)).await;
                    tracing::info!(server, "tunnel lost");
                }
                Err(e) => tracing::warn!(server, error = %e, "tunnel: cannot connect"),
            }
            if began.elapsed() > LASTED {
                pause = FIRST_PAUSE;
            }
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..=1.0))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn connect(&self, server: &str) -> io::Result<Mux> {
        let mut config = (self.options.tls)()?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        let name = self.options.server_name.clone();
        let handshake = async {
            let tcp = TcpStream::connect(server).await?;
            tcp.set_nodelay(true)?;
            TlsConnector::from(Arc::new(config)).connect(name, tcp).await
        };
        let tls = tokio::time::timeout(HANDSHAKE, handshake)
            .await
            .map_err(|_| io::ErrorKind::TimedOut)??;
        if tls.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the server does not speak the tunnel protocol",
            ));
        }
        Ok(Mux::start(tls, Role::Dialled))
    }

    /// Serves what the API server asks for until the tunnel ends.
    async fn serve(&self, mux: Arc<Mux>) {
        self.current.send_modify(|list| list.push(mux.clone()));
        let _cleared = Clear {
            agent: self,
            mux: &mux,
        };
        while let Some(request) = mux.accept().await {
            let kubelet = self.options.kubelet;
            tokio::spawn(async move { dial(request, kubelet).await });
        }
    }
}

/// Takes a tunnel off the list, also when its task is cancelled.
struct Clear<'a> {
    agent: &'a Agent,
    mux: &'a Arc<Mux>,
}

impl Drop for Clear<'_> {
    fn drop(&mut self) {
        self.mux.close();
        self.agent
            .current
            .send_modify(|list| list.retain(|m| !Arc::ptr_eq(m, self.mux)));
    }
}

async fn dial(request: Request, kubelet: SocketAddr) {
    let at = match request.target().parse() {
        Ok(Target::Kubelet(_)) => kubelet,
        Ok(Target::Tcp(at)) if reachable(at.ip()) => at,
        _ => return request.refuse("target is not allowed"),
    };
    match connect(at).await {
        Ok(mut local) => {
            let mut remote = request.accept();
            let _either_end_is_gone = tokio::io::copy_bidirectional(&mut local, &mut remote).await;
        }
        Err(e) => request.refuse(&e.to_string()),
    }
}
