//! A world in which time passes: agents start what they are given as it fits, in the order of their
//! leases, and every child runs exactly as long as its job says.

use std::collections::BTreeMap;
use std::ops::Range;

use windrow_common::api::jobs::{ArrayProperties, SubmitJob};
use windrow_common::ids::{JobId, LeaseId, Name};
use windrow_common::time::Timestamp;
use windrow_common::wire::agent::EndCause;
use windrow_common::wire::lease::Lease;

use super::world::{World, name};

pub(super) struct Simulation {
    pub(super) w: World,
    /// How long a child of each job runs, in milliseconds.
    runs: BTreeMap<JobId, u64>,
    /// What runs: when it ends, its lease and child.
    ends: BTreeMap<(u64, LeaseId, u32), (Name, Lease)>,
    hosts: BTreeMap<Name, Host>,
    /// When the first child of each job started, in milliseconds.
    pub(super) started: BTreeMap<JobId, u64>,
    /// Thousandths of a core times milliseconds of what has ended, by queue and share.
    used: BTreeMap<(Name, Option<Name>), u64>,
    streams: Vec<Stream>,
}

/// Somebody who always has work waiting: jobs of a size, submitted before those there are run out.
pub(super) struct Stream {
    pub(super) request: SubmitJob,
    pub(super) size: u32,
    pub(super) run_millis: u64,
    /// Children that are kept waiting.
    pub(super) depth: u32,
    jobs: Vec<JobId>,
}

impl Stream {
    pub(super) fn new(request: SubmitJob, size: u32, run_millis: u64, depth: u32) -> Self {
        Self { request, size, run_millis, depth, jobs: Vec::new() }
    }
}

/// An agent's cores, and what it was given and has not begun.
struct Host {
    free: u32,
    waiting: BTreeMap<LeaseId, (Lease, Range<u32>)>,
}

impl Simulation {
    /// With these agents of 10,000 MiB each.
    pub(super) fn new(w: World, agents: &[(&str, u32)]) -> Self {
        let mut simulation = Self {
            w,
            runs: BTreeMap::new(),
            ends: BTreeMap::new(),
            hosts: BTreeMap::new(),
            started: BTreeMap::new(),
            used: BTreeMap::new(),
            streams: Vec::new(),
        };
        simulation.w.is_checked = false;
        for (agent, cpus) in agents {
            simulation.join(agent, *cpus);
        }
        simulation
    }

    /// An agent joins.
    pub(super) fn join(&mut self, agent: &str, cpus: u32) {
        self.w.agent(agent, cpus);
        self.hosts.insert(name(agent), Host { free: cpus * 1000, waiting: BTreeMap::new() });
        self.look();
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

    /// From now on somebody always has work waiting.
    pub(super) fn flow(&mut self, stream: Stream) {
        self.streams.push(stream);
        self.top_up();
    }

    fn top_up(&mut self) {
        for index in 0..self.streams.len() {
            loop {
                let waiting = |job: &JobId| self.w.state.jobs[job].children.runnable_count();
                let stream = &mut self.streams[index];
                stream.jobs.retain(|job| waiting(job) > 0);
                if stream.jobs.iter().map(waiting).sum::<u32>() >= stream.depth {
                    break;
                }
                let (size, run, request) = (stream.size, stream.run_millis, stream.request.clone());
                let job = self.submit(size, run, request);
                self.streams[index].jobs.push(job);
            }
        }
    }

    /// Agents start what they were given.
    fn look(&mut self) {
        let mut agents: Vec<Name> = self.hosts.keys().cloned().collect();
        while let Some(agent) = agents.pop() {
            let leases = self.w.leases(&agent);
            let host = self.hosts.get_mut(&agent).unwrap();
            for lease in leases {
                let children = lease.first..lease.first + lease.count;
                host.waiting.insert(lease.id, (lease, children));
            }
            let begun = self.begin(&agent);
            if !begun.is_empty() {
                let reports = begun.iter().map(|(lease, child)| self.w.started(lease, *child));
                let reports = reports.collect();
                self.w.report(&agent, reports);
                // The answer may be more leases, for whomever.
                agents = self.hosts.keys().cloned().collect();
            }
        }
    }

    /// What fits the agent's free cores, as the agent's core has it: the order is that of the leases,
    /// and what does not fit holds up nobody.
    fn begin(&mut self, agent: &Name) -> Vec<(Lease, u32)> {
        let now = self.w.now.0;
        let host = self.hosts.get_mut(agent).unwrap();
        let mut begun = Vec::new();
        for (lease, children) in host.waiting.values_mut() {
            let need = lease.resources.cpu.0;
            while host.free >= need
                && let Some(child) = children.next()
            {
                host.free -= need;
                self.started.entry(lease.job).or_insert(now);
                let end = (now + self.runs[&lease.job], lease.id, child);
                self.ends.insert(end, (agent.clone(), lease.clone()));
                begun.push((lease.clone(), child));
            }
        }
        host.waiting.retain(|_, (_, children)| children.start < children.end);
        begun
    }

    /// Lets time pass, to this moment.
    pub(super) fn run_until(&mut self, millis: u64) {
        while let Some(entry) = self.ends.first_entry().filter(|e| e.key().0 <= millis) {
            let ((end, _, child), (agent, lease)) = entry.remove_entry();
            self.w.now = Timestamp(end);
            let run = self.runs[&lease.job];
            let need = lease.resources.cpu.0;
            self.hosts.get_mut(&agent).unwrap().free += need;
            let job = &self.w.state.jobs[&lease.job];
            let share = (job.queue.clone(), job.share.clone());
            *self.used.entry(share).or_default() += run * u64::from(need);
            let ended = self.w.ended_after(run, &lease, child, EndCause::Exited, 0);
            self.w.report(&agent, vec![ended]);
            self.look();
            self.top_up();
        }
        self.w.now = Timestamp(millis);
    }

    /// Thousandths of a core times milliseconds that the jobs of a share have run so far, of what runs
    /// still the part that has passed.
    pub(super) fn used(&self, queue: &str, share: &str) -> u64 {
        let whose = (name(queue), Some(name(share)));
        let ended = self.used.get(&whose).copied().unwrap_or(0);
        let of_share = |lease: &Lease| {
            let job = &self.w.state.jobs[&lease.job];
            (&job.queue, &job.share) == (&whose.0, &whose.1)
        };
        let running = self.ends.iter().filter(|(_, (_, lease))| of_share(lease));
        let passed = running.map(|((end, ..), (_, lease))| {
            let passed = self.runs[&lease.job] - (end - self.w.now.0);
            passed * u64::from(lease.resources.cpu.0)
        });
        ended + passed.sum::<u64>()
    }
}
