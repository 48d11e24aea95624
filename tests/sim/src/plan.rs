//! What a seed means: the cluster, what clients ask, and which faults come when. Each seed switches some
//! faults and some kinds of work on and the others off, so that rare combinations come up.

mod faults;
mod work;

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
    Environment(Policy),
    /// Another policy for its agents that cannot be heard.
    Disconnect(Policy),
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

/// What is done about agents that cannot be heard; times in seconds, 0: the usual.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    pub lost_after: u32,
    pub stop_after: u32,
    pub keeps_original: bool,
    /// Never two live attempts.
    pub is_strict: bool,
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

impl Plan {
    /// What this seed means.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed_5eed);
        let calm_at = random.within(15_000, 50_000);
        let coordinators = u8::try_from(random.within(1, 3)).expect("small");
        let count = u8::try_from(random.within(1, 4)).expect("small");
        let agents: Vec<Kind> = (0..count).map(|name| kind(&mut random, name)).collect();
        let latency = [1, 3, 10, 40][random.index(4)];
        let weather = Weather { latency, ..faults::storm(&mut random, 20) };
        let is_stormy = random.chance(400);
        let weather = if is_stormy { weather } else { Weather { latency, ..Weather::default() } };
        let liars = (0..count).filter(|_| random.chance(120)).collect();
        let policies = work::policies(&mut random);
        let mut clients = work::clients(&mut random, calm_at, count, &policies);
        let mut faults = faults::faults(&mut random, calm_at, coordinators, count);
        if policies[0].stop_after > 0 {
            faults.extend(faults::silences(&mut random, calm_at, count));
            faults.sort_by_key(|(at, _)| *at);
        }
        clients.push(faults::questions(&mut random, &faults));
        clients.push(faults::stops(&mut random, &faults));
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
        let setup =
            [Ask::Environment(Policy::default()), Ask::Queue("q0".to_owned()), Ask::Definition];
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
