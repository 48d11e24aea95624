//! What agents tell the coordinator: registration, heartbeats, reports.

use serde::{Deserialize, Serialize};

use crate::ids::{JobId, LeaseId, Name};
use crate::time::Timestamp;
use crate::units::Resources;

/// A way to run an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Executor {
    /// A plain process on the host.
    Process,
    /// A Docker container.
    Docker,
}

/// A processor architecture that a job can ask for. Agents may have others, which no job asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Architecture {
    /// AMD and Intel, 64 bit.
    #[serde(rename = "X86_64")]
    X86_64,
    /// 64-bit ARM.
    #[serde(rename = "ARM64")]
    Arm64,
}

impl Architecture {
    /// Both.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Arm64];

    /// As AWS Batch and [`Register::architecture`] spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "X86_64",
            Self::Arm64 => "ARM64",
        }
    }
}

/// Asks to join, or to join again. Sent at start, after each reconnect, and when told so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// [`super::VERSION`] of the sender.
    pub version: u16,
    /// The agent. Keeps its name over restarts, by its state directory.
    pub agent: Name,
    /// Chosen at each start of the agent.
    pub boot: u64,
    /// Name of the host, for people.
    pub host: String,
    /// The compute environment it joins; created by an operator before.
    pub compute_environment: Name,
    /// What jobs may use: the host's, less the reserve.
    pub resources: Resources,
    /// Ways to run attempts that work here.
    pub executors: Vec<Executor>,
    /// Processor architecture as AWS Batch spells it: `X86_64`, `ARM64`.
    pub architecture: String,
    /// Version of the agent's program.
    pub agent_version: String,
    /// The agent's clock.
    pub clock: Timestamp,
    /// Children it holds: not started, running, or ended and not confirmed.
    pub held: Vec<Held>,
    /// IPv4 address at which other hosts reach this one; absent when it is not known.
    #[serde(default)]
    pub address: Option<String>,
    /// Its GPUs, as many as `resources` counts.
    #[serde(default)]
    pub gpus: Vec<Gpu>,
    /// Highest term of a coordinator that it has seen, over all its starts. A coordinator of a lower
    /// one has lost the end of its journal.
    #[serde(default)]
    pub term_seen: u64,
    /// Highest lease that it has seen, over all its starts.
    #[serde(default)]
    pub lease_seen: LeaseId,
    /// What keeps it from running some jobs or any.
    #[serde(default)]
    pub problems: Vec<Problem>,
    /// Which registration of this start it is, each higher than those before; 0: not told. One that comes
    /// twice or late tells what was so before the agent had what a later one brought it.
    #[serde(default)]
    pub number: u64,
}

/// Something wrong with a host. Told with a registration, and taken back with a later one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What is wrong, for people.
    pub message: String,
    /// While it lasts the agent starts nothing.
    pub takes_no_work: bool,
}

/// A GPU of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// Names it for good, such as `GPU-8a5f...`.
    pub id: String,
    /// Such as `NVIDIA A100-SXM4-40GB`.
    pub model: String,
    /// Its memory in MiB.
    pub memory_mib: u32,
}

/// Children of one lease that an agent holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The lease.
    pub lease: LeaseId,
    /// The children, as (first, count).
    pub children: Vec<(u32, u32)>,
    /// Their job, where the agent tells it: by it a lease that was given up is found again.
    #[serde(default)]
    pub job: Option<JobId>,
    /// Those of the children that run no more and have no result of their own: nothing is gained by
    /// accepting their lease again.
    #[serde(default)]
    pub lost: Vec<(u32, u32)>,
}

/// Answer to [`Register`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RegisterReply {
    /// Joined.
    Accepted(Session),
    /// Not joined, and trying again unchanged is of no use until an operator acts.
    Refused {
        /// Why, for people.
        message: String,
    },
    /// Not joined: another process came after this one, under the same name, and is heard. All that
    /// this one holds is given to others: it is to be killed, and nothing of it reported.
    Replaced {
        /// By whom, for people.
        message: String,
    },
}

/// One connection of an agent to the cluster. Reports of a session are numbered from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Number of the session; cluster-wide, only rises.
    pub session: u64,
    /// The coordinator's term.
    pub term: u64,
    /// The stream to pull orders from.
    pub stream: String,
    /// The consumer on it.
    pub consumer: String,
    /// How often to send a heartbeat.
    pub heartbeat_millis: u64,
    /// Held children the coordinator has given up on: stop them and report nothing.
    pub fenced: Vec<Held>,
    /// When the agent stops its jobs by itself; absent: never.
    #[serde(default)]
    pub self_fence: Option<SelfFence>,
}

/// When an agent that reaches no coordinator stops its jobs by itself. Time counts from when it sent
/// the last message that was answered, by a clock that does not jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfFence {
    /// After this time it tells them to stop, and starts nothing.
    pub stop_after_millis: u64,
    /// After this time it kills what is left; absent: each has its own time to stop.
    pub kill_after_millis: Option<u64>,
}

/// Says that an agent lives. Renews all its leases at once. Not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// [`super::VERSION`] of the sender.
    pub version: u16,
    /// The agent's session.
    pub session: u64,
    /// The agent's clock.
    pub clock: Timestamp,
    /// Children held and not started.
    pub waiting: u32,
    /// Children running.
    pub running: u32,
    /// Highest lease taken from the order stream.
    pub last_lease: LeaseId,
    /// Number of the last report sent.
    pub last_report: u64,
    /// Load average of the host over one minute, in hundredths.
    pub load: u32,
    /// Its number in the session, from 1, for the answer.
    #[serde(default)]
    pub number: u64,
    /// How long the last answer to a heartbeat took; absent before the first.
    #[serde(default)]
    pub round_trip_millis: Option<u32>,
}

/// Hints to an agent outside the order stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// Register again now: the coordinator is new or does not know the session.
    Register,
    /// The coordinator of this term has heard this heartbeat. Sent where the agent stops its jobs
    /// when it is not heard.
    Heard {
        /// The heartbeat's session.
        session: u64,
        /// The coordinator's term.
        term: u64,
        /// The heartbeat's number.
        number: u64,
    },
}

/// A batch of reports of one session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportMessage {
    /// [`super::VERSION`] of the sender.
    pub version: u16,
    /// The sender.
    pub agent: Name,
    /// Its session.
    pub session: u64,
    /// Number of the first report; the others follow on.
    pub first: u64,
    /// In the order in which they happened.
    pub reports: Vec<Report>,
}

/// What happened to children of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// An attempt runs.
    Started {
        /// Its lease.
        lease: LeaseId,
        /// Its job.
        job: JobId,
        /// Its index.
        child: u32,
        /// When, by the agent's clock.
        at: Timestamp,
    },
    /// An attempt ended.
    Ended(Ended),
    /// Children that never started are handed back.
    Returned {
        /// Their lease.
        lease: LeaseId,
        /// Their job.
        job: JobId,
        /// The children, as (first, count).
        children: Vec<(u32, u32)>,
    },
    /// The agent stops: it takes no work until it registers again. Its last report.
    Leaving,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its lease.
    pub lease: LeaseId,
    /// Its job.
    pub job: JobId,
    /// Its index.
    pub child: u32,
    /// When it started; absent if it never ran.
    pub started_at: Option<Timestamp>,
    /// When it ended, by the agent's clock.
    pub ended_at: Timestamp,
    /// Exit status; 128 and the signal's number when killed; absent if it never ran.
    pub exit_code: Option<i32>,
    /// Why it ended.
    pub cause: EndCause,
    /// Detail for people, in AWS's words where it has them; at most 255 characters.
    pub reason: Option<String>,
    /// Bytes of output shipped to the log stream.
    pub log_bytes: u64,
    /// How each container ended, of an attempt with several.
    #[serde(default)]
    pub containers: Vec<ContainerEnd>,
}

/// How one of several containers of an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerEnd {
    /// Its name in the job.
    pub name: String,
    /// Its exit status; absent if it never ran.
    pub exit_code: Option<i32>,
    /// Detail for people, as for the whole attempt.
    pub reason: Option<String>,
}

/// Why an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndCause {
    /// The program ended by itself, or by a signal that was not ours.
    Exited,
    /// It could not be started: no such program, image or directory.
    StartFailed,
    /// It ran out of its memory limit.
    OutOfMemory,
    /// It ran longer than its time limit.
    TimedOut,
    /// It was stopped by order of the coordinator.
    Stopped,
    /// The host's fault: the agent was stopping or lost sight of it. Not charged to the job.
    HostLost,
}
