//! A coordinator's process: the product's own election, phases, journal, core and actor, polled here by
//! hand whenever something comes in for them. It can die between any two things that it sends.

mod leading;
mod life;
mod port;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use windrow_common::time::{Moment, Timestamp};
use windrow_coordinator::actor::Settings;
use windrow_coordinator::actor::archiving::Keep;
use windrow_coordinator::core::limits::Limits;
use windrow_coordinator::shell::election::Candidate;
use windrow_coordinator::shell::inputs::known;
use windrow_coordinator::shell::leadership::Leadership;
use windrow_coordinator::shell::phases::Phases;

use crate::names;
use crate::net::{Message, Net, Node, Op, Timer};
pub use leading::Leading;
use life::Life;
use port::{Port, Want};

/// How often agents send a heartbeat.
pub const HEARTBEAT: Duration = Duration::from_millis(2000);
/// How long an agent may be silent.
pub const LEASE_TTL: Duration = Duration::from_secs(12);
/// The shortest time of a policy for agents that cannot be heard: three heartbeats.
pub const SILENCE_SECONDS_MIN: u32 = 6;
/// How long a leader may be silent.
const LEADER_LEASE: Duration = Duration::from_secs(3);
/// Wall clocks begin here.
const EPOCH: u64 = 1_700_000_000_000;
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
    /// It dies as soon as a turn leaves work for the next.
    pub dies_busy: bool,
    /// It dies when it is about to remove messages of the journal.
    pub dies_at_jump: bool,
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
    port: Port,
    leadership: Leadership<Port>,
    leading: Leading,
    life: Pin<Box<dyn Future<Output = String>>>,
    beside: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Something in it wants to be polled once more.
    again: Arc<Again>,
}

#[derive(Default)]
struct Again(AtomicBool);

impl Wake for Again {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
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
            dies_busy: false,
            dies_at_jump: false,
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

    /// What it leads with; it may not lead.
    pub fn leading(&self) -> Option<&Leading> {
        match &self.process {
            Process::Up(up) => Some(&up.leading),
            Process::Down | Process::Alarmed => None,
        }
    }

    /// Whether it leads, as far as it knows.
    pub fn leads(&self) -> bool {
        self.leading().is_some_and(Leading::is_on)
    }

    /// Starts the process.
    pub fn start(&mut self, net: &mut Net) {
        self.life += 1;
        self.dies_in = None;
        self.is_frozen = false;
        self.held_up.clear();
        net.trace.note(net.now, 11, || format!("{:?} starts", self.node));
        let nonce = net.random.number();
        let Node::Coordinator(index) = self.node else { return };
        let holder = format!("c{index}-{}", self.life);
        let me = Candidate { holder, nonce, process: String::new() };
        let port = Port::new(self.life);
        port.set_time(net.now, self.clock_offset);
        let leadership = Leadership::new(me, LEADER_LEASE, port.clone());
        let heard = leadership.clone();
        let leading = Leading::default();
        let life = Life {
            port: port.clone(),
            phases: Phases::new(leadership, limits(), false),
            leading: leading.clone(),
            snapshot_every: self.snapshot_every,
            turn_steps: net.turn_steps,
        };
        let (life, beside, again) = (Box::pin(life.live()), Vec::new(), Arc::default());
        self.process =
            Process::Up(Box::new(Up { port, leadership: heard, leading, life, beside, again }));
        self.go_on(net);
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

    /// Whether it is to die now, with work left for the next turn.
    pub fn dies_now(&mut self) -> bool {
        let has_work = |leading: &Leading| leading.work_left() > 1;
        let dies = self.dies_busy && !self.is_frozen && self.leading().is_some_and(has_work);
        self.dies_busy &= !dies;
        dies
    }

    /// It does not die in the middle of something, and runs.
    pub fn spare(&mut self) {
        self.dies_in = None;
        self.dies_busy = false;
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

    /// Something has reached it.
    pub fn on_message(&mut self, net: &mut Net, message: Message) {
        if self.is_frozen {
            return self.held_up.push(Wakeup::Message(message));
        }
        let Process::Up(up) = &self.process else { return };
        if let Message::Plain { subject, payload, .. } = &message
            && let Some(name) = names::subjects().parse_standby(subject)
        {
            // As a task of its own would; whoever waits looks now and then.
            up.port.set_time(net.now, self.clock_offset);
            return up.leadership.note_standby(name.to_owned(), known(payload));
        }
        if up.port.on_message(message) {
            self.go_on(net);
        }
    }

    /// A timer of its own.
    pub fn on_timer(&mut self, net: &mut Net, timer: &Timer) {
        if self.is_frozen {
            return self.held_up.push(Wakeup::Timer(timer.clone()));
        }
        let (Process::Up(up), Timer::Wake(number)) = (&self.process, timer) else { return };
        if up.port.on_woken(*number) {
            self.go_on(net);
        }
    }

    /// Lets it go as far as it can without waiting.
    fn go_on(&mut self, net: &mut Net) {
        let Process::Up(up) = &mut self.process else { return };
        up.port.set_time(net.now, self.clock_offset);
        let alarm = up.poll();
        while let Process::Up(up) = &self.process
            && let Some(want) = up.port.next_want()
        {
            self.do_what_it_wants(net, want);
        }
        if let Some(what) = alarm
            && self.is_running()
        {
            net.trace.note(net.now, 15, || format!("{:?} ALARM: {what}", self.node));
            net.hang_up(self.node);
            self.process = Process::Alarmed;
        }
    }

    fn do_what_it_wants(&mut self, net: &mut Net, want: Want) {
        let (node, now) = (self.node, net.now);
        match want {
            Want::Connect => net.connect(node),
            Want::Send(Op::PurgeJournal { .. }) if std::mem::take(&mut self.dies_at_jump) => {
                net.inject("coordinator dies in the middle of a repair");
                self.die(net);
            }
            Want::Send(op) => {
                // The election never rests, and would use the steps up.
                let counts = !matches!(op, Op::Look { .. } | Op::Set { .. });
                match &mut self.dies_in {
                    Some(0) if counts => return self.die(net),
                    Some(left) if counts => *left -= 1,
                    Some(_) | None => {}
                }
                net.send(node, op);
            }
            Want::Wake { delay, number } => {
                net.timer(node, self.life, delay, Timer::Wake(number));
            }
            Want::Note(number, text) => net.trace.note(now, number, || format!("{node:?} {text}")),
            Want::Leads => net.trace.note(now, 16, || format!("{node:?} leads")),
            Want::Decided(position, payload) => net.oracle.on_decided(position, &payload),
            Want::Acknowledged(sequence) => net.oracle.on_acknowledged(sequence),
            Want::DeadLetter(payload) => net.oracle.on_dead_letter(payload),
        }
    }

    fn die(&mut self, net: &mut Net) {
        net.inject("coordinator dies between two steps");
        self.kill(net);
        let delay = net.random.within(50, 4000);
        net.timer(self.node, self.life, delay, Timer::Start);
    }
}

impl Up {
    /// Polls everything until all of it waits; the alarm it has stopped with.
    fn poll(&mut self) -> Option<String> {
        let waker = Waker::from(self.again.clone());
        let mut context = Context::from_waker(&waker);
        loop {
            self.again.0.store(false, Ordering::Relaxed);
            if let Poll::Ready(what) = self.life.as_mut().poll(&mut context) {
                return Some(what);
            }
            self.beside.extend(self.port.take_background());
            self.beside.retain_mut(|work| work.as_mut().poll(&mut context).is_pending());
            if !self.again.0.load(Ordering::Relaxed) {
                return None;
            }
        }
    }
}

fn limits() -> Limits {
    Limits { silence_seconds_min: SILENCE_SECONDS_MIN, ..Limits::default() }
}

/// What the simulated coordinators go by.
fn settings(turn_steps: usize) -> Settings {
    Settings {
        limits: limits(),
        subjects: names::subjects(),
        heartbeat: HEARTBEAT,
        lease_ttl: LEASE_TTL,
        finished: Keep { records: Duration::from_secs(25), ..Keep::default() },
        turn_steps,
        cluster_keys: None,
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
