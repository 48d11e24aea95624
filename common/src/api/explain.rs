//! Why jobs wait, and where one would go: extensions of AWS Batch's API.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::definitions::RegisterJobDefinition;
use super::jobs::{JobDetail, JobStatus, SubmitJob};
use crate::wire::agent::Executor;

/// *Extension.* Asks why a job does not get on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ExplainJob {
    /// A job id, child id (`ID:index`), node id (`ID#node`), or an ARN of one. Of an array parent its
    /// first child that waits is explained.
    pub job_id: String,
}

/// *Extension.* Asks what the jobs of a queue wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ExplainQueue {
    /// Name or ARN; absent: all queues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_queue: Option<String>,
}

/// *Extension.* Checks a submission and says where it would go, and changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PlanJob {
    /// The submission.
    pub job: SubmitJob,
    /// A definition that it runs and that is not registered for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<RegisterJobDefinition>,
}

/// What keeps a job, in one word. Job-wide reasons come first: when one of them holds no agent could
/// help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WaitCode {
    /// It has ended.
    Ended,
    /// It runs.
    Running,
    /// It is being stopped on request.
    Stopping,
    /// It is on its agent and starts there.
    Starting,
    /// It is on its agent, which has no room for it yet: it holds a small backlog.
    Backlog,
    /// Its agent was not heard for some time; when its lease runs out it starts elsewhere.
    AgentUnheard,
    /// The coordinator has work left that decides about it, this instant.
    SchedulerBusy,
    /// Jobs it depends on have not ended.
    DependencyPending,
    /// It is tried again, but not before a time.
    Backoff,
    /// As many children of its array run as may.
    ConcurrencyLimit,
    /// No compute environment of its queue is ENABLED.
    CeDisabled,
    /// Too little is left of a consumable resource.
    ConsumableResource,
    /// Its quota share has no capacity left.
    Quota,
    /// Other shares of its queue are to go first.
    FairShare,
    /// No agent is there.
    NoAgent,
    /// The agents that could run it finish what they run and take nothing new.
    AgentDraining,
    /// The agents that could run it are lost.
    AgentLost,
    /// Something is wrong with the hosts that could run it, such as a full disk.
    AgentNotReady,
    /// No agent can run such jobs: executor, architecture, GPUs.
    Constraint,
    /// It is larger than every agent.
    NeverFits,
    /// Not all of its nodes find room together.
    GangWait,
    /// There is room, kept for a job that was there before it.
    Reservation,
    /// Jobs of queues with a higher priority wait for the same agents.
    Priority,
    /// Every agent that could run it is occupied.
    NoCapacityNow,
}

impl WaitCode {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::Ended,
        Self::Running,
        Self::Stopping,
        Self::Starting,
        Self::Backlog,
        Self::AgentUnheard,
        Self::SchedulerBusy,
        Self::DependencyPending,
        Self::Backoff,
        Self::ConcurrencyLimit,
        Self::CeDisabled,
        Self::ConsumableResource,
        Self::Quota,
        Self::FairShare,
        Self::NoAgent,
        Self::AgentDraining,
        Self::AgentLost,
        Self::AgentNotReady,
        Self::Constraint,
        Self::NeverFits,
        Self::GangWait,
        Self::Reservation,
        Self::Priority,
        Self::NoCapacityNow,
    ];

    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ENDED",
            Self::Running => "RUNNING",
            Self::Stopping => "STOPPING",
            Self::Starting => "STARTING",
            Self::Backlog => "BACKLOG",
            Self::AgentUnheard => "AGENT_UNHEARD",
            Self::SchedulerBusy => "SCHEDULER_BUSY",
            Self::DependencyPending => "DEPENDENCY_PENDING",
            Self::Backoff => "BACKOFF",
            Self::ConcurrencyLimit => "CONCURRENCY_LIMIT",
            Self::CeDisabled => "CE_DISABLED",
            Self::ConsumableResource => "CONSUMABLE_RESOURCE",
            Self::Quota => "QUOTA",
            Self::FairShare => "FAIR_SHARE",
            Self::NoAgent => "NO_AGENT",
            Self::AgentDraining => "AGENT_DRAINING",
            Self::AgentLost => "AGENT_LOST",
            Self::AgentNotReady => "AGENT_NOT_READY",
            Self::Constraint => "CONSTRAINT",
            Self::NeverFits => "NEVER_FITS",
            Self::GangWait => "GANG_WAIT",
            Self::Reservation => "RESERVATION",
            Self::Priority => "PRIORITY",
            Self::NoCapacityNow => "NO_CAPACITY_NOW",
        }
    }

    /// Where the reason lies.
    pub fn class(self) -> WaitClass {
        match self {
            Self::Ended | Self::Running => WaitClass::None,
            Self::Stopping | Self::Starting | Self::Backlog | Self::AgentUnheard => {
                WaitClass::Agent
            }
            Self::SchedulerBusy
            | Self::DependencyPending
            | Self::Backoff
            | Self::ConcurrencyLimit
            | Self::CeDisabled
            | Self::ConsumableResource
            | Self::Quota
            | Self::FairShare => WaitClass::Job,
            Self::NoAgent
            | Self::AgentDraining
            | Self::AgentLost
            | Self::AgentNotReady
            | Self::Constraint
            | Self::NeverFits
            | Self::GangWait
            | Self::Reservation
            | Self::Priority
            | Self::NoCapacityNow => WaitClass::Host,
        }
    }
}

impl fmt::Display for WaitCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a reason lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum WaitClass {
    /// It does not wait.
    None,
    /// With the agent it was given to.
    Agent,
    /// With the job, its queue or a limit: no agent could help.
    Job,
    /// With the agents there are.
    Host,
}

/// Why a job does not get on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// What was explained: of an array parent one of its children.
    pub job_id: String,
    /// Its name.
    pub job_name: String,
    /// Its queue's name.
    pub job_queue: String,
    /// Its status.
    pub status: JobStatus,
    /// The reason in one word.
    pub code: WaitCode,
    /// Where the reason lies.
    pub class: WaitClass,
    /// The reason in a sentence.
    pub message: String,
    /// What would change it, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// AWS Batch's status reason for it, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// Since when it has its status, in milliseconds; absent where that is not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// What would change it, for programs: with all of these carried out nothing of this kind keeps the
    /// job, and it starts unless something else does.
    #[serde(default)]
    pub fix: Vec<Fix>,
    /// Agents of the compute environments of its queue.
    #[serde(default)]
    pub nodes_considered: u32,
    /// Of these, how many cannot take it now, by the reason.
    #[serde(default)]
    pub excluded: BTreeMap<String, u32>,
    /// The agent that lacks the least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest_fit: Option<NearestFit>,
    /// Its place among the ready jobs of its queue, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// What goes before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead: Option<Ahead>,
    /// When it might start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    /// Why there is no estimate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_estimate: Option<String>,
    /// What it depends on that has not ended as it should, the first ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmet: Vec<Unmet>,
    /// Of an array parent that was asked about: its children by status.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub children: BTreeMap<JobStatus, u32>,
}

/// A dependency that is not met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unmet {
    /// The job, child or node that is waited for.
    pub job_id: String,
    /// Its status.
    pub status: JobStatus,
}

/// The agent that lacks the least.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NearestFit {
    /// Its name.
    pub agent: String,
    /// What it lacks: `VCPU` in thousandths, `MEMORY` in MiB, `GPU`. Empty: room that is kept for
    /// another job.
    pub missing: BTreeMap<String, u64>,
}

/// What goes before a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ahead {
    /// Ready jobs that go before it, of its queue and of queues with a higher priority on the same
    /// compute environments.
    pub jobs: u64,
    /// Their ready children.
    pub children: u64,
    /// What these will use, from the average run times of jobs like them; absent while one of them
    /// has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpu_seconds: Option<u64>,
    /// Whether there are more than were counted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_at_least: bool,
}

/// When a job might start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// As likely sooner as later, in seconds.
    pub p50: u64,
    /// Sooner in nine of ten cases, in seconds.
    pub p90: u64,
    /// What it was made from.
    pub basis: String,
}

/// Something that would let a job get on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Fix {
    /// A request.
    Request {
        /// The operation.
        operation: String,
        /// Its request.
        request: serde_json::Value,
        /// The same as one types it.
        command: String,
    },
    /// One more agent.
    StartAgent {
        /// In this compute environment.
        compute_environment: String,
        /// With at least these vCPUs, in thousandths.
        milli_cpu: u32,
        /// With at least this memory.
        memory_mib: u32,
        /// With at least these GPUs.
        #[serde(default)]
        gpus: u32,
        /// That runs such jobs.
        executor: Executor,
        /// Of this architecture; absent: any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        architecture: Option<String>,
    },
    /// Wait for a job to end as it should.
    JobEnds {
        /// The job, child or node.
        job_id: String,
        /// In this status; absent: in any that is final.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<JobStatus>,
    },
    /// Wait until a time, in milliseconds.
    Until {
        /// The time.
        time: u64,
    },
}

/// What the jobs of a queue wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainQueueResponse {
    /// Children that wait, by reason, the most frequent first. Ready jobs of a share with equal needs
    /// count for the reason of the first of them.
    pub reasons: Vec<QueueReason>,
    /// Children of the jobs looked at that have not ended, by status.
    pub children: BTreeMap<JobStatus, u64>,
    /// Jobs that were not looked at, as there are too many. Ready ones among them are in `reasons`,
    /// as one child each; others are not counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub jobs_not_looked_at: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Children of a queue that wait for the same reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueReason {
    /// Name of the queue.
    pub job_queue: String,
    /// The reason in one word.
    pub code: WaitCode,
    /// How many children (single jobs count as one).
    pub children: u64,
    /// How many jobs (arrays count as one).
    pub jobs: u64,
    /// One of these jobs.
    pub example: String,
    /// The reason of that one in a sentence.
    pub message: String,
    /// What would change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Where a submission would go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanJobResponse {
    /// Whether its first child, or all of its nodes, would start at once.
    pub starts_now: bool,
    /// The agents on which it would: of a multi-node job one for each node.
    #[serde(default)]
    pub agents: Vec<String>,
    /// Why it would wait; absent when it would start at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
    /// The job as it would be described, after merging definition and overrides.
    pub job: JobDetail,
}
