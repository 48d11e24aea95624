//! The agents of a queue, counted by why they do not take a job now.

use std::collections::BTreeMap;

use windrow_common::api::explain::NearestFit;
use windrow_common::ids::{JobId, Name};
use windrow_common::units::Resources;

use super::Look;
use crate::core::index::Shape;
use crate::scheduler::hold::environments;
use crate::scheduler::room::{Unfit, fit};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    pub(super) considered: u32,
    pub(super) excluded: BTreeMap<String, u32>,
    pub(super) nearest: Option<NearestFit>,
    /// vCPUs of the agents that could take it, in thousandths, occupied or not.
    pub(super) milli_cpu: u64,
    /// The largest agent that could run such jobs, were it large enough.
    pub(super) biggest: Option<(Name, Resources)>,
}

impl Look<'_> {
    /// Counts all agents of the compute environments that the queue may use. Costs a moment for each.
    pub(super) fn hosts(&self, id: JobId, queue: &Name, shape: &Shape) -> Hosts {
        let mut hosts = Hosts::default();
        let mut least = None;
        for environment in environments(self.state, queue) {
            let agents = self.state.agents.iter();
            for (name, agent) in agents.filter(|(_, agent)| agent.environment == *environment) {
                hosts.considered += 1;
                let wish = (id, shape);
                let room = self.kept.room(self.state, agent.number, agent.free(), wish, self.now);
                let kept = !room.is_some_and(|room| room.fits(shape.resources));
                let unfit = fit(agent, shape);
                let (reason, missing) = match &unfit {
                    Ok(()) if kept => ("RESERVED", Some(Resources::default())),
                    Ok(()) => continue,
                    Err(Unfit::Lost) => ("LOST", None),
                    Err(Unfit::Draining) => ("DRAINING", None),
                    Err(Unfit::NotReady) => ("NOT_READY", None),
                    Err(Unfit::Executor(_)) => ("EXECUTOR", None),
                    Err(Unfit::Architecture(_)) => ("ARCHITECTURE", None),
                    Err(Unfit::TooSmall(missing)) => ("TOO_SMALL", Some(*missing)),
                    Err(Unfit::Occupied(missing)) => ("OCCUPIED", Some(*missing)),
                };
                if matches!(unfit, Ok(()) | Err(Unfit::Occupied(_))) {
                    hosts.milli_cpu += u64::from(agent.resources.cpu.0);
                }
                if matches!(unfit, Err(Unfit::TooSmall(_)))
                    && hosts.biggest.as_ref().is_none_or(|(_, size)| agent.resources > *size)
                {
                    hosts.biggest = Some((name.clone(), agent.resources));
                }
                *hosts.excluded.entry(reason.to_owned()).or_insert(0) += 1;
                let lacks = missing.map(|missing| (share(missing, shape.resources), missing, name));
                least = [least, lacks].into_iter().flatten().min();
            }
        }
        hosts.nearest = least.map(|(_, missing, name)| nearest(name, missing));
        hosts
    }
}

/// How large a part of the need is missing, in thousandths: the resource that lacks the most counts.
fn share(missing: Resources, need: Resources) -> u64 {
    let part = |missing: u32, need: u32| u64::from(missing) * 1000 / u64::from(need.max(1));
    part(missing.cpu.0, need.cpu.0)
        .max(part(missing.memory.0, need.memory.0))
        .max(part(missing.gpu, need.gpu))
}

fn nearest(name: &Name, missing: Resources) -> NearestFit {
    let amounts = [
        ("VCPU", u64::from(missing.cpu.0)),
        ("MEMORY", u64::from(missing.memory.0)),
        ("GPU", u64::from(missing.gpu)),
    ];
    let missing = amounts.into_iter().filter(|(_, amount)| *amount > 0);
    let missing = missing.map(|(kind, amount)| (kind.to_owned(), amount)).collect();
    NearestFit { agent: name.to_string(), missing }
}
