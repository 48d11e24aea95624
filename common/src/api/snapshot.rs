//! GetJobQueueSnapshot.
#![allow(missing_docs, reason = "fields are those of AWS Batch's model unless documented here")]

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
    /// Since when it is RUNNABLE: it cannot have had this place before. Places are not recorded as
    /// they change.
    pub earliest_time_at_position: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueUtilization {
    /// What STARTING and RUNNING jobs of the queue hold.
    pub total_capacity_usage: Vec<CapacityUsage>,
    /// Of a queue with shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fairshare_utilization: Option<FairshareUtilization>,
    pub last_updated_at: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapacityUsage {
    /// `VCPU`.
    pub capacity_unit: String,
    pub quantity: f64,
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
