//! What a seed means: the cluster, what clients ask, and which faults come when. Each seed switches some
//! faults and some kinds of work on and the others off, so that rare combinations come up.

use windrow_common::api::jobs::DependencyCondition;

use windrow_coordinator::actor::TURN_STEPS;

use crate::agent::Kind;
use crate::net::{Cut, Weather};
use crate::random::Random;

/// A client's step.
#[derive(Clone, Debug)]
pub struct Step {
    /// When, in milliseconds.
    pub at: u64,
    pub ask: Ask,
}

/// What a client asks.
#[derive(Clone, Debug)]
pub enum Ask {
    Environment,
    Queue(String),
    Definition,
    Submit(Job),
    /// To the submission stream.
    Publish(Job),
    /// Of one of the jobs that are known then.
    Cancel(u64),
    /// The same; perhaps of one child.
    Terminate(u64, Option<u32>),
    Describe(u64),
    Drain(u8, bool),
    /// A request that cannot be read.
    Garbage(Vec<u8>),
}

/// A job to submit.
#[derive(Clone, Debug)]
pub struct Job {
    pub key: String,
    /// The key was used for something else.
    pub is_other: bool,
    pub queue: String,
    pub size: u32,
    pub cpus: u32,
    pub memory: u32,
    pub millis: u64,
    /// Of a thousand attempts.
    pub fails: u64,
    pub ignores_sigterm: bool,
    pub attempts: u32,
    pub timeout: Option<u32>,
    /// It waits for one of the jobs that are known then.
    pub after: Option<u64>,
    pub by_child: bool,
    pub condition: Option<DependencyCondition>,
    pub in_sequence: bool,
    /// How many times it is sent at once.
    pub copies: usize,
}

/// A fault, and how long it lasts in milliseconds where it does.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    KillCoordinator(u8, u64),
    /// It dies in the middle of something, so many steps from now.
    CoordinatorDiesIn(u8, u32),
    FreezeCoordinator(u8, u64),
    KillAgent(u8, u64),
    AgentDiesIn(u8, u32),
    /// With or without its disk.
    KillHost(u8, bool, u64),
    /// The host goes away after a notice.
    Reclaim(u8, u64, u64),
    CutAgent(u8, Cut, u64),
    CutCoordinator(u8, Cut, u64),
    RestartServer(u64),
    /// The journal loses its last messages while the server is down.
    LoseTail(u64, u64),
    /// It dies when it is about to let the journal go on behind a snapshot.
    DieAtJump(u8),
    AgentClock(u8, i64),
    CoordinatorClock(u8, i64),
    /// A copy of an agent appears, with its disk or without.
    Clone(u8, bool, u64),
    /// The network is bad.
    Storm(Weather, u64),
    /// Messages that cannot be read.
    Garbage(u8),
    /// The coordinators are killed one after the other for a while.
    Flap(u64),
    /// The host is gone for good.
    LoseHost(u8),
    /// It dies as soon as a turn leaves work for the next.
    CoordinatorDiesBusy(u8),
    FreezeAgent(u8, u64),
}

impl Fault {
    /// The same, where it is for whoever leads.
    pub fn against(self, leader: u8) -> Self {
        let of = |index: u8| if index == LEADER { leader } else { index };
        match self {
            Self::KillCoordinator(index, delay) => Self::KillCoordinator(of(index), delay),
            Self::CoordinatorDiesIn(index, steps) => Self::CoordinatorDiesIn(of(index), steps),
            Self::CoordinatorDiesBusy(index) => Self::CoordinatorDiesBusy(of(index)),
            Self::FreezeCoordinator(index, delay) => Self::FreezeCoordinator(of(index), delay),
            Self::CutCoordinator(index, cut, delay) => Self::CutCoordinator(of(index), cut, delay),
            Self::CoordinatorClock(index, jump) => Self::CoordinatorClock(of(index), jump),
            other => other,
        }
    }
}

/// The plan.
#[derive(Clone, Debug)]
pub struct Plan {
    pub coordinators: u8,
    pub snapshot_every: u64,
    /// Most steps of one turn.
    pub turn_steps: usize,
    pub agents: Vec<Kind>,
    /// Agents that tell twice.
    pub liars: Vec<u8>,
    pub clients: Vec<Vec<Step>>,
    pub weather: Weather,
    pub faults: Vec<(u64, Fault)>,
    /// When faults are over.
    pub calm_at: u64,
    /// The first coordinator dies so often, each time in the middle of something.
    pub kills: u32,
}

/// In the place of a coordinator's number: the one that leads then.
pub const LEADER: u8 = u8::MAX;
/// Questions about each moment that is dangerous for answers.
const QUESTIONS: u32 = 30;
/// Kinds of faults that a seed can have.
const KINDS: usize = 20;

impl Plan {
    /// What this seed means.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed_5eed);
        let calm_at = random.within(15_000, 50_000);
        let coordinators = u8::try_from(random.within(1, 3)).expect("small");
        let count = u8::try_from(random.within(1, 4)).expect("small");
        let agents: Vec<Kind> = (0..count).map(|name| kind(&mut random, name)).collect();
        let latency = [1, 3, 10, 40][random.index(4)];
        let weather = Weather { latency, ..storm(&mut random, 20) };
        let is_stormy = random.chance(400);
        let weather = if is_stormy { weather } else { Weather { latency, ..Weather::default() } };
        let liars = (0..count).filter(|_| random.chance(120)).collect();
        let mut clients = clients(&mut random, calm_at, count);
        let faults = faults(&mut random, calm_at, coordinators, count);
        clients.push(questions(&mut random, &faults));
        clients.push(stops(&mut random, &faults));
        Self {
            coordinators,
            snapshot_every: [5, 12, 30, 100][random.index(4)],
            turn_steps: [1, 2, 5, TURN_STEPS][random.index(4)],
            agents,
            liars,
            clients,
            weather,
            faults,
            calm_at,
            kills: 0,
        }
    }

    /// An array of so many children, and a coordinator that is killed so often while they run.
    pub fn kills(seed: u64, size: u32, kills: u32) -> Self {
        let mut random = Random::new(seed);
        let setup = [Ask::Environment, Ask::Queue("q0".to_owned()), Ask::Definition];
        let mut steps: Vec<Step> = setup.into_iter().map(|ask| Step { at: 10, ask }).collect();
        let job = Job {
            key: "array".to_owned(),
            is_other: false,
            queue: "q0".to_owned(),
            size,
            cpus: 1,
            memory: 100,
            millis: 8_000,
            fails: 0,
            ignores_sigterm: false,
            attempts: 3,
            timeout: None,
            after: None,
            by_child: false,
            condition: None,
            in_sequence: false,
            copies: 1,
        };
        steps.push(Step { at: 2_000, ask: Ask::Submit(job) });
        let cpus = u32::try_from(random.within(3, 5)).expect("small");
        Self {
            coordinators: 1,
            snapshot_every: 100,
            turn_steps: TURN_STEPS,
            agents: (0..4).map(|name| Kind { cpus, memory: 100_000, name }).collect(),
            liars: Vec::new(),
            clients: vec![steps],
            weather: Weather { latency: 3, ..Weather::default() },
            faults: Vec::new(),
            calm_at: u64::MAX / 2,
            kills,
        }
    }
}

fn kind(random: &mut Random, name: u8) -> Kind {
    let cpus = u32::try_from(random.within(2, 6)).expect("small");
    Kind { cpus, memory: cpus * 1000, name }
}

fn storm(random: &mut Random, most: u64) -> Weather {
    let mut rate = |most: u64| if random.chance(500) { random.within(1, most) } else { 0 };
    let (lost, refused, unanswered, doubled) = (rate(most * 2), rate(most), rate(most), rate(most));
    Weather { latency: 10, lost, refused, unanswered, doubled }
}

fn clients(random: &mut Random, calm_at: u64, agents: u8) -> Vec<Vec<Step>> {
    let setup = [Ask::Environment, Ask::Queue("q0".to_owned()), Ask::Queue("q1".to_owned())];
    let setup = setup.into_iter().chain([Ask::Definition]);
    let setup = setup.map(|ask| Step { at: random.within(1, 500), ask }).collect();
    let mut clients: Vec<Vec<Step>> = vec![setup];
    let mut features = Features::new(random);
    let bursts: Vec<u64> = (0..3).map(|_| random.within(1_000, calm_at)).collect();
    for client in 0..random.within(1, 3) {
        let mut steps = Vec::new();
        let mut keys: Vec<Job> = Vec::new();
        for number in 0..random.within(4, 14) {
            let at = match random.chance(features.bursts) {
                true => bursts[random.index(bursts.len())],
                false => random.within(1_000, calm_at),
            };
            let job = features.job(random, format!("k{client}-{number}"));
            steps.push(Step { at, ask: features.submission(random, job.clone()) });
            keys.push(job);
            if random.chance(features.again) {
                let mut again = keys[random.index(keys.len())].clone();
                again.copies = 1;
                // A dependency is chosen when it is sent, so it would be another request.
                if again.after.is_none() {
                    let at = at + random.within(0, 20_000);
                    steps.push(Step { at, ask: Ask::Submit(again) });
                }
            }
            if random.chance(features.other) {
                let other = keys[random.index(keys.len())].clone();
                let other = Job { is_other: true, copies: 1, after: None, ..other };
                let at = at + random.within(5_000, 20_000);
                steps.push(Step { at, ask: Ask::Submit(other) });
            }
            if let Some(ask) = features.meddling(random, agents) {
                steps.push(Step { at: random.within(2_000, calm_at), ask });
            }
        }
        clients.push(steps);
    }
    // What was drained takes work again, or nothing would end.
    let undo =
        (0..agents).map(|agent| Step { at: calm_at + 20_000, ask: Ask::Drain(agent, false) });
    clients.push(undo.collect());
    clients
}

/// Which kinds of work a seed has, of a thousand.
struct Features {
    arrays: u64,
    array_size: u64,
    after: u64,
    sequences: u64,
    failures: u64,
    timeouts: u64,
    deaf: u64,
    published: u64,
    again: u64,
    other: u64,
    copies: u64,
    cancels: u64,
    terminates: u64,
    describes: u64,
    drains: u64,
    garbage: u64,
    millis: u64,
    long: u64,
    /// Many things at once.
    bursts: u64,
}

impl Features {
    fn new(random: &mut Random) -> Self {
        let mut rate = |often: u64, most: u64| {
            if random.chance(often) { random.within(1, most) } else { 0 }
        };
        Self {
            arrays: rate(700, 800),
            array_size: rate(1000, 24) + 1,
            after: rate(500, 600),
            sequences: rate(250, 300),
            failures: rate(600, 500),
            timeouts: rate(300, 300),
            deaf: rate(250, 400),
            published: rate(400, 600),
            again: rate(400, 500),
            other: rate(300, 300),
            copies: rate(300, 400),
            cancels: rate(300, 200),
            terminates: rate(400, 300),
            describes: rate(700, 500),
            drains: rate(150, 150),
            garbage: rate(200, 200),
            long: rate(400, 400),
            bursts: rate(300, 900),
            millis: [200, 1_000, 4_000, 9_000][usize::try_from(rate(1000, 4) - 1).expect("small")],
        }
    }

    fn job(&mut self, random: &mut Random, key: String) -> Job {
        let small = |number: u64| u32::try_from(number).expect("small");
        let is_array = random.chance(self.arrays);
        let size = if is_array { small(random.within(2, self.array_size + 1)) } else { 1 };
        let has_after = random.chance(self.after);
        let fails = if random.chance(self.failures) { random.within(100, 1000) } else { 0 };
        let conditions =
            [None, None, Some(DependencyCondition::Any), Some(DependencyCondition::Failed)];
        Job {
            key,
            is_other: false,
            queue: format!("q{}", random.index(2)),
            size,
            cpus: small(random.within(1, 2)),
            memory: small(random.within(1, 20)) * 100,
            millis: match random.chance(self.long) && !is_array {
                true => random.within(60_000, 150_000),
                false => random.within(20, self.millis),
            },
            fails,
            ignores_sigterm: random.chance(self.deaf),
            attempts: small(random.within(1, 4)),
            timeout: random.chance(self.timeouts).then(|| small(random.within(1, 6))),
            after: has_after.then(|| random.number()),
            by_child: is_array && random.chance(300),
            condition: conditions[random.index(4)],
            in_sequence: is_array && random.chance(self.sequences),
            copies: if random.chance(self.copies) { random.index(6) + 1 } else { 1 },
        }
    }

    fn submission(&self, random: &mut Random, job: Job) -> Ask {
        if random.chance(self.published) { Ask::Publish(job) } else { Ask::Submit(job) }
    }

    fn meddling(&self, random: &mut Random, agents: u8) -> Option<Ask> {
        let number = random.number();
        if random.chance(self.cancels) {
            return Some(Ask::Cancel(number));
        }
        if random.chance(self.terminates) {
            let child = random.chance(300).then(|| u32::try_from(number % 3).expect("small"));
            return Some(Ask::Terminate(number, child));
        }
        if random.chance(self.drains) {
            let agent = u8::try_from(number % u64::from(agents)).expect("small");
            return Some(Ask::Drain(agent, random.chance(600)));
        }
        if random.chance(self.garbage) {
            let length = random.within(0, 40);
            let bytes = (0..length).map(|_| random.number().to_le_bytes()[0]).collect();
            return Some(Ask::Garbage(bytes));
        }
        random.chance(self.describes).then_some(Ask::Describe(number))
    }
}

fn faults(random: &mut Random, calm_at: u64, coordinators: u8, agents: u8) -> Vec<(u64, Fault)> {
    let chosen: Vec<usize> = (0..KINDS).filter(|_| random.chance(250)).collect();
    if chosen.is_empty() {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for _ in 0..random.within(1, 10) {
        let kind = chosen[random.index(chosen.len())];
        let at = random.within(2_000, calm_at - 1_000);
        let coordinator = match random.chance(600) {
            true => LEADER,
            false => u8::try_from(random.index(coordinators.into())).expect("small"),
        };
        let agent = u8::try_from(random.index(agents.into())).expect("small");
        faults.push((at, fault(random, kind, coordinator, agent)));
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}

/// Questions at the moment when a frozen coordinator goes on: it may have been replaced.
fn questions(random: &mut Random, faults: &[(u64, Fault)]) -> Vec<Step> {
    let mut steps = Vec::new();
    for (at, fault) in faults {
        if let Fault::FreezeCoordinator(_, delay) = fault {
            for _ in 0..QUESTIONS {
                let at = (at + delay).saturating_sub(30) + random.within(0, 60);
                steps.push(Step { at, ask: Ask::Describe(random.number()) });
            }
        }
    }
    steps
}

/// Jobs are stopped while an agent cannot be told.
fn stops(random: &mut Random, faults: &[(u64, Fault)]) -> Vec<Step> {
    let mut steps = Vec::new();
    for (at, fault) in faults {
        if let Fault::KillAgent(_, delay)
        | Fault::CutAgent(_, _, delay)
        | Fault::FreezeAgent(_, delay)
        | Fault::RestartServer(delay) = fault
            && random.chance(600)
        {
            for _ in 0..3 {
                let at = at + random.within(0, *delay);
                steps.push(Step { at, ask: Ask::Terminate(random.number(), None) });
            }
        }
    }
    steps
}

fn fault(random: &mut Random, kind: usize, coordinator: u8, agent: u8) -> Fault {
    let cuts = [(true, true), (true, false), (false, true)];
    let (to_server, to_node) = cuts[random.index(3)];
    let cut = Cut { to_server, to_node };
    let jump = [-3_600_000, -30_000, 30_000, 600_000, 3_600_000][random.index(5)];
    let steps = u32::try_from(random.within(0, 30)).expect("small");
    match kind {
        0 => Fault::KillCoordinator(coordinator, random.within(10, 6_000)),
        1 => Fault::CoordinatorDiesIn(coordinator, steps),
        2 => Fault::FreezeCoordinator(coordinator, random.within(500, 10_000)),
        3 => Fault::KillAgent(agent, random.within(10, 20_000)),
        4 => Fault::AgentDiesIn(agent, steps % 8),
        5 => Fault::KillHost(agent, random.chance(500), random.within(100, 25_000)),
        6 => Fault::Reclaim(agent, random.within(200, 4_000), random.within(100, 15_000)),
        7 => Fault::CutAgent(agent, cut, random.within(500, 25_000)),
        8 => Fault::CutCoordinator(coordinator, cut, random.within(500, 12_000)),
        9 => Fault::RestartServer(random.within(10, 5_000)),
        // Perhaps longer than the leader's lease: then anybody may be the first to lead.
        10 => Fault::LoseTail(random.within(1, 12), random.within(10, 6_000)),
        11 => Fault::AgentClock(agent, jump),
        12 => Fault::CoordinatorClock(coordinator, jump),
        13 => Fault::Clone(agent, random.chance(500), random.within(3_000, 20_000)),
        14 => Fault::Storm(
            Weather { latency: random.within(1, 300), ..storm(random, 150) },
            random.within(500, 8_000),
        ),
        15 => Fault::Garbage(agent),
        16 => Fault::Flap(random.within(3_000, 15_000)),
        17 => Fault::LoseHost(agent),
        18 => Fault::CoordinatorDiesBusy(coordinator),
        _ => Fault::FreezeAgent(agent, random.within(500, 30_000)),
    }
}
