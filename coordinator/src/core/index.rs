//! Look-up tables derived from the state, kept by [`super::apply`] and rebuilt after a snapshot: so
//! that no decision walks over all jobs or all agents.

mod agents;
mod holders;
mod orders;
mod ready;
mod sorted;
mod unended;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use windrow_common::api::jobs::JobStatus;
use windrow_common::ids::{JobId, Name};
use windrow_common::units::Resources;
use windrow_common::wire::agent::{Architecture, Executor};
use windrow_common::wire::lease::SpecDigest;

pub use agents::{Agents, Group, Kind};
pub use holders::Holders;
pub use orders::Orders;
pub use ready::{Rank, Ready, Share, Shares, Standing};
pub use sorted::Sorted;
pub use unended::Unended;

use super::blocked;
use super::children::Ranges;
use super::consumables::Needs;
use super::deadlines::{Deadlines, Due};
use super::finished::Finished;
use super::listing::Listing;
use super::quota;
use super::state::{Agent, Dependency, Job, JobSpec, Phase, Spec, State};

/// What a child asks of an agent. Ready jobs of one share with equal shapes start or do not start
/// together: whatever can keep one from starting where another may belongs in here, or makes the
/// job not ready.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shape {
    /// Room.
    pub resources: Resources,
    /// How attempts run.
    pub executor: Executor,
    /// Processor architecture, when it matters.
    pub architecture: Option<Architecture>,
    /// What the nodes of a multi-node job ask for, in their order, with the number of those alike.
    /// Above stands what its main node asks for.
    #[serde(default)]
    pub nodes: Vec<(u32, Shape)>,
    /// What it takes of consumable resources.
    pub consumables: Needs,
    /// How long an attempt may take, in seconds: it decides which agents kept for others are open.
    #[serde(default)]
    pub time_limit: Option<u32>,
}

impl Shape {
    /// What a job asks for.
    pub fn of_job(specs: &BTreeMap<SpecDigest, Spec>, job: &Job) -> Self {
        let shape = |spec| Self::of(&specs[spec].spec);
        let groups = job.nodes.iter().flat_map(|nodes| &nodes.groups);
        let nodes = groups.map(|g| (g.nodes.end - g.nodes.start, shape(&g.spec))).collect();
        Self { nodes, ..shape(&job.spec) }
    }

    /// What children of this spec ask for.
    pub fn of(spec: &JobSpec) -> Self {
        Self {
            resources: spec.resources,
            executor: spec.executor,
            architecture: spec.architecture,
            nodes: Vec::new(),
            consumables: spec.consumables.clone(),
            time_limit: spec.timeout_seconds,
        }
    }
}

/// The tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Index {
    /// Jobs with a child to lease.
    pub ready: Ready,
    /// Agents that take work.
    pub agents: Agents,
    /// Agents that hold children of a spec.
    pub holders: Holders,
    /// Jobs that wait for a job: those with a SUBMITTED or PENDING child.
    pub dependents: BTreeMap<JobId, BTreeSet<JobId>>,
    /// Quota shares.
    pub quota: quota::Tables,
    /// Jobs that take of a consumable resource.
    consumers: BTreeMap<Name, BTreeSet<JobId>>,
    /// Changes of status since they were last taken out, oldest first, for events. Taken out after
    /// each event is applied, as what is told of a change is read from the state right after it.
    pub changed: Vec<Changed>,
    /// Jobs by the order of their submission.
    pub orders: Orders,
    /// Jobs by queue and status, name and definition.
    pub listing: Listing,
    /// What is due by time alone.
    pub deadlines: Deadlines,
    /// Jobs that have ended, and what keeps them known.
    pub finished: Finished,
    /// Children of the others.
    pub unended: Unended,
    /// Multi-node jobs whose nodes are leased and not all there yet.
    pub starting: BTreeSet<JobId>,
}

/// What one event changed in a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    pub job: JobId,
    /// Children that got another status, each range in the same way.
    pub children: Ranges,
    /// The status that the job as a whole got.
    pub whole: Option<JobStatus>,
    /// It blocks its queue, for this reason: that is told, and no change of status.
    pub blocked: Option<Arc<str>>,
}

impl Index {
    pub(super) fn rebuild(state: &mut State) -> Self {
        let mut index = Self::default();
        for (id, job) in &state.jobs {
            index.orders.enter(*id, job);
        }
        for (id, job) in &mut state.jobs {
            job.standing = None;
            index.place_job(&state.specs, *id, job);
        }
        for (id, job) in &state.jobs {
            if job.children.waits() {
                index.wait_for(*id, &job.depends_on);
            }
            index.consume(state, *id);
            index.quota.enter(*id, job);
            if !job.was_shelved {
                index.listing.enter(job, job.status());
            }
            index.finished.enter(*id, job);
            index.unended.recount(Default::default(), Unended::of(&job.children));
            let phase = job.nodes.as_ref().map(|nodes| nodes.phase);
            index.starting.extend((phase == Some(Phase::Starting)).then_some(*id));
        }
        for (queue, shares) in &state.usage {
            for (share, used) in &shares.shares {
                let due = Due::ShareIdle(queue.clone(), share.clone());
                index.deadlines.set(due, used.active_until);
            }
        }
        for agent in state.agents.values() {
            index.agents.put(agent);
        }
        for lease in state.leases.values() {
            let agent = &state.agents[&lease.agent];
            let children: u32 = lease.children.iter().map(super::children::len).sum();
            let slots = agent.resources.count_of(lease.resources, u32::MAX);
            index.holders.hold(lease.spec, agent.number, slots, i64::from(children));
            index.quota.take(&state.jobs[&lease.job], lease.resources, children);
        }
        blocked::rebuild(state, &mut index);
        index
    }

    /// Enters the job as a dependent of those it waits for, ended or not: they may be reopened.
    pub(super) fn wait_for(&mut self, id: JobId, depends_on: &[Dependency]) {
        for on in depends_on.iter().map(|d| d.job(id)) {
            self.dependents.entry(on).or_default().insert(id);
        }
    }

    /// No child of the job waits for anything.
    pub(super) fn wait_no_more(&mut self, id: JobId, depends_on: &[Dependency]) {
        for on in depends_on.iter().map(|d| d.job(id)) {
            let Some(dependents) = self.dependents.get_mut(&on) else { continue };
            dependents.remove(&id);
            if dependents.is_empty() {
                self.dependents.remove(&on);
            }
        }
    }

    /// Enters the job at the consumable resources that it takes of.
    pub(super) fn consume(&mut self, state: &State, id: JobId) {
        let specs = state.jobs[&id].specs();
        for (name, _) in specs.flat_map(|spec| state.specs[&spec].spec.consumables.iter()) {
            self.consumers.entry(name.clone()).or_default().insert(id);
        }
    }

    /// Known jobs that take of a consumable resource, oldest first; all, or those older than one.
    pub fn consumers(
        &self,
        name: &Name,
        before: Option<JobId>,
    ) -> impl DoubleEndedIterator<Item = &JobId> {
        let upto = before.map_or(Bound::Unbounded, Bound::Excluded);
        let jobs = self.consumers.get(name).into_iter();
        jobs.flat_map(move |jobs| jobs.range((Bound::Unbounded, upto)))
    }

    /// Removes a job that nothing waits for. Gives those of its specs that nothing has any more.
    pub(super) fn forget(&mut self, state: &State, id: JobId, job: &Job) -> Vec<SpecDigest> {
        for on in job.depends_on.iter().map(|d| d.job(id)) {
            if let Some(waiting) = self.dependents.get_mut(&on) {
                waiting.remove(&id);
                if waiting.is_empty() {
                    self.dependents.remove(&on);
                }
            }
        }
        for (name, _) in job.specs().flat_map(|spec| state.specs[&spec].spec.consumables.iter()) {
            if let Some(consumers) = self.consumers.get_mut(name) {
                consumers.remove(&id);
                if consumers.is_empty() {
                    self.consumers.remove(name);
                }
            }
        }
        if !job.was_shelved {
            self.listing.leave(job);
        }
        self.orders.leave(job);
        self.finished.forget(id, job)
    }

    /// Enters a finished job that was on the shelf: none of its children may be leased.
    pub(super) fn load(&mut self, state: &State, id: JobId) {
        self.orders.enter(id, &state.jobs[&id]);
        self.consume(state, id);
        self.finished.enter(id, &state.jobs[&id]);
    }

    /// Puts the job where its readiness belongs.
    pub(super) fn place_job(
        &mut self,
        specs: &BTreeMap<SpecDigest, Spec>,
        id: JobId,
        job: &mut Job,
    ) {
        self.deadlines.set(Due::BackOff(id), job.children.next_back_off_end());
        self.ready.put(&self.orders, job, |job| Shape::of_job(specs, job));
    }

    /// Counts children leased to an agent up or down.
    pub(super) fn hold(&mut self, agent: &Agent, lease: &super::state::Lease, change: i64) {
        let slots = agent.resources.count_of(lease.resources, u32::MAX);
        self.holders.hold(lease.spec, agent.number, slots, change);
    }
}
