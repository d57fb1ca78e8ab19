//! Metrics under Kubernetes' names, each with a `cluster` label.
//!
//! A tenant's `/metrics` shows the lines of its own cluster without that label; the operator sees all. Label values come from
//! the table of kinds or from fixed sets, never from what a client sends, so that the number of series is bounded.

use crate::cx::Cx;
use crate::request_info::RequestInfo;
use base::ClusterId;
use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// What a request is counted under.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Labels {
    verb: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    scope: &'static str,
    dry_run: &'static str,
    component: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Coded {
    verb: &'static str,
    dry_run: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    scope: &'static str,
    component: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Running {
    verb: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
}

impl Labels {
    /// The labels of a request. What is no resource that is served is counted as one.
    pub(crate) fn of(info: &RequestInfo, dry_run: bool) -> Self {
        let verb = match info.verb {
            "get" if info.is_resource => "GET",
            "list" => "LIST",
            "watch" => "WATCH",
            "create" => "POST",
            "update" => "PUT",
            "patch" => "PATCH",
            "delete" => "DELETE",
            "deletecollection" => "DELETECOLLECTION",
            "get" => "GET",
            _ => "other",
        };
        let known = api::newest()
            .resource(&info.group, &info.version, &info.resource)
            .or_else(|| api::catalogs().find_map(|c| c.resource(&info.group, &info.version, &info.resource)));
        let sub = known
            .and_then(|r| r.subresources.iter().find(|s| s.name == info.subresource))
            .map_or("", |s| s.name);
        let scope = match () {
            () if !info.is_resource => "",
            () if !info.name.is_empty() => "resource",
            () if !info.namespace.is_empty() => "namespace",
            () => "cluster",
        };
        Self {
            verb,
            group: known.map_or("", |r| r.group),
            version: known.map_or("", |r| r.version),
            resource: known.map_or("", |r| r.plural),
            subresource: sub,
            scope,
            dry_run: if dry_run { "All" } else { "" },
            component: "apiserver",
        }
    }
}

type MakeHistogram = fn() -> Histogram;

fn histogram() -> Histogram {
    Histogram::new([
        0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0,
    ])
}

/// The metrics of one cluster.
struct Of {
    registry: Registry,
    requests: Family<Coded, Counter>,
    duration: Family<Labels, Histogram, MakeHistogram>,
    running: Family<Running, Gauge>,
}

impl Of {
    fn new() -> Self {
        let requests = Family::<Coded, Counter>::default();
        let duration = Family::<Labels, Histogram, MakeHistogram>::new_with_constructor(histogram);
        let running = Family::<Running, Gauge>::default();
        let mut registry = Registry::default();
        registry.register(
            "apiserver_request",
            "Requests by verb, resource and response code",
            requests.clone(),
        );
        registry.register(
            "apiserver_request_duration_seconds",
            "Response latency in seconds, without long-running requests",
            duration.clone(),
        );
        registry.register(
            "apiserver_longrunning_requests",
            "Long-running requests now",
            running.clone(),
        );
        Self {
            registry,
            requests,
            duration,
            running,
        }
    }
}

/// All metrics of the process's API server: numbers of clusters that were asked something, dropped with the cluster.
#[derive(Default)]
pub(crate) struct Metrics(Mutex<HashMap<ClusterId, Arc<Of>>>);

impl Metrics {
    fn of(&self, cluster: &ClusterId) -> Arc<Of> {
        let mut all = self.0.lock();
        if let Some(of) = all.get(cluster) {
            return of.clone();
        }
        all.entry(cluster.clone())
            .or_insert_with(|| Arc::new(Of::new()))
            .clone()
    }

    /// Counts a request.
    pub(crate) fn request(
        &self,
        cluster: &ClusterId,
        labels: &Labels,
        code: u16,
        took: Duration,
        long: bool,
    ) {
        let of = self.of(cluster);
        let coded = Coded {
            verb: labels.verb,
            dry_run: labels.dry_run,
            group: labels.group,
            version: labels.version,
            resource: labels.resource,
            subresource: labels.subresource,
            scope: labels.scope,
            component: labels.component,
            code,
        };
        of.requests.get_or_create(&coded).inc();
        if !long {
            of.duration.get_or_create(labels).observe(took.as_secs_f64());
        }
    }

    /// Counts a long-running request until the guard is dropped.
    pub(crate) fn long_running(&self, cx: &Cx) -> RunningGuard {
        let labels = Labels::of(&cx.info, false);
        let labels = Running {
            verb: labels.verb,
            group: labels.group,
            version: labels.version,
            resource: labels.resource,
        };
        let gauge = self.of(&cx.cluster.id).running.get_or_create_owned(&labels);
        gauge.inc();
        RunningGuard(gauge)
    }

    /// The metrics of one cluster as Prometheus text.
    pub(crate) fn of_cluster(&self, cluster: &ClusterId) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.of(cluster).registry) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }

    /// The metrics of all clusters as Prometheus text, each line with its cluster.
    pub(crate) fn of_all(&self) -> String {
        let all: Vec<(ClusterId, Arc<Of>)> = self
            .0
            .lock()
            .iter()
            .map(|(c, of)| (c.clone(), of.clone()))
            .collect();
        let mut families: BTreeMap<String, (Vec<String>, Vec<String>)> = BTreeMap::new();
        for (cluster, of) in all {
            let mut text = String::new();
            if encode(&mut text, &of.registry).is_err() {
                continue;
            }
            let mut family = String::new();
            for line in text.lines().filter(|l| *l != "# EOF") {
                if let Some(comment) = line.strip_prefix("# ") {
                    family = comment.split(' ').nth(1).unwrap_or("").to_owned();
                    let (head, _) = families.entry(family.clone()).or_default();
                    if !head.iter().any(|l| l == line) {
                        head.push(line.to_owned());
                    }
                } else {
                    let labelled = line.replacen('{', &format!("{{cluster=\"{cluster}\","), 1);
                    families.entry(family.clone()).or_default().1.push(labelled);
                }
            }
        }
        let mut out = String::new();
        for (head, lines) in families.values() {
            for line in head.iter().chain(lines) {
                out.push_str(line);
                out.push('\n');
            }
        }
        out.push_str("# EOF\n");
        out
    }

    /// Drops everything of a cluster.
    pub(crate) fn forget(&self, cluster: &ClusterId) {
        self.0.lock().remove(cluster);
    }
}

/// See [`Metrics::long_running`].
pub(crate) struct RunningGuard(Gauge);

impl Drop for RunningGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
