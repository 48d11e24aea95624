//! The whole cluster in one thread: takes what happens in the order of time and hands it to whom it
//! concerns.

mod faults;

use std::collections::BTreeMap;

use crate::agent::Agent;
use crate::bus::StreamSpec;
use crate::client::Client;
use crate::coordinator::Coordinator;
use crate::names;
use crate::net::{Happening, Message, Net, Node, Timer};
use crate::oracle::Oracle;
use crate::plan::Plan;
use crate::random::Random;
use crate::trace::{Detail, Trace};

/// How long everything may take to end once faults are over, in milliseconds.
const SETTLE: u64 = 12_000_000;
/// How long nothing may be left after that, in milliseconds.
const QUIET: u64 = 30_000;
/// More happenings than this are a loop.
const HAPPENINGS_MAX: u64 = 3_000_000;

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub seed: u64,
    /// Of all that happened.
    pub hash: u64,
    pub failure: Option<String>,
    /// Simulated time, in milliseconds.
    pub millis: u64,
    pub happenings: u64,
    pub jobs: u64,
    pub results: u64,
    /// Of a run with many kills: results accepted before the last one.
    pub results_at_last_kill: u64,
    pub attempts: u64,
    /// Faults that took effect, by name.
    pub injected: Vec<(&'static str, u64)>,
    /// The last lines of the trace, if they were asked for.
    pub lines: Vec<String>,
}

/// The cluster.
pub struct World {
    net: Net,
    plan: Plan,
    coordinators: Vec<Coordinator>,
    agents: Vec<Agent>,
    clients: Vec<Client>,
    is_calm: bool,
    /// Since when faults are over.
    calm_since: u64,
    /// A journal that lost messages is to be healed first: whoever remembers them must not die.
    heals: bool,
    term_at_loss: u64,
    happenings: u64,
    results_at_last_kill: u64,
    /// Clones that live, by the number of their fault.
    clones: BTreeMap<usize, u8>,
}

/// Runs a seed.
pub fn run(seed: u64, detail: Detail) -> Outcome {
    run_plan(seed, Plan::new(seed), detail)
}

/// Runs a plan, with the randomness of a seed.
pub fn run_plan(seed: u64, plan: Plan, detail: Detail) -> Outcome {
    let mut world = World::new(seed, plan, detail);
    world.start();
    world.go();
    world.outcome(seed)
}

impl World {
    fn new(seed: u64, plan: Plan, detail: Detail) -> Self {
        let mut net = Net::new(Random::new(seed), Trace::new(detail), Oracle::default());
        for (name, subject, is_memory, is_queue) in [
            (names::JOURNAL, "sim.journal", false, false),
            (names::SUBMIT, "sim.submit.*", false, true),
            (names::HISTORY, "sim.history.>", false, false),
            (names::DEAD, "sim.dead.*", false, false),
            (names::EVENTS, names::EVENTS_SUBJECT, false, false),
        ] {
            let spec = StreamSpec::file(name, subject);
            let spec = StreamSpec { memory: is_memory, work_queue: is_queue, ..spec };
            net.bus.create_stream(spec);
        }
        let mut world = Self {
            coordinators: (0..plan.coordinators)
                .map(|index| Coordinator::new(index, plan.snapshot_every))
                .collect(),
            agents: (0..).zip(&plan.agents).map(|(index, kind)| Agent::new(index, *kind)).collect(),
            clients: (0..)
                .zip(&plan.clients)
                .map(|(index, steps)| Client::new(index, steps.clone()))
                .collect(),
            net,
            plan,
            is_calm: false,
            calm_since: 0,
            heals: false,
            term_at_loss: 0,
            happenings: 0,
            results_at_last_kill: 0,
            clones: BTreeMap::new(),
        };
        world.make_memory_streams();
        for liar in &world.plan.liars {
            world.agents[usize::from(*liar)].lies = true;
        }
        world
    }

    /// Streams that a server without them gets, as a coordinator that starts would make them.
    fn make_memory_streams(&mut self) {
        let leases = StreamSpec::memory(names::LEASES, "sim.lease.*.*.*").work_queue();
        self.net.bus.create_stream(leases);
        self.net.bus.create_stream(StreamSpec::memory(names::REPORTS, "sim.report.*"));
    }

    fn start(&mut self) {
        self.net.weather = self.plan.weather;
        self.net.turn_steps = self.plan.turn_steps;
        for coordinator in &mut self.coordinators {
            coordinator.start(&mut self.net);
        }
        for agent in &mut self.agents {
            agent.start(&mut self.net);
        }
        for client in &mut self.clients {
            client.start(&mut self.net);
        }
        for (number, (at, _)) in self.plan.faults.iter().enumerate() {
            self.net.after(*at, Happening::Fault(number));
        }
        if self.plan.kills == 0 {
            self.net.after(self.plan.calm_at, Happening::Calm);
        }
        self.kill_again(0);
    }

    fn go(&mut self) {
        let mut over_since = None;
        while self.net.oracle.failure().is_none() {
            let Some(what) = self.net.pop() else { break };
            self.happenings += 1;
            self.happen(what);
            if self.happenings > HAPPENINGS_MAX {
                self.fail_to_end();
            }
            if !self.is_calm {
                continue;
            }
            let now = self.net.now;
            if self.happenings.is_multiple_of(64) {
                self.net.oracle.judge_calm(now, self.calm_since);
            }
            let is_over = self.net.oracle.is_over() && self.clients.iter().all(Client::is_done);
            match (is_over, over_since) {
                (true, None) => over_since = Some(now),
                (true, Some(since)) if now > since + QUIET => {
                    self.judge();
                    break;
                }
                (true, Some(_)) => {}
                (false, _) => over_since = None,
            }
            if now > self.plan.calm_at + SETTLE {
                self.fail_to_end();
            }
        }
    }

    fn fail_to_end(&mut self) {
        let waits = self.clients.iter().find(|client| !client.is_done());
        let waits = waits.map(Client::waits_for).unwrap_or_default();
        let roles: Vec<_> =
            self.coordinators.iter().map(|c| (c.is_running(), c.leads(), c.is_alarmed())).collect();
        let what = self.net.oracle.unfinished();
        let text = format!("I11: it does not come to an end: {what}; {waits}; {roles:?}");
        self.net.oracle.fail(text);
    }

    fn judge(&mut self) {
        self.net.oracle.judge_end();
        for agent in &self.agents {
            if let Some((name, session)) = agent.session() {
                self.net.oracle.judge_agent(&name, session);
            }
            if agent.held() > 0 {
                self.net.oracle.fail(format!("I12: an agent still holds {} leases", agent.held()));
            }
        }
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::AtServer { from, epoch, op } => {
                if self.net.is_current(from, epoch) {
                    self.net.serve(from, op);
                }
            }
            Happening::AtNode { to, epoch, message } => {
                if self.net.is_current(to, epoch) {
                    self.hand_over(to, message);
                }
            }
            Happening::Timer { node, life, timer } => self.wake(node, life, &timer),
            Happening::Redeliver { stream, consumer } => {
                self.net.redeliver(&stream, &consumer);
            }
            Happening::CutNoticed { node, epoch } => self.net.on_cut_noticed(node, epoch),
            Happening::Fault(usize::MAX) => {
                self.make_memory_streams();
                self.net.server_up();
            }
            Happening::Fault(number) => self.on_fault(number),
            Happening::FaultOver(number) => self.on_fault_over(number),
            Happening::Calm => self.calm_down(),
        }
    }

    fn hand_over(&mut self, to: Node, message: Message) {
        let kind = match &message {
            Message::Connected => 1,
            Message::Disconnected => 2,
            Message::Plain { payload, .. } => payload.len() as u64,
            Message::Answer { token, .. } => *token,
            Message::Delivered { deliveries, .. } => deliveries.len() as u64,
            Message::PullEnded { .. } => 3,
        };
        let now = self.net.now;
        self.net.trace.note(now, kind, || crate::trace::describe(to, &message));
        match to {
            Node::Coordinator(index) => {
                self.coordinators[usize::from(index)].on_message(&mut self.net, message);
                self.compare(index);
                self.die_busy(index);
            }
            Node::Agent(index) => {
                self.agents[usize::from(index)].on_message(&mut self.net, message);
            }
            Node::Client(index) => {
                self.clients[usize::from(index)].on_message(&mut self.net, message);
            }
            Node::Host(_) => {}
        }
    }

    fn wake(&mut self, node: Node, life: u32, timer: &Timer) {
        match node {
            Node::Coordinator(index) => {
                let coordinator = &mut self.coordinators[usize::from(index)];
                match timer {
                    Timer::Start if !coordinator.is_running() => {
                        coordinator.start(&mut self.net);
                        self.kill_again(index);
                    }
                    Timer::Start => {}
                    _ if coordinator.life == life => coordinator.on_timer(&mut self.net, timer),
                    _ => {}
                }
            }
            Node::Agent(index) => {
                let agent = &mut self.agents[usize::from(index)];
                match timer {
                    Timer::Start if !agent.is_running() => agent.start(&mut self.net),
                    Timer::Start => {}
                    _ if agent.life == life => agent.on_timer(&mut self.net, timer),
                    _ => {}
                }
            }
            Node::Host(index) => {
                let agent = &mut self.agents[usize::from(index)];
                if agent.host.life == life {
                    agent.on_host_timer(&mut self.net, timer);
                }
            }
            Node::Client(index) => {
                self.clients[usize::from(index)].on_timer(&mut self.net, timer);
            }
        }
    }

    /// A run with many kills: the next one.
    fn kill_again(&mut self, index: u8) {
        if self.plan.kills == 0 {
            return;
        }
        self.plan.kills -= 1;
        let steps = u32::try_from(self.net.random.within(0, 190)).expect("small");
        self.coordinators[usize::from(index)].die_in(steps);
        if self.plan.kills == 0 {
            self.results_at_last_kill = self.net.oracle.results();
            self.plan.calm_at = self.net.now + 60_000;
            self.net.after(60_000, Happening::Calm);
        }
    }

    /// Dies with work left, if it is to.
    fn die_busy(&mut self, index: u8) {
        let coordinator = &mut self.coordinators[usize::from(index)];
        if coordinator.dies_now() {
            self.net.inject("coordinator dies with work left");
            coordinator.kill(&mut self.net);
            let (life, delay) = (coordinator.life, self.net.random.within(50, 4_000));
            self.net.timer(Node::Coordinator(index), life, delay, Timer::Start);
        }
    }

    /// The leader's state is what the journal says, now and then.
    fn compare(&mut self, index: u8) {
        if self.happenings.is_multiple_of(64)
            && let Some(leading) = self.coordinators[usize::from(index)].leading()
        {
            leading.look(|state, position| self.net.oracle.compare(state, position));
        }
    }

    fn outcome(mut self, seed: u64) -> Outcome {
        let lines = self.net.trace.lines().map(str::to_owned).collect();
        let failure = self.net.oracle.failure().map(str::to_owned);
        Outcome {
            seed,
            hash: self.net.trace.hash(),
            failure,
            millis: self.net.now,
            happenings: self.happenings,
            jobs: self.net.oracle.model.count() as u64,
            results: self.net.oracle.results(),
            results_at_last_kill: self.results_at_last_kill,
            attempts: self.net.oracle.attempts(),
            injected: std::mem::take(&mut self.net.injected).into_iter().collect(),
            lines,
        }
    }
}
