//! Quota shares: virtual queues inside a queue, each with capacity of its own. Idle capacity can be
//! lent to other shares and is taken back when its owner has work.
//!
//! All of it is accounting over what leased children need; where they run does not matter here. Two
//! rules keep the books, both checked before a child starts:
//!
//! - a share uses at most its own capacity, and if it borrows its borrow limit on top (QUOTA-1);
//! - all that is used beyond own capacity is covered by idle capacity of shares that lend (QUOTA-2).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::{Deserialize, Serialize};
use windrow_common::api::ApiError;
use windrow_common::api::quota::{CapacityUnit, ResourceSharingStrategy};
use windrow_common::api::resources::ResourceState;
use windrow_common::ids::{JobId, Name};
use windrow_common::units::Resources;

use super::policies::Rules;
use super::state::{Job, State, Work};

/// An amount of each unit, in the order of [`CapacityUnit::ALL`]; vCPUs in thousandths.
pub type Amounts = [u64; 3];

/// A quota share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaShare {
    pub state: ResourceState,
    /// Its own capacity; a unit without an entry is not limited. vCPUs in thousandths.
    pub limits: BTreeMap<CapacityUnit, u64>,
    pub strategy: ResourceSharingStrategy,
    /// Percent of its own capacity that it may borrow; none: whatever others lend.
    pub borrow_limit: Option<u32>,
    /// Whether higher jobs may stop lower ones of this share.
    pub in_share_preemption: bool,
    pub tags: BTreeMap<String, String>,
    /// Its deletion was accepted; it goes when its jobs have ended.
    pub is_deleted: bool,
}

/// What a job in a queue of quota shares asks for beyond other jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobQuota {
    /// How often an attempt may be preempted before the job has failed; none: without end.
    pub preemptions_max: Option<u32>,
}

/// Why a child is being stopped to make room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preemption {
    /// For whom.
    pub by: JobId,
    /// That job's share.
    pub share: Name,
    /// The agent whose room is kept for that job until all of the children are gone.
    pub agent: Option<Name>,
}

/// Why a child of a share cannot start as the books are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Short {
    /// It would not even if nothing ran.
    Never(CapacityUnit),
    /// The share's capacity, with what it may borrow, is in use.
    Full(CapacityUnit),
    /// It would have to borrow, and nobody lends enough now.
    NothingLent(CapacityUnit),
    /// The share has capacity left that others have borrowed.
    LentOut(CapacityUnit),
}

/// What a need comes to in each unit.
pub fn amounts(need: Resources) -> Amounts {
    [need.cpu.0.into(), need.memory.0.into(), need.gpu.into()]
}

impl QuotaShare {
    /// Whether others may use its idle capacity.
    pub fn lends(&self) -> bool {
        match self.strategy {
            ResourceSharingStrategy::Reserve => false,
            ResourceSharingStrategy::Lend | ResourceSharingStrategy::LendAndBorrow => true,
        }
    }

    /// The most it may use of a unit that it limits; none: whatever others lend.
    fn most(&self, limit: u64) -> Option<u64> {
        match (self.strategy, self.borrow_limit) {
            (ResourceSharingStrategy::Reserve | ResourceSharingStrategy::Lend, _) => Some(limit),
            (ResourceSharingStrategy::LendAndBorrow, None) => None,
            (ResourceSharingStrategy::LendAndBorrow, Some(percent)) => {
                Some(limit.saturating_add(limit.saturating_mul(percent.into()) / 100))
            }
        }
    }
}

/// The books of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Books<'a> {
    shares: &'a BTreeMap<Name, QuotaShare>,
    used: BTreeMap<Name, Amounts>,
}

impl<'a> Books<'a> {
    /// As they are; none for a queue without quota shares.
    pub fn of(state: &'a State, queue: &Name) -> Option<Self> {
        let shares = state.quota_shares.get(queue)?;
        let used = state.index.quota.used.get(queue).cloned().unwrap_or_default();
        Some(Self { shares, used })
    }

    /// What a share uses.
    pub fn used(&self, share: &Name) -> Amounts {
        self.used.get(share).copied().unwrap_or_default()
    }

    /// A child of the share starts.
    pub fn add(&mut self, share: &Name, need: Amounts) {
        let used = self.used.entry(share.clone()).or_default();
        for (used, need) in used.iter_mut().zip(need) {
            *used = used.saturating_add(need);
        }
    }

    /// A child of the share goes.
    pub fn remove(&mut self, share: &Name, need: Amounts) {
        let used = self.used.entry(share.clone()).or_default();
        for (used, need) in used.iter_mut().zip(need) {
            *used = used.saturating_sub(need);
        }
    }

    /// What the share uses beyond its own capacity.
    pub fn borrowed(&self, share: &Name, unit: CapacityUnit) -> u64 {
        let limit = self.shares.get(share).and_then(|s| s.limits.get(&unit));
        limit.map_or(0, |limit| self.used(share)[unit as usize].saturating_sub(*limit))
    }

    /// Whether the share uses more than its own capacity of some unit.
    pub fn is_borrowing(&self, share: &Name) -> bool {
        CapacityUnit::ALL.into_iter().any(|unit| self.borrowed(share, unit) > 0)
    }

    /// What is used beyond own capacity in all, and the idle capacity that covers it.
    fn pool(&self, unit: CapacityUnit) -> (u64, u64) {
        self.pool_of(unit, |_| true)
    }

    /// The same, of some shares.
    fn pool_of(&self, unit: CapacityUnit, counts: impl Fn(&Name) -> bool) -> (u64, u64) {
        let shares = self.shares.iter().filter(|(name, _)| counts(name));
        let limited = shares.filter_map(|(n, s)| Some((n, s, *s.limits.get(&unit)?)));
        limited.fold((0, 0), |(borrowed, idle), (name, share, limit)| {
            let used = self.used(name)[unit as usize];
            let own_idle = if share.lends() { limit.saturating_sub(used) } else { 0 };
            (borrowed + used.saturating_sub(limit), idle + own_idle)
        })
    }

    /// QUOTA-2: whether all that is borrowed is covered.
    pub fn is_covered(&self, unit: CapacityUnit) -> bool {
        let (borrowed, idle) = self.pool(unit);
        borrowed <= idle
    }

    /// QUOTA-1: whether the share uses no more than it may.
    pub fn is_within(&self, share: &Name, unit: CapacityUnit) -> bool {
        let Some(found) = self.shares.get(share) else { return true };
        let most = found.limits.get(&unit).and_then(|limit| found.most(*limit));
        most.is_none_or(|most| self.used(share)[unit as usize] <= most)
    }

    /// Whether `count` more children of the share stay within its own capacity.
    pub fn is_own(&self, share: &Name, need: Amounts) -> bool {
        let mut after = self.clone();
        after.add(share, need);
        !after.is_borrowing(share)
    }

    /// Whether a child of the share can start. A share that is gone has no capacity.
    ///
    /// # Errors
    /// What it lacks.
    pub fn check(&self, share: &Name, need: Amounts) -> Result<(), Short> {
        let Some(found) = self.shares.get(share) else {
            return Err(Short::Never(CapacityUnit::Vcpu));
        };
        let mut after = self.clone();
        after.add(share, need);
        for (unit, limit) in &found.limits {
            if need[*unit as usize] > self.most_ever(share, *unit) {
                return Err(Short::Never(*unit));
            }
            if !after.is_within(share, *unit) {
                return Err(Short::Full(*unit));
            }
            let is_own = after.used(share)[*unit as usize] <= *limit;
            // Own capacity that is never lent concerns nobody else.
            if (is_own && !found.lends()) || after.is_covered(*unit) {
                continue;
            }
            return Err(if is_own { Short::LentOut(*unit) } else { Short::NothingLent(*unit) });
        }
        Ok(())
    }

    /// The most one job of the share can ever use.
    fn most_ever(&self, share: &Name, unit: CapacityUnit) -> u64 {
        let found = &self.shares[share];
        let Some(limit) = found.limits.get(&unit).copied() else { return u64::MAX };
        let others = self.shares.iter().filter(|(name, other)| *name != share && other.lends());
        let lent = others.filter_map(|(_, other)| other.limits.get(&unit)).sum::<u64>();
        found.most(limit).unwrap_or(u64::MAX).min(limit.saturating_add(lent))
    }

    /// The limits with which the share could have this much more as its own: those it has, raised as
    /// far as that takes. Empty for a share that is gone.
    pub fn limits_for(&self, share: &Name, more: Amounts) -> BTreeMap<CapacityUnit, u64> {
        let Some(found) = self.shares.get(share) else { return BTreeMap::new() };
        let used = self.used(share);
        let raised = |(unit, limit): (&CapacityUnit, &u64)| {
            let after = used[*unit as usize].saturating_add(more[*unit as usize]);
            // What others have borrowed of it stays covered.
            let (borrowed, idle) = self.pool_of(*unit, |other| other != share);
            let lent = if found.lends() { borrowed.saturating_sub(idle) } else { 0 };
            (*unit, after.saturating_add(lent).max(*limit))
        };
        found.limits.iter().map(raised).collect()
    }

    /// How many children of the share can start, at most `limit`.
    pub fn startable(&self, share: &Name, need: Amounts, limit: u32) -> u32 {
        most(need, limit, |all| self.check(share, all).is_ok())
    }

    /// How many stay within the share's own capacity, at most `limit`.
    pub fn startable_own(&self, share: &Name, need: Amounts, limit: u32) -> u32 {
        most(need, limit, |all| self.is_own(share, all))
    }
}

/// The most children, up to `limit`, whose needs together fit. Each more makes that harder.
fn most(need: Amounts, limit: u32, fits: impl Fn(Amounts) -> bool) -> u32 {
    let (mut least, mut most) = (0, limit);
    while least < most {
        let middle = least + (most - least).div_ceil(2);
        let all = need.map(|amount| amount.saturating_mul(u64::from(middle)));
        if fits(all) { least = middle } else { most = middle - 1 }
    }
    least
}

/// These leased children, `count` of them, are gone.
pub(super) fn release(
    state: &mut State,
    id: JobId,
    children: &[Range<u32>],
    need: Resources,
    count: u32,
) {
    if !state.preemptions.is_empty() {
        for child in children.iter().cloned().flatten() {
            state.preemptions.remove(&(id, child));
        }
    }
    state.index.quota.give_back(&state.jobs[&id], need, count);
}

/// A share takes no more jobs; it goes now if it has none left.
pub(super) fn delete(state: &mut State, queue: &Name, name: &Name) {
    let shares = state.quota_shares.get_mut(queue);
    if let Some(share) = shares.and_then(|shares| shares.get_mut(name)) {
        share.is_deleted = true;
        state.work.push_back(Work::CloseShare(queue.clone(), name.clone()));
    }
    remove_empty(state, queue, name);
}

/// A deleted share goes with its last job.
fn remove_empty(state: &mut State, queue: &Name, name: &Name) {
    let has_jobs = state.index.quota.jobs_of(queue, name).next().is_some();
    let Some(shares) = state.quota_shares.get_mut(queue) else { return };
    if !has_jobs && shares.get(name).is_some_and(|share| share.is_deleted) {
        shares.remove(name);
    }
}

/// The job has ended for good.
pub(super) fn leave(state: &mut State, id: JobId) {
    let job = &state.jobs[&id];
    let Some(share) = share_of(job).cloned() else { return };
    let queue = job.queue.clone();
    state.index.quota.leave(&queue, &share, id);
    remove_empty(state, &queue, &share);
}

/// What is looked up by queue and share. Derived.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tables {
    /// What leased children need.
    pub used: BTreeMap<Name, BTreeMap<Name, Amounts>>,
    /// Unended jobs.
    jobs: BTreeMap<(Name, Name), BTreeSet<JobId>>,
}

impl Tables {
    /// Enters an unended job at its share.
    pub(super) fn enter(&mut self, id: JobId, job: &Job) {
        if let Some(share) = share_of(job).filter(|_| !job.children.all_ended()) {
            let jobs = self.jobs.entry((job.queue.clone(), share.clone())).or_default();
            jobs.insert(id);
        }
    }

    /// `count` children of the job are leased.
    pub(super) fn take(&mut self, job: &Job, need: Resources, count: u32) {
        let Some(share) = share_of(job) else { return };
        let used = self.used.entry(job.queue.clone()).or_default();
        let used = used.entry(share.clone()).or_default();
        for (used, need) in used.iter_mut().zip(amounts(need)) {
            *used += need * u64::from(count);
        }
    }

    /// `count` leased children of the job are gone.
    fn give_back(&mut self, job: &Job, need: Resources, count: u32) {
        let Some(share) = share_of(job) else { return };
        let Some(shares) = self.used.get_mut(&job.queue) else { return };
        let Some(used) = shares.get_mut(share) else { return };
        for (used, need) in used.iter_mut().zip(amounts(need)) {
            *used -= need * u64::from(count);
        }
        if *used == Amounts::default() {
            shares.remove(share);
            if shares.is_empty() {
                self.used.remove(&job.queue);
            }
        }
    }

    fn leave(&mut self, queue: &Name, share: &Name, id: JobId) {
        let key = (queue.clone(), share.clone());
        if let Some(jobs) = self.jobs.get_mut(&key) {
            jobs.remove(&id);
            if jobs.is_empty() {
                self.jobs.remove(&key);
            }
        }
    }

    /// Unended jobs of a share.
    pub fn jobs_of(&self, queue: &Name, share: &Name) -> impl Iterator<Item = JobId> + '_ {
        self.jobs.get(&(queue.clone(), share.clone())).into_iter().flatten().copied()
    }
}

/// Whether jobs of this queue need a quota share.
pub fn is_quota_queue(state: &State, queue: &Name) -> bool {
    let rules = state.queues.get(queue).and_then(|queue| state.rules(queue));
    matches!(rules, Some(Rules::QuotaShare))
}

/// The queue, name and share that an ARN, or `QUEUE/SHARE`, means.
///
/// # Errors
/// There is none.
pub fn find<'a>(state: &'a State, text: &str) -> Result<(Name, Name, &'a QuotaShare), ApiError> {
    let plain = text.rsplit_once(":quota-share/").map_or(text, |(_, plain)| plain);
    let names = plain.split_once('/');
    let names = names.and_then(|(q, s)| Some((q.parse::<Name>().ok()?, s.parse::<Name>().ok()?)));
    let found = names.and_then(|(queue, name)| {
        let share = state.quota_shares.get(&queue)?.get(&name)?;
        Some((queue, name, share))
    });
    found.ok_or_else(|| {
        let shown: String = plain.chars().take(260).collect();
        ApiError::not_found(format!("quota share `{shown}` does not exist")).hint(
            "name it `QUEUE/SHARE` or by its ARN; `windrow quota-share list QUEUE` lists them",
        )
    })
}

/// The share of a job in a queue of quota shares.
pub fn share_of(job: &Job) -> Option<&Name> {
    job.rare.quota.and(job.share.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(vcpus: u64, strategy: ResourceSharingStrategy, borrow: Option<u32>) -> QuotaShare {
        QuotaShare {
            state: ResourceState::Enabled,
            limits: BTreeMap::from([(CapacityUnit::Vcpu, vcpus)]),
            strategy,
            borrow_limit: borrow,
            in_share_preemption: false,
            tags: BTreeMap::new(),
            is_deleted: false,
        }
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    const UNIT: CapacityUnit = CapacityUnit::Vcpu;

    #[test]
    fn a_share_uses_its_own_and_what_it_may_borrow() {
        use ResourceSharingStrategy::{Lend, LendAndBorrow, Reserve};
        let shares = BTreeMap::from([
            (name("keeps"), share(4, Reserve, None)),
            (name("lends"), share(4, Lend, None)),
            (name("half"), share(4, LendAndBorrow, Some(50))),
            (name("all"), share(4, LendAndBorrow, None)),
        ]);
        let mut books = Books { shares: &shares, used: BTreeMap::new() };
        let most = |books: &Books<'_>, share: &str| books.startable(&name(share), [1, 0, 0], 100);
        assert_eq!(most(&books, "keeps"), 4);
        assert_eq!(most(&books, "lends"), 4);
        assert_eq!(most(&books, "half"), 6, "own and half as much again");
        assert_eq!(most(&books, "all"), 12, "own and what the two others lend");
        books.add(&name("all"), [12, 0, 0]);
        assert_eq!(most(&books, "keeps"), 4, "what is reserved was not lent");
        assert_eq!(books.check(&name("lends"), [1, 0, 0]), Err(Short::LentOut(UNIT)));
        assert_eq!(books.check(&name("all"), [1, 0, 0]), Err(Short::NothingLent(UNIT)));
        assert_eq!(books.check(&name("all"), [13, 0, 0]), Err(Short::Never(UNIT)));
        books.remove(&name("all"), [3, 0, 0]);
        assert_eq!(most(&books, "lends"), 3);
        books.add(&name("lends"), [3, 0, 0]);
        books.add(&name("keeps"), [4, 0, 0]);
        assert_eq!(books.check(&name("keeps"), [1, 0, 0]), Err(Short::Full(UNIT)));
        assert_eq!(books.check(&name("gone"), [1, 0, 0]), Err(Short::Never(UNIT)));
        assert!(books.is_covered(UNIT) && books.is_borrowing(&name("all")));
    }

    #[test]
    fn a_unit_without_a_limit_is_not_limited() {
        let shares =
            BTreeMap::from([(name("a"), share(4, ResourceSharingStrategy::Reserve, None))]);
        let books = Books { shares: &shares, used: BTreeMap::new() };
        assert_eq!(books.check(&name("a"), [4, 1_000_000, 9]), Ok(()));
    }
}
