//! A random mix of faults under a random load, from one seed. The seed decides what is done to whom and
//! what is submitted; when the machine gets to it, and who leads then, is not repeated.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use windrow_common::api::jobs::JobStatus;

use super::collect::{count, finish};
use super::history::{Awaits, History};
use super::load::{Desk, Order};
use super::net::Cut;
use super::node::Node;
use super::rig::{Options, Rig};
use super::truth::Task;

/// Children that may be on their way; more are submitted when these have ended.
const OPEN_LINES: usize = 400;
/// Time for everything to end once the faults are over.
const END_SECONDS: u64 = 180;

/// SplitMix64: small, seeded, and good enough to choose by.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A place in a list of this length, which is not 0.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below a length")
    }

    /// True once in so many throws.
    pub fn one_in(&mut self, throws: u64) -> bool {
        self.below(throws) == 0
    }
}

/// What can be done to a node and undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    PowerOff,
    Freeze,
    FreezeHost,
    Partition(Cut),
    /// From one NATS server.
    CutFrom(usize),
    /// Its wall clock is off by so many seconds.
    Clock(i64),
}

impl Fault {
    fn random(kind: Kind, servers: usize, dice: &mut Dice) -> Self {
        let cut = Self::CutFrom(dice.index(servers));
        let mut all = vec![
            Self::Kill,
            Self::Kill,
            Self::PowerOff,
            Self::Freeze,
            Self::FreezeHost,
            Self::Partition(Cut::Both),
            Self::Partition(Cut::In),
            Self::Partition(Cut::Out),
            cut,
        ];
        if kind == Kind::Coordinator {
            let hour = 3_600;
            all.extend([Self::Clock(hour), Self::Clock(-hour), cut]);
        }
        all[dice.index(all.len())]
    }

    /// `servers`: the addresses of the NATS servers.
    fn begin(self, node: &mut Node, servers: &[Ipv4Addr]) {
        match self {
            Self::Kill => node.kill(),
            Self::PowerOff => node.power_off(),
            Self::Freeze => node.freeze(),
            Self::FreezeHost => node.freeze_host(),
            Self::Partition(cut) => node.cut(cut),
            Self::CutFrom(server) => node.cut_from(servers[server]),
            Self::Clock(seconds) => {
                if !node.set_clock(seconds) {
                    eprintln!("{}: its clock cannot be set: libfaketime is missing", node.name);
                }
            }
        }
    }

    fn end(self, node: &mut Node) {
        match self {
            Self::Kill | Self::PowerOff => node.start(),
            Self::Freeze => node.thaw(),
            Self::FreezeHost => node.thaw_host(),
            Self::Partition(_) | Self::CutFrom(_) => node.heal(),
            Self::Clock(_) => {
                node.set_clock(0);
            }
        }
    }
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Server,
    Coordinator,
    Agent,
}

/// A place among [`Rig::nodes`], by dice: every other coordinator is the leader, whoever that is.
fn victim(rig: &mut Rig, dice: &mut Dice) -> (usize, Kind) {
    let (servers, coordinators) = (rig.servers.len(), rig.coordinators.len());
    match dice.below(3) {
        0 => (dice.index(servers), Kind::Server),
        1 => {
            let any = dice.index(coordinators);
            let chosen = if dice.one_in(2) { rig.leader().unwrap_or(any) } else { any };
            (servers + chosen, Kind::Coordinator)
        }
        _ => (servers + coordinators + dice.index(rig.agents.len()), Kind::Agent),
    }
}

/// Who is to suffer what.
fn choose(rig: &mut Rig, dice: &mut Dice) -> Vec<(usize, Fault)> {
    let (servers, coordinators) = (rig.servers.len(), rig.coordinators.len());
    match dice.below(12) {
        // The power of all of them fails.
        0 => (0..servers).map(|server| (server, Fault::Kill)).collect(),
        1 => (servers..servers + coordinators).map(|place| (place, Fault::Kill)).collect(),
        _ => {
            let mut chosen: Vec<(usize, Fault)> = Vec::new();
            for _ in 0..1 + dice.below(2) {
                let (place, kind) = victim(rig, dice);
                let fault = Fault::random(kind, servers, dice);
                if chosen.iter().all(|(other, _)| *other != place) {
                    chosen.push((place, fault));
                }
            }
            chosen
        }
    }
}

/// Three of everything.
pub fn options() -> Options {
    Options { coordinators: 3, ..Options::default() }
}

/// Runs for this time, then demands that everything ends and holds. Gives the history; none, when it
/// cannot run here.
///
/// # Panics
/// When something does not hold.
pub fn run(seed: u64, time: Duration, options: &Options) -> Option<History> {
    eprintln!("windrow-chaos random, seed {seed}, {} s", time.as_secs());
    let mut rig = Rig::start(options)?;
    let desk = rig.desk();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let users = scope.spawn(|| submit_until(&over, &desk, &mut Dice::new(seed ^ 0xff)));
        disturb(&mut rig, &desk, &mut Dice::new(seed), time);
        over.store(true, Ordering::Relaxed);
        users.join().expect("users do not panic");
    });
    let history = finish(&rig, &desk, END_SECONDS);
    eprintln!(
        "seed {seed}: {} faults, {} jobs, {} runs, {} children SUCCEEDED, {} FAILED",
        history.faults.len(),
        history.jobs.len(),
        history.runs.len(),
        count(&history, JobStatus::Succeeded),
        count(&history, JobStatus::Failed),
    );
    Some(history)
}

/// One or two faults at a time, with pauses.
fn disturb(rig: &mut Rig, desk: &Desk, dice: &mut Dice, time: Duration) {
    let start = Instant::now();
    let servers: Vec<Ipv4Addr> = rig.servers.iter().map(|node| node.host.address).collect();
    while start.elapsed() < time {
        let chosen = choose(rig, dice);
        for (place, fault) in &chosen {
            let node = rig.nodes().nth(*place).expect("a node of the rig");
            desk.fault_begins(&node.name, &format!("{fault:?}"));
            fault.begin(node, &servers);
        }
        std::thread::sleep(Duration::from_millis(300 + dice.below(9_000)));
        for (place, fault) in &chosen {
            let node = rig.nodes().nth(*place).expect("a node of the rig");
            fault.end(node);
            desk.fault_ends(&node.name);
        }
        std::thread::sleep(Duration::from_millis(500 + dice.below(4_000)));
        // As a supervisor does with what ended by itself.
        rig.nodes().for_each(Node::start);
    }
}

fn submit_until(over: &AtomicBool, desk: &Desk, dice: &mut Dice) {
    let mut known: Vec<(String, Option<u32>)> = Vec::new();
    let mut lines = 0;
    while !over.load(Ordering::Relaxed) {
        let order = order(&known, dice);
        // Two lines for each child, once it has run.
        lines += 2 * order.size.unwrap_or(1) as usize;
        known.push((desk.submit(&order), order.size));
        if dice.one_in(8) {
            let (job, _) = &known[dice.index(known.len())];
            if dice.one_in(2) { desk.terminate(job) } else { desk.cancel(job) }
        }
        std::thread::sleep(Duration::from_millis(50 + dice.below(600)));
        while !over.load(Ordering::Relaxed) && lines > desk.written() + 2 * OPEN_LINES {
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

fn order(known: &[(String, Option<u32>)], dice: &mut Dice) -> Order {
    let attempts = 1 + u32::try_from(dice.below(3)).expect("a small number");
    let fails = if dice.one_in(4) { 1 } else { 0 };
    let task = Task { run: 20 + dice.below(1_500), fails };
    let mut size = (!dice.one_in(3)).then(|| 2 + u32::try_from(dice.below(40)).expect("small"));
    let mut awaits = Vec::new();
    if !known.is_empty() && dice.one_in(3) {
        let (job, of_size) = &known[dice.index(known.len())];
        if of_size.is_some() && dice.one_in(2) {
            size = *of_size;
            awaits.push(Awaits::NToN(job.clone()));
        } else {
            awaits.push(Awaits::Job(job.clone()));
        }
    }
    Order { size, task, attempts, awaits }
}
