//! Which agents have room for a shape: best fit over the tables, backlog, and the reasons why an
//! agent has none.
//!
//! Best fit: of the agents with room those with the fewest GPUs, and of them the one with the least
//! free cores, in the first compute environment that has one. An agent that already runs children of the same spec, and whose
//! children are known to be short, gets a backlog as well, so that it does not wait for a round trip
//! between two of them.

use windrow_common::api::resources::AgentStatus;
use windrow_common::ids::Name;
use windrow_common::units::Resources;
use windrow_common::wire::agent::Executor;

use super::hold::environments;
use crate::core::State;
use crate::core::index::{Group, Kind, Shape};
use crate::core::state::{Agent, Job};

/// How much work an agent may hold beyond what it runs, as run time. Long enough to hide a round
/// trip through the journal many times over, short enough that nothing waits behind it.
const BACKLOG_MICROS: u64 = 250_000;
/// Most children one lease carries.
pub const LEASE_CHILDREN_MAX: u32 = 1024;
/// Most agents looked at for a backlog.
const HOLDERS_MAX: usize = 64;

/// Why an agent cannot take a child of some shape now.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unfit {
    /// It was not heard for too long.
    Lost,
    /// It takes nothing new.
    Draining,
    /// Something is wrong with its host.
    NotReady,
    /// It cannot run attempts this way.
    Executor(Executor),
    /// It has this other processor architecture.
    Architecture(String),
    /// Even empty it lacks this much.
    TooSmall(Resources),
    /// What others hold of it leaves it short by this much.
    Occupied(Resources),
}

/// Whether a child of this shape fits the agent now.
///
/// # Errors
/// The first reason why it does not, lasting ones first.
pub fn fit(agent: &Agent, shape: &Shape) -> Result<(), Unfit> {
    suit(agent, shape)?;
    let free = agent.free();
    match free.fits(shape.resources) {
        true => Ok(()),
        false => Err(Unfit::Occupied(shape.resources.less(free))),
    }
}

/// Whether a child of this shape would fit the agent if nothing ran there.
///
/// # Errors
/// The first reason why it would not.
pub fn suit(agent: &Agent, shape: &Shape) -> Result<(), Unfit> {
    match agent.status {
        AgentStatus::Up if agent.takes_work() => {}
        AgentStatus::Up => return Err(Unfit::NotReady),
        AgentStatus::Draining => return Err(Unfit::Draining),
        AgentStatus::Lost => return Err(Unfit::Lost),
    }
    able(agent, shape)
}

/// The same, whether or not the agent takes work at present.
///
/// # Errors
/// The first reason why it would not.
pub fn able(agent: &Agent, shape: &Shape) -> Result<(), Unfit> {
    if !agent.executors.contains(&shape.executor) {
        return Err(Unfit::Executor(shape.executor));
    }
    if !is_architecture(&agent.architecture, shape) {
        return Err(Unfit::Architecture(agent.architecture.clone()));
    }
    match agent.resources.fits(shape.resources) {
        true => Ok(()),
        false => Err(Unfit::TooSmall(shape.resources.less(agent.resources))),
    }
}

fn is_architecture(architecture: &str, shape: &Shape) -> bool {
    shape.architecture.is_none_or(|wanted| wanted.as_str() == architecture)
}

/// The groups of agents of an environment that could run this shape, room aside.
pub(super) fn groups<'a>(
    state: &'a State,
    environment: &Name,
    shape: &'a Shape,
) -> impl Iterator<Item = (&'a Kind, &'a Group)> {
    let able = |kind: &Kind| {
        kind.executors.contains(&shape.executor) && is_architecture(&kind.architecture, shape)
    };
    let kinds = state.index.agents.kinds(environment);
    kinds.filter(move |(kind, _)| able(kind))
}

/// Whether some agent of the queue that takes work would have room for the shape if it were empty; for
/// the nodes of a multi-node job each by itself.
pub(super) fn suits_some_agent(state: &State, queue: &Name, shape: &Shape) -> bool {
    if !shape.nodes.is_empty() {
        return shape.nodes.iter().all(|(_, node)| suits_some_agent(state, queue, node));
    }
    environments(state, queue).any(|environment| {
        groups(state, environment, shape)
            .any(|(_, group)| group.sizes.with(shape.resources).next().is_some())
    })
}

/// The best agent that takes one more child, in the first environment that has one; and how many it
/// takes, at most `ready`. `room` says what of an agent's free room there is for them.
pub(super) fn best_fit(
    state: &State,
    queue: &Name,
    shape: &Shape,
    ready: u32,
    room: impl Fn(u32, Resources) -> Option<Resources>,
) -> Option<(u32, u32)> {
    let need = shape.resources;
    let (_, _, number, room) = environments(state, queue).find_map(|environment| {
        let groups = groups(state, environment, shape);
        let groups = groups.filter(|(_, group)| group.free.most().fits(need));
        let best = |(kind, group): (&Kind, &Group)| {
            group.free.with(need).find_map(|(free, number)| {
                let room = room(number, free).filter(|room| room.fits(need))?;
                Some((kind.gpus, free, number, room))
            })
        };
        groups.filter_map(best).min()
    })?;
    Some((number, room.count_of(need, ready.min(LEASE_CHILDREN_MAX))))
}

/// An agent that runs children of the same spec and would soon run out of them, and how many it may
/// hold more. None on agents that are kept for others, or where `is_awaited`: somebody who goes before
/// could start when a child of this need ends.
pub(super) fn backlog(
    state: &State,
    job: &Job,
    ready: u32,
    is_kept: impl Fn(u32) -> bool,
    is_awaited: impl Fn(&Agent, Resources) -> bool,
) -> Option<(u32, u32)> {
    let spec = &state.specs[&job.spec];
    let run_micros = spec.run_micros?.max(1);
    let need = spec.spec.resources;
    let (holders, count) = state.index.holders.of(job.spec);
    // Beyond this load, in thousandths of what fits at once, nobody's backlog is half empty.
    let load_max = 2000 + 500 * BACKLOG_MICROS / run_micros;
    let fair = ready.div_ceil(count.max(1).saturating_mul(2)).max(1);
    let holders = holders.take_while(|(load, _)| *load <= load_max).take(HOLDERS_MAX);
    holders.filter(|(_, number)| !is_kept(*number)).find_map(|(_, number)| {
        let agent = &state.agents[state.agent_name(number)];
        // Who goes before costs a look at each of them: only where there would be a backlog.
        let may_wait = || !awaits_nodes(state, agent) && !is_awaited(agent, need);
        let allowed = environments(state, &job.queue).any(|e| *e == agent.environment);
        if !agent.takes_work() || !allowed {
            return None;
        }
        let target = backlog_target(agent, need, run_micros);
        let waiting = waiting(agent, need);
        // Refilled at half, so that leases are few and large.
        let refill = target > 0 && waiting.saturating_mul(2) <= target && may_wait();
        refill.then(|| (number, (target - waiting).min(fair).min(LEASE_CHILDREN_MAX)))
    })
}

/// Whether the agent's room is leased to nodes of a multi-node job that are not there yet: a backlog
/// would begin in their place.
fn awaits_nodes(state: &State, agent: &Agent) -> bool {
    let starting = &state.index.starting;
    // An agent may hold thousands of leases.
    !starting.is_empty() && agent.leases.iter().any(|id| starting.contains(&state.leases[id].job))
}

/// How many children of this need and run time an agent may hold beyond those that run.
fn backlog_target(agent: &Agent, need: Resources, run_micros: u64) -> u32 {
    let slots = agent.resources.count_of(need, LEASE_CHILDREN_MAX);
    let waiting = u64::from(slots) * BACKLOG_MICROS / run_micros;
    u32::try_from(waiting).unwrap_or(u32::MAX).min(4 * LEASE_CHILDREN_MAX)
}

/// What an agent holds beyond what fits it at once, counted in children of this need.
fn waiting(agent: &Agent, need: Resources) -> u32 {
    let beyond = |leased: u64, total: u32, need: u32| {
        leased.saturating_sub(u64::from(total)).div_ceil(u64::from(need.max(1)))
    };
    let (leased, total) = (&agent.leased, agent.resources);
    let cpu = beyond(leased.milli_cpu, total.cpu.0, need.cpu.0);
    let memory = beyond(leased.memory_mib, total.memory.0, need.memory.0);
    let gpus = beyond(leased.gpus, total.gpu, need.gpu);
    u32::try_from(cpu.max(memory).max(gpus)).unwrap_or(u32::MAX)
}
