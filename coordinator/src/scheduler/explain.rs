//! Why a job does not start. A look takes the scheduler's own pass over the state as it is, without
//! carrying anything out, and asks the same functions that place jobs: [`hold`] for the job, the
//! tables of agents for room, [`fit`](super::fit) for each agent, the order of dispatch for who goes
//! before. So an answer cannot differ from what the scheduler does.
//!
//! [`Look::why`] costs about what one placement costs, so that lists can show its code for each row
//! and a queue can be summed up; [`Look::explain`] also walks over agents and over jobs ahead, both
//! within bounds.

mod ahead;
mod hosts;
mod limits;
mod words;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use windrow_common::api::explain::WaitCode;
use windrow_common::api::jobs::JobStatus;
use windrow_common::api::resources::AgentStatus;
use windrow_common::ids::{JobId, JobRef, LeaseId, Name};
use windrow_common::time::Timestamp;

use super::hold::{environments, needs_at_once, reservation_for};
use super::order::dispatch_order;
use super::room::{Unfit, able, best_fit, suits_some_agent};
use super::{Hold, Keeper, Kept, Pass, Placement, gang, held_behind, hold};
use crate::core::State;
use crate::core::children::Child;
use crate::core::index::Shape;
use crate::core::state::Job;

/// When agents were last heard, which only the shell knows.
pub struct Hearing<'a> {
    /// How long an agent has been silent; absent before its first heartbeat.
    pub silence: &'a dyn Fn(&Name) -> Option<Duration>,
    /// Silence that is worth a word.
    pub late: Duration,
    /// Silence after which an agent counts as lost where nothing else was agreed with it.
    pub lease_ttl: Duration,
}

impl Hearing<'_> {
    fn lost_after(&self, state: &State, agent: &Name) -> Duration {
        state.agents[agent].disconnect.lost_after(self.lease_ttl)
    }
}

/// Why a job or child does not get on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It has ended.
    Ended,
    /// A node whose part in the attempt is over.
    Settled,
    /// It runs under this lease.
    Running(LeaseId),
    /// Its agent has been told to stop it.
    Stopping(LeaseId),
    /// Its agent starts it.
    Starting(LeaseId),
    /// Its agent holds more than it has room for.
    Backlog(LeaseId),
    /// Its agent is silent.
    Unheard(LeaseId),
    /// The coordinator gets to it in this instant.
    Busy,
    /// Dependencies.
    Pending,
    /// Not before this time.
    Backoff(Timestamp),
    /// As many of its children run as may.
    MaxParallel(u32),
    /// The scheduler holds it back.
    Held(Hold),
    /// No agent that takes work could run it, even an empty one.
    Unable(Unable),
    /// The agents that could run it have no room for it now.
    Full(Full),
}

/// Why no agent that takes work could run a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unable {
    /// No agent is there.
    NoAgent,
    /// This one could, were it not draining.
    Draining(u32),
    /// This one could, were it not lost.
    Lost(u32),
    /// This one could, were nothing wrong with its host.
    NotReady(u32),
    /// None runs jobs of this kind.
    Constraint(Unfit),
    /// It is larger than every agent.
    NeverFits,
}

/// Why there is no room for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Full {
    /// It fits this agent, which is kept for another job.
    Kept(u32, Keeper),
    /// That job of a queue with a higher priority waits for the same agents.
    Priority(JobId),
    /// Every agent that could run it is occupied.
    Occupied,
    /// Not all of its nodes find room together; whether they could on empty agents.
    Nodes { ever: bool },
}

impl Why {
    /// In one word.
    pub fn code(&self) -> WaitCode {
        match self {
            Self::Ended | Self::Settled => WaitCode::Ended,
            Self::Running(_) => WaitCode::Running,
            Self::Stopping(_) => WaitCode::Stopping,
            Self::Starting(_) => WaitCode::Starting,
            Self::Backlog(_) => WaitCode::Backlog,
            Self::Unheard(_) => WaitCode::AgentUnheard,
            Self::Busy => WaitCode::SchedulerBusy,
            Self::Pending => WaitCode::DependencyPending,
            Self::Backoff(_) => WaitCode::Backoff,
            Self::MaxParallel(_) => WaitCode::ConcurrencyLimit,
            Self::Held(Hold::NoEnvironment) => WaitCode::CeDisabled,
            Self::Held(Hold::Consumable(..)) => WaitCode::ConsumableResource,
            Self::Held(Hold::QuotaShare(_)) => WaitCode::Quota,
            Self::Held(Hold::KeptForOtherShares { .. }) => WaitCode::FairShare,
            Self::Unable(Unable::NoAgent) => WaitCode::NoAgent,
            Self::Unable(Unable::Draining(_)) => WaitCode::AgentDraining,
            Self::Unable(Unable::Lost(_)) => WaitCode::AgentLost,
            Self::Unable(Unable::NotReady(_)) => WaitCode::AgentNotReady,
            Self::Unable(Unable::Constraint(_)) => WaitCode::Constraint,
            Self::Unable(Unable::NeverFits) => WaitCode::NeverFits,
            Self::Full(Full::Kept(..)) => WaitCode::Reservation,
            Self::Full(Full::Priority(_)) => WaitCode::Priority,
            Self::Full(Full::Occupied) => WaitCode::NoCapacityNow,
            Self::Full(Full::Nodes { .. }) => WaitCode::GangWait,
        }
    }
}

/// One look at everything that is ready.
pub struct Look<'a> {
    state: &'a State,
    now: Timestamp,
    hearing: Option<Hearing<'a>>,
    /// Agents kept for jobs that did not fit.
    kept: Kept,
    /// Consumable resources that jobs wait to gather, and how much they need.
    awaited: BTreeMap<Name, u64>,
    /// What the scheduler would do next: nothing, unless it is in the middle of its work.
    next: Option<Placement>,
    /// The first job of each queue that only lacks room.
    blocked: BTreeMap<Name, JobId>,
    /// Answers of [`Self::no_agent`], which are the same for all jobs of a queue and shape.
    no_agent: RefCell<BTreeMap<(Name, Shape), Unable>>,
}

impl<'a> Look<'a> {
    /// Takes a look.
    pub fn new(state: &'a State, now: Timestamp, hearing: Option<Hearing<'a>>) -> Self {
        let mut pass = Pass::new(state, now);
        let next = pass.next(state);
        let mut look = Self {
            state,
            now,
            hearing,
            kept: pass.kept().clone(),
            awaited: pass.awaited().clone(),
            next,
            blocked: BTreeMap::new(),
            no_agent: RefCell::default(),
        };
        let queues = state.index.ready.queues();
        look.blocked = queues
            .filter_map(|queue| {
                let mut heads = heads(state, queue);
                let first = heads.find(|(id, shape)| look.lacks_only_room(*id, shape))?;
                Some((queue.clone(), first.0))
            })
            .collect();
        look
    }

    /// A look that knows nothing of the scheduler's pass: enough for what no agent could change.
    pub fn bare(state: &'a State) -> Self {
        Self {
            state,
            now: Timestamp::default(),
            hearing: None,
            kept: Kept::default(),
            awaited: BTreeMap::new(),
            next: None,
            blocked: BTreeMap::new(),
            no_agent: RefCell::default(),
        }
    }

    /// Why this job or child does not get on. The job must be known, and the child one of its.
    pub fn why(&self, id: JobRef) -> Why {
        let job = &self.state.jobs[&id.job];
        let child = job.child_of(id);
        match &*job.children.get(child) {
            Child::Ended { .. } => Why::Ended,
            Child::Settled { .. } => Why::Settled,
            Child::Starting { lease, .. } => self.on_agent(job, child, *lease, false),
            Child::Running { lease, .. } => self.on_agent(job, child, *lease, true),
            Child::Untried | Child::Retrying { .. } => match job.children.status(child) {
                JobStatus::Submitted => Why::Busy,
                JobStatus::Pending => self.pending(),
                JobStatus::Runnable => match job.children.not_before(child) {
                    Some(at) if at > self.now => Why::Backoff(at),
                    Some(_) => Why::Busy,
                    None => self.ready(id.job),
                },
                JobStatus::Starting
                | JobStatus::Running
                | JobStatus::Succeeded
                | JobStatus::Failed => Why::Ended,
            },
        }
    }

    fn on_agent(&self, job: &Job, child: u32, lease: LeaseId, runs: bool) -> Why {
        let agent = &self.state.agents[&self.state.leases[&lease].agent];
        if job.stop_reason(child).is_some() {
            return Why::Stopping(lease);
        }
        if agent.status == AgentStatus::Lost {
            return Why::Busy;
        }
        let name = &self.state.leases[&lease].agent;
        let late = |hearing: &Hearing<'_>| {
            (hearing.silence)(name).is_some_and(|silence| silence > hearing.late)
        };
        match self.hearing.as_ref().is_some_and(late) {
            true => Why::Unheard(lease),
            false if runs => Why::Running(lease),
            false if agent.holds_backlog() => Why::Backlog(lease),
            false => Why::Starting(lease),
        }
    }

    /// Dependencies, unless the coordinator has yet to look at one that ended.
    fn pending(&self) -> Why {
        match self.state.work.is_empty() {
            true => Why::Pending,
            false => Why::Busy,
        }
    }

    /// Why a ready job is not placed.
    fn ready(&self, id: JobId) -> Why {
        let job = &self.state.jobs[&id];
        if let Some(limit) = job.rare.max_parallel
            && self.state.rank(id).is_none()
        {
            return Why::MaxParallel(limit);
        }
        let held = hold(self.state, id);
        if let Some(held) = held.or_else(|| held_behind(self.state, id)) {
            return Why::Held(held);
        }
        if self.next.as_ref().is_some_and(|next| next.job() == id) {
            return Why::Busy;
        }
        let shape = shape(self.state, id);
        if !suits_some_agent(self.state, &job.queue, &shape) {
            return Why::Unable(self.no_agent(&job.queue, &shape));
        }
        match &job.nodes {
            Some(_) => self.room_for_nodes(id, job),
            None => self.room(id, &shape),
        }
    }

    /// Why the nodes of a job do not find room together.
    fn room_for_nodes(&self, id: JobId, job: &Job) -> Why {
        let is_kept = |agent: u32| self.kept.is_kept_from(self.state, agent, id);
        if gang::place(self.state, job, is_kept).is_some() {
            return self.leaves_to_gather(job);
        }
        if let Some(agents) = gang::place(self.state, job, |_| false) {
            let kept = agents.into_iter().find(|agent| is_kept(*agent));
            if let Some((agent, keeper)) = kept.and_then(|a| Some((a, *self.kept.keeper(a)?))) {
                return Why::Full(Full::Kept(agent, keeper));
            }
        }
        Why::Full(match gang::reserve(self.state, job, |_| false) {
            Some(_) => self.rival(id).unwrap_or(Full::Nodes { ever: true }),
            None => Full::Nodes { ever: false },
        })
    }

    /// Why a job that nothing holds back has no agent.
    fn room(&self, id: JobId, shape: &Shape) -> Why {
        let job = &self.state.jobs[&id];
        let queue = &job.queue;
        let wish = (id, shape);
        let room = |agent, free| self.kept.room(self.state, agent, free, wish, self.now);
        if best_fit(self.state, queue, shape, 1, room).is_some() {
            return self.leaves_to_gather(job);
        }
        let fitting = best_fit(self.state, queue, shape, 1, |_, free| Some(free));
        if let Some((agent, keeper)) = fitting.and_then(|(a, _)| Some((a, *self.kept.keeper(a)?))) {
            return Why::Full(Full::Kept(agent, keeper));
        }
        Why::Full(self.rival(id).unwrap_or(Full::Occupied))
    }

    /// Why a job with room does not start: it leaves a consumable resource to a job of another queue
    /// or share that goes before it and waits to gather more.
    fn leaves_to_gather(&self, job: &Job) -> Why {
        let (needs, _) = needs_at_once(self.state, job);
        let awaited = needs.iter().find_map(|(name, _)| self.awaited.get_key_value(name));
        awaited.map_or(Why::Busy, |(name, quantity)| {
            Why::Held(Hold::Consumable(name.clone(), *quantity))
        })
    }

    /// Why no agent that takes work would have room even if it were empty.
    fn no_agent(&self, queue: &Name, shape: &Shape) -> Unable {
        let unsuited =
            shape.nodes.iter().find(|(_, node)| !suits_some_agent(self.state, queue, node));
        if let Some((_, node)) = unsuited {
            return self.no_agent(queue, node);
        }
        let mut known = self.no_agent.borrow_mut();
        let key = (queue.clone(), shape.clone());
        known.entry(key).or_insert_with(|| self.find_no_agent(queue, shape)).clone()
    }

    fn find_no_agent(&self, queue: &Name, shape: &Shape) -> Unable {
        let environments: BTreeSet<&Name> = environments(self.state, queue).collect();
        let agents = self.state.agents.values();
        let agents = agents.filter(|agent| environments.contains(&agent.environment));
        let (mut draining, mut lost, mut ill, mut closest) = (None, None, None, None);
        for agent in agents {
            let able = able(agent, shape);
            match agent.status {
                AgentStatus::Draining if able.is_ok() => draining = Some(agent.number),
                AgentStatus::Lost if able.is_ok() => lost = Some(agent.number),
                AgentStatus::Draining | AgentStatus::Lost => {}
                AgentStatus::Up if !agent.takes_work() => {
                    ill = able.ok().map(|()| agent.number).or(ill);
                }
                // The reasons are in the order in which they are looked at: the last one is nearest.
                AgentStatus::Up => closest = closest.max(able.err()),
            }
        }
        if let Some(agent) = ill {
            return Unable::NotReady(agent);
        }
        match (closest, draining, lost) {
            (_, Some(agent), _) => Unable::Draining(agent),
            (_, None, Some(agent)) => Unable::Lost(agent),
            (None, None, None) => Unable::NoAgent,
            (Some(Unfit::TooSmall(missing)), None, None)
                if missing.gpu == shape.resources.gpu && missing.gpu > 0 =>
            {
                Unable::Constraint(Unfit::TooSmall(missing))
            }
            (Some(Unfit::TooSmall(_)), None, None) => Unable::NeverFits,
            (Some(unfit), None, None) => Unable::Constraint(unfit),
        }
    }

    /// Who else waits for the agents of this job and goes first, of another queue or share.
    fn rival(&self, id: JobId) -> Option<Full> {
        let queue = &self.state.jobs[&id].queue;
        let above = self.above(queue).find_map(|other| self.blocked.get(other));
        above.map(|job| Full::Priority(*job))
    }

    /// Queues with ready jobs that go before this one on some of its compute environments.
    fn above(&self, queue: &Name) -> impl Iterator<Item = &'a Name> {
        let state = self.state;
        let own = state.queues.get(queue).map_or(0, |queue| queue.priority);
        let ours: BTreeSet<&Name> = environments(state, queue).collect();
        state.index.ready.queues().filter(move |other| {
            state.queues.get(*other).is_some_and(|other| other.priority > own)
                && environments(state, other).any(|environment| ours.contains(environment))
        })
    }

    /// Whether the job would start if there were room.
    fn lacks_only_room(&self, id: JobId, shape: &Shape) -> bool {
        hold(self.state, id).is_none()
            && suits_some_agent(self.state, &self.state.jobs[&id].queue, shape)
    }
}

/// What the job's children, or its nodes together, ask for.
fn shape(state: &State, id: JobId) -> Shape {
    Shape::of_job(&state.specs, &state.jobs[&id])
}

/// The first job of each shape of a queue.
fn heads<'a>(state: &'a State, queue: &Name) -> impl Iterator<Item = (JobId, &'a Shape)> {
    let shares = state.index.ready.shares(queue).into_iter().flat_map(|shares| shares.values());
    shares.flat_map(|share| share.heads()).map(|(rank, shape)| (rank.job, shape))
}
