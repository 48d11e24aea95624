//! A coordinator at a scale that few can rent: `cargo bench --workspace --bench scale -- AGENTS QUEUED ENDS`.
//!
//! The real actor, with journal messages, orders and event records made as the coordinator makes them, and agents that
//! are only simulated: each takes its orders, runs ten jobs at a time, and reports and sends heartbeats as a real one
//! does. Their time goes as fast as the actor decides. Not in it: what NATS and the network cost.
//!
//! Jobs of one length after the other run, as children of arrays of a million and as single jobs, until ENDS have
//! ended while all slots are full. `busy` is the share of cluster time that one core needs for the actor: above 1 a
//! coordinator cannot keep up.

mod world;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use anyhow::Context;
use windrow_common::api::jobs::{ArrayProperties, SubmitJob};
use windrow_common::codec::from_msgpack;
use windrow_common::ids::{JobId, LeaseId, Name};
use windrow_common::subjects::Subjects;
use windrow_common::time::{Moment, Timestamp};
use windrow_common::units::Resources;
use windrow_common::wire;
use windrow_common::wire::agent::{
    Beat, EndCause, Ended, Executor, Register, Report, ReportMessage,
};
use windrow_common::wire::lease::{Order, OrderMessage};
use windrow_coordinator::actor::archiving::Batch;
use windrow_coordinator::actor::{Actor, Input, Settings};
use windrow_coordinator::core::Command;
use windrow_coordinator::shell::event_loop::TURN_INPUTS;
use windrow_coordinator::shell::journal::Position;
use windrow_coordinator::view::changes::messages;
use world::{World, resident_bytes};

const SLOTS: usize = 10;
/// Children of each array.
const ARRAY: u64 = 1_000_000;
/// Mean lengths of jobs, in seconds; each takes from half to one and a half of it.
const LENGTHS: [u64; 4] = [3, 10, 60, 600];
/// Cluster time between two turns of what arrives, in milliseconds.
const STEP: u64 = 100;
/// Heartbeats of each agent and of the coordinator, in steps.
const BEAT_STEPS: u64 = 20;

fn main() -> anyhow::Result<()> {
    let mut numbers = std::env::args().skip(1).filter_map(|word| word.parse::<u64>().ok());
    let agents = usize::try_from(numbers.next().unwrap_or(10_000))?;
    let queued = numbers.next().unwrap_or(10_000_000);
    let ends = numbers.next().unwrap_or(200_000);
    println!(
        "{agents} agents with {SLOTS} slots each, {queued} jobs queued at the start.\n\n| jobs | length, s | ends/s \
         of cluster time | cluster time, s | core, s | busy | core us per job | decisions/s of core | journal bytes per \
         job | orders, bytes per job | longest turn, ms | memory, MiB | saturates at, ends/s |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|"
    );
    for are_arrays in [true, false] {
        let what = if are_arrays { "children" } else { "single" };
        let mut cluster = Cluster::start(agents, queued, are_arrays)?;
        for length in LENGTHS {
            let found = cluster.run(length, ends)?;
            let each = |value: f64| value / to_f64(found.ends);
            let (core, time) = (found.core.as_secs_f64(), to_f64(found.cluster_millis) / 1e3);
            println!(
                "| {what} | {length} | {:.0} | {time:.0} | {core:.1} | {:.3} | {:.1} | {:.0} | {:.0} | {:.0} | {:.0} \
                 | {} | {:.0} |",
                to_f64(found.ends) / time,
                core / time,
                each(core * 1e6),
                to_f64(found.decisions) / core,
                each(to_f64(found.journal_bytes)),
                each(to_f64(found.order_bytes)),
                found.longest.as_secs_f64() * 1e3,
                resident_bytes()? >> 20,
                to_f64(found.ends) / core
            );
        }
    }
    Ok(())
}

/// While so many ended.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    ends: u64,
    cluster_millis: u64,
    /// Time in the actor, and in what makes messages of its decisions.
    core: Duration,
    /// Events of the journal.
    decisions: u64,
    journal_bytes: u64,
    order_bytes: u64,
    longest: Duration,
}

/// One attempt on an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Attempt {
    lease: LeaseId,
    job: JobId,
    child: u32,
}

/// What a simulated agent has.
struct Agent {
    name: Name,
    session: u64,
    waiting: VecDeque<Attempt>,
    running: usize,
    last_lease: LeaseId,
    next_report: u64,
    reports: Vec<Report>,
}

impl Agent {
    fn new(name: Name) -> Self {
        Self {
            name,
            session: 0,
            waiting: VecDeque::new(),
            running: 0,
            last_lease: LeaseId(0),
            next_report: 1,
            reports: Vec::new(),
        }
    }
}

struct Cluster {
    actor: Actor,
    cluster: Name,
    agents: Vec<Agent>,
    by_name: BTreeMap<Name, usize>,
    /// When which attempt of which agent ends, and when it began.
    ends: BinaryHeap<Reverse<(u64, usize, Attempt, u64)>>,
    /// Agents with something to report.
    reporting: Vec<usize>,
    millis: u64,
    length: u64,
    position: Position,
    report_sequence: u64,
    found: Found,
    inputs: Vec<Input>,
}

impl Cluster {
    /// Jobs are queued and agents registered.
    fn start(agents: usize, queued: u64, are_arrays: bool) -> anyhow::Result<Self> {
        let mut world = World::new()?;
        let jobs = if are_arrays { queued.div_ceil(ARRAY) } else { queued };
        for number in 1..=jobs {
            if are_arrays {
                submit_array(&mut world)?;
            } else {
                world.submit(number, false)?;
            }
        }
        let cluster: Name = "c".parse()?;
        let settings = Settings::new(Subjects::new(cluster.clone()));
        let start = moment(0);
        let actor = Actor::new(world.state, settings, Box::new(JobId::generate), start);
        let mut this = Self {
            actor,
            cluster,
            agents: Vec::new(),
            by_name: BTreeMap::new(),
            ends: BinaryHeap::new(),
            reporting: Vec::new(),
            millis: 0,
            length: LENGTHS[0] * 1000,
            position: Position::default(),
            report_sequence: 0,
            found: Found::default(),
            inputs: Vec::new(),
        };
        for number in 0..agents {
            let name: Name = format!("agent-{number}").parse()?;
            this.by_name.insert(name.clone(), number);
            this.agents.push(Agent::new(name.clone()));
            this.inputs.push(Input::Register {
                request: Box::new(registration(name)?),
                reply: "r".to_owned(),
            });
        }
        this.take_turns()?;
        Ok(this)
    }

    /// Until so many have ended, once most of what runs has this length.
    fn run(&mut self, seconds: u64, ends: u64) -> anyhow::Result<Found> {
        self.length = seconds * 1000;
        let settled = self.millis + self.length * 3 / 2;
        while self.millis < settled {
            self.step()?;
        }
        let begun = self.millis;
        self.found = Found::default();
        while self.found.ends < ends {
            self.step()?;
        }
        Ok(Found { cluster_millis: self.millis - begun, ..self.found })
    }

    /// What happens until the next turn, and that turn.
    fn step(&mut self) -> anyhow::Result<()> {
        self.millis += STEP;
        while let Some(Reverse((at, index, attempt, began))) = self.ends.peek().copied() {
            if at > self.millis {
                break;
            }
            self.ends.pop();
            self.agents[index].running -= 1;
            self.found.ends += 1;
            self.report(index, Report::Ended(ended(attempt, began, at)));
            self.begin(index, at);
        }
        self.send_reports();
        let step = self.millis / STEP;
        for (number, agent) in (0..).zip(&self.agents) {
            if number % BEAT_STEPS == step % BEAT_STEPS {
                self.inputs.push(beat(agent, self.millis));
            }
        }
        if step.is_multiple_of(BEAT_STEPS) {
            self.inputs.push(Input::Tick);
        }
        self.take_turns()
    }

    /// Starts what fits.
    fn begin(&mut self, index: usize, at: u64) {
        while self.agents[index].running < SLOTS
            && let Some(attempt) = self.agents[index].waiting.pop_front()
        {
            self.agents[index].running += 1;
            let Attempt { lease, job, child } = attempt;
            // From half to one and a half of the mean, the same in every run.
            let place = (u64::from(child) + lease.0 * 31).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            let end = at + self.length / 2 + self.length * (place & 0xffff) / 0x1_0000;
            self.ends.push(Reverse((end, index, attempt, at)));
            self.report(index, Report::Started { lease, job, child, at: moment(at).wall });
        }
    }

    fn report(&mut self, index: usize, report: Report) {
        if self.agents[index].reports.is_empty() {
            self.reporting.push(index);
        }
        self.agents[index].reports.push(report);
    }

    fn send_reports(&mut self) {
        for index in std::mem::take(&mut self.reporting) {
            let agent = &mut self.agents[index];
            let name = agent.name.clone();
            let reports = std::mem::take(&mut agent.reports);
            let first = agent.next_report;
            agent.next_report += reports.len() as u64;
            self.report_sequence += 1;
            let (version, session) = (wire::VERSION, agent.session);
            let message = ReportMessage { version, agent: name, session, first, reports };
            self.inputs.push(Input::Report { sequence: self.report_sequence, message });
        }
    }

    /// Turns until everything that has arrived is decided.
    fn take_turns(&mut self) -> anyhow::Result<()> {
        let mut is_unfinished = true;
        while is_unfinished || !self.inputs.is_empty() {
            let count = self.inputs.len().min(TURN_INPUTS);
            let taken: Vec<Input> = self.inputs.drain(..count).collect();
            is_unfinished = self.turn(taken)?;
        }
        Ok(())
    }

    fn turn(&mut self, taken: Vec<Input>) -> anyhow::Result<bool> {
        let now = moment(self.millis);
        let begun = Instant::now();
        let mut turn = self.actor.turn(taken, now);
        let sealed = self.position.seal(1, 1, now.wall, &turn.groups);
        let changes = std::mem::take(&mut turn.changes).into_iter().map(|(_, change)| change);
        drop(messages(&self.cluster, self.position.sequence, now.wall, changes.collect()));
        let is_unfinished = turn.is_unfinished;
        let effects = self.actor.stored(turn, now);
        let took = begun.elapsed();

        self.found.core += took;
        self.found.longest = self.found.longest.max(took);
        self.position = sealed.last().map_or(self.position, |last| last.position);
        for one in &sealed {
            self.found.decisions += one.events as u64;
            self.found.journal_bytes += one.payload.len() as u64;
        }
        for joined in effects.registered {
            let (session, _) = joined.outcome.ok().context("an agent was refused")?;
            self.agents[self.by_name[&joined.agent]].session = session;
        }
        match effects.to_history {
            Some(Batch::Pieces(_, complete)) => self.inputs.push(Input::Archived(complete)),
            Some(Batch::Page(page, records)) => self.inputs.push(Input::PageStored(page, records)),
            None => {}
        }
        for (subject, payload) in effects.messages {
            self.found.order_bytes += payload.len() as u64;
            let name = subject.rsplit('.').next().context("a subject names an agent")?;
            let index = self.by_name[&name.parse::<Name>()?];
            for order in from_msgpack::<OrderMessage>(&payload)?.orders {
                self.obey(index, order);
            }
            self.begin(index, self.millis);
        }
        Ok(is_unfinished)
    }

    fn obey(&mut self, index: usize, order: Order) {
        let agent = &mut self.agents[index];
        match order {
            Order::Run(lease) => {
                agent.last_lease = lease.id;
                let all = lease.first..lease.first + lease.count;
                let (id, job) = (lease.id, lease.job);
                agent.waiting.extend(all.map(|child| Attempt { lease: id, job, child }));
            }
            // What waits is wanted elsewhere.
            Order::Stop(stop) => {
                let is_meant = |one: &Attempt| {
                    let within =
                        |(first, count): &(u32, u32)| one.child.wrapping_sub(*first) < *count;
                    one.lease == stop.lease && stop.children.iter().any(within)
                };
                let (back, stay): (VecDeque<_>, VecDeque<_>) =
                    agent.waiting.iter().copied().partition(is_meant);
                agent.waiting = stay;
                if let Some(first) = back.front() {
                    let (lease, job) = (first.lease, first.job);
                    let children = back.iter().map(|one| (one.child, 1)).collect();
                    self.report(index, Report::Returned { lease, job, children });
                }
            }
            Order::Confirm { .. } | Order::Drain | Order::Undrain => {}
        }
    }
}

fn submit_array(world: &mut World) -> anyhow::Result<()> {
    let request = SubmitJob {
        job_name: "array".into(),
        job_queue: "q".into(),
        job_definition: "d".into(),
        array_properties: Some(ArrayProperties {
            size: Some(u32::try_from(ARRAY)?),
            ..Default::default()
        }),
        ..Default::default()
    };
    world.does(&Command::Submit { id: JobId::generate(), request: Box::new(request) })?;
    world.work()
}

/// Cluster time begins when the jobs are queued.
fn moment(millis: u64) -> Moment {
    let wall = Timestamp(1_000_000_000 + millis);
    Moment { wall, monotonic: Duration::from_millis(millis) }
}

fn ended(Attempt { lease, job, child }: Attempt, began: u64, at: u64) -> Ended {
    Ended {
        lease,
        job,
        child,
        started_at: Some(moment(began).wall),
        ended_at: moment(at).wall,
        exit_code: Some(0),
        cause: EndCause::Exited,
        reason: None,
        log_bytes: 0,
        containers: Vec::new(),
    }
}

fn beat(agent: &Agent, millis: u64) -> Input {
    let beat = Beat {
        version: wire::VERSION,
        session: agent.session,
        clock: moment(millis).wall,
        waiting: u32::try_from(agent.waiting.len()).unwrap_or(u32::MAX),
        running: u32::try_from(agent.running).unwrap_or(u32::MAX),
        last_lease: agent.last_lease,
        last_report: agent.next_report - 1,
        load: 0,
        number: 0,
        round_trip_millis: None,
    };
    Input::Beat { agent: agent.name.clone(), beat }
}

fn registration(agent: Name) -> anyhow::Result<Register> {
    let slots = u32::try_from(SLOTS)?;
    Ok(Register {
        version: wire::VERSION,
        boot: 1,
        host: agent.to_string(),
        agent,
        compute_environment: "e".parse()?,
        resources: Resources::new(slots * 1000, slots * 1024),
        executors: vec![Executor::Process, Executor::Docker],
        architecture: "X86_64".into(),
        agent_version: "0".into(),
        clock: moment(0).wall,
        held: Vec::new(),
        address: None,
        gpus: Vec::new(),
        term_seen: 0,
        lease_seen: LeaseId(0),
        problems: Vec::new(),
        number: 0,
    })
}

#[expect(clippy::cast_precision_loss, reason = "figures to read")]
fn to_f64(number: u64) -> f64 {
    number as f64
}
