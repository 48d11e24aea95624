//! Service environments and service jobs: work that another service would run for the cluster.
#![allow(missing_docs, reason = "fields are those of AWS Batch's model unless documented here")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::jobs::KeyValuesPair;
use super::quota::PreemptionConfiguration;
use super::resources::ResourceState;

/// The service that would run the jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServiceType {
    #[default]
    SagemakerTraining,
}

impl ServiceType {
    /// As the API has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SagemakerTraining => "SAGEMAKER_TRAINING",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct CapacityLimit {
    /// Absent: `NUM_INSTANCES`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_unit: Option<String>,
    /// At least 1.
    pub max_capacity: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct CreateServiceEnvironment {
    pub service_environment_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_environment_type: Option<ServiceType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<ResourceState>,
    /// 1 to 5, each of another unit.
    pub capacity_limits: Vec<CapacityLimit>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct UpdateServiceEnvironment {
    /// Name or ARN.
    pub service_environment: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<ResourceState>,
    /// In place of those there are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capacity_limits: Vec<CapacityLimit>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEnvironmentResponse {
    pub service_environment_name: String,
    pub service_environment_arn: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DeleteServiceEnvironment {
    /// Name or ARN.
    pub service_environment: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DescribeServiceEnvironments {
    /// Names or ARNs; none: all. Unknown ones are left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub service_environments: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeServiceEnvironmentsResponse {
    pub service_environments: Vec<ServiceEnvironmentDetail>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEnvironmentDetail {
    pub service_environment_name: String,
    pub service_environment_arn: String,
    pub service_environment_type: ServiceType,
    pub state: ResourceState,
    /// `VALID`.
    pub status: String,
    pub capacity_limits: Vec<CapacityLimit>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// What happens after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ServiceJobRetryAction {
    Retry,
    Exit,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ServiceJobEvaluateOnExit {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<ServiceJobRetryAction>,
    /// At most 512 characters; a trailing `*` for any ending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_status_reason: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ServiceJobRetryStrategy {
    /// At least 1.
    pub attempts: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evaluate_on_exit: Vec<ServiceJobEvaluateOnExit>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ServiceJobTimeout {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt_duration_seconds: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct SubmitServiceJob {
    pub job_name: String,
    /// Name or ARN of a queue of type `SAGEMAKER_TRAINING`.
    pub job_queue: String,
    /// A JSON object as text, at most 10 KiB.
    pub service_request_payload: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_job_type: Option<ServiceType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_strategy: Option<ServiceJobRetryStrategy>,
    /// 0 to 9999.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduling_priority: Option<u32>,
    /// In a queue with a fair-share policy, and only there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_identifier: Option<String>,
    /// Refused: queues of service jobs have no quota shares here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_share_name: Option<String>,
    /// Refused, for the same reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preemption_configuration: Option<PreemptionConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_config: Option<ServiceJobTimeout>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The same token and content is the same job as long as the job is known. At most 64 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
}

/// The job that was submitted or changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceJobResponse {
    pub job_arn: String,
    pub job_id: String,
    pub job_name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct UpdateServiceJob {
    /// Id or ARN.
    pub job_id: String,
    /// 0 to 9999.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduling_priority: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TerminateServiceJob {
    /// Id or ARN.
    pub job_id: String,
    pub reason: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TerminateServiceJobs {
    /// Ids or ARNs.
    pub jobs: Vec<String>,
    pub reason: String,
}

/// Where a service job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ServiceJobStatus {
    Submitted,
    Pending,
    #[default]
    Runnable,
    Scheduled,
    Starting,
    Running,
    Succeeded,
    Failed,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DescribeServiceJob {
    /// Id or ARN.
    pub job_id: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeServiceJobResponse {
    pub job_arn: String,
    pub job_id: String,
    pub job_name: String,
    /// Its ARN.
    pub job_queue: String,
    pub service_job_type: ServiceType,
    pub service_request_payload: String,
    pub status: ServiceJobStatus,
    pub status_reason: String,
    pub created_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<u64>,
    pub is_terminated: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_strategy: Option<ServiceJobRetryStrategy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling_priority: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_identifier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_config: Option<ServiceJobTimeout>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ListServiceJobs {
    /// Name or ARN.
    pub job_queue: String,
    /// Absent: `RUNNING`. Beside filters it counts with `SHARE_IDENTIFIER` and `QUOTA_SHARE_NAME` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_status: Option<ServiceJobStatus>,
    /// `JOB_NAME` (in any case, a trailing `*` for any ending), `BEFORE_CREATED_AT`, `AFTER_CREATED_AT`,
    /// `SHARE_IDENTIFIER`, `QUOTA_SHARE_NAME`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<KeyValuesPair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListServiceJobsResponse {
    /// Newest first.
    pub job_summary_list: Vec<ServiceJobSummary>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceJobSummary {
    pub job_arn: String,
    pub job_id: String,
    pub job_name: String,
    pub service_job_type: ServiceType,
    pub status: ServiceJobStatus,
    pub status_reason: String,
    pub created_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<u64>,
    pub is_terminated: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_identifier: Option<String>,
}
