//! Agents kept for jobs that did not fit, and who may use them meanwhile.
//!
//! The first job of a queue that lacks only room keeps an agent, so that smaller jobs behind it do
//! not take what becomes free there. Where time limits say when it will have room at the latest
//! ([`Until`]), a job behind it may still use the agent if that moment stays what it is: it is sure to
//! end before, or it goes into what is left beside the kept job. This is what is known as EASY
//! backfill. Without that moment nobody is let in.
//!
//! The agent is remembered over passes and restarts ([`State::reservations`]) and only given up for one
//! that has room earlier, so the moment never moves back. Where it is not known the job keeps the
//! emptiest agent, chosen anew in every pass. Limits are taken at their word, and count from the start:
//! a program that ignores SIGTERM may exceed its limit by the agent's stop timeout, and one that is
//! slow to start (an image to pull) moves the moment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use windrow_common::ids::{JobId, Name};
use windrow_common::time::Timestamp;
use windrow_common::units::Resources;

use super::hold::environments;
use super::room::{groups, suit};
use crate::core::State;
use crate::core::children::Child;
use crate::core::index::Shape;
use crate::core::state::Agent;

/// Most agents among which one is chosen to be kept: the emptiest.
const AGENTS_MAX: usize = 16;
/// Most children of an agent for which it is looked up when it will have room.
const CHILDREN_MAX: u32 = 1024;

/// An agent kept for the first job of a queue, since it is known until when at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    pub job: JobId,
    pub agent: Name,
}

/// The reservations that still hold: the job is ready, and its agent takes work. The others go, also
/// where a pass did not get far enough to choose anew.
pub fn standing(state: &State) -> BTreeMap<Name, Reservation> {
    let stands = |kept: &Reservation| {
        let agent = state.agents.get(&kept.agent);
        state.rank(kept.job).is_some() && agent.is_some_and(Agent::takes_work)
    };
    let standing = state.reservations.iter().filter(|(_, kept)| stands(kept));
    standing.map(|(queue, kept)| (queue.clone(), kept.clone())).collect()
}

/// When an agent will have room at the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Until {
    /// By then enough of what it runs has ended, by time limits.
    pub at: Timestamp,
    /// What will be left of it then beside the job that it is kept for.
    pub spare: Resources,
}

/// For whom an agent is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeper {
    pub job: JobId,
    /// When it will have room for it; absent when that is not known.
    pub until: Option<Until>,
}

/// All agents that are kept, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    agents: BTreeMap<u32, Keeper>,
}

impl Kept {
    /// Where others make room for somebody, nobody else moves in.
    pub(super) fn by_exchanges(state: &State) -> Self {
        let exchanges = state.preemptions.values();
        let agents = exchanges.filter_map(|exchange| {
            let agent = state.agents.get(exchange.agent.as_ref()?)?;
            Some((agent.number, Keeper { job: exchange.by, until: None }))
        });
        Self { agents: agents.collect() }
    }

    /// For whom the agent is kept.
    pub fn keeper(&self, agent: u32) -> Option<&Keeper> {
        self.agents.get(&agent)
    }

    /// Jobs for which agents are kept.
    pub(super) fn jobs(&self) -> impl Iterator<Item = JobId> + '_ {
        self.agents.values().map(|keeper| keeper.job)
    }

    /// Whether some kept agent is the job's to take.
    pub(super) fn has_some_for(&self, state: &State, job: JobId) -> bool {
        self.jobs().any(|other| goes_before(state, job, other))
    }

    pub(super) fn keep(&mut self, agent: u32, keeper: Keeper) {
        self.agents.insert(agent, keeper);
    }

    /// The job needs no agent any more, but for those of `exchanges`.
    pub(super) fn release(&mut self, job: JobId, exchanges: &Self) {
        self.agents.retain(|agent, keeper| keeper.job != job || exchanges.keeper(*agent).is_some());
    }

    /// Whether the agent is kept from this job altogether.
    pub(super) fn is_kept_from(&self, state: &State, agent: u32, job: JobId) -> bool {
        self.agents.get(&agent).is_some_and(|keeper| !goes_before(state, job, keeper.job))
    }

    /// What of the agent's free room a job of this shape may use at `now`; none if nothing.
    pub(super) fn room(
        &self,
        state: &State,
        agent: u32,
        free: Resources,
        (job, shape): (JobId, &Shape),
        now: Timestamp,
    ) -> Option<Resources> {
        let Some(keeper) = self.agents.get(&agent) else { return Some(free) };
        if goes_before(state, job, keeper.job) {
            return Some(free);
        }
        let until = keeper.until?;
        let ends = shape.time_limit.map(|seconds| after(now, seconds));
        match ends.is_some_and(|ends| ends <= until.at) {
            true => Some(free),
            false => Some(free.least(until.spare)),
        }
    }

    /// Children of this shape are on the agent now: if they stay longer than it is kept, less is left
    /// for others like them.
    pub(super) fn placed(&mut self, agent: u32, shape: &Shape, count: u32, now: Timestamp) {
        let keeper = self.agents.get_mut(&agent);
        let Some(until) = keeper.and_then(|keeper| keeper.until.as_mut()) else { return };
        let ends = shape.time_limit.map(|seconds| after(now, seconds));
        if ends.is_none_or(|ends| ends > until.at) {
            until.spare = until.spare.less(shape.resources.times(count));
        }
    }
}

/// Whether an agent kept for `other` is this job's to take: it is the same, or goes before it in the
/// same share.
pub(super) fn goes_before(state: &State, job: JobId, other: JobId) -> bool {
    if job == other {
        return true;
    }
    let jobs = state.jobs.get(&job).zip(state.jobs.get(&other));
    let same_share = jobs.is_some_and(|(a, b)| a.queue == b.queue && a.share == b.share);
    let ranks = state.rank(job).zip(state.rank(other));
    same_share && ranks.is_some_and(|(rank, other)| rank < other)
}

/// The agent to be kept for a job of this shape, and until when at most: of the one that is kept for it
/// already and the emptiest ones the one that will have room first; where that is not known the
/// emptiest.
pub(super) fn choose(
    state: &State,
    queue: &Name,
    (job, shape): (JobId, &Shape),
    kept: &Kept,
    now: Timestamp,
) -> Option<(u32, Option<Until>)> {
    let is_free = |number: u32| kept.keeper(number).is_none();
    let reserved = state.reservations.get(queue).filter(|reserved| reserved.job == job);
    let reserved = reserved.and_then(|reserved| {
        let agent = state.agents.get(&reserved.agent)?;
        let is_of_queue = environments(state, queue).any(|e| *e == agent.environment);
        (is_of_queue && suit(agent, shape).is_ok() && is_free(agent.number)).then_some(agent.number)
    });
    let groups = environments(state, queue).flat_map(|e| groups(state, e, shape));
    let groups = groups.filter(|(_, group)| group.sizes.with(shape.resources).next().is_some());
    let emptiest = groups.flat_map(|(_, group)| group.free.iter().rev());
    let emptiest = emptiest.map(|(_, number)| number).filter(|number| {
        is_free(*number) && state.agents[state.agent_name(*number)].resources.fits(shape.resources)
    });
    let able: Vec<u32> = emptiest.take(AGENTS_MAX).collect();
    let first = reserved.iter().chain(&able).filter_map(|number| {
        let agent = &state.agents[state.agent_name(*number)];
        Some((until(state, agent, shape.resources, now)?, *number))
    });
    // Of equals the first: the one that is kept already.
    let first = first.min_by_key(|(until, _)| until.at);
    match first {
        Some((until, number)) => Some((number, Some(until))),
        None => able.first().map(|number| (*number, None)),
    }
}

/// When the agent will have room for `need` at the latest; none when the time limits of what it runs do
/// not tell.
fn until(state: &State, agent: &Agent, need: Resources, now: Timestamp) -> Option<Until> {
    if agent.holds_backlog() || agent.leased.children > CHILDREN_MAX {
        return None;
    }
    let mut ends: Vec<(Timestamp, Resources)> = Vec::new();
    for id in &agent.leases {
        let lease = &state.leases[id];
        let job = &state.jobs[&lease.job];
        // Nodes of a multi-node job end together, which no limit of one of them tells.
        let limit = state.specs[&lease.spec].spec.timeout_seconds.filter(|_| job.nodes.is_none());
        let Some(limit) = limit else { continue };
        for child in lease.children.iter().cloned().flatten() {
            let begins = match &*job.children.get(child) {
                Child::Running { started_at, .. } => *started_at,
                Child::Untried
                | Child::Starting { .. }
                | Child::Retrying { .. }
                | Child::Ended { .. }
                | Child::Settled { .. } => now,
            };
            ends.push((after(begins, limit), lease.resources));
        }
    }
    ends.sort_unstable();
    let (mut free, mut at) = (agent.free(), now);
    for (end, resources) in ends {
        if free.fits(need) && end > at {
            break;
        }
        free = free.plus(resources);
        at = at.max(end);
    }
    free.fits(need).then(|| Until { at, spare: free.less(need) })
}

fn after(start: Timestamp, seconds: u32) -> Timestamp {
    Timestamp(start.0.saturating_add(u64::from(seconds) * 1000))
}
