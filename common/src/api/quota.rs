//! Quota shares: virtual queues inside a queue, each with a capacity of its own that it may lend
//! and borrow. AWS Batch has them for service jobs only; here they are for every kind of job.
#![allow(missing_docs, reason = "fields are those of AWS Batch's model unless documented here")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::resources::ResourceState;

/// *Extension:* units of capacity. AWS's are instance types of service environments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CapacityUnit {
    #[default]
    #[serde(rename = "VCPU")]
    Vcpu,
    #[serde(rename = "MEMORY_MIB")]
    MemoryMib,
    #[serde(rename = "GPU")]
    Gpu,
}

impl CapacityUnit {
    pub const ALL: [Self; 3] = [Self::Vcpu, Self::MemoryMib, Self::Gpu];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vcpu => "VCPU",
            Self::MemoryMib => "MEMORY_MIB",
            Self::Gpu => "GPU",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct QuotaShareCapacityLimit {
    /// `VCPU`, `MEMORY_MIB` or `GPU`. What no entry names is not limited.
    pub capacity_unit: String,
    /// At least 1.
    pub max_capacity: u32,
}

/// What a share does with capacity that it does not use, and with that of others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ResourceSharingStrategy {
    /// Keeps its idle capacity for itself.
    #[default]
    Reserve,
    /// Lends it.
    Lend,
    /// Lends it, and uses what others lend.
    LendAndBorrow,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct QuotaShareResourceSharingConfiguration {
    pub strategy: ResourceSharingStrategy,
    /// Percent of its own limits, for `LEND_AND_BORROW`; absent or -1: whatever others lend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub borrow_limit: Option<i32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct QuotaSharePreemptionConfiguration {
    /// Whether a job of higher scheduling priority may stop lower ones of its own share.
    pub in_share_preemption: ResourceState,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct CreateQuotaShare {
    pub quota_share_name: String,
    /// Name or ARN of a queue whose scheduling policy has a `quotaSharePolicy`.
    pub job_queue: String,
    /// 1 to 5 entries.
    pub capacity_limits: Vec<QuotaShareCapacityLimit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_sharing_configuration: Option<QuotaShareResourceSharingConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preemption_configuration: Option<QuotaSharePreemptionConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<ResourceState>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct UpdateQuotaShare {
    /// ARN; *extension:* or `QUEUE/SHARE`.
    pub quota_share_arn: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capacity_limits: Vec<QuotaShareCapacityLimit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_sharing_configuration: Option<QuotaShareResourceSharingConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preemption_configuration: Option<QuotaSharePreemptionConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<ResourceState>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuotaShareResponse {
    pub quota_share_name: String,
    pub quota_share_arn: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DeleteQuotaShare {
    /// ARN; *extension:* or `QUEUE/SHARE`.
    pub quota_share_arn: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DescribeQuotaShare {
    /// ARN; *extension:* or `QUEUE/SHARE`.
    pub quota_share_arn: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ListQuotaShares {
    /// Name or ARN.
    pub job_queue: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_results: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListQuotaSharesResponse {
    pub quota_shares: Vec<QuotaShareDetail>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuotaShareDetail {
    pub quota_share_name: String,
    pub quota_share_arn: String,
    pub job_queue_arn: String,
    pub capacity_limits: Vec<QuotaShareCapacityLimit>,
    pub resource_sharing_configuration: QuotaShareResourceSharingConfiguration,
    pub preemption_configuration: QuotaSharePreemptionConfiguration,
    pub state: ResourceState,
    /// `VALID`, or `DELETING` until its jobs have ended.
    pub status: String,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// *Extension.* What its STARTING and RUNNING jobs use, in thousandths for `VCPU`.
    #[serde(default)]
    pub used: Vec<QuotaShareUse>,
}

/// *Extension.* What a share uses of one unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuotaShareUse {
    pub capacity_unit: CapacityUnit,
    /// In thousandths for `VCPU`.
    pub used: u64,
    /// Of that, what is beyond the share's own capacity.
    pub borrowed: u64,
}

/// What happens to a job that loses its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PreemptionConfiguration {
    /// How often an attempt may be preempted before the job counts as FAILED; absent: without end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preemption_retries_before_termination: Option<u32>,
}

/// Attempts that were preempted, newest last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PreemptionSummary {
    pub preempted_attempt_count: u32,
    pub recent_preempted_attempts: Vec<PreemptedAttempt>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PreemptedAttempt {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
}
