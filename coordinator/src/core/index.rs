//! Look-up tables derived from the state, kept by [`super::apply`] and rebuilt after a snapshot: so
//! that no decision walks over all jobs or all agents.

use std::collections::{BTreeMap, BTreeSet};

use windrow_common::api::jobs::JobStatus;
use windrow_common::api::resources::AgentStatus;
use windrow_common::ids::{JobId, Name};
use windrow_common::units::Resources;
use windrow_common::wire::agent::Executor;
use windrow_common::wire::lease::SpecDigest;

use super::children::{Ranges, Readiness};
use super::deadlines::{Deadlines, Due};
use super::listing::Listing;
use super::state::{Agent, Dependency, State};

/// What a child asks of an agent: equal shapes fit or do not fit together.
pub type Shape = (Resources, Executor);
/// A ready job's place in its queue: retries first, then in the order of submission.
pub type Rank = (Readiness, u64, JobId);

/// The tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Index {
    /// Jobs with a child to lease, by queue and shape.
    pub ready: BTreeMap<Name, BTreeMap<Shape, BTreeSet<Rank>>>,
    /// Where each job stands in `ready`.
    ranks: BTreeMap<JobId, Rank>,
    /// Agents that take work, by environment, those with least free cores first.
    pub free: BTreeMap<Name, BTreeSet<(Resources, u32)>>,
    /// Where each agent stands in `free`.
    free_of: BTreeMap<u32, (Name, Resources)>,
    /// Agents that hold children of a spec, those with the fewest first.
    holders: BTreeMap<SpecDigest, Holders>,
    /// Jobs that wait for a job.
    pub dependents: BTreeMap<JobId, BTreeSet<JobId>>,
    /// Jobs that take of a consumable resource.
    consumers: BTreeMap<Name, BTreeSet<JobId>>,
    /// Changes of status since they were last taken out, oldest first, for events. Taken out after
    /// each event is applied, as what is told of a change is read from the state right after it.
    pub changed: Vec<Changed>,
    /// Jobs by queue and status, name and definition.
    pub listing: Listing,
    /// What is due by time alone.
    pub deadlines: Deadlines,
}

/// What one event changed in a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    pub job: JobId,
    /// Children that got another status, each range in the same way.
    pub children: Ranges,
    /// The status that the job as a whole got.
    pub whole: Option<JobStatus>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Holders {
    by_count: BTreeSet<(u32, u32)>,
    counts: BTreeMap<u32, u32>,
}

impl Index {
    pub(super) fn rebuild(state: &State) -> Self {
        let mut index = Self::default();
        for (id, job) in &state.jobs {
            index.wait_for(state, *id, &job.depends_on);
            index.consume(&state.specs[&job.spec].spec.consumables, *id);
            index.place_job(state, *id);
            index.listing.enter(*id, job, job.status());
        }
        for agent in state.agents.values() {
            index.place_agent(agent);
        }
        for lease in state.leases.values() {
            let number = state.agents[&lease.agent].number;
            let children: u32 = lease.children.iter().map(super::children::len).sum();
            index.hold(lease.spec, number, i64::from(children));
        }
        index
    }

    /// Enters the job as a dependent of those it waits for that have not ended.
    pub(super) fn wait_for(&mut self, state: &State, id: JobId, depends_on: &[Dependency]) {
        for on in depends_on.iter().map(|d| d.job(id)) {
            if state.jobs.get(&on).is_some_and(|job| !job.children.all_ended()) {
                self.dependents.entry(on).or_default().insert(id);
            }
        }
    }

    /// Enters the job at the consumable resources that it takes of.
    pub(super) fn consume(&mut self, needs: &[(Name, u64)], id: JobId) {
        for (name, _) in needs {
            self.consumers.entry(name.clone()).or_default().insert(id);
        }
    }

    /// Known jobs that take of a consumable resource, oldest first.
    pub fn consumers(&self, name: &Name) -> impl DoubleEndedIterator<Item = &JobId> {
        self.consumers.get(name).into_iter().flatten()
    }

    /// Puts the job where its readiness belongs.
    pub(super) fn place_job(&mut self, state: &State, id: JobId) {
        let job = &state.jobs[&id];
        self.deadlines.set(Due::BackOff(id), job.children.next_back_off_end());
        let rank = job.children.readiness().map(|ready| (ready, job.order, id));
        if self.ranks.get(&id).copied() == rank {
            return;
        }
        let spec = &state.specs[&job.spec].spec;
        let shapes = self.ready.entry(job.queue.clone()).or_default();
        let shape = (spec.resources, spec.executor);
        if let Some(old) = self.ranks.remove(&id) {
            let ranks = shapes.get_mut(&shape).expect("a ranked job is in its shape");
            ranks.remove(&old);
            if ranks.is_empty() {
                shapes.remove(&shape);
            }
        }
        if let Some(rank) = rank {
            shapes.entry(shape).or_default().insert(rank);
            self.ranks.insert(id, rank);
        }
        if shapes.is_empty() {
            self.ready.remove(&job.queue);
        }
    }

    /// Puts the agent where its free resources belong.
    pub(super) fn place_agent(&mut self, agent: &Agent) {
        if let Some((environment, free)) = self.free_of.remove(&agent.number) {
            let agents = self.free.get_mut(&environment).expect("a placed agent has its place");
            agents.remove(&(free, agent.number));
            if agents.is_empty() {
                self.free.remove(&environment);
            }
        }
        if agent.status == AgentStatus::Up {
            let place = (agent.environment.clone(), agent.free());
            self.free.entry(place.0.clone()).or_default().insert((place.1, agent.number));
            self.free_of.insert(agent.number, place);
        }
    }

    /// Counts children of a spec on an agent up or down.
    pub(super) fn hold(&mut self, spec: SpecDigest, agent: u32, change: i64) {
        let holders = self.holders.entry(spec).or_default();
        let old = holders.counts.remove(&agent).unwrap_or(0);
        holders.by_count.remove(&(old, agent));
        let new = u32::try_from(i64::from(old) + change).expect("holders count leased children");
        if new > 0 {
            holders.counts.insert(agent, new);
            holders.by_count.insert((new, agent));
        } else if holders.counts.is_empty() {
            self.holders.remove(&spec);
        }
    }

    /// Agents that hold children of a spec: (children, agent), fewest first; and how many agents.
    pub fn holders(&self, spec: SpecDigest) -> (impl Iterator<Item = (u32, u32)> + '_, u32) {
        let holders = self.holders.get(&spec);
        let count = holders.map_or(0, |h| h.counts.len());
        let agents = holders.into_iter().flat_map(|h| h.by_count.iter().copied());
        (agents, u32::try_from(count).unwrap_or(u32::MAX))
    }
}
