//! Agents that take work: by compute environment and kind, sorted by what they have free.

use std::collections::{BTreeMap, BTreeSet};

use windrow_common::ids::Name;
use windrow_common::units::Resources;
use windrow_common::wire::agent::Executor;

use super::Sorted;
use crate::core::state::Agent;

/// Agents that take work.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Agents {
    environments: BTreeMap<Name, BTreeMap<Kind, Group>>,
    places: BTreeMap<u32, Place>,
    /// Thousandths of a core of all agents, by environment.
    milli_cpu: BTreeMap<Name, u64>,
}

/// What an agent can run, room aside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// GPUs, used or free: others' room is used up first.
    pub gpus: u32,
    /// Ways to run attempts.
    pub executors: BTreeSet<Executor>,
    /// Processor architecture.
    pub architecture: String,
}

/// Agents of one kind in one compute environment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// By what is free.
    pub free: Sorted,
    /// By what they have in all.
    pub sizes: Sorted,
}

/// Where an agent stands.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    environment: Name,
    kind: Kind,
    free: Resources,
    size: Resources,
}

impl Place {
    fn of(agent: &Agent) -> Self {
        Self {
            environment: agent.environment.clone(),
            kind: Kind {
                gpus: agent.resources.gpu,
                executors: agent.executors.clone(),
                architecture: agent.architecture.clone(),
            },
            free: agent.free(),
            size: agent.resources,
        }
    }
}

impl Agents {
    /// The kinds of agents of a compute environment.
    pub fn kinds(&self, environment: &Name) -> impl Iterator<Item = (&Kind, &Group)> {
        self.environments.get(environment).into_iter().flatten()
    }

    /// Thousandths of a core that the agents of an environment have in all.
    pub fn milli_cpu(&self, environment: &Name) -> u64 {
        self.milli_cpu.get(environment).copied().unwrap_or(0)
    }

    /// Puts an agent where it belongs; one that takes no work is nowhere.
    pub(in crate::core) fn put(&mut self, agent: &Agent) {
        let number = agent.number;
        if !agent.takes_work() {
            self.take_out(number);
            return;
        }
        let same_group = |place: &&mut Place| {
            place.environment == agent.environment
                && place.size == agent.resources
                && place.kind.executors == agent.executors
                && place.kind.architecture == agent.architecture
        };
        if let Some(place) = self.places.get_mut(&number).filter(same_group) {
            let free = agent.free();
            if place.free != free {
                let kinds = self.environments.get_mut(&place.environment);
                let group = kinds.and_then(|kinds| kinds.get_mut(&place.kind));
                let group = group.expect("a placed agent has its group");
                group.free.remove(place.free, number);
                group.free.insert(free, number);
                place.free = free;
            }
            return;
        }
        self.take_out(number);
        let place = Place::of(agent);
        let kinds = self.environments.entry(place.environment.clone()).or_default();
        let group = kinds.entry(place.kind.clone()).or_default();
        group.free.insert(place.free, number);
        group.sizes.insert(place.size, number);
        let milli_cpu = self.milli_cpu.entry(place.environment.clone()).or_default();
        *milli_cpu += u64::from(place.size.cpu.0);
        self.places.insert(number, place);
    }

    fn take_out(&mut self, number: u32) {
        let Some(place) = self.places.remove(&number) else { return };
        let kinds = self.environments.get_mut(&place.environment);
        let kinds = kinds.expect("a placed agent has its environment");
        let group = kinds.get_mut(&place.kind).expect("a placed agent has its group");
        group.free.remove(place.free, number);
        group.sizes.remove(place.size, number);
        if group.sizes.is_empty() {
            kinds.remove(&place.kind);
        }
        if kinds.is_empty() {
            self.environments.remove(&place.environment);
            self.milli_cpu.remove(&place.environment);
        } else if let Some(milli_cpu) = self.milli_cpu.get_mut(&place.environment) {
            *milli_cpu -= u64::from(place.size.cpu.0);
        }
    }
}
