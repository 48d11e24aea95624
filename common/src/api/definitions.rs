//! Job definitions and the parts they share with jobs.
#![allow(missing_docs, reason = "fields are those of AWS Batch's model unless documented here")]

mod container;
mod nodes;
mod task;
mod volumes;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::consumables::ConsumableResourceProperties;
pub use container::*;
pub use nodes::*;
pub use task::*;
pub use volumes::*;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RegisterJobDefinition {
    pub job_definition_name: String,
    /// `container` or `multinode`.
    #[serde(rename = "type")]
    pub kind: String,
    /// One container, or a plain process. Exactly one of this, `ecsProperties` and `eksProperties`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_properties: Option<ContainerProperties>,
    /// Several containers that make one job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecs_properties: Option<EcsProperties>,
    /// Refused, whatever it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eks_properties: Option<serde_json::Value>,
    pub parameters: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_strategy: Option<RetryStrategy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<JobTimeout>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagate_tags: Option<bool>,
    pub tags: BTreeMap<String, String>,
    /// Of `EC2`, `FARGATE` and `MANAGED_INSTANCES`: whose rules hold. The job runs on the agents of its
    /// queue in any case.
    pub platform_capabilities: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumable_resource_properties: Option<ConsumableResourceProperties>,
    /// Of type `multinode`, in the place of the other properties.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_properties: Option<NodeProperties>,
    /// 0 to 9999; higher goes first among the jobs of a share. Without effect in a queue without
    /// shares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduling_priority: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RetryStrategy {
    /// How often the job may be tried in all, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Looked at in order; the first entry that matches decides, none means retry.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evaluate_on_exit: Vec<EvaluateOnExit>,
    /// *Extension.* How long a failed job waits before it is tried again; absent: not at all.
    /// Attempts lost with their host and not charged do not wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<RetryBackoff>,
}

/// *Extension.* The wait before an attempt: `initialSeconds` before the second one, `multiplier`
/// times as long before each further one, at most `maxSeconds`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RetryBackoff {
    /// 1 to 604800; required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_seconds: Option<u32>,
    /// 1 to 100; absent: 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multiplier: Option<u32>,
    /// From `initialSeconds` to 604800; absent: 3600, or `initialSeconds` if that is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_seconds: Option<u32>,
}

/// Conditions on a failed attempt, all of which must match, and what to do then. A pattern matches
/// the whole text, or its beginning when it ends in `*`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct EvaluateOnExit {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_exit_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_status_reason: Option<String>,
    /// `RETRY` or `EXIT`, in any case.
    pub action: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct JobTimeout {
    /// Seconds of run time, per attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt_duration_seconds: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisterJobDefinitionResponse {
    pub job_definition_name: String,
    pub job_definition_arn: String,
    pub revision: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DeregisterJobDefinition {
    /// `name:revision` or ARN.
    pub job_definition: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DescribeJobDefinitions {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub job_definitions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_definition_name: Option<String>,
    /// `ACTIVE` or `INACTIVE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeJobDefinitionsResponse {
    pub job_definitions: Vec<JobDefinitionDetail>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// A revision, as it was registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobDefinitionDetail {
    pub job_definition_arn: String,
    pub revision: u32,
    /// `ACTIVE` or `INACTIVE`.
    pub status: String,
    /// `ECS`.
    pub container_orchestration_type: String,
    #[serde(flatten)]
    pub definition: RegisterJobDefinition,
}
