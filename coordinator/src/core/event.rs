//! Facts. The journal is a sequence of these and the state a function of it. Append only: variants
//! are added at the end, fields at the end with a default.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use windrow_common::access::AccessKeyId;
use windrow_common::ids::{JobId, LeaseId, Name};
use windrow_common::time::Timestamp;
use windrow_common::units::Resources;
use windrow_common::wire::agent::{Executor, Gpu, Problem};
use windrow_common::wire::lease::SpecDigest;

use super::alarms::{Acknowledged, Recovered};
use super::blocked::Line;
use super::children::{Attempt, NeverRan, NodeEnd, Ranges};
use super::consumables::{Consumable, Token};
use super::disconnect::Disconnect;
use super::policies::Policy;
use super::quota::{JobQuota, Preemption, QuotaShare};
use super::services::ServiceEvent;
use super::shelf::Record;
use super::state::{AccessKey, Dependency, Environment, JobSpec, Nodes, Queue, Revision};
use super::tags::{Tagged, Tags};
use crate::scheduler::Reservation;

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A coordinator leads.
    TermStarted {
        term: u64,
    },
    /// A queue was created or changed; its count of active jobs is not taken from here.
    QueueSet {
        name: Name,
        queue: Queue,
    },
    QueueDeleted {
        name: Name,
    },
    EnvironmentSet {
        name: Name,
        environment: Environment,
    },
    EnvironmentDeleted {
        name: Name,
    },
    RevisionRegistered {
        name: Name,
        revision: u32,
        content: Box<Revision>,
    },
    RevisionDeregistered {
        name: Name,
        revision: u32,
    },
    SpecAdded {
        digest: SpecDigest,
        spec: Arc<JobSpec>,
    },
    JobSubmitted {
        job: JobId,
        submitted: Box<Submitted>,
    },
    /// A message of the submission stream is dealt with, accepted or not.
    SubmissionTaken {
        sequence: u64,
        /// By the clock of the stream.
        #[serde(default)]
        published: Timestamp,
    },
    JobAdmitted {
        job: JobId,
    },
    /// Children whose dependencies are met.
    ChildrenReleased {
        job: JobId,
        children: Ranges,
        #[serde(default)]
        at: Timestamp,
    },
    /// Children that end FAILED without running (again).
    ChildrenFailed {
        job: JobId,
        children: Ranges,
        ended: NeverRan,
    },
    /// Cancel was accepted.
    JobCancelled {
        job: JobId,
        /// Those that ended by it.
        children: Ranges,
        reason: Arc<str>,
        /// The job was named as a whole.
        whole: bool,
    },
    /// Terminate was accepted: these children have ended by it or are stopped, none is tried again.
    StopRequested {
        job: JobId,
        children: Ranges,
        reason: Arc<str>,
        /// The job was named as a whole.
        whole: bool,
    },
    LeaseGranted(Granted),
    ChildrenStarted {
        lease: LeaseId,
        started: Vec<(u32, Timestamp)>,
    },
    ChildrenEnded {
        lease: LeaseId,
        ended: Vec<ChildEnd>,
    },
    /// Children that never started, handed back.
    LeaseReturned {
        lease: LeaseId,
        children: Ranges,
    },
    AgentRegistered {
        agent: Name,
        registered: Box<Registered>,
    },
    /// It was not heard for too long, or left.
    AgentLost {
        agent: Name,
    },
    AgentDrained {
        agent: Name,
        draining: bool,
    },
    /// Reports of the agent's session up to this number are dealt with.
    ReportsTaken {
        agent: Name,
        upto: u64,
    },
    /// A report named a lease that is not the child's.
    ResultsFenced {
        count: u64,
    },
    /// The first piece of follow-up work is done.
    WorkDone,
    /// Children that have waited long enough to be tried again.
    BackOffEnded {
        job: JobId,
        children: Ranges,
    },
    ConsumableCreated {
        name: Name,
        consumable: Box<Consumable>,
    },
    /// Its total changed, by an update with this client token.
    ConsumableChanged {
        name: Name,
        total: u64,
        token: Option<(String, Token)>,
    },
    ConsumableDeleted {
        name: Name,
    },
    /// A job was changed; what is absent stays.
    JobUpdated {
        job: JobId,
        /// 0: no limit any more.
        max_parallel: Option<u32>,
        #[serde(default)]
        priority: Option<u32>,
    },
    /// FAILED children wait and run again in place.
    ChildrenReopened {
        job: JobId,
        children: Ranges,
        /// The idempotency key and the digest of the request.
        key: Option<(String, u64)>,
        at: Timestamp,
    },
    /// A disabled queue goes, and its jobs with it.
    QueueDeleting {
        name: Name,
    },
    /// Jobs of a queue that is being deleted were ended up to this one; all of them if there is none.
    QueueEmptied {
        name: Name,
        upto: Option<JobId>,
    },
    /// All tags of something are these now.
    TagsSet {
        resource: Tagged,
        tags: Tags,
    },
    /// All nodes of a multi-node job are leased at once.
    NodesGranted(NodesGranted),
    /// Leases of nodes whose orders are not at their agents get new numbers (old, new), and the
    /// orders go out.
    NodesRenewed {
        job: JobId,
        leases: Vec<(LeaseId, LeaseId)>,
    },
    /// An attempt of a multi-node job is over: nodes that still run are to stop.
    NodesStopped {
        job: JobId,
    },
    /// Every node's part in the attempt has ended, and this follows for all of them; the status
    /// reason is the main node's, unless it is absent.
    NodesEnded {
        job: JobId,
        then: Then,
        status_reason: Option<Arc<str>>,
        at: Timestamp,
        not_before: Option<Timestamp>,
    },
    /// The main node was handed back before any node started: all go back.
    NodesReturned {
        job: JobId,
    },
    /// A scheduling policy was created or changed.
    PolicySet {
        name: Name,
        policy: Box<Policy>,
    },
    PolicyDeleted {
        name: Name,
    },
    /// The history has the records of these finished jobs; here they are given up.
    JobsArchived {
        jobs: Vec<JobId>,
    },
    /// These finished jobs are unknown from now on.
    JobsForgotten {
        jobs: Vec<JobId>,
    },
    QuotaShareSet {
        queue: Name,
        name: Name,
        share: Box<QuotaShare>,
    },
    /// It takes no more jobs and goes when those it has have ended.
    QuotaShareDeleted {
        queue: Name,
        name: Name,
    },
    /// Leased children are stopped to make room for another job; they are tried again.
    ChildrenPreempted(Preempted),
    /// Use of shares counts from here on.
    TimePassed {
        at: Timestamp,
    },
    /// A share had no jobs for so long that it is no longer active.
    ShareForgotten {
        queue: Name,
        share: Name,
    },
    /// The job at the head of a queue, or of a share of it, cannot start as things are; from when
    /// on, and its status reason.
    QueueBlocked {
        line: Line,
        job: JobId,
        reason: Arc<str>,
        at: Timestamp,
    },
    /// That is over.
    QueueUnblocked {
        line: Line,
    },
    /// This agent is kept for the first job of a queue; none is any more if there is none.
    HeadReserved {
        queue: Name,
        reservation: Option<Reservation>,
    },
    /// Something was lost; numbers go on far above what was seen.
    Recovered(Box<Recovered>),
    /// The lease of an agent that cannot be heard is about to be lost with it; the agent can have it
    /// back.
    LeaseGivenUp {
        lease: LeaseId,
    },
    /// Children that were leased in place of those that another agent has back: they are stopped and
    /// wait again, in the same attempt.
    LeaseRevoked {
        lease: LeaseId,
        agent: Name,
        children: Ranges,
    },
    /// An agent came back and has children of a given-up lease back.
    LeaseReclaimed(Reclaimed),
    /// This page of the history has these finished jobs; here they are given up.
    JobsShelved {
        page: u64,
        term: u64,
        jobs: Vec<JobId>,
    },
    /// A finished job is back in memory, as a page of the history has it.
    JobLoaded(Box<Record>),
    /// The jobs of the pages up to this one are unknown from now on.
    PagesForgotten {
        upto: u64,
    },
    /// So many blocks of idempotency keys of shelved jobs are forgotten, the oldest.
    KeysForgotten {
        blocks: usize,
    },
    /// Somebody has seen to an alarm.
    AlarmAcknowledged {
        alarm: u64,
        acknowledged: Acknowledged,
    },
    AccessKeyCreated {
        id: AccessKeyId,
        key: Box<AccessKey>,
    },
    AccessKeyRevoked {
        id: AccessKeyId,
    },
    /// Of service environments and service jobs.
    Service(Box<ServiceEvent>),
}

/// Children that an agent has back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reclaimed {
    pub lease: LeaseId,
    pub agent: Name,
    pub job: JobId,
    pub children: Ranges,
}

/// A job as submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    pub name: Name,
    pub queue: Name,
    pub definition: (Name, u32),
    pub spec: SpecDigest,
    pub at: Timestamp,
    pub array_size: Option<u32>,
    pub depends_on: Vec<Dependency>,
    pub parameters: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
    /// The idempotency key and the digest of the request.
    pub key: Option<(String, u64)>,
    /// Most children STARTING or RUNNING at a time.
    #[serde(default)]
    pub max_parallel: Option<u32>,
    /// Whether attempts get the tags of definition and job.
    #[serde(default)]
    pub propagate_tags: bool,
    /// The share of its queue.
    #[serde(default)]
    pub share: Option<Name>,
    /// The scheduling priority.
    #[serde(default)]
    pub priority: u32,
    /// Of a multi-node parallel job.
    #[serde(default)]
    pub nodes: Option<Box<Nodes>>,
    /// The job of which it is a rerun.
    #[serde(default)]
    pub rerun_of: Option<JobId>,
    /// What SUCCEEDED in that job is not run again.
    #[serde(default)]
    pub only_failed: bool,
    /// In a queue of quota shares.
    #[serde(default)]
    pub quota: Option<JobQuota>,
}

/// Children that lose their place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preempted {
    pub job: JobId,
    pub children: Ranges,
    pub preemption: Preemption,
}

/// A lease as given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    pub lease: LeaseId,
    pub agent: Name,
    pub job: JobId,
    pub children: Range<u32>,
    pub attempt: u32,
    #[serde(default)]
    pub at: Option<Timestamp>,
}

/// Leases for all nodes of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodesGranted {
    pub job: JobId,
    /// Of node 0; the others follow on.
    pub first_lease: LeaseId,
    /// Numbers of the agents, by node.
    pub agents: Vec<u32>,
    #[serde(default)]
    pub at: Option<Timestamp>,
}

/// An agent as registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    pub session: u64,
    pub boot: u64,
    pub host: String,
    pub environment: Name,
    pub resources: Resources,
    pub executors: Vec<Executor>,
    pub architecture: String,
    pub version: String,
    /// Where other hosts reach it.
    #[serde(default)]
    pub address: Option<String>,
    #[serde(default)]
    pub gpus: Vec<Gpu>,
    /// What was agreed for the time when it cannot be heard.
    #[serde(default)]
    pub disconnect: Disconnect,
    #[serde(default)]
    pub problems: Vec<Problem>,
    /// Of the registration, among those of the boot.
    #[serde(default)]
    pub number: u64,
}

/// The end of an attempt and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildEnd {
    pub child: u32,
    pub then: Then,
    pub attempt: Attempt,
    /// When another attempt may start at the earliest; absent: at once.
    #[serde(default)]
    pub not_before: Option<Timestamp>,
}

/// What follows from the end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Then {
    Succeeded,
    Failed,
    /// Another attempt, this one charged to the job.
    Retry,
    /// Another attempt, this one not charged: the host's fault.
    RetryUncharged,
    /// A node's part in its job's attempt has ended; what follows is told by `NodesEnded`.
    Node(NodeEnd),
    /// Another attempt: this one made room for another job.
    Preempted,
}
