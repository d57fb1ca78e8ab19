//! Slots of a role, owned through the store.
//!
//! The key of a slot ([`Guard::slot_key`]) holds `<epoch> <owner>` and hangs on its owner's lease, so a dead owner's
//! slots are free when the lease ends. The epoch is the management cluster's revision at which the owner looked, plus
//! one: two who look at the same revision cannot both win, and a later owner always has a greater epoch. Writes carry
//! the epoch as a guard, so an owner that lost its slot without noticing is refused by the store, not by a clock.
//!
//! Members of a role register beside the slots; each takes its fair share and gives up what is over it. One process
//! alone owns all 64.

use super::{Claim, Leadership};
use base::id::SLOTS;
use base::{ClusterId, Shutdown};
use bytes::Bytes;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use store_api::{Compare, Consistency, Guard, Key, LeaseId, Op, Range, Span, Store, Txn};
use tokio::sync::watch;

/// How slots are held.
#[derive(Clone, Debug)]
pub struct SlotOptions {
    /// The role, e.g. `controller-manager`.
    pub role: String,
    /// This process; unique among its peers, without spaces or slashes.
    pub member: String,
    /// How long a silent owner keeps its slots. Renewed three times as often.
    pub ttl: Duration,
}

impl SlotOptions {
    /// A role with a lease of two seconds.
    pub fn new(role: impl Into<String>, member: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            member: member.into(),
            ttl: Duration::from_secs(2),
        }
    }
}

/// The slots that this process owns for one role.
pub struct StoreSlots {
    store: Arc<dyn Store>,
    options: SlotOptions,
    epochs: RwLock<HashMap<u16, u64>>,
    mask: watch::Sender<u64>,
}

impl std::fmt::Debug for StoreSlots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreSlots")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Leadership for StoreSlots {
    fn claim(&self, cluster: &ClusterId) -> Claim {
        let slot = cluster.slot();
        match self.epochs.read().get(&slot) {
            Some(epoch) => Claim::Mine(Some(Guard::Slot {
                role: self.options.role.clone(),
                slot,
                epoch: *epoch,
            })),
            None => Claim::NotMine,
        }
    }
    fn slots(&self) -> watch::Receiver<u64> {
        self.mask.subscribe()
    }
}

/// What one look at the store found.
struct Seen {
    revision: i64,
    owners: HashMap<u16, (u64, String)>,
    members: Vec<String>,
}

/// What to do about it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    take: Vec<u16>,
    release: Vec<u16>,
}

/// Takes free slots up to a fair share, and gives up what is over it when others wait.
fn decide(me: &str, owners: &HashMap<u16, (u64, String)>, members: &[String]) -> Plan {
    let count = members.len().max(1);
    let share = usize::from(SLOTS).div_ceil(count);
    let mut mine: Vec<u16> = (0..SLOTS)
        .filter(|s| owners.get(s).is_some_and(|(_, o)| o == me))
        .collect();
    let mut plan = Plan::default();
    // Everybody begins looking at a place of their own, so that those who start together do not race for one slot.
    let place = members.iter().position(|m| m == me).unwrap_or(0);
    let start = u16::try_from(place * usize::from(SLOTS) / count).unwrap_or(0);
    for slot in (0..SLOTS).map(|s| (s + start) % SLOTS) {
        if mine.len() + plan.take.len() < share && !owners.contains_key(&slot) {
            plan.take.push(slot);
        }
    }
    while mine.len() > share {
        plan.release.extend(mine.pop());
    }
    plan
}

impl StoreSlots {
    /// Owns nothing until [`StoreSlots::run`].
    pub fn new(store: Arc<dyn Store>, options: SlotOptions) -> Arc<Self> {
        Arc::new(Self {
            store,
            options,
            epochs: RwLock::default(),
            mask: watch::Sender::new(0),
        })
    }

    fn prefix(&self) -> Span {
        Span::prefix(
            &ClusterId::management(),
            format!("/slots/{}/", self.options.role).into(),
        )
    }

    fn member_key(&self) -> Result<Key, store_api::Error> {
        let path = format!("/slots/{}/members/{}", self.options.role, self.options.member);
        Key::etcd(&ClusterId::management(), path.into()).map_err(|e| store_api::Error::Other(e.to_string()))
    }

    async fn look(&self) -> Result<Seen, store_api::Error> {
        let range = Range {
            span: self.prefix(),
            at: None,
            limit: 0,
            consistency: Consistency::Linearizable,
        };
        let found = self.store.range(range).await?;
        let skip = self.prefix().start.len();
        let mut seen = Seen {
            revision: found.revision,
            owners: HashMap::new(),
            members: Vec::new(),
        };
        for record in found.records {
            let path = String::from_utf8_lossy(&record.key.path()[skip..]).into_owned();
            if let Some(member) = path.strip_prefix("members/") {
                seen.members.push(member.to_string());
            } else if let (Ok(slot), Some(epoch)) = (path.parse(), Guard::epoch_of(&record.value)) {
                let text = String::from_utf8_lossy(&record.value);
                let owner = text.split_once(' ').map_or("", |(_, owner)| owner);
                seen.owners.insert(slot, (epoch, owner.to_string()));
            }
        }
        Ok(seen)
    }

    async fn step(&self, lease: LeaseId) -> Result<(), store_api::Error> {
        let management = ClusterId::management();
        let seen = self.look().await?;
        let me = &self.options.member;
        if !seen.members.contains(me) {
            let op = Op::Put {
                key: self.member_key()?,
                value: Bytes::from_static(b"1"),
                lease,
            };
            self.store
                .txn(
                    &management,
                    Txn {
                        then: vec![op],
                        ..Txn::default()
                    },
                )
                .await?;
            return Ok(());
        }
        // What the store says is ours under an epoch we know stays ours; anything else is lost.
        let held =
            |slot: &u16, epoch: &u64| seen.owners.get(slot).is_some_and(|(e, o)| e == epoch && o == me);
        self.epochs.write().retain(|slot, epoch| held(slot, epoch));
        // Also when they are taken again below: keys were dropped in between.
        self.publish();
        let plan = decide(me, &seen.owners, &seen.members);
        for slot in plan.release {
            // First stop acting, then let go.
            let epoch = self.epochs.write().remove(&slot);
            self.publish();
            let Some(epoch) = epoch else { continue };
            let key = Guard::slot_key(&self.options.role, slot);
            let compare = Compare::Value(key.clone(), std::cmp::Ordering::Equal, value(epoch, me));
            self.store
                .txn(
                    &management,
                    Txn {
                        compares: vec![compare],
                        then: vec![Op::delete(&key)],
                        ..Txn::default()
                    },
                )
                .await?;
        }
        if !plan.take.is_empty() {
            let epoch = u64::try_from(seen.revision).unwrap_or(0) + 1;
            let keys: Vec<_> = plan
                .take
                .iter()
                .map(|s| Guard::slot_key(&self.options.role, *s))
                .collect();
            let txn = Txn {
                compares: keys.iter().cloned().map(Compare::absent).collect(),
                then: keys
                    .into_iter()
                    .map(|key| Op::Put {
                        key,
                        value: value(epoch, me),
                        lease,
                    })
                    .collect(),
                ..Txn::default()
            };
            if self.store.txn(&management, txn).await?.succeeded {
                self.epochs
                    .write()
                    .extend(plan.take.into_iter().map(|slot| (slot, epoch)));
            }
        }
        self.publish();
        Ok(())
    }

    fn publish(&self) {
        let mask = self.epochs.read().keys().fold(0u64, |m, slot| m | 1 << slot);
        self.mask
            .send_if_modified(|old| std::mem::replace(old, mask) != mask);
    }

    /// Owns slots until `shutdown`, then gives them back.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let management = ClusterId::management();
        let mut lease = None;
        let pause = (self.options.ttl / 3).max(Duration::from_millis(50));
        loop {
            let renewed = async {
                let id = match lease {
                    Some(id) => {
                        self.store.lease_keep_alive(&management, id).await?;
                        id
                    }
                    None => self.store.lease_grant(&management, 0, self.options.ttl).await?,
                };
                lease = Some(id);
                self.step(id).await
            };
            match tokio::time::timeout(self.options.ttl, renewed).await {
                Ok(Ok(())) => {}
                Ok(Err(store_api::Error::LeaseNotFound)) => {
                    lease = None;
                    self.epochs.write().clear();
                    self.publish();
                }
                Ok(Err(error)) => {
                    tracing::warn!(role = self.options.role, %error, "cannot hold slots");
                }
                Err(_) => {
                    // Fencing keeps us from doing harm; not acting keeps us from doing work in vain.
                    self.epochs.write().clear();
                    self.publish();
                    lease = None;
                }
            }
            if shutdown.run_until(tokio::time::sleep(pause)).await.is_none() {
                break;
            }
        }
        self.epochs.write().clear();
        self.publish();
        if let Some(id) = lease {
            let revoke = self.store.lease_revoke(&management, id);
            let _best_effort = tokio::time::timeout(self.options.ttl, revoke).await;
        }
    }
}

fn value(epoch: u64, owner: &str) -> Bytes {
    format!("{epoch} {owner}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_fair_and_complete() {
        let owned = |by: &[(u16, &str)]| by.iter().map(|(s, o)| (*s, (1, (*o).to_string()))).collect();
        let two = ["a".to_string(), "b".to_string()];
        assert_eq!(decide("a", &HashMap::new(), &two[..1]).take.len(), 64);
        let first = decide("a", &HashMap::new(), &two).take;
        let second = decide("b", &HashMap::new(), &two).take;
        assert_eq!((first.len(), second.len()), (32, 32));
        assert!(
            first.iter().all(|s| !second.contains(s)),
            "two who start together do not race"
        );
        let all: Vec<_> = (0..64).map(|s| (s, "a")).collect();
        let plan = decide("a", &owned(&all), &two);
        assert_eq!((plan.take.len(), plan.release.len()), (0, 32));
    }
}
