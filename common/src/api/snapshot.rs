//! GetJobQueueSnapshot.
#![allow(missing_docs, reason = "fields are those of AWS Batch's model unless documented here")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct GetJobQueueSnapshot {
    /// Name or ARN.
    pub job_queue: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetJobQueueSnapshotResponse {
    pub front_of_queue: FrontOfQueue,
    /// Of a queue with quota shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub front_of_quota_shares: Option<FrontOfQuotaShares>,
    pub queue_utilization: QueueUtilization,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontOfQueue {
    /// The first hundred RUNNABLE jobs in the order in which they go.
    pub jobs: Vec<FrontOfQueueJob>,
    pub last_updated_at: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontOfQueueJob {
    pub job_arn: String,
    /// The job has not had its place for longer than since then: at that time it became RUNNABLE, or
    /// a job now before it did, or one that was before it started and still runs. Places themselves
    /// are not recorded as they change; those of shares also move with the use of shares.
    pub earliest_time_at_position: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontOfQuotaShares {
    /// The first RUNNABLE job of each share that has one.
    pub quota_shares: BTreeMap<String, Vec<FrontOfQueueJob>>,
    pub last_updated_at: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueUtilization {
    /// What STARTING and RUNNING jobs of the queue hold.
    pub total_capacity_usage: Vec<CapacityUsage>,
    /// Of a queue with a fair-share policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fairshare_utilization: Option<FairshareUtilization>,
    /// Of a queue with quota shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_share_utilization: Option<QuotaShareUtilization>,
    pub last_updated_at: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapacityUsage {
    /// `VCPU`; of quota shares also `MEMORY_MIB` and `GPU`.
    pub capacity_unit: String,
    pub quantity: f64,
}

impl CapacityUsage {
    /// Of vCPUs, from thousandths.
    pub fn vcpus(milli_cpu: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "vCPUs of a cluster fit a double exactly")]
        let quantity = milli_cpu as f64 / 1000.0;
        Self { capacity_unit: "VCPU".to_owned(), quantity }
    }

    /// Of a unit counted in whole numbers.
    pub fn whole(unit: &str, count: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "MiB and GPUs of a cluster fit a double")]
        let quantity = count as f64;
        Self { capacity_unit: unit.to_owned(), quantity }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FairshareUtilization {
    /// Shares with jobs that are ready, STARTING or RUNNING.
    pub active_share_count: u64,
    /// The twenty shares that hold the most.
    pub top_capacity_utilization: Vec<ShareUtilization>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShareUtilization {
    pub share_identifier: String,
    pub capacity_usage: Vec<CapacityUsage>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuotaShareUtilization {
    /// The twenty shares that use the most vCPUs.
    pub top_capacity_utilization: Vec<QuotaShareCapacity>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuotaShareCapacity {
    pub quota_share_name: String,
    /// Of each unit that the share limits.
    pub capacity_usage: Vec<CapacityUsage>,
}
