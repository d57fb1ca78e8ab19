//! What is in the kernel, and the smallest transaction that leads on from there.
//!
//! Two Services may claim one element (the same external address and port): the first has it, and the others get it when it is
//! free again. A dump of the kernel is never needed: what was applied is remembered, and after a failure everything is loaded anew.

use crate::rules::{Elements, Front, Map, ServiceRules};
use crate::ruleset::{Balance, TABLE, base};
use crate::view::{Protocol, ServiceName};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

/// Elements of one `nft` statement: more make no difference, fewer cost.
const BATCH: usize = 500;

/// The state of the kernel as applied.
#[derive(Debug, Default)]
pub(crate) struct Table {
    services: HashMap<ServiceName, ServiceRules>,
    /// Who has an element that several could want, and how many have one that is shared.
    owners: HashMap<(Map, String), Owners>,
    /// Services whose wishes lost against another's.
    losers: BTreeSet<ServiceName>,
    chains: BTreeSet<Balance>,
}

#[derive(Debug)]
struct Owners {
    first: ServiceName,
    count: usize,
}

/// One change: text for `nft -f`, and what to clean up afterwards.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Delta {
    pub(crate) text: String,
    /// UDP fronts whose known connections must be forgotten: an endpoint went, or the first came.
    pub(crate) stale_udp: BTreeSet<Front>,
    /// Fronts with affinity, and indices at which clients must not stay.
    pub(crate) stale_affinity: BTreeMap<Front, BTreeSet<u32>>,
}

impl Table {
    /// The rules that a Service has now.
    pub(crate) fn rules(&self, name: &ServiceName) -> ServiceRules {
        self.services.get(name).cloned().unwrap_or_default()
    }

    /// Services to be decided again because an element that they want has become free.
    pub(crate) fn take_losers(&mut self) -> BTreeSet<ServiceName> {
        std::mem::take(&mut self.losers)
    }

    /// The transaction that loads everything anew.
    pub(crate) fn full(&mut self, pods: &str, all: BTreeMap<ServiceName, ServiceRules>) -> Delta {
        *self = Self::default();
        let mut delta = self.change(all.into_iter().map(|(n, r)| (n, Some(r))).collect());
        delta.text.insert_str(0, &base(pods));
        delta
    }

    /// Takes new rules of some Services (`None`: gone).
    pub(crate) fn change(&mut self, changes: Vec<(ServiceName, Option<ServiceRules>)>) -> Delta {
        let mut delta = Delta::default();
        let (mut delete, mut add) = (Elements::new(), Elements::new());
        let mut pending = Vec::new();
        // First everything that goes, so that what one Service gives up another can take in the same transaction.
        for (name, new) in changes {
            let old = self.services.remove(&name).unwrap_or_default();
            let new = new.unwrap_or_default();
            for (element, value) in &old.elements {
                if new.elements.get(element) != Some(value) {
                    self.release(&name, element, value, &mut delete);
                }
            }
            note_stale(&old, &new, &mut delta);
            pending.push((name, old, new));
        }
        for (name, old, mut new) in pending {
            let mut lost = Vec::new();
            for (element, value) in &new.elements {
                if old.elements.get(element) != Some(value) && !self.claim(&name, element, value, &mut add) {
                    lost.push(element.clone());
                }
            }
            for element in &lost {
                new.elements.remove(element);
                self.losers.insert(name.clone());
            }
            if !new.elements.is_empty() || !new.fronts.is_empty() {
                self.services.insert(name, new);
            }
        }
        // Gone and come again with the same value: nothing to do.
        add.retain(|element, value| {
            let same = delete.get(element) == Some(value);
            if same {
                delete.remove(element);
            }
            !same
        });
        for balance in add.values().filter_map(|v| Balance::parse(v)) {
            if self.chains.insert(balance) {
                delta.text.push_str(&balance.text());
            }
        }
        statements("delete", &delete, &mut delta.text);
        statements("add", &add, &mut delta.text);
        delta
    }

    fn release(&mut self, name: &ServiceName, element: &(Map, String), value: &str, delete: &mut Elements) {
        let Some(owners) = self.owners.get_mut(element) else {
            return;
        };
        if owners.count > 1 {
            owners.count -= 1;
        } else if shared(element.0) || owners.first == *name {
            self.owners.remove(element);
            delete.insert(element.clone(), value.to_owned());
        }
    }

    fn claim(
        &mut self,
        name: &ServiceName,
        element: &(Map, String),
        value: &str,
        add: &mut Elements,
    ) -> bool {
        match self.owners.get_mut(element) {
            None => {
                self.owners.insert(
                    element.clone(),
                    Owners {
                        first: name.clone(),
                        count: 1,
                    },
                );
                add.insert(element.clone(), value.to_owned());
                true
            }
            Some(owners) if shared(element.0) => {
                owners.count += 1;
                true
            }
            Some(owners) => owners.first == *name,
        }
    }
}

/// Whether several Services may have the same element, which then has no value.
fn shared(map: Map) -> bool {
    map == Map::Hairpin
}

fn note_stale(old: &ServiceRules, new: &ServiceRules, delta: &mut Delta) {
    for (front, slots) in &old.fronts {
        let now = new.fronts.get(front);
        let (empty, gone) = (
            Vec::new(),
            slots.own.iter().any(|e| !now.is_some_and(|n| n.own.contains(e))),
        );
        if front.protocol() == Protocol::Udp && gone {
            delta.stale_udp.insert(*front);
        }
        if slots.affinity {
            let own = now.map_or(&empty, |n| &n.own);
            let moved = (0u32..)
                .zip(&slots.own)
                .filter(|(i, e)| own.get(*i as usize) != Some(e))
                .map(|(i, _)| i);
            let moved: BTreeSet<u32> = moved.collect();
            if !moved.is_empty() {
                delta.stale_affinity.insert(*front, moved);
            }
        }
    }
    for (front, slots) in &new.fronts {
        let was_empty = old.fronts.get(front).is_none_or(|o| o.own.is_empty());
        if front.protocol() == Protocol::Udp && was_empty && !slots.own.is_empty() {
            delta.stale_udp.insert(*front);
        }
    }
}

fn statements(verb: &str, elements: &Elements, text: &mut String) {
    let mut maps: BTreeMap<Map, Vec<String>> = BTreeMap::new();
    for ((map, key), value) in elements {
        // A deletion names the key only.
        let with_value = verb == "add" && !value.is_empty();
        maps.entry(*map).or_default().push(if with_value {
            format!("{key} : {value}")
        } else {
            key.clone()
        });
    }
    for (map, all) in maps {
        for some in all.chunks(BATCH) {
            let _infallible = writeln!(
                text,
                "{verb} element {TABLE} {} {{ {} }}",
                map.name(),
                some.join(", ")
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn name(n: &str) -> ServiceName {
        ("default".into(), n.into())
    }

    fn rules(elements: &[(Map, &str, &str)]) -> ServiceRules {
        let elements = elements
            .iter()
            .map(|(m, k, v)| ((*m, (*k).to_owned()), (*v).to_owned()));
        ServiceRules {
            elements: elements.collect(),
            ..ServiceRules::default()
        }
    }

    #[test]
    fn only_what_changed_is_said_and_a_chain_is_made_once() {
        let mut table = Table::default();
        let one = rules(&[(Map::Services, "a", "goto lb1"), (Map::Endpoints, "a . 0", "x")]);
        let delta = table.change(vec![(name("s"), Some(one.clone()))]);
        assert!(
            delta.text.starts_with("add chain ip marina-proxy lb1\n"),
            "{}",
            delta.text
        );
        assert_eq!(
            table.change(vec![(name("s"), Some(one.clone()))]),
            Delta::default()
        );
        let delta = table.change(vec![(
            name("t"),
            Some(rules(&[(Map::Services, "b", "goto lb1")])),
        )]);
        assert_eq!(delta.text, "add element ip marina-proxy svc { b : goto lb1 }\n");
        let moved = rules(&[(Map::Services, "a", "goto lb1"), (Map::Endpoints, "a . 0", "y")]);
        let delta = table.change(vec![(name("s"), Some(moved))]);
        assert_eq!(
            delta.text,
            "delete element ip marina-proxy eps { a . 0 }\nadd element ip marina-proxy eps { a . 0 : y }\n"
        );
        let delta = table.change(vec![(name("s"), None)]);
        assert_eq!(
            delta.text,
            "delete element ip marina-proxy svc { a }\ndelete element ip marina-proxy eps { a . 0 }\n"
        );
    }

    #[test]
    fn the_first_keeps_what_two_services_claim_and_the_second_gets_it_later() {
        let mut table = Table::default();
        let mine = rules(&[(Map::Services, "a", "goto lb1")]);
        let yours = rules(&[(Map::Services, "a", "goto lb2")]);
        table.change(vec![(name("first"), Some(mine))]);
        assert_eq!(
            table.change(vec![(name("second"), Some(yours.clone()))]),
            Delta::default()
        );
        assert_eq!(table.take_losers(), BTreeSet::from([name("second")]));
        let delta = table.change(vec![(name("first"), None), (name("second"), Some(yours))]);
        assert!(
            delta
                .text
                .ends_with("add element ip marina-proxy svc { a : goto lb2 }\n"),
            "{}",
            delta.text
        );
        assert_eq!(table.take_losers(), BTreeSet::new());
    }

    #[test]
    fn a_shared_element_goes_with_its_last_owner() {
        let mut table = Table::default();
        let rules = rules(&[(Map::Hairpin, "p . p", "")]);
        table.change(vec![
            (name("a"), Some(rules.clone())),
            (name("b"), Some(rules.clone())),
        ]);
        assert_eq!(table.change(vec![(name("a"), None)]), Delta::default());
        let delta = table.change(vec![(name("b"), None)]);
        assert_eq!(delta.text, "delete element ip marina-proxy hairpin { p . p }\n");
    }

    #[test]
    fn clients_are_told_off_the_indices_that_moved_only() {
        let front = Front::Address(Ipv4Addr::new(10, 96, 0, 1), Protocol::Udp, 53);
        let endpoint = |n| (Ipv4Addr::new(10, 0, 0, n), 53);
        let with = |own: &[u8]| {
            let slots = crate::rules::Slots {
                own: own.iter().map(|n| endpoint(*n)).collect(),
                affinity: true,
                ..Default::default()
            };
            ServiceRules {
                fronts: BTreeMap::from([(front, slots)]),
                ..ServiceRules::default()
            }
        };
        let mut table = Table::default();
        let first = table.change(vec![(name("s"), Some(with(&[1, 2, 3])))]);
        assert_eq!(
            first.stale_udp,
            BTreeSet::from([front]),
            "the first endpoint ends what went nowhere"
        );
        let second = table.change(vec![(name("s"), Some(with(&[3, 2])))]);
        assert_eq!(second.stale_affinity[&front], BTreeSet::from([0, 2]));
        assert_eq!(second.stale_udp, BTreeSet::from([front]));
        let third = table.change(vec![(name("s"), Some(with(&[3, 2, 4])))]);
        assert_eq!(third, Delta::default());
    }
}
