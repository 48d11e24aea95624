//! DescribeJobs: a job with all there is to know of it.
#![allow(missing_docs, reason = "fields are those of AWS Batch's model unless documented here")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::consumables::ConsumableResourceProperties;
use super::definitions::{
    ContainerProperties, EcsTaskProperties, JobTimeout, NodeProperties, RetryStrategy,
    TaskContainerProperties,
};
use super::jobs::{JobDependency, JobStatus, NodeDetails};
use super::quota::{PreemptionConfiguration, PreemptionSummary};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DescribeJobs {
    /// Job ids, child ids (`ID:index`) or ARNs. Unknown ones are left out of the answer.
    pub jobs: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeJobsResponse {
    pub jobs: Vec<JobDetail>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobDetail {
    pub job_arn: String,
    pub job_id: String,
    pub job_name: String,
    pub job_queue: String,
    pub job_definition: String,
    pub status: JobStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    pub created_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<u64>,
    #[serde(default)]
    pub attempts: Vec<AttemptDetail>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_strategy: Option<RetryStrategy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<JobTimeout>,
    #[serde(default)]
    pub depends_on: Vec<JobDependency>,
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerDetail>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array_properties: Option<ArrayPropertiesDetail>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_cancelled: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_terminated: bool,
    /// Of a job of several containers; such a job has no `container`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ecs_properties: Option<EcsPropertiesDetail>,
    #[serde(default)]
    pub propagate_tags: bool,
    #[serde(default)]
    pub platform_capabilities: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumable_resource_properties: Option<ConsumableResourceProperties>,
    /// Of a multi-node job as a whole: what its nodes run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_properties: Option<NodeProperties>,
    /// Of a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_details: Option<NodeDetails>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_identifier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling_priority: Option<u32>,
    /// *Extension.* Id of the job of which this is a rerun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<String>,
    /// *Extension for jobs.*
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_share_name: Option<String>,
    /// *Extension for jobs.*
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preemption_configuration: Option<PreemptionConfiguration>,
    /// *Extension for jobs.* Of a single job or a child that was preempted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preemption_summary: Option<PreemptionSummary>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArrayPropertiesDetail {
    /// Of a parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// Of a child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// Of a parent: children by status, all seven keys.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub status_summary: BTreeMap<JobStatus, u32>,
    /// *Extension.* Of a parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
    /// Of a parent: when its last child ended, before that the time of the answer, as counts are exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_summary_last_updated_at: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptDetail {
    pub container: AttemptContainerDetail,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// Of a job with several containers: one element, which has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub task_properties: Vec<AttemptTaskDetails>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptTaskDetails {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_instance_arn: Option<String>,
    #[serde(default)]
    pub containers: Vec<AttemptTaskContainerDetails>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptTaskContainerDetails {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_stream_name: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptContainerDetail {
    /// The agent, in the place of ECS's container instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_instance_arn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_stream_name: Option<String>,
    /// *Extension.* Bytes of output in the log stream; known once the attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_bytes: Option<u64>,
}

/// The effective container settings and the latest attempt's outcome.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerDetail {
    #[serde(flatten)]
    pub properties: ContainerProperties,
    #[serde(flatten)]
    pub outcome: AttemptContainerDetail,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EcsPropertiesDetail {
    pub task_properties: Vec<EcsTaskDetail>,
}

/// The effective settings of a job of several containers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EcsTaskDetail {
    pub containers: Vec<TaskContainerDetail>,
    /// Its containers are above.
    #[serde(flatten)]
    pub properties: EcsTaskProperties,
    /// The agent, in the place of ECS's container instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_instance_arn: Option<String>,
}

/// A container's effective settings and its outcome in the latest attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskContainerDetail {
    #[serde(flatten)]
    pub properties: TaskContainerProperties,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_stream_name: Option<String>,
}
