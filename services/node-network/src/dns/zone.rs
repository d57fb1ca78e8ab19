//! What the cluster's names mean.
//!
//! A name that exists without records of the asked type is *no data*, one that does not exist is *no such name*: resolvers go on to
//! the next search domain only after the latter, and IPv6 questions for IPv4 Services must not hide the Service.

use hickory_proto::rr::RecordType;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};

/// Seconds for which an answer about a Service's address holds: it never changes while the Service exists.
const STABLE: u32 = 30;
/// Seconds for answers that follow pods.
const BRIEF: u32 = 5;

/// Namespace and name.
pub(crate) type ServiceName = (String, String);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceRecord {
    /// Empty: headless.
    pub(crate) addresses: Vec<IpAddr>,
    /// `ExternalName`.
    pub(crate) alias: Option<String>,
    /// Name, protocol in small letters, number.
    pub(crate) ports: Vec<(String, String, u16)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EndpointRecord {
    pub(crate) address: IpAddr,
    pub(crate) hostname: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SliceRecord {
    /// Those that may be published.
    pub(crate) endpoints: Vec<EndpointRecord>,
    pub(crate) ports: Vec<(String, String, u16)>,
}

/// The data of one record; names are absolute, without a last dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Data {
    Address(IpAddr),
    Service { port: u16, target: String },
    Pointer(String),
    Text(String),
    Alias(String),
}

/// What is known about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Records and how long they hold.
    Records(u32, Vec<Data>),
    /// The name exists, but has nothing of this type.
    NoData,
    /// There is no such name.
    NoName,
    /// Not ours to answer.
    Outside,
}

/// All names of one cluster.
#[derive(Debug, Default)]
pub(crate) struct Zone {
    domain: String,
    services: BTreeMap<ServiceName, ServiceRecord>,
    slices: HashMap<ServiceName, BTreeMap<String, SliceRecord>>,
    by_address: HashMap<IpAddr, ServiceName>,
}

impl Zone {
    pub(crate) fn new(domain: &str) -> Self {
        Self {
            domain: domain.trim_end_matches('.').to_ascii_lowercase(),
            ..Self::default()
        }
    }

    pub(crate) fn domain(&self) -> &str {
        &self.domain
    }

    /// Puts a Service, or takes it away.
    pub(crate) fn set_service(&mut self, name: ServiceName, service: Option<ServiceRecord>) {
        if let Some(old) = self.services.remove(&name) {
            for address in old.addresses {
                if self.by_address.get(&address) == Some(&name) {
                    self.by_address.remove(&address);
                }
            }
        }
        if let Some(service) = service {
            self.by_address
                .extend(service.addresses.iter().map(|a| (*a, name.clone())));
            self.services.insert(name, service);
        }
    }

    /// Puts a slice of a Service, or takes it away.
    pub(crate) fn set_slice(&mut self, service: ServiceName, slice: &str, record: Option<SliceRecord>) {
        let slices = self.slices.entry(service.clone()).or_default();
        match record {
            Some(record) => drop(slices.insert(slice.to_owned(), record)),
            None => drop(slices.remove(slice)),
        }
        if slices.is_empty() {
            self.slices.remove(&service);
        }
    }

    /// Answers for an absolute name without its last dot; letters are compared without case.
    pub(crate) fn answer(&self, name: &str, kind: RecordType) -> Answer {
        let name = name.to_ascii_lowercase();
        if let Some(reverse) = name.strip_suffix(".in-addr.arpa") {
            return self.reverse(reverse, kind);
        }
        let inside = if name == self.domain {
            ""
        } else {
            match name
                .strip_suffix(self.domain.as_str())
                .and_then(|n| n.strip_suffix('.'))
            {
                Some(inside) => inside,
                None => return Answer::Outside,
            }
        };
        let labels: Vec<&str> = if inside.is_empty() {
            vec![]
        } else {
            inside.rsplit('.').collect()
        };
        match labels.as_slice() {
            [] | ["svc"] | ["pod"] => Answer::NoData,
            ["dns-version"] => select(kind, STABLE, vec![Data::Text("1.1.0".into())]),
            ["svc", namespace] => self.exists(self.has_namespace(namespace)),
            ["svc", namespace, service, rest @ ..] => self.service(namespace, service, rest, kind),
            ["pod", namespace] => self.exists(self.has_namespace(namespace)),
            ["pod", namespace, address] if self.has_namespace(namespace) => pod(address, kind),
            _ => Answer::NoName,
        }
    }

    fn exists(&self, yes: bool) -> Answer {
        if yes { Answer::NoData } else { Answer::NoName }
    }

    fn has_namespace(&self, namespace: &str) -> bool {
        let from = (namespace.to_owned(), String::new());
        self.services
            .range(from..)
            .next()
            .is_some_and(|((n, _), _)| n == namespace)
    }

    fn service(&self, namespace: &str, name: &str, rest: &[&str], kind: RecordType) -> Answer {
        let key = (namespace.to_owned(), name.to_owned());
        let Some(service) = self.services.get(&key) else {
            return Answer::NoName;
        };
        let own_name = format!("{name}.{namespace}.svc.{}", self.domain);
        if let Some(alias) = &service.alias {
            return if rest.is_empty() {
                Answer::Records(STABLE, vec![Data::Alias(alias.clone())])
            } else {
                Answer::NoName
            };
        }
        let headless = service.addresses.is_empty();
        let slices = || self.slices.get(&key).into_iter().flat_map(BTreeMap::values);
        match rest {
            [] if headless => {
                let addresses = slices().flat_map(|s| s.endpoints.iter().map(|e| Data::Address(e.address)));
                // A headless Service without endpoints does not exist to DNS: upstream's servers say so too.
                let addresses: Vec<_> = addresses.collect();
                if addresses.is_empty() {
                    Answer::NoName
                } else {
                    select(kind, BRIEF, addresses)
                }
            }
            [] => select(
                kind,
                STABLE,
                service.addresses.iter().map(|a| Data::Address(*a)).collect(),
            ),
            [protocol, port] if protocol.starts_with('_') && port.starts_with('_') => {
                let (protocol, port) = (&protocol[1..], &port[1..]);
                let matches = |(n, p, _): &&(String, String, u16)| n == port && p == protocol;
                let records: Vec<Data> = if headless {
                    let of_slice = |slice: &SliceRecord| -> Vec<Data> {
                        let Some((_, _, number)) = slice.ports.iter().find(matches).cloned() else {
                            return vec![];
                        };
                        let target = |e: &EndpointRecord| Data::Service {
                            port: number,
                            target: format!("{}.{own_name}", host(e)),
                        };
                        slice.endpoints.iter().map(target).collect()
                    };
                    slices().flat_map(of_slice).collect()
                } else {
                    let ports = service.ports.iter().filter(matches);
                    ports
                        .map(|(_, _, port)| Data::Service {
                            port: *port,
                            target: own_name.clone(),
                        })
                        .collect()
                };
                if records.is_empty() {
                    Answer::NoName
                } else {
                    select(kind, if headless { BRIEF } else { STABLE }, records)
                }
            }
            [protocol] if ["_tcp", "_udp", "_sctp"].contains(protocol) => Answer::NoData,
            [hostname] if headless => {
                let found = slices()
                    .flat_map(|s| &s.endpoints)
                    .filter(|e| host(e) == *hostname);
                let found: Vec<_> = found.map(|e| Data::Address(e.address)).collect();
                if found.is_empty() {
                    Answer::NoName
                } else {
                    select(kind, BRIEF, found)
                }
            }
            _ => Answer::NoName,
        }
    }

    fn reverse(&self, labels: &str, kind: RecordType) -> Answer {
        let mut bytes: Vec<u8> = labels.split('.').filter_map(|l| l.parse().ok()).collect();
        bytes.reverse();
        let Ok(bytes) = <[u8; 4]>::try_from(bytes) else {
            return Answer::Outside;
        };
        let address = IpAddr::V4(bytes.into());
        if let Some((namespace, name)) = self.by_address.get(&address) {
            return select(
                kind,
                STABLE,
                vec![Data::Pointer(format!("{name}.{namespace}.svc.{}", self.domain))],
            );
        }
        // Rarely asked, so headless endpoints have no index.
        for (key @ (namespace, name), slices) in &self.slices {
            let headless = self
                .services
                .get(key)
                .is_some_and(|s| s.addresses.is_empty() && s.alias.is_none());
            let endpoint = slices
                .values()
                .flat_map(|s| &s.endpoints)
                .find(|e| e.address == address);
            if let (true, Some(endpoint)) = (headless, endpoint) {
                let pointer = format!("{}.{name}.{namespace}.svc.{}", host(endpoint), self.domain);
                return select(kind, BRIEF, vec![Data::Pointer(pointer)]);
            }
        }
        Answer::Outside
    }
}

/// An endpoint's label: its host name, else its address with dashes.
fn host(endpoint: &EndpointRecord) -> String {
    endpoint
        .hostname
        .clone()
        .unwrap_or_else(|| endpoint.address.to_string().replace(['.', ':'], "-"))
}

/// `10-244-1-7.default.pod.cluster.local` is 10.244.1.7, whether or not there is such a pod.
fn pod(label: &str, kind: RecordType) -> Answer {
    match label.replace('-', ".").parse::<Ipv4Addr>() {
        Ok(address) => select(kind, STABLE, vec![Data::Address(address.into())]),
        Err(_) => Answer::NoName,
    }
}

/// The records of this type, each once; without any, no data.
fn select(kind: RecordType, ttl: u32, mut records: Vec<Data>) -> Answer {
    records.retain(|data| match data {
        Data::Address(IpAddr::V4(_)) => matches!(kind, RecordType::A | RecordType::ANY),
        Data::Address(IpAddr::V6(_)) => matches!(kind, RecordType::AAAA | RecordType::ANY),
        Data::Service { .. } => matches!(kind, RecordType::SRV | RecordType::ANY),
        Data::Pointer(_) => matches!(kind, RecordType::PTR | RecordType::ANY),
        Data::Text(_) => matches!(kind, RecordType::TXT | RecordType::ANY),
        Data::Alias(_) => true,
    });
    records.sort();
    records.dedup();
    if records.is_empty() {
        Answer::NoData
    } else {
        Answer::Records(ttl, records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn zone() -> Zone {
        let mut zone = Zone::new("cluster.local.");
        let name = |n: &str| ("default".to_owned(), n.to_owned());
        let port = || vec![("http".to_owned(), "tcp".to_owned(), 80)];
        let web = ServiceRecord {
            addresses: vec![ip("10.96.0.5")],
            ports: port(),
            alias: None,
        };
        zone.set_service(name("web"), Some(web));
        zone.set_service(
            name("db"),
            Some(ServiceRecord {
                ports: port(),
                ..Default::default()
            }),
        );
        zone.set_service(
            name("out"),
            Some(ServiceRecord {
                alias: Some("example.com".into()),
                ..Default::default()
            }),
        );
        zone.set_service(name("none"), Some(ServiceRecord::default()));
        let endpoint = |a: &str, h: Option<&str>| EndpointRecord {
            address: ip(a),
            hostname: h.map(str::to_owned),
        };
        let slice = SliceRecord {
            endpoints: vec![endpoint("10.244.0.2", Some("db-0")), endpoint("10.244.1.3", None)],
            ports: vec![("http".into(), "tcp".into(), 8080)],
        };
        zone.set_slice(name("db"), "db-1", Some(slice));
        zone
    }

    fn text(answer: Answer) -> String {
        match answer {
            Answer::Records(ttl, records) => {
                let each = records.into_iter().map(|d| match d {
                    Data::Address(a) => a.to_string(),
                    Data::Service { port, target } => format!("{port} {target}"),
                    Data::Pointer(n) | Data::Text(n) | Data::Alias(n) => n,
                });
                format!("{ttl}: {}", each.collect::<Vec<_>>().join(", "))
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn names_mean_what_the_specification_says() {
        let zone = zone();
        use RecordType::{A, AAAA, PTR, SRV, TXT};
        for (name, kind, expect) in [
            ("web.default.svc.cluster.local", A, "30: 10.96.0.5"),
            ("WEB.Default.svc.CLUSTER.local", A, "30: 10.96.0.5"),
            ("web.default.svc.cluster.local", AAAA, "NoData"),
            (
                "_http._tcp.web.default.svc.cluster.local",
                SRV,
                "30: 80 web.default.svc.cluster.local",
            ),
            ("_tcp.web.default.svc.cluster.local", SRV, "NoData"),
            ("_dns._tcp.web.default.svc.cluster.local", SRV, "NoName"),
            ("db.default.svc.cluster.local", A, "5: 10.244.0.2, 10.244.1.3"),
            ("db-0.db.default.svc.cluster.local", A, "5: 10.244.0.2"),
            ("10-244-1-3.db.default.svc.cluster.local", A, "5: 10.244.1.3"),
            ("db-1.db.default.svc.cluster.local", A, "NoName"),
            (
                "_http._tcp.db.default.svc.cluster.local",
                SRV,
                "5: 8080 10-244-1-3.db.default.svc.cluster.local, 8080 db-0.db.default.svc.cluster.local",
            ),
            ("none.default.svc.cluster.local", A, "NoName"),
            ("out.default.svc.cluster.local", A, "30: example.com"),
            ("x.web.default.svc.cluster.local", A, "NoName"),
            ("web.other.svc.cluster.local", A, "NoName"),
            ("default.svc.cluster.local", A, "NoData"),
            ("other.svc.cluster.local", A, "NoName"),
            ("svc.cluster.local", A, "NoData"),
            ("cluster.local", A, "NoData"),
            ("10-244-0-2.default.pod.cluster.local", A, "30: 10.244.0.2"),
            ("nonsense.default.pod.cluster.local", A, "NoName"),
            ("dns-version.cluster.local", TXT, "30: 1.1.0"),
            ("5.0.96.10.in-addr.arpa", PTR, "30: web.default.svc.cluster.local"),
            (
                "2.0.244.10.in-addr.arpa",
                PTR,
                "5: db-0.db.default.svc.cluster.local",
            ),
            ("8.8.8.8.in-addr.arpa", PTR, "Outside"),
            ("web.default.svc.cluster.local.example.com", A, "Outside"),
            ("example.com", A, "Outside"),
            ("xcluster.local", A, "Outside"),
        ] {
            assert_eq!(text(zone.answer(name, kind)), expect, "{name} {kind}");
        }
    }

    #[test]
    fn what_is_taken_away_is_gone_both_ways() {
        let mut zone = zone();
        zone.set_service(("default".into(), "web".into()), None);
        zone.set_slice(("default".into(), "db".into()), "db-1", None);
        for name in [
            "web.default.svc.cluster.local",
            "db-0.db.default.svc.cluster.local",
        ] {
            assert_eq!(zone.answer(name, RecordType::A), Answer::NoName);
        }
        assert_eq!(
            zone.answer("5.0.96.10.in-addr.arpa", RecordType::PTR),
            Answer::Outside
        );
        assert!(zone.slices.is_empty() && zone.by_address.is_empty());
    }
}
