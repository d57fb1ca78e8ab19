//! What a pod sees of names: its host name, `/etc/hosts` and `resolv.conf`.
//!
//! Pure. The rules are Kubernetes' documentation "DNS for Services and Pods"; limits are the resolver's.

use crate::k8s::{Pod, namespace};
use cri::v1::DnsConfig;
use std::fmt::Write as _;

/// The resolver reads at most three name servers (resolv.conf(5), MAXNS).
const MAX_NAMESERVERS: usize = 3;
/// Kubernetes' limit of search domains.
const MAX_SEARCHES: usize = 32;
/// Linux' limit of a host name.
const MAX_HOSTNAME: usize = 63;

/// What the node offers.
#[derive(Clone, Debug, Default)]
pub struct NodeDns {
    /// The cluster's DNS server addresses; empty means the cluster has none.
    pub cluster_dns: Vec<String>,
    /// The cluster's domain, as `cluster.local`.
    pub cluster_domain: String,
    /// The node's own resolv.conf, parsed.
    pub host: ResolvConf,
}

/// The parts of a resolv.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// `nameserver` lines.
    pub servers: Vec<String>,
    /// The last `search` line.
    pub searches: Vec<String>,
    /// The last `options` line.
    pub options: Vec<String>,
}

impl ResolvConf {
    /// Reads resolv.conf(5).
    pub fn parse(text: &str) -> Self {
        let mut out = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => out.servers.extend(words.next().map(str::to_owned)),
                Some("search") => {
                    out.searches = words
                        .filter(|w| *w != ".")
                        .map(|w| w.trim_end_matches('.').to_owned())
                        .collect()
                }
                Some("options") => out.options = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        out
    }
}

/// The DNS settings of a pod's sandbox.
pub fn dns_config(pod: &Pod, node: &NodeDns) -> DnsConfig {
    let spec = pod.spec.as_ref();
    let host_network = spec.and_then(|s| s.host_network).unwrap_or(false);
    let policy = spec
        .and_then(|s| s.dns_policy.as_deref())
        .unwrap_or("ClusterFirst");
    let cluster = match policy {
        "None" => None,
        "Default" => Some(false),
        "ClusterFirstWithHostNet" => Some(true),
        _ => Some(!host_network),
    };
    let mut config = match cluster {
        None => DnsConfig::default(),
        Some(true) if !node.cluster_dns.is_empty() => {
            let domain = &node.cluster_domain;
            let mut searches = Vec::new();
            if !domain.is_empty() {
                searches.push(format!("{}.svc.{domain}", namespace(&pod.metadata)));
                searches.push(format!("svc.{domain}"));
                searches.push(domain.clone());
            }
            searches.extend(node.host.searches.iter().cloned());
            DnsConfig {
                servers: node.cluster_dns.clone(),
                searches,
                options: vec!["ndots:5".to_owned()],
            }
        }
        // Without a cluster DNS the node's own settings are the best there is, as upstream falls back.
        Some(_) => DnsConfig {
            servers: node.host.servers.clone(),
            searches: node.host.searches.clone(),
            options: node.host.options.clone(),
        },
    };
    if let Some(own) = spec.and_then(|s| s.dns_config.as_ref()) {
        config.servers.extend(own.nameservers.iter().flatten().cloned());
        config.searches.extend(own.searches.iter().flatten().cloned());
        for option in own.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            let text = match option.value.as_deref().filter(|v| !v.is_empty()) {
                Some(value) => format!("{name}:{value}"),
                None => name.clone(),
            };
            let same = |o: &String| o.split(':').next() == Some(name);
            match config.options.iter_mut().find(|o| same(o)) {
                Some(slot) => *slot = text,
                None => config.options.push(text),
            }
        }
    }
    dedup(&mut config.servers);
    dedup(&mut config.searches);
    config.servers.truncate(MAX_NAMESERVERS);
    config.searches.truncate(MAX_SEARCHES);
    config
}

fn dedup(list: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    list.retain(|item| seen.insert(item.clone()));
}

/// A pod's host name and, if it has a subdomain, its DNS domain.
pub fn hostname_and_domain(pod: &Pod, cluster_domain: &str) -> (String, String) {
    let spec = pod.spec.as_ref();
    let given = |f: Option<&String>| f.filter(|s| !s.is_empty()).cloned();
    if let Some(name) = given(spec.and_then(|s| s.hostname_override.as_ref())) {
        return (name, String::new());
    }
    let mut host = given(spec.and_then(|s| s.hostname.as_ref()))
        .unwrap_or_else(|| crate::k8s::name(&pod.metadata).to_owned());
    if host.len() > MAX_HOSTNAME {
        // Names of objects are ASCII.
        host = host
            .chars()
            .take(MAX_HOSTNAME)
            .collect::<String>()
            .trim_end_matches(['-', '.'])
            .to_owned();
    }
    let domain = given(spec.and_then(|s| s.subdomain.as_ref()))
        .map(|sub| format!("{sub}.{}.svc.{cluster_domain}", namespace(&pod.metadata)))
        .unwrap_or_default();
    (host, domain)
}

/// The host name the sandbox is given: the fully qualified one if the pod asks for it.
pub fn sandbox_hostname(pod: &Pod, cluster_domain: &str) -> String {
    let (host, domain) = hostname_and_domain(pod, cluster_domain);
    let fqdn = pod
        .spec
        .as_ref()
        .and_then(|s| s.set_hostname_as_fqdn)
        .unwrap_or(false);
    if fqdn && !domain.is_empty() {
        format!("{host}.{domain}")
    } else {
        host
    }
}

/// The text of a pod's `/etc/hosts`. With the host's network it is the node's file plus the pod's aliases.
pub fn etc_hosts(pod: &Pod, pod_ips: &[String], cluster_domain: &str, host_file: Option<&str>) -> String {
    let mut out = String::from("# Kubernetes-managed hosts file");
    match host_file {
        Some(text) => {
            out.push_str(" (host network).\n");
            out.push_str(text);
        }
        None => {
            out.push_str(".\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
            out.push_str("fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n");
            let (host, domain) = hostname_and_domain(pod, cluster_domain);
            for ip in pod_ips {
                // Writing to a String cannot fail.
                let _infallible = if domain.is_empty() {
                    writeln!(out, "{ip}\t{host}")
                } else {
                    writeln!(out, "{ip}\t{host}.{domain}\t{host}")
                };
            }
        }
    }
    let aliases = pod.spec.iter().flat_map(|s| s.host_aliases.iter().flatten());
    for (i, alias) in aliases.enumerate() {
        if i == 0 {
            out.push_str("\n# Entries added by HostAliases.\n");
        }
        let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
        let _infallible = writeln!(out, "{}\t{names}", alias.ip);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: &str) -> Pod {
        serde_json::from_str(&format!(
            r#"{{"metadata":{{"name":"web","namespace":"ns"}},"spec":{{"containers":[],{spec}}}}}"#
        ))
        .unwrap()
    }

    fn node() -> NodeDns {
        NodeDns {
            cluster_dns: vec!["10.96.0.10".into()],
            cluster_domain: "cluster.local".into(),
            host: ResolvConf::parse("nameserver 1.1.1.1\nsearch corp.example. .\noptions timeout:1\n# x\n"),
        }
    }

    #[test]
    fn the_dns_policy_decides_which_servers_a_pod_asks() {
        let cluster = dns_config(&pod(r#""dnsPolicy":"ClusterFirst""#), &node());
        assert_eq!(cluster.servers, ["10.96.0.10"]);
        assert_eq!(
            cluster.searches,
            [
                "ns.svc.cluster.local",
                "svc.cluster.local",
                "cluster.local",
                "corp.example"
            ]
        );
        assert_eq!(cluster.options, ["ndots:5"]);
        let host = dns_config(&pod(r#""hostNetwork":true,"dnsPolicy":"ClusterFirst""#), &node());
        assert_eq!(
            (host.servers[0].as_str(), host.options[0].as_str()),
            ("1.1.1.1", "timeout:1")
        );
        let none = dns_config(
            &pod(
                r#""dnsPolicy":"None","dnsConfig":{"nameservers":["9.9.9.9"],"searches":["a"],"options":[{"name":"ndots","value":"2"},{"name":"edns0"}]}"#,
            ),
            &node(),
        );
        assert_eq!(
            (none.servers, none.searches, none.options),
            (
                vec!["9.9.9.9".into()],
                vec!["a".into()],
                vec!["ndots:2".into(), "edns0".into()]
            )
        );
        let own = dns_config(
            &pod(r#""dnsConfig":{"options":[{"name":"ndots","value":"2"}]}"#),
            &node(),
        );
        assert_eq!(own.options, ["ndots:2"]);
    }

    #[test]
    fn hosts_files_name_the_pod_and_its_aliases() {
        let p = pod(
            r#""hostname":"h","subdomain":"s","setHostnameAsFQDN":true,"hostAliases":[{"ip":"1.2.3.4","hostnames":["a","b"]}]"#,
        );
        assert_eq!(sandbox_hostname(&p, "cluster.local"), "h.s.ns.svc.cluster.local");
        let text = etc_hosts(&p, &["10.1.0.2".into()], "cluster.local", None);
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n"));
        assert!(text.contains("10.1.0.2\th.s.ns.svc.cluster.local\th\n"));
        assert!(text.ends_with("# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"));
        let host = etc_hosts(&pod(r#""hostNetwork":true"#), &[], "", Some("127.0.0.1 x\n"));
        assert_eq!(
            host,
            "# Kubernetes-managed hosts file (host network).\n127.0.0.1 x\n"
        );
    }
}
