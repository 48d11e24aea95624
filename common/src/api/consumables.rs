//! Consumable resources: counted things that jobs share, such as licences, database connections
//! or an API's quota.
#![allow(missing_docs, reason = "fields are those of AWS Batch's model unless documented here")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::jobs::{JobStatus, KeyValuesPair};

/// Whether what an attempt took comes back when it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConsumableResourceType {
    #[default]
    Replenishable,
    /// Taken for good by each attempt, whatever comes of it.
    NonReplenishable,
}

/// What one attempt of a job takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ConsumableResourceProperties {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub consumable_resource_list: Vec<ConsumableResourceRequirement>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ConsumableResourceRequirement {
    /// Name or ARN.
    pub consumable_resource: String,
    /// Per attempt; of an array job per child.
    pub quantity: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct CreateConsumableResource {
    pub consumable_resource_name: String,
    /// Absent: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_quantity: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_type: Option<ConsumableResourceType>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateConsumableResourceResponse {
    pub consumable_resource_name: String,
    pub consumable_resource_arn: String,
}

/// What an update does to the total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum QuantityOperation {
    #[default]
    Set,
    Add,
    Remove,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct UpdateConsumableResource {
    /// Name or ARN.
    pub consumable_resource: String,
    /// Absent: `SET`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<QuantityOperation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantity: Option<u64>,
    /// The same token and content within 8 hours changes the total once. 1 to 64 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateConsumableResourceResponse {
    pub consumable_resource_name: String,
    pub consumable_resource_arn: String,
    pub total_quantity: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DescribeConsumableResource {
    /// Name or ARN.
    pub consumable_resource: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeConsumableResourceResponse {
    pub consumable_resource_name: String,
    pub consumable_resource_arn: String,
    pub total_quantity: u64,
    /// What STARTING and RUNNING attempts hold.
    pub in_use_quantity: u64,
    /// The total less what is in use; 0 when the total was lowered below that.
    pub available_quantity: u64,
    pub resource_type: ConsumableResourceType,
    pub created_at: u64,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DeleteConsumableResource {
    /// Name or ARN.
    pub consumable_resource: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ListConsumableResources {
    /// `CONSUMABLE_RESOURCE_NAME`: in any case, a trailing `*` for any ending.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<KeyValuesPair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListConsumableResourcesResponse {
    pub consumable_resources: Vec<ConsumableResourceSummary>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumableResourceSummary {
    pub consumable_resource_arn: String,
    pub consumable_resource_name: String,
    pub total_quantity: u64,
    pub in_use_quantity: u64,
    pub resource_type: ConsumableResourceType,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ListJobsByConsumableResource {
    /// Name or ARN.
    pub consumable_resource: String,
    /// `JOB_STATUS` and `JOB_NAME` (in any case, a trailing `*` for any ending).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<KeyValuesPair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListJobsByConsumableResourceResponse {
    /// Newest first; an array is one row.
    pub jobs: Vec<JobByConsumableResource>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobByConsumableResource {
    pub job_arn: String,
    pub job_queue_arn: String,
    pub job_name: String,
    pub job_definition_arn: String,
    pub job_status: JobStatus,
    /// What one attempt takes.
    pub quantity: u64,
    /// *Extension.* What its STARTING and RUNNING attempts hold now.
    pub in_use_quantity: u64,
    pub created_at: u64,
    pub consumable_resource_properties: ConsumableResourceProperties,
    /// In a queue with a fair-share policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_identifier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// Milliseconds since 1970; absent for an array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
}
