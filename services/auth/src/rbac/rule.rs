//! One rule: what it allows, and whether a set of rules covers another.

use crate::Attributes;
use machinery::Value;
use machinery::quote::go_quote as quote;

/// `PolicyRule`. Immutable and shared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Verbs; `*` is all.
    pub verbs: Box<[Box<str>]>,
    /// API groups; `*` is all, empty text is core.
    pub groups: Box<[Box<str>]>,
    /// Resources, `pods/log`, `*/scale`; `*` is all.
    pub resources: Box<[Box<str>]>,
    /// Names; none means all.
    pub names: Box<[Box<str>]>,
    /// Paths; a `*` at the end matches the rest.
    pub urls: Box<[Box<str>]>,
}

type Texts = Box<[Box<str>]>;

fn has(list: &[Box<str>], text: &str) -> bool {
    list.iter().any(|t| &**t == text)
}

impl Rule {
    /// Reads a `PolicyRule`.
    pub fn from_value(rule: &Value) -> Self {
        let texts = |field: &'static str| -> Texts {
            rule.list_at(&[field])
                .iter()
                .filter_map(Value::as_str)
                .map(Box::from)
                .collect()
        };
        Self {
            verbs: texts("verbs"),
            groups: texts("apiGroups"),
            resources: texts("resources"),
            names: texts("resourceNames"),
            urls: texts("nonResourceURLs"),
        }
    }

    /// The rule as a `PolicyRule`; empty lists are left out.
    pub fn to_value(&self) -> Value {
        let mut map = machinery::Map::new();
        for (key, list) in [
            ("apiGroups", &self.groups),
            ("nonResourceURLs", &self.urls),
            ("resourceNames", &self.names),
            ("resources", &self.resources),
            ("verbs", &self.verbs),
        ] {
            if !list.is_empty() {
                map.push_new(
                    key,
                    Value::List(list.iter().map(|t| Value::from(t.to_string())).collect()),
                );
            }
        }
        Value::Map(map)
    }

    /// Whether it allows what is asked.
    pub fn allows(&self, asked: &Attributes<'_>) -> bool {
        if !(has(&self.verbs, "*") || has(&self.verbs, asked.verb)) {
            return false;
        }
        if !asked.is_resource() {
            return self.urls.iter().any(|url| url_covers(url, asked.path));
        }
        (has(&self.groups, "*") || has(&self.groups, asked.group))
            && self
                .resources
                .iter()
                .any(|r| resource_matches(r, asked.resource, asked.subresource))
            && (self.names.is_empty() || has(&self.names, asked.name))
    }

    /// Its parts with at most one verb, group, resource, name or path each.
    fn atoms(&self) -> Vec<Rule> {
        let one = |text: &str| -> Texts { Box::new([Box::from(text)]) };
        let mut atoms = Vec::new();
        for verb in &self.verbs {
            for group in &self.groups {
                for resource in &self.resources {
                    let base = Rule {
                        verbs: one(verb),
                        groups: one(group),
                        resources: one(resource),
                        ..Rule::default()
                    };
                    if self.names.is_empty() {
                        atoms.push(base);
                    } else {
                        atoms.extend(self.names.iter().map(|n| Rule {
                            names: one(n),
                            ..base.clone()
                        }));
                    }
                }
            }
            atoms.extend(self.urls.iter().map(|u| Rule {
                verbs: one(verb),
                urls: one(u),
                ..Rule::default()
            }));
        }
        atoms
    }

    /// Whether it covers an atom.
    fn covers(&self, atom: &Rule) -> bool {
        let all = |mine: &Texts, theirs: &Texts, star: bool| {
            (star && has(mine, "*")) || theirs.iter().all(|t| has(mine, t))
        };
        let resources = has(&self.resources, "*")
            || atom.resources.iter().all(|r| {
                has(&self.resources, r)
                    || r.split_once('/')
                        .is_some_and(|(_, sub)| has(&self.resources, &format!("*/{sub}")))
            });
        let names = if atom.names.is_empty() {
            self.names.is_empty()
        } else {
            self.names.is_empty() || all(&self.names, &atom.names, false)
        };
        all(&self.verbs, &atom.verbs, true)
            && all(&self.groups, &atom.groups, true)
            && resources
            && names
            && atom
                .urls
                .iter()
                .all(|u| self.urls.iter().any(|mine| url_covers(mine, u)))
    }

    /// The form in upstream's messages about escalation, e.g. `{APIGroups:["apps"], Resources:["*"], Verbs:["get"]}`.
    pub(crate) fn describe(&self) -> String {
        let mut parts = Vec::new();
        for (name, list) in [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.urls),
            ("ResourceNames", &self.names),
            ("Verbs", &self.verbs),
        ] {
            if !list.is_empty() {
                parts.push(format!("{name}:{}", quoted_list(list)));
            }
        }
        format!("{{{}}}", parts.join(", "))
    }
}

/// Go's `%q` of a list of strings: `["a" "b"]`.
pub(crate) fn quoted_list<S: AsRef<str>>(list: &[S]) -> String {
    let quoted: Vec<String> = list.iter().map(|s| quote(s.as_ref())).collect();
    format!("[{}]", quoted.join(" "))
}

fn resource_matches(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == "*" {
        return true;
    }
    match (rule.split_once('/'), subresource) {
        (None, "") => rule == resource,
        (None, _) | (Some(_), "") => false,
        (Some((r, s)), sub) => s == sub && (r == "*" || r == resource),
    }
}

fn url_covers(mine: &str, path: &str) -> bool {
    mine == path || mine.ends_with('*') && path.starts_with(mine.trim_end_matches('*'))
}

/// What `servants` allow and `owners` do not, in atoms that differ only in their verb joined.
pub(crate) fn uncovered(owners: &[&Rule], servants: &[Rule]) -> Vec<Rule> {
    let mut missing: Vec<Rule> = Vec::new();
    for atom in servants.iter().flat_map(Rule::atoms) {
        if owners.iter().any(|o| o.covers(&atom)) {
            continue;
        }
        let same = |r: &&mut Rule| {
            r.groups == atom.groups
                && r.resources == atom.resources
                && r.names == atom.names
                && r.urls == atom.urls
        };
        match missing.iter_mut().find(same) {
            Some(rule) => {
                let mut verbs = rule.verbs.to_vec();
                verbs.extend(atom.verbs.iter().filter(|v| !has(&rule.verbs, v)).cloned());
                rule.verbs = verbs.into();
            }
            None => missing.push(atom),
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::User;
    use machinery::value;

    fn rule(v: Value) -> Rule {
        Rule::from_value(&v)
    }

    fn asked<'a>(
        user: &'a User,
        verb: &'a str,
        resource: &'a str,
        sub: &'a str,
        name: &'a str,
    ) -> Attributes<'a> {
        Attributes {
            subresource: sub,
            name,
            ..Attributes::resource(user, verb, "", resource)
        }
    }

    #[test]
    fn rules_match_as_upstream_matches_them() {
        let u = User::anonymous();
        let pods = rule(value!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}));
        assert!(pods.allows(&asked(&u, "get", "pods", "", "x")));
        assert!(
            !pods.allows(&asked(&u, "get", "pods", "log", "x")),
            "a resource does not include its sub-resources"
        );
        assert!(!pods.allows(&asked(&u, "list", "pods", "", "")));
        let scale = rule(value!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*/scale"]}));
        assert!(scale.allows(&asked(&u, "update", "deployments", "scale", "x")));
        assert!(!scale.allows(&asked(&u, "update", "deployments", "", "x")));
        let named = rule(
            value!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"]}),
        );
        assert!(named.allows(&asked(&u, "get", "secrets", "", "a")));
        assert!(!named.allows(&asked(&u, "get", "secrets", "", "b")));
        assert!(
            !named.allows(&asked(&u, "list", "secrets", "", "")),
            "a name restricts lists too"
        );
        let urls = rule(value!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/metrics/*"]}));
        assert!(urls.allows(&Attributes::path(&u, "get", "/metrics/x")));
        assert!(!urls.allows(&Attributes::path(&u, "get", "/healthz/ping")));
        assert!(!urls.allows(&asked(&u, "get", "pods", "", "")));
    }

    #[test]
    fn coverage_is_by_atoms() {
        let mine = [
            rule(value!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "*/log"]})),
            rule(value!({"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]})),
        ];
        let mine: Vec<&Rule> = mine.iter().collect();
        let wants = |v: Value| uncovered(&mine, &[rule(v)]);
        assert!(
            wants(value!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]})).is_empty()
        );
        assert!(wants(value!({"verbs": ["get"], "apiGroups": [""], "resources": ["jobs/log"]})).is_empty());
        let missing =
            wants(value!({"verbs": ["get", "watch", "delete"], "apiGroups": [""], "resources": ["pods"]}));
        assert_eq!(
            missing[0].describe(),
            r#"{APIGroups:[""], Resources:["pods"], Verbs:["watch" "delete"]}"#
        );
        assert!(!wants(value!({"verbs": ["get"], "apiGroups": ["*"], "resources": ["pods"]})).is_empty());
    }
}
