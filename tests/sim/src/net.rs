//! The network between nodes and the server, and the clock: everything that happens is an entry in one
//! queue by time.
//!
//! What NATS promises holds: what one node sends on one connection arrives in order, and so does what
//! the server sends to it. Between nodes, and between requests, stream messages and plain messages of
//! one node, nothing is promised. A connection that breaks loses what was on its way.

mod link;
mod server;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use windrow_agent::executor::{AttemptKey, StopSignal};
use windrow_coordinator::actor::TURN_STEPS;

pub use link::{Cut, Link};
pub use server::{Answer, Op};

use crate::bus::{Bus, Delivery};
use crate::oracle::Oracle;
use crate::random::Random;
use crate::trace::Trace;

/// Something that takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    Coordinator(u8),
    Agent(u8),
    /// Where an agent's attempts run; it has timers only.
    Host(u8),
    Client(u8),
}

/// What a node gets.
#[derive(Clone, Debug)]
pub enum Message {
    /// The connection is there, with nothing subscribed.
    Connected,
    /// The connection is gone.
    Disconnected,
    /// A plain message.
    Plain { subject: String, reply: Option<String>, payload: Bytes },
    /// The answer to a request to the server.
    Answer { token: u64, answer: Answer },
    /// Messages of a stream.
    Delivered { consumer: String, deliveries: Vec<Delivery> },
    /// A consumer is not there.
    PullEnded { consumer: String },
}

/// Why a node is woken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Timer {
    /// The process starts.
    Start,
    /// A heartbeat interval.
    Tick,
    /// A deadline; only the one of the newest number counts.
    Deadline(u64),
    /// A wait is over; only the one of the newest number counts.
    Wake(u64),
    /// An agent's registration of this number.
    Register(u64),
    /// That was not answered.
    RegisterTimeout(u64),
    /// The next report message may go out.
    Report(u64),
    /// The attempt of this start number begins to run.
    Begins(AttemptKey, u64),
    /// It ends by itself.
    Ends(AttemptKey, u64),
    /// A signal takes effect.
    Dies(AttemptKey, u64, StopSignal),
    /// A host's keeper looks whether attempts must be over.
    Watchdog,
    /// A client's next step.
    Step(usize),
    /// A client's request was not answered.
    Unanswered(u64),
}

/// An entry of the queue.
#[derive(Clone, Debug)]
pub enum Happening {
    AtServer {
        from: Node,
        epoch: u32,
        op: Op,
    },
    AtNode {
        to: Node,
        epoch: u32,
        message: Message,
    },
    Timer {
        node: Node,
        life: u32,
        timer: Timer,
    },
    Redeliver {
        stream: String,
        consumer: String,
    },
    /// A node notices that its connection is cut.
    CutNoticed {
        node: Node,
        epoch: u32,
    },
    /// A fault begins or ends; the number is its place in the plan.
    Fault(usize),
    FaultOver(usize),
    /// Faults are over.
    Calm,
}

/// How bad the network is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Longest usual delay of a message, in milliseconds.
    pub latency: u64,
    /// Plain messages lost, of a thousand.
    pub lost: u64,
    /// Requests to JetStream that are not carried out, of a thousand.
    pub refused: u64,
    /// Requests to JetStream that are carried out and whose answer is lost, of a thousand.
    pub unanswered: u64,
    /// Plain messages that arrive twice, of a thousand.
    pub doubled: u64,
}

/// The network.
pub struct Net {
    /// Milliseconds since the beginning.
    pub now: u64,
    pub random: Random,
    pub bus: Bus,
    pub trace: Trace,
    pub oracle: Oracle,
    pub weather: Weather,
    /// Most steps of one turn of a coordinator.
    pub turn_steps: usize,
    /// Faults that took effect, by name.
    pub injected: BTreeMap<&'static str, u64>,
    queue: BTreeMap<(u64, u64), Happening>,
    next: u64,
    links: BTreeMap<Node, Link>,
    /// Who reads a consumer, and on which connection, the next to get something first: by stream and
    /// consumer.
    readers: BTreeMap<(String, String), VecDeque<(Node, u32)>>,
    server_is_up: bool,
    /// Reads of the journal that wait for its next message.
    reads: Vec<server::PendingRead>,
    /// When consumers are looked at again for messages that were not acknowledged.
    redeliveries: BTreeMap<(String, String), u64>,
}

impl Net {
    /// An empty one.
    pub fn new(random: Random, trace: Trace, oracle: Oracle) -> Self {
        Self {
            now: 0,
            random,
            bus: Bus::default(),
            trace,
            oracle,
            weather: Weather { latency: 2, ..Weather::default() },
            turn_steps: TURN_STEPS,
            injected: BTreeMap::new(),
            queue: BTreeMap::new(),
            next: 0,
            links: BTreeMap::new(),
            readers: BTreeMap::new(),
            server_is_up: true,
            reads: Vec::new(),
            redeliveries: BTreeMap::new(),
        }
    }

    /// Something will happen after so many milliseconds.
    pub fn after(&mut self, delay: u64, what: Happening) {
        self.at(self.now + delay, what);
    }

    fn at(&mut self, time: u64, what: Happening) {
        self.queue.insert((time, self.next), what);
        self.next += 1;
    }

    /// A node's timer.
    pub fn timer(&mut self, node: Node, life: u32, delay: u64, timer: Timer) {
        self.after(delay, Happening::Timer { node, life, timer });
    }

    /// The next thing that happens; time goes on to it.
    pub fn pop(&mut self) -> Option<Happening> {
        let ((time, _), what) = self.queue.pop_first()?;
        self.now = time;
        Some(what)
    }

    /// A fault took effect.
    pub fn inject(&mut self, fault: &'static str) {
        *self.injected.entry(fault).or_default() += 1;
        let now = self.now;
        let number = fault.bytes().fold(7, |sum, b| crate::random::mix(sum ^ u64::from(b)));
        self.trace.note(now, number, || format!("!! {fault}"));
    }
}
