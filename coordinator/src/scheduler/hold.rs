//! What keeps a ready job back although there may be room for it: one place for all of it, asked
//! before a job is placed and when somebody wants to know why it waits.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use windrow_common::api::resources::ResourceState;
use windrow_common::ids::{JobId, Name};

use super::kept::goes_before;
use super::preempt::without_leaving;
use super::room::suits_some_agent;
use crate::core::State;
use crate::core::consumables::{self, Needs};
use crate::core::quota::{Amounts, Books, Short, amounts, share_of};
use crate::core::state::Job;

/// Why a ready job is passed over. Equal for all jobs of one share with equal shapes: what concerns
/// one job alone makes it not ready instead (`core/index/ready.rs`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// No compute environment of its queue is ENABLED.
    NoEnvironment,
    /// Too little is left of a consumable resource; how much a child needs of it.
    Consumable(Name, u64),
    /// The job's quota share cannot have it now.
    QuotaShare(Short),
    /// What is left of the queue is kept for shares that are not active: how many thousandths of a
    /// core the active ones may hold in all, and how many they do.
    KeptForOtherShares { most: u64, held: u64 },
}

/// Whether the job is kept back now.
pub fn hold(state: &State, id: JobId) -> Option<Hold> {
    let job = &state.jobs[&id];
    if environments(state, &job.queue).next().is_none() {
        return Some(Hold::NoEnvironment);
    }
    let (consumables, amounts) = needs_at_once(state, job);
    if let Some((name, quantity)) = consumables::short(state, &consumables) {
        return Some(Hold::Consumable(name.clone(), *quantity));
    }
    if let Some(short) = quota_short(state, id, job, amounts) {
        return Some(Hold::QuotaShare(short));
    }
    let (most, held) = share_room(state, &job.queue)?;
    let need = u64::from(state.specs[&job.spec].spec.resources.cpu.0);
    (held > 0 && held + need > most).then_some(Hold::KeptForOtherShares { most, held })
}

/// What keeps a job back that goes before this one and what this one must therefore leave alone: a
/// consumable resource that it waits to gather, or its quota share's capacity, which that one lacks
/// or will take once it has room.
pub fn held_behind(state: &State, id: JobId) -> Option<Hold> {
    let job = &state.jobs[&id];
    let (needs, own_need) = needs_at_once(state, job);
    if needs.is_empty() && job.rare.quota.is_none() {
        return None;
    }
    let own = state.rank(id)?;
    let share = state.index.ready.share(&job.queue, job.share.as_ref())?;
    let mut from = Bound::Unbounded;
    let mut is_first = true;
    while let Some((rank, shape)) = share.head(from).filter(|(rank, _)| *rank < own) {
        from = Bound::Excluded(rank);
        match hold(state, rank.job) {
            Some(Hold::Consumable(name, quantity)) => {
                let total = state.consumables.get(&name).map_or(0, |found| found.total);
                if quantity <= total && needs.iter().any(|(need, _)| *need == name) {
                    return Some(Hold::Consumable(name, quantity));
                }
            }
            Some(
                Hold::QuotaShare(Short::Never(_))
                | Hold::NoEnvironment
                | Hold::KeptForOtherShares { .. },
            ) => {}
            Some(Hold::QuotaShare(short)) => return Some(Hold::QuotaShare(short)),
            None if is_first
                && job.rare.quota.is_some()
                && suits_some_agent(state, &job.queue, shape) =>
            {
                is_first = false;
                let (_, first) = needs_at_once(state, &state.jobs[&rank.job]);
                if let Some(short) = short_beside(state, job, own_need, first) {
                    return Some(Hold::QuotaShare(short));
                }
            }
            None => {}
        }
    }
    None
}

/// What the job lacks of its quota share's capacity now, or for the sake of those that others make
/// room for.
fn quota_short(state: &State, id: JobId, job: &Job, need: Amounts) -> Option<Short> {
    let (share, books) = share_of(job).zip(Books::of(state, &job.queue))?;
    let now = books.check(share, need);
    let then = || match after_exchanges(state, id, job, &books) {
        Some(then) if !books.is_own(share, need) => then.check(share, need),
        Some(_) | None => Ok(()),
    };
    now.and_then(|()| then()).err()
}

/// The books as they will be when all exchanges of the job's queue are over, in which others than this
/// job start; none if there are none. Who borrows must leave that much: else what one of the stopped
/// gives back is borrowed at once, also by another of them, and nobody ever gets his own back.
fn after_exchanges<'a>(
    state: &State,
    id: JobId,
    job: &Job,
    books: &Books<'a>,
) -> Option<Books<'a>> {
    let is_for_other = |by: &JobId| {
        let is_ready = state.rank(*by).is_some();
        let of_queue = state.jobs.get(by).is_some_and(|other| other.queue == job.queue);
        is_ready && of_queue && !goes_before(state, id, *by)
    };
    let all: BTreeSet<JobId> = state.preemptions.values().map(|exchange| exchange.by).collect();
    let others: Vec<&Job> =
        all.iter().filter(|by| is_for_other(by)).map(|by| &*state.jobs[by]).collect();
    if others.is_empty() {
        return None;
    }
    let mut then = without_leaving(state, &job.queue, books.clone());
    for other in others {
        let (_, need) = needs_at_once(state, other);
        then.add(share_of(other)?, need);
    }
    Some(then)
}

/// What a job of this need lacks of its quota share's capacity beside what waits for room.
fn short_beside(state: &State, job: &Job, need: Amounts, waiting: Amounts) -> Option<Short> {
    let (share, mut books) = share_of(job).zip(Books::of(state, &job.queue))?;
    books.add(share, waiting);
    books.check(share, need).err()
}

/// Thousandths of a core that the active shares of a queue may hold in all, and how many they do;
/// none where nothing is kept for others.
fn share_room(state: &State, queue: &Name) -> Option<(u64, u64)> {
    let rules = state.fair_share(queue).filter(|rules| rules.reservation > 0)?;
    let usage = state.usage.get(queue)?;
    let total = queue_milli_cpu(state, queue);
    Some((total - kept(total, rules.reservation, usage.shares.len()), usage.held))
}

/// The largest computeReservation, up to the present one, with which the active shares of a queue
/// may hold so many thousandths of a core.
pub(super) fn reservation_for(state: &State, queue: &Name, milli_cpu: u64) -> Option<u32> {
    let rules = state.fair_share(queue)?;
    let total = queue_milli_cpu(state, queue);
    let active = state.usage.get(queue)?.shares.len();
    let is_enough = |percent: &u32| total - kept(total, *percent, active) >= milli_cpu;
    (0..=rules.reservation).rev().find(is_enough)
}

/// What of this much is kept for others beside so many active shares.
fn kept(total: u64, percent: u32, active: usize) -> u64 {
    let mut kept = total;
    for _ in 0..active {
        kept = kept * u64::from(percent) / 100;
        if kept == 0 {
            break;
        }
    }
    kept
}

fn queue_milli_cpu(state: &State, queue: &Name) -> u64 {
    environments(state, queue).map(|e| milli_cpu(state, e)).sum()
}

/// Thousandths of a core of a compute environment: what its creator said, or what its agents have.
fn milli_cpu(state: &State, environment: &Name) -> u64 {
    let said = state.environments.get(environment).and_then(|e| e.unmanaged_vcpus);
    said.map_or_else(|| state.index.agents.milli_cpu(environment), |vcpus| u64::from(vcpus) * 1000)
}

/// How many children of the job may start now, room aside.
pub fn startable(state: &State, id: JobId) -> u32 {
    startable_beside(state, id, Amounts::default())
}

/// The same, where so much of its quota share's capacity is left to another job of the share.
pub(super) fn startable_beside(state: &State, id: JobId, waiting: Amounts) -> u32 {
    let job = &state.jobs[&id];
    let (consumables, amounts) = needs_at_once(state, job);
    let count = job.children.runnable_count().min(job.parallel_left());
    // All nodes of a multi-node job start, or none.
    let count = if job.nodes.is_some() { count.min(1) } else { count };
    let count = consumables::startable(state, &consumables, count);
    let count = match share_room(state, &job.queue) {
        None => count,
        Some((most, held)) => {
            let need = u64::from(state.specs[&job.spec].spec.resources.cpu.0);
            let fitting = most.saturating_sub(held) / need.max(1);
            // When nothing of the queue runs one may start, however large: nobody would gain by
            // its waiting.
            count.min(u32::try_from(fitting).unwrap_or(u32::MAX).max(1))
        }
    };
    match share_of(job).zip(Books::of(state, &job.queue)) {
        None => count,
        Some((share, mut books)) => {
            let then = after_exchanges(state, id, job, &books);
            books.add(share, waiting);
            let count = books.startable(share, amounts, count);
            then.map_or(count, |then| {
                let own = books.startable_own(share, amounts, count);
                own.max(then.startable(share, amounts, count))
            })
        }
    }
}

/// What starts together takes: one child, or all nodes of a multi-node job. Of consumable resources,
/// and of a quota share's capacity.
pub fn needs_at_once(state: &State, job: &Job) -> (Needs, Amounts) {
    if job.nodes.is_none() {
        let spec = &state.specs[&job.spec].spec;
        return (spec.consumables.clone(), amounts(spec.resources));
    }
    let mut consumables = BTreeMap::<Name, u64>::new();
    let mut sums = Amounts::default();
    for node in 0..job.children.size() {
        let spec = &state.specs[&job.spec_of(node)].spec;
        for (name, quantity) in spec.consumables.iter() {
            let sum = consumables.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*quantity);
        }
        for (sum, amount) in sums.iter_mut().zip(amounts(spec.resources)) {
            *sum = sum.saturating_add(amount);
        }
    }
    (consumables.into_iter().collect(), sums)
}

/// Whether something but room bounds how many children may start: none of these waits at an agent,
/// where it would keep others from starting.
pub fn is_limited(state: &State, job: &Job) -> bool {
    job.rare.max_parallel.is_some()
        || job.rare.quota.is_some()
        || share_room(state, &job.queue).is_some()
        || !state.specs[&job.spec].spec.consumables.is_empty()
}

/// The ENABLED compute environments of a queue, in the order in which they are tried.
pub fn environments<'a>(state: &'a State, queue: &Name) -> impl Iterator<Item = &'a Name> {
    let enabled = |name: &&Name| {
        state.environments.get(*name).is_some_and(|e| e.state == ResourceState::Enabled)
    };
    let queue = state.queues.get(queue);
    queue.into_iter().flat_map(|q| q.environments.iter().map(|(_, name)| name)).filter(enabled)
}
