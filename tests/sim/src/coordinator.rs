//! A coordinator's process: the real election, journal chain, core and actor, and around them a model of
//! the shell that asks the server step by step, so that it can die between any two of them.

mod follower;
mod leading;

use std::time::Duration;

use windrow_common::time::{Moment, Timestamp};
use windrow_coordinator::actor::archiving::Keep;
use windrow_coordinator::actor::{Now, Settings};
use windrow_coordinator::core::State;
use windrow_coordinator::core::limits::Limits;
use windrow_coordinator::shell::election::{
    Action, Candidate, Election, Record, Role, Seen, Written,
};
use windrow_coordinator::shell::journal::Position;

use crate::names;
use crate::net::{Answer, Message, Net, Node, Op, Timer};
use follower::Follower;
pub use leading::Leader;

/// How often agents send a heartbeat.
pub const HEARTBEAT: Duration = Duration::from_millis(2000);
/// How long an agent may be silent.
pub const LEASE_TTL: Duration = Duration::from_secs(12);
/// How long a leader may be silent.
const LEADER_LEASE: Duration = Duration::from_secs(3);
/// How long a request to the server may go unanswered.
pub const REQUEST_TIMEOUT: u64 = 5_000;
/// Wall clocks begin here.
const EPOCH: u64 = 1_700_000_000_000;
/// The key of the election.
const KEY: &str = "leader";

/// What follows from something for the process.
#[derive(Debug)]
enum Next {
    Stay,
    /// Everything anew, from the connection on.
    StartOver(&'static str),
    /// Another coordinator has written: back to following.
    Fenced,
    /// The journal is not what it was, and nobody remembers more.
    Damaged(String),
    /// The term is stored and the streams are read.
    Lead,
    /// The process dies here.
    Die,
}

/// A coordinator.
pub struct Coordinator {
    node: Node,
    /// Number of the process: timers of earlier ones do not count.
    pub life: u32,
    /// How far its wall clock is ahead, in milliseconds.
    pub clock_offset: i64,
    /// Journal messages between two snapshots.
    snapshot_every: u64,
    /// Steps until it dies, if it is to die in the middle of something.
    dies_in: Option<u32>,
    process: Process,
    /// It does not get to run: messages and timers wait.
    is_frozen: bool,
    held_up: Vec<Wakeup>,
}

/// Something that came while the process was frozen.
enum Wakeup {
    Message(Message),
    Timer(Timer),
}

enum Process {
    Down,
    /// Stopped with an alarm.
    Alarmed,
    Up(Box<Up>),
}

/// A running process.
struct Up {
    election: Election,
    /// What the election waits for: token, what was asked, and when.
    asked: Option<(u64, Action, Duration)>,
    elect: u64,
    follower: Follower,
    leader: Option<Box<Leader>>,
}

impl Coordinator {
    /// Not started yet.
    pub fn new(index: u8, snapshot_every: u64) -> Self {
        Self {
            node: Node::Coordinator(index),
            life: 0,
            clock_offset: 0,
            snapshot_every,
            dies_in: None,
            process: Process::Down,
            is_frozen: false,
            held_up: Vec::new(),
        }
    }

    /// Whether the process runs.
    pub fn is_running(&self) -> bool {
        !matches!(self.process, Process::Down)
    }

    /// Whether it has stopped with an alarm.
    pub fn is_alarmed(&self) -> bool {
        matches!(self.process, Process::Alarmed)
    }

    /// The leader it is, if it is one as far as it knows.
    pub fn leader(&self) -> Option<&Leader> {
        match &self.process {
            Process::Up(up) => up.leader.as_deref(),
            Process::Down | Process::Alarmed => None,
        }
    }

    /// Starts the process.
    pub fn start(&mut self, net: &mut Net) {
        self.life += 1;
        self.dies_in = None;
        self.is_frozen = false;
        self.held_up.clear();
        net.trace.note(net.now, 11, || format!("{:?} starts", self.node));
        let nonce = net.random.number();
        let me = Candidate { holder: format!("{:?}", self.node), nonce, process: String::new() };
        let follower = Follower::new(self.node, self.life, self.snapshot_every, nonce);
        let election = Election::new(me, LEADER_LEASE);
        let up = Up { election, asked: None, elect: 0, follower, leader: None };
        self.process = Process::Up(Box::new(up));
        net.connect(self.node);
        net.timer(self.node, self.life, millis(HEARTBEAT), Timer::Tick);
    }

    /// Kills the process.
    pub fn kill(&mut self, net: &mut Net) {
        net.trace.note(net.now, 12, || format!("{:?} is killed", self.node));
        self.life += 1;
        self.process = Process::Down;
        net.hang_up(self.node);
    }

    /// It dies after so many steps more.
    pub fn die_in(&mut self, steps: u32) {
        self.dies_in = Some(steps);
    }

    /// It does not die in the middle of something, and runs.
    pub fn spare(&mut self) {
        self.dies_in = None;
    }

    /// Whether it stands still.
    pub fn is_frozen(&self) -> bool {
        self.is_frozen
    }

    /// It stands still, as after SIGSTOP.
    pub fn freeze(&mut self) {
        self.is_frozen = true;
    }

    /// It goes on, with all that has come meanwhile.
    pub fn thaw(&mut self, net: &mut Net) {
        self.is_frozen = false;
        for wakeup in std::mem::take(&mut self.held_up) {
            match wakeup {
                Wakeup::Message(message) => self.on_message(net, message),
                Wakeup::Timer(timer) => self.on_timer(net, &timer),
            }
        }
    }

    fn now(&self, net: &Net) -> Now {
        let wall = wall(net.now, self.clock_offset);
        Now { wall, monotonic: Duration::from_millis(net.now) }
    }

    /// Something has reached it.
    pub fn on_message(&mut self, net: &mut Net, message: Message) {
        if self.is_frozen {
            return self.held_up.push(Wakeup::Message(message));
        }
        let now = self.now(net);
        let Process::Up(up) = &mut self.process else { return };
        let next = match message {
            Message::Connected => {
                up.follower.on_connected(net);
                up.asked = None;
                up.election.on_unanswered(now.monotonic);
                Next::Stay
            }
            Message::Disconnected => {
                up.leave(net);
                Next::Stay
            }
            Message::Answer { token, answer } => match up.asked.take_if(|(t, ..)| *t == token) {
                Some((_, action, asked)) => {
                    up.on_election(action, asked, now.monotonic, answer);
                    Next::Stay
                }
                None => match &mut up.leader {
                    Some(leader) => leader.on_answer(net, token, answer, now),
                    None => up.follower.on_answer(net, token, answer, now),
                },
            },
            Message::Plain { .. } | Message::Delivered { .. } | Message::PullEnded { .. } => {
                match &mut up.leader {
                    Some(leader) => leader.on_message(net, message),
                    None => Next::Stay,
                }
            }
        };
        self.go_on(net, next);
    }

    /// A timer of its own.
    pub fn on_timer(&mut self, net: &mut Net, timer: &Timer) {
        if self.is_frozen {
            return self.held_up.push(Wakeup::Timer(timer.clone()));
        }
        if let Timer::Unanswered(token) = timer {
            return self.on_message(net, Message::timed_out(*token));
        }
        let now = self.now(net);
        if *timer == Timer::Tick {
            net.timer(self.node, self.life, millis(HEARTBEAT), Timer::Tick);
        }
        let Process::Up(up) = &mut self.process else { return };
        match (&mut up.leader, timer) {
            (Some(leader), Timer::Tick) => leader.on_tick(),
            (Some(leader), Timer::Deadline(number)) => leader.on_deadline(*number),
            (None, Timer::Wake(number)) => up.follower.on_wake(net, *number),
            (_, _) => {}
        }
        let _ = now;
        self.go_on(net, Next::Stay);
    }

    fn go_on(&mut self, net: &mut Net, next: Next) {
        let now = self.now(net);
        let Process::Up(up) = &mut self.process else { return };
        let next = match next {
            Next::Stay => up.go_on(net, now, &mut self.dies_in),
            other => other,
        };
        match next {
            Next::Stay => up.elect(net, now.monotonic),
            Next::Die => {
                net.inject("coordinator dies between two steps");
                self.kill(net);
                let delay = net.random.within(50, 4000);
                net.timer(self.node, self.life, delay, Timer::Start);
            }
            Next::StartOver(why) => {
                net.trace.note(net.now, 13, || format!("{:?} starts over: {why}", self.node));
                up.leave(net);
                net.connect(self.node);
            }
            Next::Fenced => {
                net.trace.note(net.now, 14, || format!("{:?} is fenced", self.node));
                net.inject("coordinator fenced");
                up.leave(net);
                net.connect(self.node);
            }
            Next::Damaged(what) => {
                net.trace.note(net.now, 15, || format!("{:?} ALARM: {what}", self.node));
                net.hang_up(self.node);
                self.process = Process::Alarmed;
            }
            Next::Lead => {
                net.trace.note(net.now, 16, || format!("{:?} leads", self.node));
                let parts = up.follower.hand_over(net, now);
                up.leader = Some(Box::new(Leader::new(parts)));
                self.go_on(net, Next::Stay);
            }
        }
    }
}

impl Up {
    /// Leads no more, and knows only what it knew when its state was as stored.
    fn leave(&mut self, net: &mut Net) {
        if let Some(leader) = self.leader.take() {
            self.follower.take_back(leader.into_known());
        }
        self.follower.pause(net);
        self.election.set_ready(None);
        self.asked = None;
    }

    fn go_on(&mut self, net: &mut Net, now: Now, dies_in: &mut Option<u32>) -> Next {
        let leads = self.election.role() == Role::Leader;
        match &mut self.leader {
            Some(_) if !leads => Next::Fenced,
            // It stood still, or is cut off: another may lead.
            Some(_) if !self.election.is_certain(now.monotonic) => Next::Stay,
            Some(leader) => {
                let at = leader.position();
                self.election.set_ready(Some((leader.term(), at)));
                leader.go_on(net, now, dies_in)
            }
            None => {
                self.election.set_ready(self.follower.ready());
                let leads = self.election.is_certain(now.monotonic);
                match leads && self.follower.is_idle() {
                    true => self.follower.take_over(net, now),
                    false => Next::Stay,
                }
            }
        }
    }

    fn on_election(&mut self, action: Action, asked: Duration, now: Duration, answer: Answer) {
        match (action, answer) {
            (Action::Look, Answer::Value(value)) => {
                let seen = value.and_then(|(revision, bytes)| {
                    let record: Record = serde_json::from_slice(&bytes).ok()?;
                    Some(Seen { revision, record })
                });
                self.election.on_seen(asked, now, seen);
            }
            (Action::Write { record, .. }, Answer::Revision(revision)) => {
                let written = revision.map_or(Written::Refused, Written::Stored);
                self.election.on_written(asked, record, written);
            }
            (_, _) => self.election.on_unanswered(now),
        }
    }

    /// Does what the election wants next.
    fn elect(&mut self, net: &mut Net, now: Duration) {
        let (node, life) = (self.follower.node(), self.follower.life());
        if self.asked.is_some() || !net.is_connected(node) {
            return;
        }
        let action = self.election.next(now);
        let key = KEY.to_owned();
        let token = match &action {
            Action::Wait { until } => {
                // Waking up is free of effects; the newest wait is enough.
                self.elect += 1;
                let delay = millis(until.saturating_sub(now)).max(1);
                return net.timer(node, life, delay, Timer::Elect(self.elect));
            }
            Action::Look => net.ask(node, life, 1000, |token| Op::Look { key, token }),
            Action::Write { expected, record } => {
                let value = serde_json::to_vec(record).expect("a record has a JSON form").into();
                let revision = *expected;
                net.ask(node, life, 1000, |token| Op::Set { key, value, revision, token })
            }
        };
        self.asked = Some((token, action, now));
    }
}

/// What a former leader knows.
struct Known {
    state: State,
    /// What the state is of, once the last turn is stored; it may be or not.
    position: Position,
    /// What is stored for certain.
    stored: Position,
}

/// What the simulated coordinators go by.
fn settings() -> Settings {
    Settings {
        limits: Limits::default(),
        subjects: names::subjects(),
        heartbeat: HEARTBEAT,
        lease_ttl: LEASE_TTL,
        finished: Keep { records: Duration::from_secs(25), ..Keep::default() },
    }
}

/// A duration in the unit of the simulation.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("durations here are short")
}

/// Both clocks of a node whose wall clock is so far ahead.
pub fn moment(now: u64, offset: i64) -> Moment {
    Moment { wall: wall(now, offset), monotonic: Duration::from_millis(now) }
}

/// The wall clock of a node whose clock is so far ahead.
pub fn wall(now: u64, offset: i64) -> Timestamp {
    Timestamp(EPOCH.saturating_add(now).saturating_add_signed(offset))
}
