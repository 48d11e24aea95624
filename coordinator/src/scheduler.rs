//! Which child goes to which agent next. A function of the state: [`Pass::next`] proposes one
//! placement, the core commits it, and the next proposal sees the state after it.
//!
//! Queues go by priority, then name. Inside a queue, retries first, then the order of submission.
//! Jobs are looked at by *shape* (what a child needs), so a pass costs the number of shapes, not of
//! jobs: a shape that does not fit is out for the rest of the pass. The first shape of a queue that
//! does not fit but could fit an agent some day reserves that agent, so that smaller jobs behind it
//! fill in elsewhere and never take its place.
//!
//! Best fit: of the agents with room the one with the least free cores. An agent that already runs
//! children of the same spec, and whose children are known to be short, gets a backlog as well, so
//! that it does not wait for a round trip between two of them.

use std::collections::BTreeSet;

use windrow_common::api::resources::{AgentStatus, ResourceState};
use windrow_common::ids::{JobId, Name};
use windrow_common::units::Resources;

use crate::core::State;
use crate::core::index::Shape;
use crate::core::state::{Agent, Job};

/// How much work an agent may hold beyond what it runs, as run time. Long enough to hide a round
/// trip through the journal many times over, short enough that nothing waits behind it.
const BACKLOG_MICROS: u64 = 250_000;
/// Most children one lease carries.
const LEASE_CHILDREN_MAX: u32 = 1024;

/// A wish: up to `count` children of `job`, as they come, on `agent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The job.
    pub job: JobId,
    /// The agent.
    pub agent: Name,
    /// How many children at most.
    pub count: u32,
}

/// One look at everything that is ready.
#[derive(Debug)]
pub struct Pass {
    /// Queues not finished with, the next one last.
    queues: Vec<Name>,
    /// Shapes of the present queue that found no room.
    blocked: BTreeSet<Shape>,
    /// Agents kept for jobs that did not fit.
    reserved: BTreeSet<u32>,
    /// Whether the present queue has reserved.
    has_reserved: bool,
}

impl Pass {
    /// Starts over with the first queue.
    pub fn new(state: &State) -> Self {
        let mut queues: Vec<_> = state
            .index
            .ready
            .keys()
            .filter_map(|name| Some((state.queues.get(name)?.priority, name.clone())))
            .collect();
        queues.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| b.1.cmp(&a.1)));
        Self {
            queues: queues.into_iter().map(|(_, name)| name).collect(),
            blocked: BTreeSet::new(),
            reserved: BTreeSet::new(),
            has_reserved: false,
        }
    }

    /// The next placement; none when nothing more fits.
    pub fn next(&mut self, state: &State) -> Option<Placement> {
        while let Some(queue) = self.queues.last().cloned() {
            while let Some((shape, job)) = self.head(state, &queue) {
                match self.place(state, &queue, shape, job) {
                    Some(placement) => return Some(placement),
                    None => self.block(state, &queue, shape),
                }
            }
            self.queues.pop();
            self.blocked.clear();
            self.has_reserved = false;
        }
        None
    }

    /// The first ready job of the queue whose shape is not blocked.
    fn head(&self, state: &State, queue: &Name) -> Option<(Shape, JobId)> {
        let shapes = state.index.ready.get(queue)?.iter();
        let heads = shapes.filter(|(shape, _)| !self.blocked.contains(shape));
        let first = heads.filter_map(|(shape, ranks)| Some((*ranks.first()?, *shape))).min();
        first.map(|((_, _, job), shape)| (shape, job))
    }

    fn place(&self, state: &State, queue: &Name, shape: Shape, id: JobId) -> Option<Placement> {
        let job = &state.jobs[&id];
        let ready = job.children.runnable_count();
        let (agent, count) = self
            .environments(state, queue)
            .find_map(|environment| self.best_fit(state, environment, shape, ready))
            .or_else(|| self.backlog(state, queue, shape, job, ready))?;
        let count = count.min(LEASE_CHILDREN_MAX);
        Some(Placement { job: id, agent: state.agent_name(agent).clone(), count })
    }

    fn environments<'a>(&self, state: &'a State, queue: &Name) -> impl Iterator<Item = &'a Name> {
        let enabled = |name: &&Name| {
            state.environments.get(*name).is_some_and(|e| e.state == ResourceState::Enabled)
        };
        state.queues[queue].environments.iter().map(|(_, name)| name).filter(enabled)
    }

    /// The agent with the least free cores that holds one more, and how many it holds.
    fn best_fit(
        &self,
        state: &State,
        environment: &Name,
        (need, executor): Shape,
        ready: u32,
    ) -> Option<(u32, u32)> {
        let least = (Resources::new(need.cpu.0, 0), 0);
        let agents = state.index.free.get(environment)?.range(least..);
        agents
            .filter(|(free, number)| free.fits(need) && !self.reserved.contains(number))
            .find(|(_, number)| {
                state.agents[state.agent_name(*number)].executors.contains(&executor)
            })
            .map(|(free, number)| (*number, free.count_of(need, ready)))
    }

    /// An agent that runs children of the same spec and would soon run out of them, and how many it
    /// may hold more.
    fn backlog(
        &self,
        state: &State,
        queue: &Name,
        (need, _): Shape,
        job: &Job,
        ready: u32,
    ) -> Option<(u32, u32)> {
        let run_micros = state.specs[&job.spec].run_micros?;
        let (holders, count) = state.index.holders(job.spec);
        let fair = ready.div_ceil(count.max(1).saturating_mul(2)).max(1);
        holders.into_iter().find_map(|(held, number)| {
            let agent = &state.agents[state.agent_name(number)];
            let allowed = self.environments(state, queue).any(|e| *e == agent.environment);
            if agent.status != AgentStatus::Up || self.reserved.contains(&number) || !allowed {
                return None;
            }
            let target = backlog_target(agent, need, run_micros);
            // Refilled at half, so that leases are few and large.
            (held.saturating_mul(2) <= target).then(|| (number, (target - held).min(fair)))
        })
    }

    /// Takes the shape out of this pass; the first one of a queue reserves an agent.
    fn block(&mut self, state: &State, queue: &Name, shape: Shape) {
        self.blocked.insert(shape);
        if self.has_reserved {
            return;
        }
        let (need, executor) = shape;
        // The emptiest agent that could hold it will probably be free first.
        let candidate = self
            .environments(state, queue)
            .flat_map(|environment| state.index.free.get(environment).into_iter().flatten().rev())
            .find(|(_, number)| {
                let agent = &state.agents[state.agent_name(*number)];
                agent.resources.fits(need)
                    && agent.executors.contains(&executor)
                    && !self.reserved.contains(number)
            });
        if let Some((_, number)) = candidate {
            self.reserved.insert(*number);
            self.has_reserved = true;
        }
    }
}

/// How many children of this need and run time an agent may hold in all.
fn backlog_target(agent: &Agent, need: Resources, run_micros: u64) -> u32 {
    let slots = agent.resources.count_of(need, LEASE_CHILDREN_MAX);
    let waiting = u64::from(slots) * BACKLOG_MICROS / run_micros.max(1);
    u32::try_from(waiting).unwrap_or(u32::MAX).min(4 * LEASE_CHILDREN_MAX).saturating_add(slots)
}
