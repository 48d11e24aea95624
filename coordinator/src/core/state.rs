//! Everything the coordinator knows: built by [`super::apply`] from the journal's events and by nothing
//! else. Iterated in order only, so that a replay gives the same state.

mod access;
mod copy;
mod dependency;
mod nodes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rangemap::RangeSet;
use serde::{Deserialize, Serialize};
use windrow_common::access::AccessKeyId;
use windrow_common::api::definitions::RegisterJobDefinition;
use windrow_common::api::jobs::JobStatus;
use windrow_common::api::resources::{AgentStatus, JobStateTimeLimitAction, ResourceState};
use windrow_common::ids::{JobId, JobRef, LeaseId, Name};
use windrow_common::time::Timestamp;
use windrow_common::units::Resources;
use windrow_common::wire::agent::{Architecture, Executor, Gpu, Problem};
use windrow_common::wire::lease::{SpecDigest, TaskSpec};

pub use access::AccessKey;
pub use dependency::{Awaited, Dependency, Met};
pub use nodes::{NodeGroup, Nodes, Phase};

use super::alarms::Alarm;
use super::blocked::{Blocked, Line};
use super::children::{Child, Children, Ranges};
use super::consumables::{Consumable, Needs};
use super::disconnect::{Disconnect, GivenUp};
use super::index::{Index, Standing};
use super::policies::Policy;
use super::quota::{JobQuota, Preemption, QuotaShare};
use super::retry::Retry;
use super::seldom::{Collection, Seldom};
use super::services::Services;
use super::shelf::Shelf;
use super::spec::Workload;
use super::usage::QueueUse;
use crate::scheduler::Reservation;

/// The whole state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Rises with every start or take-over of a coordinator.
    pub term: u64,
    /// The last lease given.
    pub last_lease: LeaseId,
    /// The last agent session given.
    pub last_session: u64,
    /// Number of jobs ever submitted: their order in queues.
    pub last_order: u64,
    pub queues: BTreeMap<Name, Queue>,
    pub environments: BTreeMap<Name, Environment>,
    pub definitions: BTreeMap<Name, Definition>,
    pub specs: BTreeMap<SpecDigest, Spec>,
    pub jobs: BTreeMap<JobId, Box<Job>>,
    pub agents: BTreeMap<Name, Agent>,
    /// Agents by their number, which attempts are recorded with.
    pub agent_numbers: Vec<Name>,
    pub leases: BTreeMap<LeaseId, Lease>,
    /// Accepted idempotency keys: the job, and a digest of what was asked.
    pub idempotency: BTreeMap<String, (JobId, u64)>,
    /// Sequences of the submission stream that are dealt with.
    pub submissions: RangeSet<u64>,
    /// Follow-up work of events, done in later, bounded steps.
    pub work: VecDeque<Work>,
    /// Results refused because their lease was no longer the child's.
    pub fenced_results: u64,
    #[serde(default)]
    pub consumables: BTreeMap<Name, Consumable>,
    #[serde(default)]
    pub policies: BTreeMap<Name, Policy>,
    /// Quota shares by queue; a queue of them has an entry even if it has none yet.
    #[serde(default)]
    pub quota_shares: BTreeMap<Name, BTreeMap<Name, QuotaShare>>,
    /// Leased children being stopped to make room for others.
    #[serde(default)]
    pub preemptions: BTreeMap<(JobId, u32), Preemption>,
    /// When time last passed, as far as use of shares counts.
    #[serde(default)]
    pub clock: Timestamp,
    /// Use of the shares of queues with a fair-share policy.
    #[serde(default)]
    pub usage: BTreeMap<Name, QueueUse>,
    /// Heads of queues and their shares that cannot start as things are.
    #[serde(default)]
    pub blocked: BTreeMap<Line, Blocked>,
    /// Agents kept for the first jobs of queues, with room for them by a known time.
    #[serde(default)]
    pub reservations: BTreeMap<Name, Reservation>,
    /// What was lost and recovered from, the newest last.
    #[serde(default)]
    pub alarms: Vec<Alarm>,
    /// The latest time at which a submission that was taken had been published, by the clock of its
    /// stream. A later one has a number that came again.
    #[serde(default)]
    pub submitted_until: Timestamp,
    /// Leases of unended jobs that were given up and that their agents can have back.
    #[serde(default)]
    pub given_up: BTreeMap<JobId, BTreeMap<LeaseId, GivenUp>>,
    /// Finished jobs that have left the memory.
    #[serde(default)]
    pub shelf: Shelf,
    /// The number of the last alarm.
    #[serde(default)]
    pub last_alarm: u64,
    /// Access keys of the HTTP API.
    #[serde(default)]
    pub access_keys: BTreeMap<AccessKeyId, AccessKey>,
    /// Service environments and service jobs.
    #[serde(default)]
    pub services: Services,
    /// Derived look-up tables.
    #[serde(skip)]
    pub index: Index,
}

/// A job queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Higher goes first.
    pub priority: u32,
    pub state: ResourceState,
    /// Compute environments in the order in which they are tried.
    pub environments: Vec<(u32, Name)>,
    pub tags: BTreeMap<String, String>,
    /// Unended jobs in it.
    pub active_jobs: u64,
    /// The scheduling policy; absent: jobs go by submission alone.
    #[serde(default)]
    pub policy: Option<Name>,
    /// It is being deleted: its jobs are terminated, and with the last of them it is gone.
    #[serde(default)]
    pub is_deleting: bool,
    /// What is done with a job that blocks it for long.
    #[serde(default, with = "as_json")]
    pub time_limits: Vec<JobStateTimeLimitAction>,
    /// Of a queue of service jobs, in place of compute environments.
    #[serde(default)]
    pub service_environments: Vec<(u32, Name)>,
}

impl Queue {
    /// Whether it takes service jobs, and those only.
    pub fn is_service(&self) -> bool {
        !self.service_environments.is_empty()
    }
}

/// A compute environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    pub state: ResourceState,
    pub tags: BTreeMap<String, String>,
    /// What its creator said of `unmanagedvCpus`.
    pub unmanaged_vcpus: Option<u32>,
    /// Recorded and shown; nothing here needs it.
    #[serde(default)]
    pub service_role: Option<String>,
    /// What is agreed with agents that register from now on.
    #[serde(default)]
    pub disconnect: Disconnect,
}

/// A job definition with all its revisions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    pub revisions: BTreeMap<u32, Revision>,
}

/// One revision of a job definition, as it was registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    pub active: bool,
    #[serde(with = "as_json")]
    pub definition: RegisterJobDefinition,
}

/// What attempts of jobs run, after merging definition, overrides and parameters. Shared by all
/// jobs for which that comes out equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    pub task: TaskSpec,
    pub task_digest: SpecDigest,
    pub resources: Resources,
    pub executor: Executor,
    pub timeout_seconds: Option<u32>,
    pub retry: Retry,
    /// For DescribeJobs.
    #[serde(with = "as_json")]
    pub workload: Workload,
    /// The architecture the agent must have; absent: any.
    #[serde(default)]
    pub architecture: Option<Architecture>,
    /// What an attempt takes of consumable resources, by name.
    #[serde(default)]
    pub consumables: Needs,
}

/// A spec and what was learnt of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    pub spec: Arc<JobSpec>,
    /// Moving average of the run time of its attempts, in microseconds; absent before the first.
    pub run_micros: Option<u64>,
}

/// A single job or an array parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub name: Name,
    pub queue: Name,
    /// Name and revision.
    pub definition: (Name, u32),
    pub spec: SpecDigest,
    /// Position among all jobs ever submitted.
    pub order: u64,
    pub created_at: Timestamp,
    /// Absent for a single job.
    pub array_size: Option<u32>,
    pub depends_on: Seldom<Vec<Dependency>>,
    pub tags: Seldom<BTreeMap<String, String>>,
    /// A cancel of the job as a whole was accepted.
    pub is_cancelled: bool,
    /// A terminate of the job as a whole was accepted.
    pub is_terminated: bool,
    /// When the last child ended.
    pub stopped_at: Option<Timestamp>,
    pub children: Children,
    /// Whether attempts get the tags of definition and job.
    #[serde(default)]
    pub propagate_tags: bool,
    /// The share of its queue it belongs to; absent in a queue without shares.
    #[serde(default)]
    pub share: Option<Name>,
    /// Higher goes first among the jobs of its share.
    #[serde(default)]
    pub priority: u32,
    /// Of a multi-node parallel job: its children are the nodes.
    #[serde(default)]
    pub nodes: Option<Box<Nodes>>,
    /// Its idempotency keys, which are forgotten with it.
    #[serde(default)]
    pub keys: Seldom<Vec<String>>,
    /// When children of it last became RUNNABLE because nothing more kept them waiting.
    #[serde(default)]
    pub released_at: Option<Timestamp>,
    /// It has been on the shelf before: lists have it from there.
    #[serde(default)]
    pub was_shelved: bool,
    pub rare: Seldom<Rare>,
    /// Where it stands among the ready jobs of its shape. Derived, like [`State::index`].
    #[serde(skip)]
    pub standing: Option<Standing>,
}

/// What only few jobs have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rare {
    /// An accepted terminate request's children and reason: no child of these is tried again. Those
    /// that had not started have ended by it.
    pub stops: Vec<(Ranges, Arc<str>)>,
    /// Most children STARTING or RUNNING at a time.
    pub max_parallel: Option<u32>,
    /// Children that a cancel ended.
    pub cancelled: RangeSet<u32>,
    /// The reason of the first accepted cancel or terminate of the job as a whole.
    pub end_reason: Option<Arc<str>>,
    /// The job of which it is a rerun.
    pub rerun_of: Option<JobId>,
    /// In a queue of quota shares.
    pub quota: Option<JobQuota>,
    /// How often each child was preempted.
    pub preempted: BTreeMap<u32, u32>,
    pub parameters: BTreeMap<String, String>,
}

impl Collection for Rare {
    const EMPTY: &'static Self = &Self {
        stops: Vec::new(),
        max_parallel: None,
        cancelled: RangeSet::new(),
        end_reason: None,
        rerun_of: None,
        quota: None,
        preempted: BTreeMap::new(),
        parameters: BTreeMap::new(),
    };
}

impl Job {
    /// Whether a cancel of this job or child was accepted.
    pub fn was_cancelled(&self, child: Option<u32>) -> bool {
        child.map_or(self.is_cancelled, |child| self.rare.cancelled.contains(&child))
    }

    /// Whether a terminate of this job or child was accepted.
    pub fn was_terminated(&self, child: Option<u32>) -> bool {
        child.map_or(self.is_terminated, |child| self.stop_reason(child).is_some())
    }

    /// The status of a single job or of an array parent.
    pub fn status(&self) -> JobStatus {
        let children = &self.children;
        if let Some(nodes) = &self.nodes {
            // The job goes on until the last node has ended.
            match &*children.get(nodes.main) {
                Child::Settled { .. } => JobStatus::Running,
                Child::Untried
                | Child::Retrying { .. }
                | Child::Starting { .. }
                | Child::Running { .. }
                | Child::Ended { .. } => children.status(nodes.main),
            }
        } else if self.array_size.is_none() {
            children.status(0)
        } else if children.all_ended() {
            match children.count(JobStatus::Failed) {
                0 => JobStatus::Succeeded,
                _ => JobStatus::Failed,
            }
        } else if children.count(JobStatus::Submitted) > 0 {
            JobStatus::Submitted
        } else {
            JobStatus::Pending
        }
    }

    /// Whether the id, which names this job, names it as a whole or a child that it has.
    pub fn has(&self, id: JobRef) -> bool {
        let has_parts = if id.is_node { self.nodes.is_some() } else { self.array_size.is_some() };
        id.child.is_none_or(|child| has_parts && child < self.children.size())
    }

    /// The child or node of this index.
    pub fn part(&self, id: JobId, index: u32) -> JobRef {
        if self.nodes.is_some() { JobRef::node(id, index) } else { JobRef::child(id, index) }
    }

    /// The child that stands for the job where none is named: of a multi-node job the main node.
    pub fn main_child(&self) -> u32 {
        self.nodes.as_ref().map_or(0, |nodes| nodes.main)
    }

    /// The child that is named, else the one that stands for the job.
    pub fn child_of(&self, id: JobRef) -> u32 {
        id.child.unwrap_or_else(|| self.main_child())
    }

    /// Its scheduling priority among those it stands in line with: in a queue without shares jobs go by
    /// submission alone.
    pub fn rank_priority(&self) -> u32 {
        if self.share.is_some() { self.priority } else { 0 }
    }

    /// What the child runs.
    pub fn spec_of(&self, child: u32) -> SpecDigest {
        let group = self.nodes.as_ref().and_then(|nodes| nodes.group(child));
        group.map_or(self.spec, |group| group.spec)
    }

    /// The specs of all children.
    pub fn specs(&self) -> impl Iterator<Item = SpecDigest> + '_ {
        let groups = self.nodes.iter().flat_map(|nodes| &nodes.groups);
        std::iter::once(self.spec).chain(groups.map(|group| group.spec))
    }

    /// How many more children `maxParallel` lets start.
    pub fn parallel_left(&self) -> u32 {
        self.rare.max_parallel.map_or(u32::MAX, |limit| limit.saturating_sub(self.live_count()))
    }

    /// How many children are STARTING or RUNNING.
    pub fn live_count(&self) -> u32 {
        self.children.count(JobStatus::Starting) + self.children.count(JobStatus::Running)
    }

    /// The reason given when this child was terminated.
    pub fn stop_reason(&self, child: u32) -> Option<&Arc<str>> {
        let of_child =
            |(ranges, _): &&(Ranges, Arc<str>)| ranges.iter().any(|r| r.contains(&child));
        self.rare.stops.iter().find(of_child).map(|(_, reason)| reason)
    }
}

/// An agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Its place in [`State::agent_numbers`].
    pub number: u32,
    pub session: u64,
    pub boot: u64,
    pub host: String,
    pub environment: Name,
    pub resources: Resources,
    pub executors: BTreeSet<Executor>,
    pub architecture: String,
    pub version: String,
    pub status: AgentStatus,
    /// Reports of the session that are journalled.
    pub confirmed_reports: u64,
    pub leases: BTreeSet<LeaseId>,
    /// Needs of all children leased to it.
    pub leased: Leased,
    /// Where other hosts reach it; absent when it does not know.
    #[serde(default)]
    pub address: Option<String>,
    #[serde(default)]
    pub gpus: Vec<Gpu>,
    /// What was agreed for the time when it cannot be heard.
    #[serde(default)]
    pub disconnect: Disconnect,
    /// What it said to be wrong with its host.
    #[serde(default)]
    pub problems: Vec<Problem>,
    /// Processes of this name that another took the place of, the latest last.
    #[serde(default)]
    pub replaced: Vec<u64>,
    /// Number of its last registration, among those of the boot.
    #[serde(default)]
    pub registration: u64,
}

/// A sum of needs, which can exceed what any agent has by the backlog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leased {
    pub milli_cpu: u64,
    pub memory_mib: u64,
    pub gpus: u64,
    pub children: u32,
}

impl Leased {
    /// `count` children more that need this much each.
    pub fn add(&mut self, need: Resources, count: u32) {
        self.milli_cpu += u64::from(need.cpu.0) * u64::from(count);
        self.memory_mib += u64::from(need.memory.0) * u64::from(count);
        self.gpus += u64::from(need.gpu) * u64::from(count);
        self.children += count;
    }

    /// `count` of them less.
    pub fn remove(&mut self, need: Resources, count: u32) {
        self.milli_cpu -= u64::from(need.cpu.0) * u64::from(count);
        self.memory_mib -= u64::from(need.memory.0) * u64::from(count);
        self.gpus -= u64::from(need.gpu) * u64::from(count);
        self.children -= count;
    }
}

/// Processes that were replaced are remembered so far back.
const REPLACED_MAX: usize = 8;

impl Agent {
    /// Processes of its name that this one takes the place of.
    pub fn replaced_by(&self, boot: u64) -> Vec<u64> {
        let before = self.replaced.iter().copied().chain([self.boot]);
        let before: Vec<u64> = before.filter(|one| *one != boot).collect();
        before[before.len().saturating_sub(REPLACED_MAX)..].to_vec()
    }

    /// What could still be leased to it without a backlog.
    pub fn free(&self) -> Resources {
        let rest = |total: u32, used: u64| {
            u32::try_from(u64::from(total).saturating_sub(used)).expect("not above the total")
        };
        Resources::new(
            rest(self.resources.cpu.0, self.leased.milli_cpu),
            rest(self.resources.memory.0, self.leased.memory_mib),
        )
        .with_gpu(rest(self.resources.gpu, self.leased.gpus))
    }

    /// Whether it is given work: it is UP, and nothing is wrong with its host that forbids it.
    pub fn takes_work(&self) -> bool {
        self.status == AgentStatus::Up && self.problem().is_none()
    }

    /// Why its host takes no work, if it does not.
    pub fn problem(&self) -> Option<&Problem> {
        self.problems.iter().find(|problem| problem.takes_no_work)
    }

    /// Whether it holds more than goes into it at once: some of that waits for the rest.
    pub fn holds_backlog(&self) -> bool {
        self.leased.milli_cpu > u64::from(self.resources.cpu.0)
            || self.leased.memory_mib > u64::from(self.resources.memory.0)
            || self.leased.gpus > u64::from(self.resources.gpu)
    }
}

/// Children leased to an agent and not settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub agent: Name,
    pub job: JobId,
    pub children: RangeSet<u32>,
    pub resources: Resources,
    pub spec: SpecDigest,
    /// When it was given.
    #[serde(default)]
    pub granted_at: Option<Timestamp>,
    /// How many of its children had room at the agent when it was given; more wait there. A backlog
    /// has none.
    #[serde(default)]
    pub slots: u32,
}

/// Follow-up work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// A job was submitted: SUBMITTED becomes PENDING or RUNNABLE.
    Admit(JobId),
    /// What these children wait for may have changed.
    Evaluate(JobId, Ranges),
    /// An agent was lost with what it held.
    Abandon(Name),
    /// A node of a multi-node job has ended, or the job is to stop.
    Nodes(JobId),
    /// A queue is being deleted: its jobs end, those after this one are still to be looked at.
    EmptyQueue(Name, Option<JobId>),
    /// A queue that is being deleted may have lost its last job.
    RemoveQueue(Name),
    /// A quota share of a queue was deleted: its jobs are ended.
    CloseShare(Name, Name),
}

impl State {
    /// Rebuilds what is derived, after a snapshot was read.
    pub fn reindex(&mut self) {
        self.share_names();
        self.index = Index::rebuild(self);
    }

    /// Each job was read with names of its own: has those of the queues and definitions take their place.
    fn share_names(&mut self) {
        let mut before: Option<&Name> = None;
        for job in self.jobs.values_mut() {
            job.queue = shared(&self.queues, &job.queue);
            job.definition.0 = shared(&self.definitions, &job.definition.0);
            // Jobs of one name often come one after the other.
            if let Some(before) = before.filter(|before| **before == job.name) {
                job.name = before.clone();
            }
            before = Some(&job.name);
        }
    }

    /// The name of an agent by its number.
    pub fn agent_name(&self, number: u32) -> &Name {
        &self.agent_numbers[number as usize]
    }
}

/// The name as a key of the map, if it is one.
pub(super) fn shared<T>(all: &BTreeMap<Name, T>, name: &Name) -> Name {
    all.get_key_value(name).map_or(name, |(key, _)| key).clone()
}

/// API types inside journal and snapshots: as JSON text, because those encodings go by position and
/// API types leave out what is absent.
mod as_json {
    use serde::de::{DeserializeOwned, Error as _};
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serde_json::to_string(value).map_err(S::Error::custom)?.serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        serde_json::from_str(&text).map_err(D::Error::custom)
    }
}
