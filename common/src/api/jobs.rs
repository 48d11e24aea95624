//! Jobs: submit, list, cancel, terminate, rerun, update.
#![allow(missing_docs, reason = "fields are those of AWS Batch's model unless documented here")]

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::consumables::ConsumableResourceProperties;
use super::definitions::{JobTimeout, RetryStrategy};
pub use super::describe::{
    ArrayPropertiesDetail, AttemptContainerDetail, AttemptDetail, AttemptTaskContainerDetails,
    AttemptTaskDetails, ContainerDetail, DescribeJobs, DescribeJobsResponse, EcsPropertiesDetail,
    EcsTaskDetail, JobDetail, TaskContainerDetail,
};
pub use super::overrides::{
    ContainerOverrides, EcsPropertiesOverride, NodeOverrides, NodePropertyOverride,
    TaskContainerOverrides, TaskPropertiesOverride,
};
use super::quota::PreemptionConfiguration;
use super::snapshot::CapacityUsage;

/// A job's state. The order is the order of a job's life.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum JobStatus {
    #[default]
    Submitted,
    Pending,
    Runnable,
    Starting,
    Running,
    Succeeded,
    Failed,
}

impl JobStatus {
    pub const ALL: [Self; 7] = [
        Self::Submitted,
        Self::Pending,
        Self::Runnable,
        Self::Starting,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
    ];

    /// Whether nothing changes any more.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submitted => "SUBMITTED",
            Self::Pending => "PENDING",
            Self::Runnable => "RUNNABLE",
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
        }
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for JobStatus {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|s| s.as_str().eq_ignore_ascii_case(text));
        found.ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|s| s.as_str()).collect();
            format!("`{text}` is not a job status; use one of {}", all.join(", "))
        })
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct SubmitJob {
    pub job_name: String,
    /// Name or ARN. May be absent in a submission to `P.submit.QUEUE`.
    pub job_queue: String,
    /// `name` (its newest active revision), `name:revision`, or an ARN of either.
    pub job_definition: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub array_properties: Option<ArrayProperties>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<JobDependency>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_overrides: Option<ContainerOverrides>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_strategy: Option<RetryStrategy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<JobTimeout>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// *Extension.* A second submission with the same key and content answers with the first job;
    /// with other content it is refused. At most 256 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecs_properties_override: Option<EcsPropertiesOverride>,
    /// Refused, whatever it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eks_properties_override: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagate_tags: Option<bool>,
    /// Merged into the definition's list by resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumable_resource_properties_override: Option<ConsumableResourceProperties>,
    /// For a definition of type `multinode`, in the place of the other overrides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_overrides: Option<NodeOverrides>,
    /// The share of the queue the job belongs to. Required when the queue has a fair-share policy,
    /// refused when it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_identifier: Option<String>,
    /// 0 to 9999, in place of the definition's `schedulingPriority`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduling_priority_override: Option<u32>,
    /// *Extension for jobs:* the quota share; required in a queue of quota shares, refused elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_share_name: Option<String>,
    /// *Extension for jobs.* For a job with a quota share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preemption_configuration: Option<PreemptionConfiguration>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ArrayProperties {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// *Extension.* At most this many children are STARTING or RUNNING at a time; changeable with
    /// `UpdateJob`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DependencyType {
    NToN,
    Sequential,
}

/// *Extension.* How what is waited for has to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DependencyCondition {
    /// SUCCEEDED. What AWS Batch has.
    #[default]
    Success,
    /// Either way.
    Any,
    /// FAILED, for whatever reason: also cancelled, or for a dependency of its own.
    Failed,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct JobDependency {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<DependencyType>,
    /// *Extension.* Absent: `SUCCESS`. When it can no longer hold, the waiting job FAILED.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<DependencyCondition>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubmitJobResponse {
    pub job_arn: String,
    pub job_id: String,
    pub job_name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ListJobs {
    /// Name or ARN of a queue. Exactly one of this and `arrayJobId`; *extension:* neither lists the
    /// jobs of all queues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_queue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub array_job_id: Option<String>,
    /// Lists the nodes of a multi-node job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_node_job_id: Option<String>,
    /// Absent: RUNNING, as AWS has it. *Extension:* `ALL`. Left out of account with a filter other
    /// than SHARE_IDENTIFIER, as AWS has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_status: Option<String>,
    /// At most 1000, with filters 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    /// One of JOB_NAME, JOB_DEFINITION, BEFORE_CREATED_AT, AFTER_CREATED_AT, SHARE_IDENTIFIER.
    /// *Extension:* JOB_STATUS; and several, all of which have to hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<KeyValuesPair>,
    /// *Extension.* `OLDEST_FIRST`; absent or `NEWEST_FIRST`: newest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<String>,
}

/// A filter of a list: one value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct KeyValuesPair {
    pub name: String,
    pub values: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListJobsResponse {
    pub job_summary_list: Vec<JobSummary>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobSummary {
    pub job_arn: String,
    pub job_id: String,
    pub job_name: String,
    pub job_definition: String,
    /// *Extension.* Name of the job's queue.
    pub job_queue: String,
    pub created_at: u64,
    pub status: JobStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerSummary>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array_properties: Option<ArrayPropertiesDetail>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_cancelled: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_terminated: bool,
    /// Of a multi-node job or a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_properties: Option<NodePropertiesSummary>,
    /// *Extension.* What it waits for, in one word; absent when it runs or has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_code: Option<super::explain::WaitCode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_identifier: Option<String>,
    /// When it was given to an agent, while it is STARTING or RUNNING.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_at: Option<u64>,
    /// vCPUs that it asks for, of all nodes together; none of an array parent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capacity_usage: Vec<CapacityUsage>,
}

/// Of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeDetails {
    pub node_index: u32,
    pub is_main_node: bool,
}

/// Of a multi-node job, or of one of its nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodePropertiesSummary {
    /// Of a node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_main_node: Option<bool>,
    pub num_nodes: u32,
    /// Of a node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_index: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerSummary {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct CancelJob {
    pub job_id: String,
    /// Becomes the status reason; required, at most 1024 characters.
    pub reason: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct CancelJobs {
    /// Job ids, child ids or ARNs.
    pub jobs: Vec<String>,
    /// Becomes the status reason of each; required, at most 1024 characters.
    pub reason: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TerminateJobs {
    /// Job ids, child ids or ARNs.
    pub jobs: Vec<String>,
    /// Becomes the status reason of each; required, at most 1024 characters.
    pub reason: String,
}

/// What became of each job of a bulk request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkResponse {
    /// Ids as given: accepted, or nothing to do. Unknown ones are among them.
    pub successful: Vec<String>,
    pub errors: Vec<BulkError>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkError {
    /// The id as given.
    pub job: String,
    pub code: String,
    pub message: String,
}

/// *Extension.* Runs an ended job once more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RerunJob {
    /// Id or ARN; of a child only with `inPlace`.
    pub job_id: String,
    /// Children that SUCCEEDED count as SUCCEEDED in the new job and do not run again; the others
    /// keep their index, and the array its size.
    pub only_failed: bool,
    /// No new job: FAILED children of this one wait for their dependencies again and run again, with
    /// as many attempts as at first. Jobs that failed because this one had stay FAILED.
    pub in_place: bool,
    /// What the new job waits for. It does not wait again for what the old one waited for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<JobDependency>,
    /// A second request with the same key and content answers with the first one's job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RerunJobResponse {
    /// The new job's, or the same job's.
    pub job_arn: String,
    pub job_id: String,
    pub job_name: String,
    /// How many children run again; absent when the request was made before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub children: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TerminateJob {
    pub job_id: String,
    /// Becomes the status reason; required, at most 1024 characters.
    pub reason: String,
}

/// *Extension.* Changes a job that has not ended. What is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct UpdateJob {
    /// Id or ARN of a single job or an array parent.
    pub job_id: String,
    /// Of an array: at most this many children STARTING or RUNNING at a time; 0 takes the limit
    /// away. Children that run already are not stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
    /// The scheduling priority, 0 to 9999, in queues with shares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduling_priority: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateJobResponse {
    pub job_arn: String,
    pub job_id: String,
    pub job_name: String,
}
