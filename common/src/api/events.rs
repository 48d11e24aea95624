//! Events: what happens to jobs, as CloudEvents 1.0 records on `P.event.QUEUE.JOB`.
//!
//! A message holds the records that one job got in one step of the coordinator, oldest first, as a
//! CloudEvents JSON batch ([`CONTENT_TYPE_BATCH`]). Its message id is `SEQUENCE.NUMBER`: the journal
//! message that the records follow from, and the message's number among those of it.

use serde::{Deserialize, Serialize};

use super::jobs::{JobDetail, JobStatus};

/// `Content-Type` of a message on the event subjects.
pub const CONTENT_TYPE_BATCH: &str = "application/cloudevents-batch+json";
/// Type of a record of one job's or one child's change of state.
pub const TYPE_STATE_CHANGE: &str = "windrow.batch.job.state-change";
/// Type of a record of the same change of a whole range of an array's children.
pub const TYPE_CHILDREN_CHANGE: &str = "windrow.batch.job.children-state-change";
/// Type of a record of a job at the head of its queue, or of its share of it, that cannot start as
/// things are: AWS's "Batch Job Queue Blocked". Told once for a job and reason.
pub const TYPE_QUEUE_BLOCKED: &str = "windrow.batch.job-queue.blocked";

/// One record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobEvent {
    /// `1.0`.
    pub specversion: String,
    /// Unique, and the same however often the record is published.
    pub id: String,
    /// `windrow/CLUSTER`.
    pub source: String,
    /// One of the `TYPE_` constants.
    #[serde(rename = "type")]
    pub kind: String,
    /// The job's or child's id.
    pub subject: String,
    /// When the coordinator took note of it: RFC 3339, UTC.
    pub time: String,
    /// `application/json`.
    pub datacontenttype: String,
    /// Of [`TYPE_CHILDREN_CHANGE`]: the first and last child, as `0-9999`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub children: Option<String>,
    /// The detail of AWS's "Batch Job State Change": the job right after the change. Of an array's
    /// child only what is its own; the settings it shares with the others are in its parent's.
    /// Of [`TYPE_QUEUE_BLOCKED`]: the job with the status RUNNABLE and why its queue is blocked.
    pub data: JobDetail,
}

/// The ids of the jobs and children that ended, and their last status, by a message of the event
/// subjects. Reads no more of it than that; what is no batch of records says nothing.
pub fn ended(payload: &[u8]) -> Vec<(String, JobStatus)> {
    #[derive(Deserialize)]
    struct Brief<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
        subject: &'a str,
        data: BriefData,
    }
    #[derive(Deserialize)]
    struct BriefData {
        status: JobStatus,
    }
    let records: Vec<Brief<'_>> = serde_json::from_slice(payload).unwrap_or_default();
    records
        .into_iter()
        .filter(|record| record.kind == TYPE_STATE_CHANGE && record.data.status.is_terminal())
        .map(|record| (record.subject.to_owned(), record.data.status))
        .collect()
}

/// Reads a message of the event subjects.
///
/// # Errors
/// It is no batch of records.
pub fn read_batch(payload: &[u8]) -> Result<Vec<JobEvent>, serde_json::Error> {
    serde_json::from_slice(payload)
}
