//! What an agent must not forget: the leases it took and how far each child is. All of it changes by
//! [`Record`]s only, which the shell writes to disk before anything else sees their effect; reading
//! them back gives the same [`Held`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use windrow_common::ids::LeaseId;
use windrow_common::time::Timestamp;
use windrow_common::wire::agent::{self as wire, EndCause, Ended, SelfFence};
use windrow_common::wire::lease::{Lease, SpecDigest, TaskSpec};

use super::ranges::Ranges;
use crate::executor::AttemptKey;

/// Specs that no held lease uses, kept for leases to come. A coordinator names a spec in full once a
/// session; past this number the unused ones go, and a lease that names one of them is handed back
/// with a new registration, after which the coordinator sends it again.
const UNUSED_SPECS_MAX: usize = 10_000;

/// One fact for the journal on disk. Append only, like the wire types.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// A spec that leases name.
    Spec(SpecDigest, TaskSpec),
    /// A lease was taken; all its children wait.
    Accepted(Lease),
    /// Leases up to this id were seen.
    Highest(LeaseId),
    /// Children are about to be started.
    Starting {
        /// Their lease.
        lease: LeaseId,
        /// The children, as (first, count).
        children: Vec<(u32, u32)>,
        /// When.
        at: Timestamp,
        /// The GPUs that children get, by id.
        #[serde(default)]
        gpus: Vec<(u32, Vec<String>)>,
        /// When, since this host was started.
        #[serde(default)]
        monotonic: Option<Duration>,
    },
    /// Running children are to stop by order.
    Stopping {
        /// Their lease.
        lease: LeaseId,
        /// The children, as (first, count).
        children: Vec<(u32, u32)>,
    },
    /// An attempt ended; to be reported until confirmed.
    Ended(Ended),
    /// Waiting children are handed back; to be reported until confirmed.
    Returned {
        /// Their lease.
        lease: LeaseId,
        /// The children, as (first, count).
        children: Vec<(u32, u32)>,
    },
    /// Children that concern this agent no more: confirmed or fenced.
    Forgotten {
        /// Their lease.
        lease: LeaseId,
        /// The children, as (first, count).
        children: Vec<(u32, u32)>,
    },
    /// A session began. Only its own orders count, so what was seen before says nothing of them: a
    /// cluster that was set up anew counts its leases from the start.
    Session,
    /// A coordinator of this term was heard: none of a lower one is obeyed.
    Term(u64),
    /// Jobs are stopped if no coordinator is reached; it was last at this time, since this host was
    /// started.
    Contact {
        /// When.
        monotonic: Duration,
        /// What was agreed.
        self_fence: Option<SelfFence>,
    },
    /// The highest lease of all sessions.
    LeaseSeen(LeaseId),
}

/// A child whose start was ordered and whose end is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// When the start was ordered.
    pub at: Timestamp,
    /// Whether the coordinator wants it stopped.
    pub stopping: bool,
    /// The GPUs it has, by id.
    pub gpus: Vec<String>,
    /// When the start was ordered, since this host was started; absent in journals of old.
    pub monotonic: Option<Duration>,
}

/// A lease and where each of its children is: in exactly one of the four.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLease {
    /// The order.
    pub lease: Arc<Lease>,
    /// What it runs.
    pub spec: Arc<TaskSpec>,
    /// Not started.
    pub waiting: Ranges,
    /// Started, not ended.
    pub running: BTreeMap<u32, Begun>,
    /// Ended, not confirmed.
    pub ended: BTreeMap<u32, Ended>,
    /// Handed back, not confirmed.
    pub returned: Ranges,
}

impl HeldLease {
    /// Whether the child's end is known.
    pub fn is_ended(&self, child: u32) -> bool {
        self.ended.contains_key(&child)
    }

    fn is_done(&self) -> bool {
        self.waiting.is_empty()
            && self.running.is_empty()
            && self.ended.is_empty()
            && self.returned.is_empty()
    }
}

/// Everything held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Highest lease taken in the session: what is not above it is a redelivery.
    pub last_lease: LeaseId,
    /// Highest lease taken in any session.
    pub lease_seen: LeaseId,
    /// Highest term of a coordinator heard.
    pub term: u64,
    /// When jobs are stopped because no coordinator is reached.
    pub self_fence: Option<SelfFence>,
    /// When one was last reached, since this host was started, as far as it was written down.
    pub contact: Option<Duration>,
    /// The leases with a child that is not forgotten.
    pub leases: BTreeMap<LeaseId, HeldLease>,
    specs: BTreeMap<SpecDigest, Arc<TaskSpec>>,
}

impl Held {
    /// The spec of that digest, if it was sent.
    pub fn spec(&self, digest: SpecDigest) -> Option<&Arc<TaskSpec>> {
        self.specs.get(&digest)
    }

    /// The running child, if it is one.
    pub fn begun(&self, key: AttemptKey) -> Option<&Begun> {
        self.leases.get(&key.lease)?.running.get(&key.child)
    }

    /// Takes a fact in. Facts about leases that are not held change nothing.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Spec(digest, spec) => {
                if self.specs.len() >= UNUSED_SPECS_MAX + self.leases.len() {
                    self.drop_unused_specs();
                }
                self.specs.insert(*digest, Arc::new(spec.clone()));
            }
            Record::Accepted(lease) => self.accept(lease),
            Record::Highest(lease) => self.see(*lease),
            Record::LeaseSeen(lease) => self.lease_seen = self.lease_seen.max(*lease),
            Record::Term(term) => self.term = self.term.max(*term),
            Record::Contact { monotonic, self_fence } => {
                (self.contact, self.self_fence) = (Some(*monotonic), *self_fence);
            }
            Record::Session => self.last_lease = LeaseId::default(),
            Record::Starting { lease, children, at, gpus, monotonic } => {
                self.with(*lease, |held| {
                    let (at, monotonic) = (*at, *monotonic);
                    let begun = Begun { at, stopping: false, gpus: Vec::new(), monotonic };
                    let started = held.waiting.remove(children);
                    held.running.extend(started.indices().map(|child| (child, begun.clone())));
                    for (child, gpus) in gpus {
                        if let Some(begun) = held.running.get_mut(child) {
                            begun.gpus.clone_from(gpus);
                        }
                    }
                })
            }
            Record::Stopping { lease, children } => self.with(*lease, |held| {
                for child in keys_in(&held.running, children) {
                    if let Some(begun) = held.running.get_mut(&child) {
                        begun.stopping = true;
                    }
                }
            }),
            Record::Ended(ended) => self.with(ended.lease, |held| {
                held.running.remove(&ended.child);
                held.waiting.remove(&[(ended.child, 1)]);
                held.ended.insert(ended.child, ended.clone());
            }),
            Record::Returned { lease, children } => self.with(*lease, |held| {
                let returned = held.waiting.remove(children);
                held.returned.insert_all(&returned.to_vec());
            }),
            Record::Forgotten { lease, children } => self.forget(*lease, children),
        }
    }

    /// The children of each lease, as registration names them.
    pub fn to_wire(&self) -> Vec<wire::Held> {
        let of = |held: &HeldLease| {
            let mut children = held.waiting.clone();
            let singles = held.running.keys().chain(held.ended.keys());
            let singles: Vec<_> = singles.map(|&child| (child, 1)).collect();
            children.insert_all(&singles);
            children.insert_all(&held.returned.to_vec());
            let mut lost = Ranges::default();
            let has_no_result =
                |ended: &Ended| matches!(ended.cause, EndCause::HostLost | EndCause::Stopped);
            let without_result = held.ended.iter().filter(|(_, ended)| has_no_result(ended));
            without_result.for_each(|(child, _)| lost.insert(*child));
            let dying = held.running.iter().filter(|(_, begun)| begun.stopping);
            dying.for_each(|(child, _)| lost.insert(*child));
            lost.insert_all(&held.returned.to_vec());
            let (children, lost) = (children.to_vec(), lost.to_vec());
            wire::Held { lease: held.lease.id, children, job: Some(held.lease.job), lost }
        };
        self.leases.values().map(of).collect()
    }

    /// Facts that give this state again: the journal after compaction.
    pub fn to_records(&self) -> Vec<Record> {
        let mut records = vec![
            Record::Highest(self.last_lease),
            Record::LeaseSeen(self.lease_seen),
            Record::Term(self.term),
        ];
        let self_fence = self.self_fence;
        records.extend(self.contact.map(|monotonic| Record::Contact { monotonic, self_fence }));
        let mut specs = BTreeMap::new();
        for held in self.leases.values() {
            if specs.insert(held.lease.spec, ()).is_none() {
                records.push(Record::Spec(held.lease.spec, (*held.spec).clone()));
            }
            let lease = held.lease.id;
            records.push(Record::Accepted((*held.lease).clone()));
            for (&child, begun) in &held.running {
                let children = vec![(child, 1)];
                let gpus = Some((child, begun.gpus.clone())).filter(|(_, ids)| !ids.is_empty());
                let (at, gpus) = (begun.at, gpus.into_iter().collect());
                let monotonic = begun.monotonic;
                let started = children.clone();
                records.push(Record::Starting { lease, children: started, at, gpus, monotonic });
                if begun.stopping {
                    records.push(Record::Stopping { lease, children });
                }
            }
            records.extend(held.ended.values().cloned().map(Record::Ended));
            if !held.returned.is_empty() {
                records.push(Record::Returned { lease, children: held.returned.to_vec() });
            }
            records.extend(gone(held));
        }
        records
    }

    /// Specs that nothing uses, at the start of a session that will name them again.
    pub fn drop_unused_specs(&mut self) {
        self.specs.clear();
        for held in self.leases.values() {
            self.specs.insert(held.lease.spec, Arc::clone(&held.spec));
        }
    }

    fn see(&mut self, lease: LeaseId) {
        self.last_lease = self.last_lease.max(lease);
        self.lease_seen = self.lease_seen.max(lease);
    }

    fn accept(&mut self, lease: &Lease) {
        self.see(lease.id);
        let Some(spec) = self.specs.get(&lease.spec) else { return };
        self.leases.insert(
            lease.id,
            HeldLease {
                lease: Arc::new(lease.clone()),
                spec: Arc::clone(spec),
                waiting: Ranges::new(lease.first, lease.count),
                running: BTreeMap::new(),
                ended: BTreeMap::new(),
                returned: Ranges::default(),
            },
        );
    }

    fn forget(&mut self, lease: LeaseId, children: &[(u32, u32)]) {
        let Some(held) = self.leases.get_mut(&lease) else { return };
        held.waiting.remove(children);
        held.returned.remove(children);
        for child in keys_in(&held.running, children) {
            held.running.remove(&child);
        }
        for child in keys_in(&held.ended, children) {
            held.ended.remove(&child);
        }
        if held.is_done() {
            self.leases.remove(&lease);
        }
    }

    fn with(&mut self, lease: LeaseId, change: impl FnOnce(&mut HeldLease)) {
        if let Some(held) = self.leases.get_mut(&lease) {
            change(held);
        }
    }
}

/// The keys of `map` that lie in `ranges`, however wide those are.
pub(super) fn keys_in<V>(map: &BTreeMap<u32, V>, ranges: &[(u32, u32)]) -> Vec<u32> {
    let within = |&(first, count): &(u32, u32)| map.range(first..first.saturating_add(count));
    ranges.iter().flat_map(within).map(|(&key, _)| key).collect()
}

/// The fact that takes out of a freshly accepted lease what is held no more.
fn gone(held: &HeldLease) -> Option<Record> {
    let lease = &held.lease;
    let mut gone = Ranges::new(lease.first, lease.count);
    gone.remove(&held.waiting.to_vec());
    gone.remove(&held.returned.to_vec());
    for &child in held.running.keys().chain(held.ended.keys()) {
        gone.remove(&[(child, 1)]);
    }
    let children = gone.to_vec();
    (!children.is_empty()).then_some(Record::Forgotten { lease: lease.id, children })
}
