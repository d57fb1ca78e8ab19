//! The roles and bindings that every cluster begins with.
//!
//! They are facts of Kubernetes (its documentation, "Default roles and role bindings"), kept as a table in
//! `bootstrap.txt`: a line for each object, indented lines for its rules or subjects.
//!
//! ```text
//! clusterrole NAME [into=AGGREGATE] [from=AGGREGATE]     role NAMESPACE/NAME
//!   GROUPS RESOURCES [named NAMES] : VERBS               url PATHS : VERBS
//! clusterrolebinding NAME ROLEKIND ROLE                  rolebinding NAMESPACE/NAME ROLEKIND ROLE
//!   user NAME | group NAME | account NAMESPACE/NAME
//! ```
//!
//! Roles that aggregate come with their rules already gathered, so that `admin`, `edit` and `view` work before any
//! controller runs.

use super::Rule;
use machinery::{Map, Value, value};

const TABLE: &str = include_str!("bootstrap.txt");
const GROUP: &str = "rbac.authorization.k8s.io";

/// An object to be created if it is missing.
#[derive(Clone, Debug)]
pub struct BootstrapObject {
    /// Plural, which is also the storage prefix: `clusterroles`, `roles`, `clusterrolebindings`, `rolebindings`.
    pub resource: &'static str,
    /// Empty for cluster-scoped kinds.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The object with `apiVersion` and `kind`, without what the server sets (uid, creationTimestamp, …).
    pub object: Value,
}

struct Entry<'t> {
    head: Vec<&'t str>,
    body: Vec<&'t str>,
}

impl Entry<'_> {
    fn option(&self, key: &str) -> Option<&str> {
        self.head
            .iter()
            .find_map(|w| w.strip_prefix(key)?.strip_prefix('='))
    }

    fn rules(&self) -> Vec<Value> {
        self.body.iter().map(|line| rule(line).to_value()).collect()
    }
}

fn texts(list: &str) -> Box<[Box<str>]> {
    list.split(',')
        .map(|t| if t == "core" { "" } else { t })
        .map(Box::from)
        .collect()
}

fn rule(line: &str) -> Rule {
    let (what, verbs) = line.split_once(" : ").unwrap_or((line, ""));
    let words: Vec<&str> = what.split(' ').collect();
    let verbs = texts(verbs);
    match words[..] {
        ["url", urls] => Rule {
            verbs,
            urls: texts(urls),
            ..Rule::default()
        },
        [groups, resources] => Rule {
            verbs,
            groups: texts(groups),
            resources: texts(resources),
            ..Rule::default()
        },
        [groups, resources, "named", names] => Rule {
            verbs,
            groups: texts(groups),
            resources: texts(resources),
            names: names.split('+').map(Box::from).collect(),
            ..Rule::default()
        },
        _ => Rule::default(),
    }
}

fn subject(line: &str) -> Value {
    let (kind, name) = line.split_once(' ').unwrap_or((line, ""));
    let owned = |s: &str| s.to_owned();
    match (kind, name.split_once('/')) {
        ("account", Some((ns, name))) => {
            value!({"kind": "ServiceAccount", "name": (owned(name)), "namespace": (owned(ns))})
        }
        ("group", _) => value!({"apiGroup": GROUP, "kind": "Group", "name": (owned(name))}),
        _ => value!({"apiGroup": GROUP, "kind": "User", "name": (owned(name))}),
    }
}

/// All default roles and bindings, roles first.
pub fn bootstrap_objects() -> Vec<BootstrapObject> {
    let mut entries: Vec<Entry<'_>> = Vec::new();
    for line in TABLE.lines().filter(|l| !l.starts_with('#')) {
        match (line.strip_prefix("  "), entries.last_mut()) {
            (Some(inner), Some(entry)) => entry.body.push(inner),
            _ => entries.push(Entry {
                head: line.split(' ').collect(),
                body: Vec::new(),
            }),
        }
    }
    entries.iter().filter_map(|e| object(e, &entries)).collect()
}

fn object(entry: &Entry<'_>, all: &[Entry<'_>]) -> Option<BootstrapObject> {
    let (resource, kind) = match *entry.head.first()? {
        "clusterrole" => ("clusterroles", "ClusterRole"),
        "role" => ("roles", "Role"),
        "clusterrolebinding" => ("clusterrolebindings", "ClusterRoleBinding"),
        "rolebinding" => ("rolebindings", "RoleBinding"),
        _ => return None,
    };
    let path = *entry.head.get(1)?;
    let (namespace, name) = path.split_once('/').unwrap_or(("", path));
    let mut labels = Map::new();
    labels.insert("kubernetes.io/bootstrapping", "rbac-defaults");
    if let Some(into) = entry.option("into") {
        labels.insert(format!("rbac.authorization.k8s.io/aggregate-to-{into}"), "true");
    }
    let mut metadata = Map::new();
    metadata.insert("name", name.to_owned());
    if !namespace.is_empty() {
        metadata.insert("namespace", namespace.to_owned());
    }
    metadata.insert("labels", labels);
    metadata.insert(
        "annotations",
        value!({"rbac.authorization.kubernetes.io/autoupdate": "true"}),
    );
    let mut object = Map::new();
    object.insert("apiVersion", "rbac.authorization.k8s.io/v1");
    object.insert("kind", kind);
    object.insert("metadata", metadata);
    if kind.ends_with("Binding") {
        let role_kind = if *entry.head.get(2)? == "role" {
            "Role"
        } else {
            "ClusterRole"
        };
        let role = (*entry.head.get(3)?).to_owned();
        object.insert(
            "roleRef",
            value!({"apiGroup": GROUP, "kind": role_kind, "name": role}),
        );
        if !entry.body.is_empty() {
            object.insert(
                "subjects",
                Value::List(entry.body.iter().map(|l| subject(l)).collect()),
            );
        }
    } else if let Some(from) = entry.option("from") {
        let label = format!("rbac.authorization.k8s.io/aggregate-to-{from}");
        let selector: Map = [(label.into(), Value::from("true"))].into_iter().collect();
        let selectors = Value::List(vec![value!({"matchLabels": selector})]);
        object.insert("aggregationRule", value!({"clusterRoleSelectors": selectors}));
        object.insert("rules", Value::List(gathered(from, all)));
    } else {
        object.insert("rules", Value::List(entry.rules()));
    }
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    Some(BootstrapObject {
        resource,
        namespace,
        name,
        object: Value::Map(object),
    })
}

/// The rules of every role that goes into an aggregate, in the table's order, each once; through aggregates that go into it.
fn gathered(aggregate: &str, all: &[Entry<'_>]) -> Vec<Value> {
    let mut rules: Vec<Value> = Vec::new();
    for entry in all.iter().filter(|e| e.option("into") == Some(aggregate)) {
        let more = match entry.option("from") {
            Some(inner) if inner != aggregate => gathered(inner, all),
            _ => entry.rules(),
        };
        for rule in more {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_without_loss() {
        let objects = bootstrap_objects();
        let heads = TABLE.lines().filter(|l| !l.starts_with([' ', '#'])).count();
        assert_eq!(objects.len(), heads);
        for o in &objects {
            for r in o.object.list_at(&["rules"]) {
                assert!(!r.list_at(&["verbs"]).is_empty(), "{}: {r:?}", o.name);
                assert!(
                    !(r["resources"].is_null() && r["nonResourceURLs"].is_null()),
                    "{}",
                    o.name
                );
            }
        }
        let find = |name: &str| &objects.iter().find(|o| o.name == name).unwrap().object;
        let gathered: Vec<Rule> = find("admin")
            .list_at(&["rules"])
            .iter()
            .map(Rule::from_value)
            .collect();
        let may = |verb: &str, resource: &str| {
            gathered
                .iter()
                .any(|r| r.verbs.iter().any(|v| &**v == verb) && r.resources.iter().any(|x| &**x == resource))
        };
        assert!(may("create", "rolebindings") && may("create", "deployments") && may("watch", "pods/log"));
        assert!(!may("create", "nodes"));
        let node = find("system:node");
        assert_eq!(
            node.str_at(&["metadata", "labels", "kubernetes.io/bootstrapping"]),
            Some("rbac-defaults")
        );
        assert!(find("system:public-info-viewer").list_at(&["rules"]).len() == 1);
    }

    #[test]
    fn every_binding_refers_to_a_role_of_the_table() {
        let objects = bootstrap_objects();
        for b in objects.iter().filter(|o| o.resource.ends_with("bindings")) {
            let kind = b.object.str_at(&["roleRef", "kind"]).unwrap();
            let name = b.object.str_at(&["roleRef", "name"]).unwrap();
            let namespace = if kind == "Role" { b.namespace.as_str() } else { "" };
            assert!(
                objects.iter().any(|o| o.name == name
                    && o.namespace == namespace
                    && o.object.str_at(&["kind"]) == Some(kind)),
                "{} refers to {kind} {name}",
                b.name
            );
        }
    }
}
