//! What is known of a run of chaos when it is over: what clients asked and were told, what ran, what
//! the cluster says of it all, and which faults there were. Data only; `check` judges it.
//!
//! All times are milliseconds since the epoch, by the clock of the one machine that everything is on.

use std::collections::{BTreeMap, BTreeSet};

use windrow_common::api::jobs::JobStatus;

use super::truth::Run;

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Of those that were answered with a job.
    pub submissions: Vec<Submission>,
    /// Keys of all submissions, answered or not.
    pub keys: BTreeSet<String>,
    /// Answered requests to end jobs.
    pub stops: Vec<Stop>,
    /// What ran, by its own account; hosts by name.
    pub runs: Vec<Run>,
    /// The jobs as they are described at the end, by id.
    pub jobs: BTreeMap<String, Job>,
    /// Every job that is listed at the end: id and name.
    pub listed: Vec<(String, String)>,
    /// The event stream; none when it was lost with the rest of its store.
    pub events: Option<Vec<Message>>,
    /// What was done to the cluster.
    pub faults: Vec<Fault>,
    /// How long an agent may go unheard before what it holds is given to others.
    pub lease_ttl: u64,
    /// Whether it is promised that two attempts of a child never run at the same time.
    pub is_strict: bool,
    /// What should have been cleaned up and was not.
    pub leftovers: Vec<String>,
}

/// A job that a client knows to be submitted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Submission {
    /// Its idempotency key, which is its name as well.
    pub key: String,
    /// The id it was answered with.
    pub job: String,
    /// Children; none of a single job.
    pub size: Option<u32>,
    /// Attempts allowed.
    pub attempts: u32,
    /// What it waits for, which must have succeeded.
    pub awaits: Vec<Awaits>,
}

/// What a job waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Awaits {
    /// The whole job.
    Job(String),
    /// Each child for the child of the same index.
    NToN(String),
}

/// A request to end a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    pub job: String,
    /// When the client knew that it is accepted.
    pub answered: u64,
}

/// A job as the cluster describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    pub status: JobStatus,
    /// Of an array: children by status.
    pub summary: BTreeMap<JobStatus, u32>,
    /// One of a single job.
    pub children: Vec<Child>,
}

/// A child as the cluster describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Child {
    pub status: JobStatus,
    /// Those that ended, the first one first.
    pub attempts: Vec<Attempt>,
}

/// An ended attempt as the cluster describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    pub exit_code: Option<i32>,
    pub reason: String,
}

impl Attempt {
    /// Whether its host was lost, which is not charged.
    pub fn is_lost(&self) -> bool {
        self.reason.starts_with("Host EC2")
    }
}

/// A message of the event stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its message id: `SEQUENCE.NUMBER`.
    pub id: String,
    /// A batch of records.
    pub payload: Vec<u8>,
}

/// Something that was done to a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The node's name.
    pub node: String,
    /// As printed.
    pub what: String,
    pub from: u64,
    pub until: u64,
}
