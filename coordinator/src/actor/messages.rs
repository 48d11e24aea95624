//! What goes into the actor and what comes out.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use windrow_common::api::ApiError;
use windrow_common::api::resources::DescribeClusterResponse;
use windrow_common::codec::Encoding;
use windrow_common::ids::{JobId, Name};
pub use windrow_common::time::Moment as Now;
use windrow_common::time::Timestamp;
use windrow_common::wire::agent::{Beat, Held, Register, RegisterReply, ReportMessage};

use super::archiving::Batch;
use super::requests::Told;
use crate::core::event::Event;
use crate::core::shelf::{PageId, Record};
use crate::view::changes::Change;
use crate::view::history::{Later, Shelved};

/// Something that arrives.
#[derive(Debug)]
pub enum Input {
    /// An API request; the answer goes to `reply`.
    Request { operation: String, payload: Bytes, encoding: Encoding, reply: Option<String> },
    /// A message of the submission stream, to be acknowledged once its turn is stored.
    Submission(Box<Submission>),
    /// An agent asks to join.
    Register { request: Box<Register>, reply: String },
    /// An agent lives.
    Beat { agent: Name, beat: Beat },
    /// An agent reports; with the message's place in the report stream.
    Report { sequence: u64, message: ReportMessage },
    /// Something an agent sent cannot be read.
    Unreadable { subject: String, payload: Bytes, reason: String },
    /// The history has everything of these finished jobs; each with the time of its end.
    Archived(Vec<(Timestamp, JobId)>),
    /// The history has this page of finished jobs.
    PageStored(PageId, Arc<Vec<Record>>),
    /// What the history had of the jobs that an input names, and that input.
    Loaded { records: Vec<Record>, then: Box<Self> },
    /// A heartbeat interval has passed.
    Tick,
}

/// A message of the submission stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Its place in the stream.
    pub sequence: u64,
    /// When it was published, by the clock of the stream.
    pub published: Timestamp,
    pub subject: String,
    pub payload: Bytes,
    pub encoding: Encoding,
    /// `Nats-Msg-Id`: the idempotency key if the request has none.
    pub message_id: Option<String>,
    /// Where the answer goes.
    pub reply_to: Option<String>,
}

/// What a turn has decided.
#[derive(Debug, Default)]
pub struct Turn {
    /// To be stored, each group in one journal message.
    pub groups: Vec<Vec<Event>>,
    /// What they changed, each with the number of its event.
    pub changes: Vec<(usize, Change)>,
    /// Whether another turn should follow at once.
    pub is_unfinished: bool,
    /// Number of events in the groups.
    pub(super) events: usize,
    pub(super) replies: Vec<Reply>,
    pub(super) dead: Vec<DeadLetter>,
    pub(super) registered: Vec<Joined>,
    pub(super) register: BTreeSet<Name>,
    pub(super) reports_upto: Option<u64>,
    /// Heartbeats to be answered: agent, session and number.
    pub(super) heard: Vec<(Name, u64, u64)>,
    pub(super) to_history: Option<Batch>,
    pub(super) loads: Vec<Load>,
    pub(super) is_tick: bool,
}

/// What may leave the process once a turn is stored, in this order.
#[derive(Debug, Default)]
pub struct Effects {
    /// Agents that asked to join: their consumers are to be made, then they are answered.
    pub registered: Vec<Joined>,
    /// Orders: subject and payload.
    pub messages: Vec<(String, Vec<u8>)>,
    /// Agents to be told to register.
    pub register: BTreeSet<Name>,
    /// To be stored before submissions are acknowledged.
    pub dead: Vec<DeadLetter>,
    pub replies: Vec<Reply>,
    /// Last report taken from the report stream.
    pub reports_upto: Option<u64>,
    /// Records to be stored; [`Input::Archived`] says that they are.
    pub to_history: Option<Batch>,
    /// Inputs that wait for jobs from the history.
    pub loads: Vec<Load>,
}

/// An input that names jobs which have left the memory. [`Input::Loaded`] brings them. A submission is
/// not to be acknowledged before that.
#[derive(Debug)]
pub struct Load {
    /// Pages that may have them, and which, the latest page first.
    pub pages: Vec<(PageId, Vec<JobId>)>,
    pub then: Input,
}

impl Load {
    /// The place in its stream of the submission that waits, if it is one.
    pub fn submission(&self) -> Option<u64> {
        if let Input::Submission(submission) = &self.then {
            Some(submission.sequence)
        } else {
            None
        }
    }
}

/// An answer to a request.
#[derive(Debug)]
pub struct Reply {
    pub to: String,
    pub encoding: Encoding,
    pub body: Body,
}

/// What is answered.
#[derive(Debug)]
pub enum Body {
    Answer(Answered),
    /// It lacks what the history has.
    Later(Box<Later>),
    /// It is about jobs that have left the memory.
    Shelved(Box<Shelved>),
    /// It lacks what only the process knows: memory, journal.
    Cluster(Box<DescribeClusterResponse>),
    /// Whether memory and journal agree: to be looked at beside the loop.
    Audit,
}

impl From<Result<Told, ApiError>> for Body {
    fn from(told: Result<Told, ApiError>) -> Self {
        match told {
            Ok(Told::Now(bytes)) => Self::Answer(Ok(bytes)),
            Ok(Told::Later(later)) => Self::Later(later),
            Ok(Told::Shelved(question)) => Self::Shelved(question),
            Ok(Told::Cluster(statistics)) => Self::Cluster(statistics),
            Ok(Told::Audit) => Self::Audit,
            Err(refused) => Self::Answer(Err(refused)),
        }
    }
}

/// An answer as the asker gets it, or a refusal.
pub type Answered = Result<Bytes, ApiError>;

/// A message that could not be accepted.
#[derive(Debug)]
pub struct DeadLetter {
    pub source: &'static str,
    pub subject: String,
    pub payload: Bytes,
    pub reason: String,
}

/// An agent that asked to join in this turn.
#[derive(Debug)]
pub struct Joined {
    pub agent: Name,
    pub reply: String,
    /// Its session before.
    pub before: Option<u64>,
    /// Its new session, and the children that it must give up; or the answer without one.
    pub outcome: Result<(u64, Vec<Held>), RegisterReply>,
}
