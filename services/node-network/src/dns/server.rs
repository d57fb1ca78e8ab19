//! The protocol: UDP and TCP (RFC 1035, 7766), EDNS sizes (RFC 6891), truncation.

use super::zone::{Answer, Data, Zone};
use super::{forward, records};
use crate::{Context, NetworkError, tool};
use api::core::v1::Service;
use api::discovery::v1::EndpointSlice;
use base::Shutdown;
use client::Resource;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use parking_lot::RwLock;
use runtime::{Change, Informer, Informers};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

/// Questions that are worked on at once; more are dropped, and their clients ask again.
const QUESTIONS: usize = 1024;
/// TCP connections at once.
const CONNECTIONS: usize = 256;
/// How long a TCP client may be silent.
const IDLE: Duration = Duration::from_secs(10);
/// The largest UDP answer without EDNS, and the largest with.
const UDP_SIZE: (u16, u16) = (512, 1232);
/// Seconds for which "no" holds.
const NEGATIVE: u32 = 5;
/// How many aliases are followed.
const ALIASES: usize = 8;

/// How DNS is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen: the ClusterIP of DNS, port 53. An address that no device has is put on the loopback device.
    pub listen: Vec<SocketAddr>,
    /// The cluster's domain.
    pub domain: String,
    /// The file that names the node's own resolvers; read anew when it is needed.
    pub resolv_conf: PathBuf,
}

/// Answers until shut down. Made by [`Server::build`].
pub struct Server {
    options: Options,
    zone: Arc<RwLock<Zone>>,
    services: Arc<Informer>,
    slices: Arc<Informer>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Subscribes to Services and EndpointSlices; the caller starts the informers.
    pub fn build(options: Options, informers: &Informers) -> Self {
        let zone = Arc::new(RwLock::new(Zone::new(&options.domain)));
        let services = informers.informer(&Resource::of::<Service>(), &[]);
        let slices = informers.informer(&Resource::of::<EndpointSlice>(), &[]);
        let told = zone.clone();
        services.subscribe(Arc::new(move |change: &Change| note_service(&told, change)));
        let told = zone.clone();
        slices.subscribe(Arc::new(move |change: &Change| note_slice(&told, change)));
        Self {
            options,
            zone,
            services,
            slices,
        }
    }

    /// Answers until shut down. Starts to listen when the cluster's names are known: a wrong "no" would be believed.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), NetworkError> {
        let synced = async {
            self.services.synced().await;
            self.slices.synced().await;
        };
        if shutdown.run_until(synced).await.is_none() {
            return Ok(());
        }
        for address in self.options.listen.iter().map(SocketAddr::ip) {
            if !address.is_loopback() {
                let length = if address.is_ipv4() { 32 } else { 128 };
                tool::ip(&format!("addr replace {address}/{length} dev lo\n"))?;
            }
        }
        serve(self.options, self.zone, shutdown).await
    }
}

/// Passes every question on to the resolvers of `resolv_conf`, for machines that have no resolver of their own, until shut
/// down. The addresses must be there.
pub async fn relay(
    listen: Vec<SocketAddr>,
    resolv_conf: PathBuf,
    shutdown: Shutdown,
) -> Result<(), NetworkError> {
    let options = Options {
        listen,
        domain: String::new(),
        resolv_conf,
    };
    serve(options, Arc::default(), shutdown).await
}

async fn serve(options: Options, zone: Arc<RwLock<Zone>>, shutdown: Shutdown) -> Result<(), NetworkError> {
    let desk = Arc::new(Desk {
        zone,
        resolv_conf: options.resolv_conf,
        own: options.listen.clone(),
        questions: Semaphore::new(QUESTIONS),
        connections: Arc::new(Semaphore::new(CONNECTIONS)),
    });
    let mut tasks = tokio::task::JoinSet::new();
    for address in options.listen {
        let udp = UdpSocket::bind(address)
            .await
            .context(format!("listen on {address} by UDP"))?;
        let tcp = TcpListener::bind(address)
            .await
            .context(format!("listen on {address} by TCP"))?;
        tasks.spawn(desk.clone().udp(Arc::new(udp), shutdown.clone()));
        tasks.spawn(desk.clone().tcp(tcp, shutdown.clone()));
    }
    tasks.join_all().await;
    Ok(())
}

fn note_service(zone: &RwLock<Zone>, change: &Change) {
    let key = &change.entry().key;
    let name = (key.namespace.to_string(), key.name.to_string());
    let record = match change.new.as_ref().map(|e| e.decode::<Service>()).transpose() {
        Ok(object) => object.map(|o| records::service(&o)),
        Err(error) => return tracing::warn!(%error, "a Service cannot be read"),
    };
    zone.write().set_service(name, record);
}

fn note_slice(zone: &RwLock<Zone>, change: &Change) {
    let decode = |entry: &Arc<runtime::Entry>| entry.decode::<EndpointSlice>().ok();
    let slice = change.entry().key.name.to_string();
    let (old, new) = (
        change.old.as_ref().and_then(decode),
        change.new.as_ref().and_then(decode),
    );
    let (before, after) = (
        old.as_ref().and_then(records::owner),
        new.as_ref().and_then(records::owner),
    );
    let mut zone = zone.write();
    if let Some(before) = before.filter(|b| after.as_ref() != Some(b)) {
        zone.set_slice(before, &slice, None);
    }
    if let (Some(after), Some(new)) = (after, new) {
        zone.set_slice(after, &slice, Some(records::slice(&new)));
    }
}

/// Where questions are worked on.
struct Desk {
    zone: Arc<RwLock<Zone>>,
    resolv_conf: PathBuf,
    own: Vec<SocketAddr>,
    questions: Semaphore,
    connections: Arc<Semaphore>,
}

impl Desk {
    async fn udp(self: Arc<Self>, socket: Arc<UdpSocket>, shutdown: Shutdown) {
        let mut buffer = vec![0; 4096];
        loop {
            let (length, client) = match shutdown.run_until(socket.recv_from(&mut buffer)).await {
                None => return,
                Some(Ok(received)) => received,
                // An ICMP error that an earlier answer caused.
                Some(Err(_)) => continue,
            };
            let question = buffer[..length].to_vec();
            let (desk, socket) = (self.clone(), socket.clone());
            tokio::spawn(async move {
                if let Some(answer) = desk.work(&question, false).await {
                    // Lost answers are asked for again.
                    let _lost = socket.send_to(&answer, client).await;
                }
            });
        }
    }

    async fn tcp(self: Arc<Self>, listener: TcpListener, shutdown: Shutdown) {
        loop {
            let Some(Ok(slot)) = shutdown.run_until(self.connections.clone().acquire_owned()).await else {
                return;
            };
            match shutdown.run_until(listener.accept()).await {
                None => return,
                Some(Ok((stream, _))) => {
                    let (desk, shutdown) = (self.clone(), shutdown.clone());
                    tokio::spawn(async move {
                        let _slot = slot;
                        // A client that goes away is its own business.
                        let _gone = shutdown.run_until(desk.conversation(stream)).await;
                    });
                }
                Some(Err(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn conversation(&self, mut stream: TcpStream) -> std::io::Result<()> {
        loop {
            let late = |_| std::io::Error::from(std::io::ErrorKind::TimedOut);
            let length = tokio::time::timeout(IDLE, stream.read_u16())
                .await
                .map_err(late)??;
            let mut question = vec![0; length.into()];
            tokio::time::timeout(IDLE, stream.read_exact(&mut question))
                .await
                .map_err(late)??;
            let Some(answer) = self.work(&question, true).await else {
                return Ok(());
            };
            let length = u16::try_from(answer.len()).unwrap_or(0);
            stream
                .write_all(&[&length.to_be_bytes(), answer.as_slice()].concat())
                .await?;
        }
    }

    /// The answer to one question, or `None` for what deserves none.
    async fn work(&self, bytes: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let _slot = self.questions.try_acquire().ok()?;
        if bytes.len() < 12 {
            return None;
        }
        let Ok(question) = Message::from_vec(bytes) else {
            let id = u16::from_be_bytes([bytes[0], bytes[1]]);
            return Message::error_msg(id, OpCode::Query, ResponseCode::FormErr)
                .to_vec()
                .ok();
        };
        if question.metadata.message_type != MessageType::Query {
            return None;
        }
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.metadata.recursion_desired = question.metadata.recursion_desired;
        answer.metadata.recursion_available = true;
        answer.add_queries(question.queries.iter().cloned());
        let [query] = question.queries.as_slice() else {
            answer.metadata.response_code = ResponseCode::FormErr;
            return answer.to_vec().ok();
        };
        if question.metadata.op_code != OpCode::Query || query.query_class() != DNSClass::IN {
            answer.metadata.response_code = ResponseCode::NotImp;
            return answer.to_vec().ok();
        }
        let name = query.name().to_ascii();
        let name = name.trim_end_matches('.');
        let known = self.zone.read().answer(name, query.query_type());
        if known == Answer::Outside {
            return match forward::ask(bytes, &self.resolvers().await, tcp).await {
                Some(answer) => Some(answer),
                None => {
                    answer.metadata.response_code = ResponseCode::ServFail;
                    answer.to_vec().ok()
                }
            };
        }
        answer.metadata.authoritative = true;
        self.fill(&mut answer, query.name().clone(), query.query_type(), known)
            .await;
        let limit = match &question.edns {
            _ if tcp => usize::from(u16::MAX),
            Some(edns) => edns.max_payload().clamp(UDP_SIZE.0, UDP_SIZE.1).into(),
            None => UDP_SIZE.0.into(),
        };
        if question.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_SIZE.1);
            answer.set_edns(edns);
        }
        let whole = answer.to_vec().ok()?;
        if whole.len() <= limit {
            return Some(whole);
        }
        answer.truncate().to_vec().ok()
    }

    async fn fill(&self, answer: &mut Message, owner: Name, kind: RecordType, known: Answer) {
        match known {
            Answer::Records(ttl, records) => {
                for data in records {
                    if let Data::Alias(target) = &data {
                        self.follow(answer, &owner, target, ttl, kind).await;
                    } else if let Some(data) = rdata(&data) {
                        answer.add_answer(Record::from_rdata(owner.clone(), ttl, data));
                    }
                }
            }
            Answer::NoName => {
                answer.metadata.response_code = ResponseCode::NXDomain;
                answer.add_authorities(self.authority());
            }
            Answer::NoData | Answer::Outside => {
                answer.add_authorities(self.authority());
            }
        }
    }

    /// An alias, and where it leads, since pods' resolvers do not ask again.
    async fn follow(&self, answer: &mut Message, owner: &Name, target: &str, ttl: u32, kind: RecordType) {
        let (mut owner, mut target) = (owner.clone(), target.to_owned());
        for _ in 0..ALIASES {
            let Ok(name) = Name::from_ascii(format!("{target}.")) else {
                return;
            };
            answer.add_answer(Record::from_rdata(owner, ttl, RData::CNAME(CNAME(name.clone()))));
            if kind == RecordType::CNAME {
                return;
            }
            let known = self.zone.read().answer(&target, kind);
            match known {
                Answer::Records(ttl, records) => {
                    let next = records.iter().find_map(|d| match d {
                        Data::Alias(next) => Some(next.clone()),
                        _ => None,
                    });
                    let Some(next) = next else {
                        let data = records.iter().filter_map(rdata);
                        answer.add_answers(data.map(|d| Record::from_rdata(name.clone(), ttl, d)));
                        return;
                    };
                    (owner, target) = (name, next);
                }
                Answer::Outside => {
                    let mut question = Message::query();
                    question.metadata.recursion_desired = true;
                    question.add_query(hickory_proto::op::Query::query(name, kind));
                    let Ok(bytes) = question.to_vec() else { return };
                    let found = forward::ask(&bytes, &self.resolvers().await, true).await;
                    if let Some(found) = found.and_then(|b| Message::from_vec(&b).ok()) {
                        answer.add_answers(found.answers.iter().cloned());
                    }
                    return;
                }
                Answer::NoData | Answer::NoName => return,
            }
        }
    }

    fn authority(&self) -> Option<Record> {
        let domain = Name::from_ascii(format!("{}.", self.zone.read().domain())).ok()?;
        let (server, mail) = (
            domain.prepend_label("ns").ok()?,
            domain.prepend_label("hostmaster").ok()?,
        );
        let soa = SOA::new(server, mail, 1, 7200, 1800, 86_400, NEGATIVE);
        Some(Record::from_rdata(domain, NEGATIVE, RData::SOA(soa)))
    }

    async fn resolvers(&self) -> Vec<SocketAddr> {
        let text = tokio::fs::read_to_string(&self.resolv_conf)
            .await
            .unwrap_or_default();
        forward::resolvers(&text, &self.own)
    }
}

fn rdata(data: &Data) -> Option<RData> {
    let name = |text: &str| Name::from_ascii(format!("{text}.")).ok();
    Some(match data {
        Data::Address(IpAddr::V4(address)) => RData::A(A(*address)),
        Data::Address(IpAddr::V6(address)) => RData::AAAA(AAAA(*address)),
        Data::Service { port, target } => RData::SRV(SRV::new(0, 100, *port, name(target)?)),
        Data::Pointer(target) => RData::PTR(PTR(name(target)?)),
        Data::Text(text) => RData::TXT(TXT::new(vec![text.clone()])),
        Data::Alias(target) => RData::CNAME(CNAME(name(target)?)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::zone::{EndpointRecord, ServiceRecord, SliceRecord};
    use hickory_proto::op::Query;

    async fn desk(resolv_conf: &str) -> (tempfile::TempDir, Desk) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        std::fs::write(&path, resolv_conf).unwrap();
        let mut zone = Zone::new("cluster.local");
        let name = |n: &str| ("default".to_owned(), n.to_owned());
        let web = ServiceRecord {
            addresses: vec!["10.96.0.5".parse().unwrap()],
            ..Default::default()
        };
        zone.set_service(name("web"), Some(web));
        let alias = |to: &str| {
            Some(ServiceRecord {
                alias: Some(to.into()),
                ..Default::default()
            })
        };
        zone.set_service(name("out"), alias("web.default.svc.cluster.local"));
        zone.set_service(name("loop"), alias("loop.default.svc.cluster.local"));
        zone.set_service(name("many"), Some(ServiceRecord::default()));
        let endpoint = |n: u8| EndpointRecord {
            address: IpAddr::from([10, 244, 0, n]),
            hostname: None,
        };
        let slice = SliceRecord {
            endpoints: (1..=200).map(endpoint).collect(),
            ports: vec![],
        };
        zone.set_slice(name("many"), "s", Some(slice));
        let desk = Desk {
            zone: Arc::new(RwLock::new(zone)),
            resolv_conf: path,
            own: vec![],
            questions: Semaphore::new(1),
            connections: Arc::new(Semaphore::new(1)),
        };
        (dir, desk)
    }

    async fn ask(desk: &Desk, name: &str, kind: RecordType, tcp: bool) -> Message {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        let answer = desk.work(&question.to_vec().unwrap(), tcp).await.unwrap();
        let answer = Message::from_vec(&answer).unwrap();
        assert_eq!(answer.metadata.id, question.metadata.id);
        answer
    }

    #[tokio::test]
    async fn no_data_and_no_name_are_told_apart_with_an_authority() {
        let (_dir, desk) = desk("").await;
        let there = ask(&desk, "web.default.svc.cluster.local.", RecordType::A, false).await;
        assert_eq!((there.answers.len(), there.metadata.authoritative), (1, true));
        let no_data = ask(&desk, "web.default.svc.cluster.local.", RecordType::AAAA, false).await;
        assert_eq!(no_data.metadata.response_code, ResponseCode::NoError);
        let no_name = ask(&desk, "nope.default.svc.cluster.local.", RecordType::A, false).await;
        assert_eq!(no_name.metadata.response_code, ResponseCode::NXDomain);
        for negative in [no_data, no_name] {
            assert_eq!((negative.answers.len(), negative.authorities.len()), (0, 1));
        }
        // Nobody to ask: an honest failure, not "no such name".
        let outside = ask(&desk, "example.com.", RecordType::A, false).await;
        assert_eq!(outside.metadata.response_code, ResponseCode::ServFail);
    }

    #[tokio::test]
    async fn an_answer_that_does_not_fit_is_cut_and_asked_for_again_by_tcp() {
        let (_dir, desk) = desk("").await;
        let udp = ask(&desk, "many.default.svc.cluster.local.", RecordType::A, false).await;
        assert!(udp.metadata.truncation);
        let tcp = ask(&desk, "many.default.svc.cluster.local.", RecordType::A, true).await;
        assert_eq!((tcp.metadata.truncation, tcp.answers.len()), (false, 200));
    }

    #[tokio::test]
    async fn aliases_are_followed_but_not_for_ever() {
        let (_dir, desk) = desk("").await;
        let out = ask(&desk, "out.default.svc.cluster.local.", RecordType::A, false).await;
        assert_eq!(out.answers.len(), 2);
        let circle = ask(&desk, "loop.default.svc.cluster.local.", RecordType::A, true).await;
        assert_eq!(circle.answers.len(), ALIASES);
        assert!(desk.work(b"nonsense", false).await.is_none());
        let garbage = desk.work(&[7; 40], false).await.unwrap();
        assert_eq!(&garbage[..2], &[7, 7]);
    }
}
