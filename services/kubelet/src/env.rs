//! A container's environment: services, `envFrom`, `env` with references, in Kubernetes' order of precedence.
//!
//! Pure: the configuration objects a pod refers to are fetched before. Later sources win over earlier ones: service
//! variables, then `envFrom` in order, then `env` in order. A name keeps the place of its first appearance.

use crate::downward::{self, DownwardError, NodeFacts};
use crate::expand::expand;
use crate::k8s::{ConfigMap, Container, Pod, Secret, Service};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// What the variables of a pod's containers may refer to.
#[derive(Debug, Default)]
pub struct Sources {
    /// ConfigMaps of the pod's namespace by name; a missing one is absent.
    pub config_maps: HashMap<String, ConfigMap>,
    /// Secrets likewise.
    pub secrets: HashMap<String, Secret>,
    /// Variables of services, in order.
    pub services: Vec<(String, String)>,
    /// What the node knows.
    pub facts: NodeFacts,
}

/// Why a container's environment cannot be made: all are configuration errors that the user can mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// A ConfigMap or Secret that is not optional does not exist.
    #[error("{kind} {name:?} not found")]
    Missing {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The object exists, the key does not.
    #[error("couldn't find key {key} in {kind} {name}")]
    Key {
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// `namespace/name`.
        name: String,
        /// The key.
        key: String,
    },
    /// A file key reference: not supported.
    #[error("environment variable {0:?} uses fileKeyRef, which this kubelet does not support")]
    FileKey(String),
    /// A field or resource has no value.
    #[error(transparent)]
    Downward(#[from] DownwardError),
}

/// The environment of `container`, in order.
pub fn build(pod: &Pod, container: &Container, sources: &Sources) -> Result<Vec<(String, String)>, EnvError> {
    let mut env = Env::default();
    for (key, value) in &sources.services {
        env.set(key, value.clone());
    }
    let namespace = crate::k8s::namespace(&pod.metadata);
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &from.config_map_ref {
            match sources.config_maps.get(&reference.name) {
                Some(map) => {
                    for (key, value) in map.data.iter().flatten() {
                        env.set(&format!("{prefix}{key}"), value.clone());
                    }
                }
                None if reference.optional == Some(true) => {}
                None => {
                    return Err(EnvError::Missing {
                        kind: "configmap",
                        name: reference.name.clone(),
                    });
                }
            }
        }
        if let Some(reference) = &from.secret_ref {
            match sources.secrets.get(&reference.name) {
                Some(secret) => {
                    for (key, value) in secret.data.iter().flatten() {
                        env.set(
                            &format!("{prefix}{key}"),
                            String::from_utf8_lossy(&value.0).into_owned(),
                        );
                    }
                }
                None if reference.optional == Some(true) => {}
                None => {
                    return Err(EnvError::Missing {
                        kind: "secret",
                        name: reference.name.clone(),
                    });
                }
            }
        }
    }
    for var in container.env.iter().flatten() {
        if let Some(value) = value_of(pod, container, sources, namespace, &env, var)? {
            env.set(&var.name, value);
        }
    }
    Ok(env.list)
}

fn value_of(
    pod: &Pod,
    container: &Container,
    sources: &Sources,
    namespace: &str,
    env: &Env,
    var: &crate::k8s::EnvVar,
) -> Result<Option<String>, EnvError> {
    let Some(from) = &var.value_from else {
        return Ok(Some(expand(var.value.as_deref().unwrap_or_default(), |name| {
            env.get(name)
        })));
    };
    if let Some(reference) = &from.field_ref {
        return Ok(Some(downward::field(pod, reference, &sources.facts)?));
    }
    if let Some(reference) = &from.resource_field_ref {
        return Ok(Some(downward::resource(
            pod,
            Some(&container.name),
            reference,
            &sources.facts,
        )?));
    }
    if let Some(reference) = &from.config_map_key_ref {
        let optional = reference.optional == Some(true);
        let Some(map) = sources.config_maps.get(&reference.name) else {
            let missing = EnvError::Missing {
                kind: "configmap",
                name: reference.name.clone(),
            };
            return if optional { Ok(None) } else { Err(missing) };
        };
        return match map.data.as_ref().and_then(|d| d.get(&reference.key)) {
            Some(value) => Ok(Some(value.clone())),
            None if optional => Ok(None),
            None => Err(key_error("ConfigMap", namespace, &reference.name, &reference.key)),
        };
    }
    if let Some(reference) = &from.secret_key_ref {
        let optional = reference.optional == Some(true);
        let Some(secret) = sources.secrets.get(&reference.name) else {
            let missing = EnvError::Missing {
                kind: "secret",
                name: reference.name.clone(),
            };
            return if optional { Ok(None) } else { Err(missing) };
        };
        return match secret.data.as_ref().and_then(|d| d.get(&reference.key)) {
            Some(value) => Ok(Some(String::from_utf8_lossy(&value.0).into_owned())),
            None if optional => Ok(None),
            None => Err(key_error("Secret", namespace, &reference.name, &reference.key)),
        };
    }
    if from.file_key_ref.is_some() {
        return Err(EnvError::FileKey(var.name.clone()));
    }
    Ok(Some(String::new()))
}

fn key_error(kind: &'static str, namespace: &str, name: &str, key: &str) -> EnvError {
    EnvError::Key {
        kind,
        name: format!("{namespace}/{name}"),
        key: key.to_owned(),
    }
}

#[derive(Default)]
struct Env {
    list: Vec<(String, String)>,
    index: HashMap<String, usize>,
}

impl Env {
    fn set(&mut self, key: &str, value: String) {
        match self.index.get(key) {
            Some(&at) => self.list[at].1 = value,
            None => {
                self.index.insert(key.to_owned(), self.list.len());
                self.list.push((key.to_owned(), value));
            }
        }
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.index.get(key).map(|&at| self.list[at].1.as_str())
    }
}

/// The variables that describe services to a pod: `<NAME>_SERVICE_HOST`, `_SERVICE_PORT` and Docker's link variables.
///
/// `kubernetes` of the `default` namespace is described to every pod; others only to pods of their namespace that
/// have not turned service links off.
pub fn service_variables(services: &[Service], namespace: &str, links: bool) -> Vec<(String, String)> {
    let mut chosen: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        let spec = service.spec.as_ref();
        let has_address = spec
            .and_then(|s| s.cluster_ip.as_deref())
            .is_some_and(|ip| !ip.is_empty() && ip != "None" && ip.parse::<IpAddr>().is_ok());
        if !has_address {
            continue;
        }
        let (ns, name) = (
            crate::k8s::namespace(&service.metadata),
            crate::k8s::name(&service.metadata),
        );
        if ns == namespace && links {
            chosen.insert(name, service);
        } else if ns == "default" && name == "kubernetes" {
            chosen.entry(name).or_insert(service);
        }
    }
    let mut out = Vec::new();
    for (name, service) in chosen {
        let Some(spec) = &service.spec else { continue };
        let ip = spec.cluster_ip.as_deref().unwrap_or_default();
        let ports = spec.ports.as_deref().unwrap_or_default();
        let Some(first) = ports.first() else { continue };
        let prefix = variable_name(name);
        out.push((format!("{prefix}_SERVICE_HOST"), ip.to_owned()));
        out.push((format!("{prefix}_SERVICE_PORT"), first.port.to_string()));
        for port in ports {
            if let Some(port_name) = port.name.as_deref().filter(|n| !n.is_empty()) {
                out.push((
                    format!("{prefix}_SERVICE_PORT_{}", variable_name(port_name)),
                    port.port.to_string(),
                ));
            }
        }
        let host = if ip.contains(':') {
            format!("[{ip}]")
        } else {
            ip.to_owned()
        };
        for (i, port) in ports.iter().enumerate() {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let url = format!("{}://{host}:{}", protocol.to_ascii_lowercase(), port.port);
            if i == 0 {
                out.push((format!("{prefix}_PORT"), url.clone()));
            }
            let link = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_ascii_uppercase());
            out.push((link.clone(), url));
            out.push((format!("{link}_PROTO"), protocol.to_ascii_lowercase()));
            out.push((format!("{link}_PORT"), port.port.to_string()));
            out.push((format!("{link}_ADDR"), ip.to_owned()));
        }
    }
    out
}

fn variable_name(name: &str) -> String {
    name.replace('-', "_").to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(env: &str) -> Pod {
        serde_json::from_str(&format!(
            r#"{{"metadata":{{"name":"p","namespace":"n"}},"spec":{{"containers":[{{"name":"c",{env}}}]}}}}"#
        ))
        .unwrap()
    }

    fn of(env: &str, sources: &Sources) -> Result<Vec<(String, String)>, EnvError> {
        let pod = pod(env);
        build(&pod, &pod.spec.as_ref().unwrap().containers[0], sources)
    }

    fn sources() -> Sources {
        let mut s = Sources::default();
        s.config_maps.insert(
            "cm".into(),
            serde_json::from_str(r#"{"data":{"a":"1","b":"2"}}"#).unwrap(),
        );
        s.secrets.insert(
            "sec".into(),
            serde_json::from_str(r#"{"data":{"k":"aGVsbG8="}}"#).unwrap(),
        );
        s.services.push(("SVC".into(), "10.0.0.1".into()));
        s
    }

    #[test]
    fn later_sources_win_and_values_refer_to_earlier_ones() {
        let env = of(
            r#""envFrom":[{"prefix":"P_","configMapRef":{"name":"cm"}},{"secretRef":{"name":"none","optional":true}}],
               "env":[{"name":"SVC","value":"mine"},{"name":"X","value":"$(P_a)-$(SVC)-$(LATER)"},
                      {"name":"S","valueFrom":{"secretKeyRef":{"name":"sec","key":"k"}}},
                      {"name":"N","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}},
                      {"name":"O","valueFrom":{"configMapKeyRef":{"name":"cm","key":"zz","optional":true}}}]"#,
            &sources(),
        )
        .unwrap();
        let text: Vec<_> = env.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            text,
            [
                "SVC=mine",
                "P_a=1",
                "P_b=2",
                "X=1-mine-$(LATER)",
                "S=hello",
                "N=p"
            ]
        );
    }

    #[test]
    fn what_is_missing_and_not_optional_is_an_error() {
        let missing = |env: &str| of(env, &sources()).unwrap_err().to_string();
        assert_eq!(
            missing(r#""envFrom":[{"configMapRef":{"name":"x"}}]"#),
            "configmap \"x\" not found"
        );
        assert_eq!(
            missing(r#""env":[{"name":"A","valueFrom":{"secretKeyRef":{"name":"sec","key":"q"}}}]"#),
            "couldn't find key q in Secret n/sec"
        );
    }

    #[test]
    fn services_are_described_to_their_namespace_and_kubernetes_to_all() {
        let service = |ns: &str, name: &str, ip: &str| -> Service {
            serde_json::from_str(&format!(
                r#"{{"metadata":{{"name":"{name}","namespace":"{ns}"}},
                    "spec":{{"clusterIP":"{ip}","ports":[{{"name":"web","port":80,"protocol":"TCP"}}]}}}}"#
            ))
            .unwrap()
        };
        let all = [
            service("default", "kubernetes", "10.0.0.1"),
            service("n", "my-db", "10.0.0.2"),
            service("other", "x", "10.0.0.3"),
            service("n", "headless", "None"),
        ];
        let names: Vec<_> = service_variables(&all, "n", true)
            .into_iter()
            .map(|(k, _)| k)
            .collect();
        assert_eq!(
            names[..8],
            [
                "KUBERNETES_SERVICE_HOST",
                "KUBERNETES_SERVICE_PORT",
                "KUBERNETES_SERVICE_PORT_WEB",
                "KUBERNETES_PORT",
                "KUBERNETES_PORT_80_TCP",
                "KUBERNETES_PORT_80_TCP_PROTO",
                "KUBERNETES_PORT_80_TCP_PORT",
                "KUBERNETES_PORT_80_TCP_ADDR",
            ]
        );
        assert!(names.contains(&"MY_DB_SERVICE_HOST".to_owned()) && names.len() == 16);
        assert_eq!(service_variables(&all, "n", false).len(), 8);
    }
}
