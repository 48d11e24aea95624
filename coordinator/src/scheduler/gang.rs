//! Room for all nodes of a multi-node job at once. Nothing is ever held for a part of a job, so two
//! jobs cannot keep each other from starting.
//!
//! All nodes go to one compute environment. Each gets an agent of its own as long as there are enough;
//! otherwise several share one. The main node is placed first, on an agent whose address is known,
//! then the others, those with the largest needs first.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use windrow_common::ids::Name;
use windrow_common::units::Resources;

use super::hold::environments;
use super::room::{groups, suit};
use crate::core::State;
use crate::core::index::{Group, Shape};
use crate::core::state::{Agent, Job, NodeGroup, Nodes};

/// What of an agent counts: what is free now, or all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Free,
    Size,
}

impl Room {
    fn of(self, agent: &Agent) -> Resources {
        match self {
            Self::Free => agent.free(),
            Self::Size => agent.resources,
        }
    }
}

/// Agents for all nodes of the job, by node; none when not all of them fit now.
pub(super) fn place(state: &State, job: &Job, is_kept: impl Fn(u32) -> bool) -> Option<Vec<u32>> {
    find(state, job, Room::Free, &is_kept)
}

/// The agents that are to be kept for the job until it fits: together they could hold it, and of those
/// that could they are the emptiest. None when it could never start.
pub(super) fn reserve(state: &State, job: &Job, is_kept: impl Fn(u32) -> bool) -> Option<Vec<u32>> {
    find(state, job, Room::Size, &is_kept)
}

fn find(state: &State, job: &Job, room: Room, is_kept: &dyn Fn(u32) -> bool) -> Option<Vec<u32>> {
    let nodes = job.nodes.as_ref()?;
    let order = order(state, nodes);
    environments(state, &job.queue).find_map(|environment| {
        let spread = Search { state, environment, room, is_kept, spread: true };
        spread.run(nodes, &order).or_else(|| Search { spread: false, ..spread }.run(nodes, &order))
    })
}

/// The nodes in the order in which they are placed, with what they ask for.
fn order(state: &State, nodes: &Nodes) -> Vec<(u32, Shape)> {
    let of_group = |group: &NodeGroup| {
        let shape = Shape::of(&state.specs[&group.spec].spec);
        group.nodes.clone().map(move |node| (node, shape.clone()))
    };
    let mut order: Vec<_> = nodes.groups.iter().flat_map(of_group).collect();
    order.sort_by_key(|(node, shape)| (*node != nodes.main, Reverse(shape.resources), *node));
    order
}

/// One try in one compute environment.
#[derive(Clone, Copy)]
struct Search<'a> {
    state: &'a State,
    environment: &'a Name,
    room: Room,
    is_kept: &'a dyn Fn(u32) -> bool,
    /// Whether a node may only share an agent when no unused one is left.
    spread: bool,
}

impl Search<'_> {
    fn run(self, nodes: &Nodes, order: &[(u32, Shape)]) -> Option<Vec<u32>> {
        let mut agents = vec![0; order.len()];
        // What is left of agents used so far.
        let mut used: BTreeMap<u32, Resources> = BTreeMap::new();
        let mut fresh: Vec<u32> = Vec::new();
        let mut of_shape: Option<&Shape> = None;
        for (node, shape) in order {
            if of_shape != Some(shape) {
                fresh = self.candidates(shape);
                of_shape = Some(shape);
            }
            let is_main = *node == nodes.main;
            let is_able = |number: &u32| !is_main || self.agent(*number).address.is_some();
            let unused = || fresh.iter().rposition(|n| !used.contains_key(n) && is_able(n));
            let shared = || self.shared(&used, shape);
            let number = if self.spread {
                unused().map(|at| fresh[at]).or_else(shared)?
            } else {
                shared().or_else(|| unused().map(|at| fresh[at]))?
            };
            // Those used are looked at no more: the last one goes first.
            while fresh.last().is_some_and(|last| used.contains_key(last) || *last == number) {
                fresh.pop();
            }
            let room = self.room.of(self.agent(number));
            let left = used.entry(number).or_insert(room);
            *left = left.less(shape.resources);
            agents[usize::try_from(*node).ok()?] = number;
        }
        Some(agents)
    }

    fn agent(&self, number: u32) -> &Agent {
        &self.state.agents[self.state.agent_name(number)]
    }

    /// Agents with room for the shape, the best one last: for now the one with the least free, to be
    /// kept the one with the most.
    fn candidates(&self, shape: &Shape) -> Vec<u32> {
        let groups = groups(self.state, self.environment, shape);
        let need = shape.resources;
        let having = |group: &Group| -> Vec<(Resources, u32)> {
            match self.room {
                Room::Free => group.free.with(need).collect(),
                Room::Size => {
                    let all = group.sizes.with(need);
                    all.map(|(_, number)| (self.agent(number).free(), number)).collect()
                }
            }
        };
        // Agents with GPUs last, for those who need them.
        let mut found: Vec<_> = groups
            .flat_map(|(kind, group)| having(group).into_iter().map(|agent| (kind.gpus, agent)))
            .filter(|(_, (_, number))| !(self.is_kept)(*number))
            .collect();
        match self.room {
            Room::Free => found.sort_unstable_by_key(|agent| Reverse(*agent)),
            Room::Size => found.sort_unstable_by_key(|(gpus, (free, number))| {
                (Reverse(*gpus), *free, Reverse(*number))
            }),
        }
        found.into_iter().map(|(_, (_, number))| number).collect()
    }

    /// Of the agents used for other nodes the one with the least left that still has room.
    fn shared(&self, used: &BTreeMap<u32, Resources>, shape: &Shape) -> Option<u32> {
        let fits = used.iter().filter(|(number, left)| {
            left.fits(shape.resources) && suit(self.agent(**number), shape).is_ok()
        });
        fits.min_by_key(|(number, left)| (**left, **number)).map(|(number, _)| *number)
    }
}
