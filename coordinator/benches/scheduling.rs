//! What a scheduling pass costs, by the number of pending jobs: `cargo bench -p windrow-coordinator
//! --bench scheduling`. Only decisions: no journal, no network.
//!
//! 10,000 agents of four sizes, and single jobs of 1,000 shapes in three queues that go by submission
//! and one fair-share queue with four shares; everything by the commands that users and agents send.
//! Measured are a pass over empty agents, and, when nothing more fits, what follows from the end of
//! one child. Every run builds its world anew, and all runs do the same.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, anyhow};
use windrow_common::api::definitions::{
    ContainerProperties, RegisterJobDefinition, ResourceRequirement,
};
use windrow_common::api::jobs::SubmitJob;
use windrow_common::api::policies::{CreateSchedulingPolicy, FairsharePolicy};
use windrow_common::api::resources::{
    ComputeEnvironmentOrder, CreateComputeEnvironment, CreateJobQueue,
};
use windrow_common::ids::{JobId, LeaseId, Name};
use windrow_common::time::Timestamp;
use windrow_common::units::Resources;
use windrow_common::wire::agent::{EndCause, Ended, Executor, Register, Report, ReportMessage};
use windrow_coordinator::core::limits::Limits;
use windrow_coordinator::core::{Command, State, apply, decide};
use windrow_coordinator::scheduler::{Pass, Placement};

const PENDING: [u32; 3] = [10_000, 100_000, 1_000_000];
const RUNS: usize = 5;
const AGENTS: u32 = 10_000;
/// Cores of agents, in turn; each has 2 GiB for a core.
const AGENT_CORES: [u32; 4] = [4, 8, 16, 32];
const SHAPES: u32 = 1000;
/// Placements of a pass over empty agents that all cases have in common.
const FIRST: u32 = 5000;
/// Children that end one after the other when everything is full.
const FREED: usize = 100;
/// Where jobs go: queues, and shares of the one that has shares.
const LISTS: [(&str, Option<&str>); 7] = [
    ("high", None),
    ("middle", None),
    ("low", None),
    ("shared", Some("alice")),
    ("shared", Some("bob")),
    ("shared", Some("carol")),
    ("shared", Some("dave")),
];

type List = (Name, Option<Name>);

fn main() -> anyhow::Result<()> {
    let mut cases = Vec::new();
    for pending in PENDING {
        let mut runs = Vec::new();
        for run in 1..=RUNS {
            eprintln!("==> {pending} pending jobs, run {run} of {RUNS}");
            runs.push(measure(pending)?);
        }
        cases.push((pending, runs));
    }
    print_fill(&cases);
    print_steady(&cases);
    println!("\nPeak memory of all of it: {} MiB.", peak_mib()?);
    Ok(())
}

/// What one run measured; times in microseconds.
struct Run {
    /// For each placement, of the first ones.
    first: f64,
    /// For each placement, until the pass was over.
    filling: f64,
    placed: u32,
    /// Shapes that wait in each share of each queue when everything is full, summed up.
    heads: usize,
    /// A pass that finds nothing.
    idle_pass: f64,
    /// A child's end and the pass that follows.
    freed: f64,
    /// Placements for each child that ended.
    refilled: f64,
}

fn measure(pending: u32) -> anyhow::Result<Run> {
    let mut world = World::new(pending)?;
    world.submit_missing()?;

    let begun = Instant::now();
    let mut pass = Pass::new(&world.state, world.now);
    let mut placed = 0;
    let mut first = 0.0;
    while world.place_next(&mut pass)?.is_some() {
        placed += 1;
        if placed == FIRST {
            first = micros_since(begun) / f64::from(FIRST);
        }
    }
    let filling = micros_since(begun) / f64::from(placed);

    // As many wait again, and nothing more fits.
    while world.submit_missing()? > 0 {
        world.pass()?;
    }
    let heads = world.heads();
    let mut idle_passes = Vec::new();
    let mut freed = Vec::new();
    let mut refilled = 0;
    for _ in 0..FREED {
        let begun = Instant::now();
        anyhow::ensure!(world.pass()? == 0, "a pass that has nothing to place found something");
        idle_passes.push(micros_since(begun));
        let end = world.oldest_ends()?;
        let begun = Instant::now();
        world.does(&end)?;
        refilled += world.pass()?;
        freed.push(micros_since(begun));
    }
    let refilled = f64::from(refilled) / to_f64(FREED);
    let (idle_pass, freed) = (median(&idle_passes), median(&freed));
    Ok(Run { first, filling, placed, heads, idle_pass, freed, refilled })
}

/// A state, and what is needed to go on with it.
struct World {
    state: State,
    limits: Limits,
    now: Timestamp,
    last_job: u32,
    /// Jobs to wait in each list.
    wanted: u32,
    /// Jobs that wait, and jobs ever submitted, by list.
    waiting: BTreeMap<List, (u32, u32)>,
    /// Number of the next report of each agent.
    reports: BTreeMap<Name, u64>,
}

impl World {
    /// Agents, queues and definitions; no jobs yet.
    fn new(pending: u32) -> anyhow::Result<Self> {
        let lists = LISTS.iter().map(|(queue, share)| -> anyhow::Result<_> {
            Ok(((name(queue)?, share.map(name).transpose()?), (0, 0)))
        });
        let mut world = Self {
            state: State::default(),
            limits: Limits::default(),
            now: Timestamp(1_000_000_000),
            last_job: 0,
            wanted: pending.div_ceil(u32::try_from(LISTS.len())?),
            waiting: lists.collect::<Result<_, _>>()?,
            reports: BTreeMap::new(),
        };
        world.does(&Command::StartTerm)?;
        world.does(&Command::CreateEnvironment(CreateComputeEnvironment {
            compute_environment_name: "e".into(),
            kind: "UNMANAGED".into(),
            ..Default::default()
        }))?;
        world.does(&Command::CreatePolicy(CreateSchedulingPolicy {
            name: "fair".into(),
            fairshare_policy: Some(FairsharePolicy::default()),
            ..Default::default()
        }))?;
        for (queue, priority) in [("high", 40), ("middle", 30), ("low", 20), ("shared", 10)] {
            world.does(&Command::CreateQueue(CreateJobQueue {
                job_queue_name: queue.into(),
                priority,
                compute_environment_order: vec![ComputeEnvironmentOrder {
                    order: 1,
                    compute_environment: "e".into(),
                }],
                scheduling_policy_arn: (queue == "shared").then(|| "fair".into()),
                ..Default::default()
            }))?;
        }
        for shape in 0..SHAPES {
            world.does(&Command::RegisterDefinition(Box::new(definition(shape))))?;
        }
        for (number, cores) in (0..AGENTS).zip(AGENT_CORES.into_iter().cycle()) {
            let agent = name(&format!("agent-{number}"))?;
            world.does(&Command::RegisterAgent(Box::new(registration(agent, cores)?)))?;
        }
        Ok(world)
    }

    /// Decides and applies, with the follow-up work.
    fn does(&mut self, command: &Command) -> anyhow::Result<()> {
        self.step(command)?;
        while !self.state.work.is_empty() {
            self.step(&Command::Work)?;
        }
        Ok(())
    }

    fn step(&mut self, command: &Command) -> anyhow::Result<()> {
        let decision = decide(&self.state, &self.limits, command, self.now);
        for event in decision.map_err(|error| anyhow!("{error:?}"))?.events {
            apply(&mut self.state, &event);
            self.state.index.changed.clear();
        }
        Ok(())
    }

    /// As many jobs wait in every list as are wanted; gives how many were missing.
    fn submit_missing(&mut self) -> anyhow::Result<u32> {
        let mut missing = Vec::new();
        for (list, (waiting, submitted)) in &mut self.waiting {
            // Lists take turns, as users do.
            missing.extend((*waiting..self.wanted).map(|turn| {
                *submitted += 1;
                (turn, list.clone(), *submitted)
            }));
            *waiting = self.wanted;
        }
        missing.sort();
        for (_, (queue, share), nth) in &missing {
            self.last_job += 1;
            // Prime to the number of shapes: any so many in a row are all different.
            let shape = nth * 617 % SHAPES;
            let request = SubmitJob {
                job_name: "j".into(),
                job_queue: queue.to_string(),
                job_definition: format!("shape-{shape}"),
                share_identifier: share.as_ref().map(ToString::to_string),
                ..Default::default()
            };
            let id = JobId::from_u128(u128::from(self.last_job));
            self.does(&Command::Submit { id, request: Box::new(request) })?;
        }
        Ok(u32::try_from(missing.len())?)
    }

    /// Commits the next proposal of the pass.
    fn place_next(&mut self, pass: &mut Pass) -> anyhow::Result<Option<()>> {
        let Some(placement) = pass.next(&self.state) else { return Ok(None) };
        let job = &self.state.jobs[&placement.job()];
        let list = (job.queue.clone(), job.share.clone());
        let waiting = self.waiting.get_mut(&list).context("a job is in one of the lists")?;
        anyhow::ensure!(matches!(placement, Placement::Children { count: 1, .. }));
        waiting.0 -= 1;
        self.step(&Command::Place(placement))?;
        Ok(Some(()))
    }

    /// A whole pass; gives how many it placed.
    fn pass(&mut self) -> anyhow::Result<u32> {
        let mut pass = Pass::new(&self.state, self.now);
        let mut placed = 0;
        while self.place_next(&mut pass)?.is_some() {
            placed += 1;
        }
        Ok(placed)
    }

    /// The report that the child leased first has ended, after ten minutes.
    fn oldest_ends(&mut self) -> anyhow::Result<Command> {
        let (id, lease) = self.state.leases.first_key_value().context("all agents are full")?;
        self.now.0 += 1000;
        let first = self.reports.entry(lease.agent.clone()).or_insert(1);
        let message = ReportMessage {
            version: windrow_common::wire::VERSION,
            agent: lease.agent.clone(),
            session: self.state.agents[&lease.agent].session,
            first: *first,
            reports: vec![Report::Ended(Ended {
                lease: *id,
                job: lease.job,
                child: 0,
                started_at: Some(Timestamp(self.now.0 - 600_000)),
                ended_at: self.now,
                exit_code: Some(0),
                cause: EndCause::Exited,
                reason: None,
                log_bytes: 0,
                containers: Vec::new(),
            })],
        };
        *first += 1;
        Ok(Command::Report(message))
    }

    fn heads(&self) -> usize {
        let ready = &self.state.index.ready;
        let shares = ready.queues().filter_map(|queue| ready.shares(queue));
        shares.flat_map(BTreeMap::values).map(|share| share.shapes().count()).sum()
    }
}

/// 0.25 to 8 vCPUs and 256 MiB to 8 GiB, no two alike.
fn definition(shape: u32) -> RegisterJobDefinition {
    let need = |kind: &str, value: String| ResourceRequirement { kind: kind.into(), value };
    let vcpus = f64::from(1 + shape % 32) / 4.0;
    let memory = 256 * (1 + shape / 32);
    RegisterJobDefinition {
        job_definition_name: format!("shape-{shape}"),
        kind: "container".into(),
        container_properties: Some(ContainerProperties {
            command: Some(vec!["true".into()]),
            resource_requirements: Some(vec![
                need("VCPU", vcpus.to_string()),
                need("MEMORY", memory.to_string()),
            ]),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn registration(agent: Name, cores: u32) -> anyhow::Result<Register> {
    Ok(Register {
        version: windrow_common::wire::VERSION,
        boot: 1,
        host: agent.to_string(),
        agent,
        compute_environment: name("e")?,
        resources: Resources::new(cores * 1000, cores * 2048),
        executors: vec![Executor::Process],
        architecture: "X86_64".into(),
        agent_version: "0".into(),
        clock: Timestamp(0),
        held: Vec::new(),
        address: None,
        gpus: Vec::new(),
        term_seen: 0,
        lease_seen: LeaseId(0),
        problems: Vec::new(),
        number: 0,
    })
}

fn print_fill(cases: &[(u32, Vec<Run>)]) {
    println!("## scheduling: a pass over {AGENTS} empty agents\n");
    println!(
        "| pending jobs | first {FIRST} placements, us each | ratio | placements in all | us each |"
    );
    println!("|---|---|---|---|---|");
    let mut base = None;
    for (pending, runs) in cases {
        let first = Spread::of(runs, |run| run.first);
        let filling = Spread::of(runs, |run| run.filling);
        let ratio = first.median / *base.get_or_insert(first.median);
        let placed = runs.first().map_or(0, |run| run.placed);
        println!("| {pending} | {first} | {ratio:.2} | {placed} | {filling} |");
    }
}

fn print_steady(cases: &[(u32, Vec<Run>)]) {
    println!("\n## scheduling: all agents full, one child ends\n");
    println!(
        "| pending jobs | heads of shapes | pass that finds nothing, us | child's end and pass, us | ratio | placements for each |"
    );
    println!("|---|---|---|---|---|---|");
    let mut base = None;
    for (pending, runs) in cases {
        let idle = Spread::of(runs, |run| run.idle_pass);
        let freed = Spread::of(runs, |run| run.freed);
        let ratio = freed.median / *base.get_or_insert(freed.median);
        let (heads, refilled) = runs.first().map_or((0, 0.0), |run| (run.heads, run.refilled));
        println!("| {pending} | {heads} | {idle} | {freed} | {ratio:.2} | {refilled:.2} |");
    }
}

/// Of all runs of a case.
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(runs: &[Run], value: impl Fn(&Run) -> f64) -> Self {
        let values: Vec<_> = runs.iter().map(value).collect();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(0.0, f64::max);
        Self { median: median(&values), least, most }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} [{:.1} to {:.1}]", self.median, self.least, self.most)
    }
}

/// The middle value; the upper one of two.
fn median(sample: &[f64]) -> f64 {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

fn micros_since(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e6
}

fn to_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn name(text: &str) -> anyhow::Result<Name> {
    text.parse().with_context(|| format!("`{text}` is a name"))
}

/// The most memory that this process ever had resident.
fn peak_mib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.context("VmHWM in /proc/self/status")?.parse::<u64>()? / 1024)
}
