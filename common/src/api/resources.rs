//! Queues, compute environments, agents, the cluster.
#![allow(missing_docs, reason = "fields are those of AWS Batch's model unless documented here")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::disconnect::DisconnectPolicy;
use crate::time::Timestamp;
use crate::wire::agent::Executor;

/// `ENABLED` or `DISABLED`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ResourceState {
    #[default]
    Enabled,
    Disabled,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ComputeEnvironmentOrder {
    pub order: u32,
    /// Name or ARN.
    pub compute_environment: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ServiceEnvironmentOrder {
    pub order: u32,
    /// Name or ARN.
    pub service_environment: String,
}

/// What kind of jobs a queue takes, or where they would run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobQueueType {
    Eks,
    Ecs,
    EcsFargate,
    /// Service jobs.
    SagemakerTraining,
    EcsManagedInstances,
}

impl JobQueueType {
    /// As the API has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eks => "EKS",
            Self::Ecs => "ECS",
            Self::EcsFargate => "ECS_FARGATE",
            Self::SagemakerTraining => "SAGEMAKER_TRAINING",
            Self::EcsManagedInstances => "ECS_MANAGED_INSTANCES",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct CreateJobQueue {
    pub job_queue_name: String,
    /// 0 to 1000; higher goes first.
    pub priority: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<ResourceState>,
    pub compute_environment_order: Vec<ComputeEnvironmentOrder>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Name or ARN. Cannot be given later; exchanged for another of its kind, but not taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduling_policy_arn: Option<String>,
    /// What is done with a job that blocks the queue for long.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub job_state_time_limit_actions: Vec<JobStateTimeLimitAction>,
    /// In place of compute environments, for a queue of service jobs: 1 to 3.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub service_environment_order: Vec<ServiceEnvironmentOrder>,
    /// Absent: as the environments are. `ECS` or `SAGEMAKER_TRAINING`; the others are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_queue_type: Option<JobQueueType>,
}

/// What is done with a job at the head of its queue, or of its share of it, when it has been
/// RUNNABLE for a time with the same reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobStateTimeLimitAction {
    /// What the job's status reason begins with: one of the codes of a blocked queue.
    pub reason: String,
    pub state: TimeLimitState,
    /// How long the job may stay like that, in seconds.
    pub max_time_seconds: u32,
    pub action: TimeLimitActionKind,
}

/// `RUNNABLE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TimeLimitState {
    Runnable,
}

/// What is done with the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TimeLimitActionKind {
    /// As CancelJob: what runs of an array goes on.
    Cancel,
    /// *Extension* (AWS has it for service jobs). As TerminateJob: what runs is stopped as well.
    Terminate,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct UpdateJobQueue {
    /// Name or ARN.
    pub job_queue: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<ResourceState>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compute_environment_order: Vec<ComputeEnvironmentOrder>,
    /// Name or ARN of another policy of the same kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduling_policy_arn: Option<String>,
    /// In place of those there are; an empty list takes them away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_state_time_limit_actions: Option<Vec<JobStateTimeLimitAction>>,
    /// Of a queue of service jobs, in place of those there are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub service_environment_order: Vec<ServiceEnvironmentOrder>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobQueueResponse {
    pub job_queue_name: String,
    pub job_queue_arn: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DeleteJobQueue {
    pub job_queue: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DescribeJobQueues {
    /// Names or ARNs; none: all. Unknown ones are left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub job_queues: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeJobQueuesResponse {
    pub job_queues: Vec<JobQueueDetail>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobQueueDetail {
    pub job_queue_name: String,
    pub job_queue_arn: String,
    pub state: ResourceState,
    /// `VALID`, or `DELETING` until its last job has ended.
    pub status: String,
    pub status_reason: String,
    pub priority: u32,
    pub compute_environment_order: Vec<ComputeEnvironmentOrder>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// *Extension.* Jobs (array parents counted once) in the queue that have not ended.
    pub active_jobs: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling_policy_arn: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub job_state_time_limit_actions: Vec<JobStateTimeLimitAction>,
    /// Of a queue of service jobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_environment_order: Vec<ServiceEnvironmentOrder>,
    /// Of a queue of service jobs: `SAGEMAKER_TRAINING`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_queue_type: Option<JobQueueType>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct CreateComputeEnvironment {
    pub compute_environment_name: String,
    /// `UNMANAGED`: agents join by themselves. The only type this version has.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<ResourceState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmanagedv_cpus: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_role: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Of managed environments, which are not there yet: refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_resources: Option<serde_json::Value>,
    /// Of environments in Kubernetes: refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eks_configuration: Option<serde_json::Value>,
    /// *Extension.* What happens when an agent of it cannot be heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disconnect: Option<DisconnectPolicy>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct UpdateComputeEnvironment {
    /// Name or ARN.
    pub compute_environment: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<ResourceState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmanagedv_cpus: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_role: Option<String>,
    /// Of managed environments, which are not there yet: refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_resources: Option<serde_json::Value>,
    /// Of environments in Kubernetes: refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eks_configuration: Option<serde_json::Value>,
    /// *Extension.* What happens when an agent of it cannot be heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disconnect: Option<DisconnectPolicy>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComputeEnvironmentResponse {
    pub compute_environment_name: String,
    pub compute_environment_arn: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DeleteComputeEnvironment {
    pub compute_environment: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DescribeComputeEnvironments {
    /// Names or ARNs; none: all. Unknown ones are left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compute_environments: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeComputeEnvironmentsResponse {
    pub compute_environments: Vec<ComputeEnvironmentDetail>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComputeEnvironmentDetail {
    pub compute_environment_name: String,
    pub compute_environment_arn: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub state: ResourceState,
    /// `VALID`.
    pub status: String,
    pub status_reason: String,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmanagedv_cpus: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_role: Option<String>,
    /// *Extension.* Agents that are up.
    pub agents: u32,
    /// *Extension.* vCPUs of those, in thousandths.
    pub total_milli_cpu: u64,
    /// *Extension.* What happens when an agent of it cannot be heard.
    #[serde(default)]
    pub disconnect: DisconnectPolicy,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ListAgents {}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListAgentsResponse {
    pub agents: Vec<AgentDetail>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum AgentStatus {
    /// Takes work.
    Up,
    /// Finishes what it runs and takes nothing new.
    Draining,
    /// Not heard for longer than the lease time; what it ran runs elsewhere.
    Lost,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentDetail {
    pub agent: String,
    pub host: String,
    pub compute_environment: String,
    pub status: AgentStatus,
    pub executors: Vec<Executor>,
    pub architecture: String,
    pub agent_version: String,
    pub total_milli_cpu: u32,
    pub total_memory_mib: u32,
    /// Of the total, what leased children need; more than the total with a backlog.
    pub leased_milli_cpu: u32,
    pub leased_memory_mib: u32,
    /// Children leased to it, running or about to.
    pub leased_children: u32,
    /// Milliseconds since it was last heard; absent before its first heartbeat to this coordinator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_heard_millis: Option<u64>,
    #[serde(default)]
    pub total_gpus: u32,
    /// Of the total, what leased children need; more than the total with a backlog.
    #[serde(default)]
    pub leased_gpus: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuDetail>,
    /// How far its clock is ahead of the coordinator's, in milliseconds, by its last heartbeat; exact
    /// to about the time that one takes. Nothing is decided by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_skew_millis: Option<i64>,
    /// What keeps it from running some jobs or any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ProblemDetail>,
}

/// Something wrong with an agent's host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProblemDetail {
    pub message: String,
    /// While it lasts the agent is given no work.
    pub takes_no_work: bool,
}

/// A GPU of an agent's host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuDetail {
    /// Names the device for good.
    pub id: String,
    pub model: String,
    pub memory_mib: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DrainAgent {
    pub agent: String,
    /// `false` takes the drain back.
    pub drain: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DescribeCluster {}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeClusterResponse {
    pub cluster: String,
    pub version: String,
    /// Rises by one with each start or take-over of a coordinator.
    pub term: u64,
    pub journal_sequence: u64,
    /// Single jobs and array parents known.
    pub jobs: u64,
    /// Children of unended jobs by status; a single job counts as one child.
    pub children: BTreeMap<String, u64>,
    pub agents_up: u32,
    /// Results refused because their lease was no longer the child's.
    pub fenced_results: u64,
    /// Resident memory of the coordinator, in bytes.
    pub memory_bytes: u64,
    /// Of the jobs known, those whose children's records are in the history store.
    #[serde(default)]
    pub archived_jobs: u64,
    /// *Extension.* The coordinator that leads and answers this: `HOST-PID`.
    #[serde(default)]
    pub leader: String,
    /// *Extension.* Coordinators that stand by to take over, by name.
    #[serde(default)]
    pub standbys: Vec<String>,
    /// *Extension.* What an operator has to look at, the newest last.
    #[serde(default)]
    pub alarms: Vec<Alarm>,
    /// *Extension.* Finished jobs that have left the memory and are in the history alone.
    #[serde(default)]
    pub shelved_jobs: u64,
}

/// Something that an operator has to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alarm {
    /// Since when.
    pub at: Timestamp,
    /// What is wrong or missing, and what was done.
    pub text: String,
    /// Its number; 0 where it cannot be acknowledged, as it goes when its cause does.
    #[serde(default)]
    pub id: u64,
    /// That somebody has seen to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledgement>,
}

/// Somebody has seen to an alarm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Acknowledgement {
    pub at: Timestamp,
    /// Who, as they said themselves.
    pub by: String,
    /// What they wrote about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// *Extension.* Says that somebody has seen to an alarm. The first who says so stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct AcknowledgeAlarm {
    /// The alarm's number, see [`Alarm::id`].
    pub id: u64,
    /// Who says so, at most 256 bytes.
    pub by: String,
    /// What is to be remembered about it, at most 1,024 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}
