//! Metrics under Kubernetes' names, each with a `cluster` label.
//!
//! A tenant's `/metrics` shows the lines of its own cluster without that label; the operator sees all. Label values come from
//! the table of kinds or from fixed sets, never from what a client sends, so that the number of series is bounded.
//! Both texts are OpenMetrics; [`classic`] turns them into Prometheus' older text format for those who ask for that.

use crate::cx::Cx;
use crate::request_info::RequestInfo;
use base::ClusterId;
use parking_lot::RwLock;
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

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
struct InFlight {
    request_kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stored {
    operation: &'static str,
    group: &'static str,
    resource: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Watched {
    group: &'static str,
    version: &'static str,
    resource: &'static str,
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

fn store_histogram() -> Histogram {
    Histogram::new([
        0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0,
    ])
}

/// The metrics of one cluster.
struct Of {
    registry: Registry,
    requests: Family<Coded, Counter>,
    duration: Family<Labels, Histogram, MakeHistogram>,
    running: Family<Running, Gauge>,
    in_flight: Family<InFlight, Gauge>,
    store: Family<Stored, Histogram, MakeHistogram>,
    watch_events: Family<Watched, Counter>,
}

impl Of {
    fn new() -> Self {
        let requests = Family::<Coded, Counter>::default();
        let duration = Family::<Labels, Histogram, MakeHistogram>::new_with_constructor(histogram);
        let running = Family::<Running, Gauge>::default();
        let in_flight = Family::<InFlight, Gauge>::default();
        let store = Family::<Stored, Histogram, MakeHistogram>::new_with_constructor(store_histogram);
        let watch_events = Family::<Watched, Counter>::default();
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
        registry.register(
            "apiserver_current_inflight_requests",
            "Requests in flight now, without long-running ones",
            in_flight.clone(),
        );
        registry.register(
            "etcd_request_duration_seconds",
            "Latency of the store in seconds, by operation and resource",
            store.clone(),
        );
        registry.register(
            "apiserver_watch_events",
            "Events sent to watching clients",
            watch_events.clone(),
        );
        Self {
            registry,
            requests,
            duration,
            running,
            in_flight,
            store,
            watch_events,
        }
    }
}

/// All metrics of the process's API server: numbers of clusters that were asked something, dropped with the cluster.
#[derive(Default)]
pub(crate) struct Metrics(RwLock<HashMap<ClusterId, Arc<Of>>>);

impl Metrics {
    fn of(&self, cluster: &ClusterId) -> Arc<Of> {
        if let Some(of) = self.0.read().get(cluster) {
            return of.clone();
        }
        let mut all = self.0.write();
        all.entry(cluster.clone())
            .or_insert_with(|| Arc::new(Of::new()))
            .clone()
    }

    /// A request begins: it counts as in flight until it is [finished](Request::finish) or dropped.
    pub(crate) fn begin(&self, cluster: &ClusterId, labels: Labels, long: bool) -> Request {
        let of = self.of(cluster);
        let request_kind = match labels.verb {
            "GET" | "LIST" | "WATCH" => "readOnly",
            _ => "mutating",
        };
        let in_flight = (!long).then(|| {
            let gauge = of.in_flight.get_or_create_owned(&InFlight { request_kind });
            gauge.inc();
            RunningGuard(gauge)
        });
        Request {
            of,
            labels,
            began: base::clock::stopwatch(),
            in_flight,
        }
    }

    /// Notes how long the store took.
    pub(crate) fn store(
        &self,
        cluster: &ClusterId,
        (operation, group, resource): (&'static str, &'static str, &'static str),
        took: Duration,
    ) {
        let stored = Stored {
            operation,
            group,
            resource,
        };
        self.of(cluster)
            .store
            .get_or_create(&stored)
            .observe(took.as_secs_f64());
    }

    /// Counts the events of one watch.
    pub(crate) fn watch_events(&self, cluster: &ClusterId, resource: &api::Resource) -> Counter {
        let watched = Watched {
            group: resource.group,
            version: resource.version,
            resource: resource.plural,
        };
        self.of(cluster).watch_events.get_or_create_owned(&watched)
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
            .read()
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
        self.0.write().remove(cluster);
    }
}

/// A request that is being answered.
pub(crate) struct Request {
    of: Arc<Of>,
    labels: Labels,
    began: Instant,
    in_flight: Option<RunningGuard>,
}

impl Request {
    /// It was answered with this code.
    pub(crate) fn finish(self, code: u16) {
        let labels = self.labels;
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
        self.of.requests.get_or_create(&coded).inc();
        if self.in_flight.is_some() {
            self.of
                .duration
                .get_or_create(&labels)
                .observe(self.began.elapsed().as_secs_f64());
        }
    }
}

/// See [`Metrics::long_running`].
pub(crate) struct RunningGuard(Gauge);

impl Drop for RunningGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// OpenMetrics text as Prometheus' text format 0.0.4: there a counter's family is called by its samples' name, and the text
/// has no end mark.
pub fn classic(text: &str) -> String {
    let counters: HashSet<&str> = text
        .lines()
        .filter_map(|l| l.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut out = String::with_capacity(text.len());
    for line in text
        .lines()
        .filter(|l| *l != "# EOF" && !l.starts_with("# UNIT "))
    {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(name), Some(rest))
                if counters.contains(name) && !name.ends_with("_total") =>
            {
                out.push_str(&format!("# {what} {name}_total {rest}\n"));
            }
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_sees_only_its_own_and_the_operator_sees_all() {
        let metrics = Metrics::default();
        let (a, b): (ClusterId, ClusterId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let labels = |path: &str| {
            let query = crate::query::Query::parse("");
            Labels::of(&RequestInfo::parse(&http::Method::GET, path, &query), false)
        };
        let first = metrics.begin(&a, labels("/api/v1/namespaces/n/pods/p"), false);
        assert!(
            metrics
                .of_cluster(&a)
                .contains("apiserver_current_inflight_requests{request_kind=\"readOnly\"} 1\n")
        );
        first.finish(200);
        drop(metrics.begin(&a, labels("/api/v1/pods"), false));
        metrics
            .begin(&b, labels("/api/v1/nothing-of-ours"), false)
            .finish(404);
        let of_a = metrics.of_cluster(&a);
        assert!(of_a.contains("apiserver_current_inflight_requests{request_kind=\"readOnly\"} 0\n"));
        assert!(of_a.contains("resource=\"pods\",subresource=\"\",scope=\"resource\",component=\"apiserver\",code=\"200\"} 1\n"), "{of_a}");
        assert!(!of_a.contains("404") && !of_a.contains("cluster=\""), "{of_a}");
        let all = metrics.of_all();
        assert!(
            all.contains("apiserver_request_total{cluster=\"a\",verb=\"GET\""),
            "{all}"
        );
        assert!(
            all.contains("{cluster=\"b\",") && all.contains("code=\"404\"} 1\n"),
            "{all}"
        );
        assert!(
            !all.contains("nothing-of-ours"),
            "names from clients are no labels"
        );
        assert_eq!(all.matches("# TYPE apiserver_request counter").count(), 1);
        let text = classic(&all);
        assert!(
            text.contains("# TYPE apiserver_request_total counter\n") && !text.contains("# EOF"),
            "{text}"
        );
        metrics.forget(&b);
        assert!(!metrics.of_all().contains("cluster=\"b\""));
    }
}
