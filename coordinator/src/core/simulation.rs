//! A world in which time passes: agents start what they are given at once, and every child runs
//! exactly as long as its job says.

use std::collections::BTreeMap;

use windrow_common::api::jobs::{ArrayProperties, SubmitJob};
use windrow_common::ids::{JobId, LeaseId, Name};
use windrow_common::time::Timestamp;
use windrow_common::wire::agent::EndCause;
use windrow_common::wire::lease::Lease;

use super::world::World;

pub(super) struct Simulation {
    pub(super) w: World,
    /// How long a child of each job runs, in milliseconds.
    runs: BTreeMap<JobId, u64>,
    /// What runs: when it ends, its lease and child.
    ends: BTreeMap<(u64, LeaseId, u32), (Name, Lease)>,
    agents: Vec<Name>,
    /// When the first child of each job started, in milliseconds.
    pub(super) started: BTreeMap<JobId, u64>,
}

impl Simulation {
    /// With these agents of 10,000 MiB each.
    pub(super) fn new(mut w: World, agents: &[(&str, u32)]) -> Self {
        w.is_checked = false;
        let agents = agents.iter().map(|(agent, cpus)| w.agent(agent, *cpus)).collect();
        Self { w, runs: BTreeMap::new(), ends: BTreeMap::new(), agents, started: BTreeMap::new() }
    }

    /// A job of this many children, each of which runs for so long.
    pub(super) fn submit(&mut self, size: u32, run_millis: u64, request: SubmitJob) -> JobId {
        let array_properties =
            (size > 1).then(|| ArrayProperties { size: Some(size), ..Default::default() });
        let job = self.w.submit(SubmitJob { array_properties, ..request });
        self.runs.insert(job, run_millis);
        self.look();
        job
    }

    /// Agents start what they were given.
    fn look(&mut self) {
        let now = self.w.now.0;
        for agent in self.agents.clone() {
            for lease in self.w.leases(&agent) {
                self.started.entry(lease.job).or_insert(now);
                let end = now + self.runs[&lease.job];
                let children = lease.first..lease.first + lease.count;
                let reports = children.clone().map(|child| self.w.started(&lease, child)).collect();
                for child in children {
                    self.ends.insert((end, lease.id, child), (agent.clone(), lease.clone()));
                }
                self.w.report(&agent, reports);
            }
        }
    }

    /// Lets time pass, to this moment.
    pub(super) fn run_until(&mut self, millis: u64) {
        while let Some(entry) = self.ends.first_entry().filter(|e| e.key().0 <= millis) {
            let ((end, _, child), (agent, lease)) = entry.remove_entry();
            self.w.now = Timestamp(end);
            let run = self.runs[&lease.job];
            let ended = self.w.ended_after(run, &lease, child, EndCause::Exited, 0);
            self.w.report(&agent, vec![ended]);
            self.look();
        }
        self.w.now = Timestamp(millis);
    }
}
