//! Placement: the scheduler's wish becomes a lease. The only place that commits resources.

use std::collections::BTreeMap;

use rangemap::RangeSet;
use windrow_common::ids::{JobId, LeaseId, Name};
use windrow_common::time::Timestamp;
use windrow_common::units::Resources;

use crate::core::State;
use crate::core::event::{Event, Granted, NodesGranted, Preempted};
use crate::core::state::{Agent, Phase};
use crate::scheduler::{Placement, Reservation, startable};

pub(super) fn place(state: &State, placement: &Placement, now: Timestamp) -> Vec<Event> {
    let event = match placement {
        Placement::Children { job, agent, count } => children(state, *job, agent, *count, now),
        Placement::Nodes { job, agents } => nodes(state, *job, agents, now),
    };
    event.into_iter().collect()
}

fn children(state: &State, job: JobId, agent: &Name, count: u32, now: Timestamp) -> Option<Event> {
    up(state, agent)?;
    let found = state.jobs.get(&job)?;
    let count = count.min(startable(state, job));
    if count == 0 {
        return None;
    }
    let (children, attempt) = found.children.next_runnable(count)?;
    let lease = LeaseId(state.last_lease.0 + 1);
    Some(Event::LeaseGranted(Granted {
        lease,
        agent: agent.clone(),
        job,
        children,
        attempt,
        at: Some(now),
    }))
}

/// All nodes, or none.
fn nodes(state: &State, id: JobId, agents: &[Name], now: Timestamp) -> Option<Event> {
    let job = state.jobs.get(&id)?;
    let nodes = job.nodes.as_ref()?;
    let is_ready = nodes.phase == Phase::Idle
        && job.children.readiness().is_some()
        && job.children.runnable_count() == job.children.size()
        && agents.len() == nodes.count() as usize
        && startable(state, id) > 0;
    if !is_ready {
        return None;
    }
    let mut needs: BTreeMap<&Name, Resources> = BTreeMap::new();
    for (node, agent) in (0..).zip(agents) {
        let need = needs.entry(agent).or_default();
        *need = need.plus(state.specs[&job.spec_of(node)].spec.resources);
    }
    for (agent, need) in needs {
        up(state, agent).filter(|agent| agent.free().fits(need))?;
    }
    let numbers = agents.iter().map(|agent| state.agents[agent].number).collect();
    let first_lease = LeaseId(state.last_lease.0 + 1);
    Some(Event::NodesGranted(NodesGranted { job: id, first_lease, agents: numbers, at: Some(now) }))
}

/// The agent, if it takes work.
fn up<'a>(state: &'a State, agent: &Name) -> Option<&'a Agent> {
    state.agents.get(agent).filter(|agent| agent.takes_work())
}

/// The scheduler's wish to stop children: those that are still leased and not stopped already.
pub(super) fn preempt(state: &State, wish: &Preempted) -> Vec<Event> {
    let Some(job) = state.jobs.get(&wish.job) else { return Vec::new() };
    let leased = job.children.leased_in(&wish.children).into_iter().map(|(_, child)| child);
    let stays = leased.filter(|child| !state.preemptions.contains_key(&(wish.job, *child)));
    let children: RangeSet<u32> = stays.map(|child| child..child + 1).collect();
    if children.is_empty() {
        return Vec::new();
    }
    vec![Event::ChildrenPreempted(Preempted {
        children: children.into_iter().collect(),
        ..wish.clone()
    })]
}

/// The scheduler's wish which agents stay kept: what changes.
pub(super) fn reserve(state: &State, wish: &BTreeMap<Name, Reservation>) -> Vec<Event> {
    let gone = state.reservations.keys().filter(|queue| !wish.contains_key(*queue));
    let gone = gone.map(|queue| (queue, None));
    let new = wish.iter().filter(|(queue, kept)| state.reservations.get(*queue) != Some(*kept));
    let new = new.map(|(queue, kept)| (queue, Some(kept.clone())));
    let event = |(queue, reservation): (&Name, _)| Event::HeadReserved {
        queue: queue.clone(),
        reservation,
    };
    gone.chain(new).map(event).collect()
}
