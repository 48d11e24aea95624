//! How large things may be. AWS Batch's own limits are far lower; these keep one request from harming the
//! others. `preset = "aws"` in the configuration makes them AWS's.

use serde::Serialize;
use windrow_common::api::{ApiError, ErrorKind};
use windrow_common::streams::REQUEST_BYTES_MAX;

/// Whose limits hold where the configuration names no other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Ours: [`Limits::default`].
    #[default]
    Windrow,
    /// AWS Batch's: [`Limits::aws`].
    Aws,
}

/// Limits of requests.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Where the other values come from when they are not given.
    pub preset: Preset,
    /// Children of an array job.
    pub array_size: u32,
    /// Entries of `dependsOn`.
    pub dependencies: usize,
    /// `retryStrategy.attempts`.
    pub attempts: u32,
    /// Entries of `retryStrategy.evaluateOnExit`.
    pub evaluate_on_exit: usize,
    /// Nodes of a multi-node job.
    pub nodes: u32,
    /// Node groups of a multi-node job.
    pub node_groups: usize,
    /// Jobs of one CancelJobs or TerminateJobs request.
    pub bulk_jobs: usize,
    /// Whether an attempt that was lost with its host counts as one of the job's attempts, as AWS
    /// Batch has it. Otherwise it is tried again uncharged, up to [`HOST_LOSSES_MAX`] times.
    pub charge_host_losses: bool,
    /// Consumable resources in all.
    pub consumables: usize,
    /// Quota shares of one queue.
    pub quota_shares_per_queue: usize,
    /// Size of a SubmitJob request, in KiB of JSON.
    pub submit_kib: usize,
    /// Size of a RegisterJobDefinition request, in KiB of JSON.
    pub definition_kib: usize,
    /// Containers of one job.
    pub containers: usize,
    /// Least `timeout.attemptDurationSeconds`.
    pub timeout_seconds_min: u32,
    /// Job queues of the cluster.
    pub queues: usize,
    /// Compute environments of the cluster.
    pub environments: usize,
    /// Compute environments of one queue.
    pub environments_per_queue: usize,
    /// Scheduling policies of the cluster.
    pub policies: usize,
    /// Active shares of one queue, and entries of a fair-share policy.
    pub active_shares: usize,
    /// Least `jobStateTimeLimitActions.maxTimeSeconds` of a queue.
    pub state_limit_seconds_min: u32,
    /// Largest `jobStateTimeLimitActions.maxTimeSeconds` of a queue.
    pub state_limit_seconds_max: u32,
    /// Least `disconnect.lostAfterSeconds` and `disconnect.stopAfterSeconds` of a compute environment:
    /// a few heartbeats may be late.
    pub silence_seconds_min: u32,
    /// Access keys of the cluster.
    pub access_keys: usize,
    /// Service environments of the cluster.
    pub service_environments: usize,
    /// Service jobs that are known, ended ones among them: the first of those to end makes room.
    pub service_jobs: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            preset: Preset::Windrow,
            array_size: 1_000_000,
            dependencies: 1_000,
            attempts: 100,
            evaluate_on_exit: 100,
            bulk_jobs: 1_000,
            charge_host_losses: false,
            consumables: 1_000_000,
            quota_shares_per_queue: 1_000,
            submit_kib: 256,
            definition_kib: 256,
            containers: 100,
            timeout_seconds_min: 1,
            queues: 10_000,
            environments: 10_000,
            environments_per_queue: 100,
            nodes: 1000,
            node_groups: 100,
            policies: 10_000,
            active_shares: 10_000,
            state_limit_seconds_min: 1,
            state_limit_seconds_max: 31_536_000,
            silence_seconds_min: 15,
            access_keys: 10_000,
            service_environments: 10_000,
            service_jobs: 10_000,
        }
    }
}

impl Limits {
    /// AWS Batch's fixed quotas.
    pub fn aws() -> Self {
        Self {
            preset: Preset::Aws,
            array_size: 10_000,
            dependencies: 20,
            attempts: 10,
            evaluate_on_exit: 5,
            bulk_jobs: 50,
            charge_host_losses: true,
            nodes: 1_000,
            node_groups: 5,
            consumables: 50_000,
            quota_shares_per_queue: 20,
            submit_kib: 30,
            definition_kib: 24,
            containers: 10,
            timeout_seconds_min: 60,
            queues: 50,
            environments: 50,
            environments_per_queue: 3,
            policies: 500,
            active_shares: 500,
            state_limit_seconds_min: 600,
            state_limit_seconds_max: 86_400,
            silence_seconds_min: 15,
            access_keys: 10_000,
            service_environments: 50,
            service_jobs: 10_000,
        }
    }
}

/// Refuses a request that is larger than so many KiB of JSON.
///
/// # Errors
/// It is larger. `what` begins the message: `Job size`.
pub(super) fn check_size<T: Serialize>(
    what: &str,
    request: &T,
    kib_max: usize,
) -> Result<(), ApiError> {
    if kib_max.saturating_mul(1024) >= REQUEST_BYTES_MAX {
        return Ok(()); // whoever read the request has checked that
    }
    let bytes = serde_json::to_vec(request).map_or(usize::MAX, |json| json.len());
    if bytes < kib_max.saturating_mul(1024) {
        return Ok(());
    }
    let message =
        format!("{what} must be less than {kib_max} KiB, got {} KiB", bytes.div_ceil(1024));
    Err(ApiError::new(ErrorKind::TooLarge, message)
        .hint("put large data into files and pass their names"))
}

/// Refuses one more of something when there are as many as may be.
///
/// # Errors
/// There are.
pub(super) fn check_count(what: &str, there: usize, most: usize) -> Result<(), ApiError> {
    if there < most {
        return Ok(());
    }
    Err(ApiError::invalid(format!("there are {there} {what}, at most {most} are allowed"))
        .hint("delete one that is no longer used, or raise the limit in the configuration"))
}

/// Longest reason of a cancel or terminate request, in characters, as AWS has it.
pub const REASON_LENGTH_MAX: usize = 1024;
/// Longest idempotency key, in bytes.
pub const KEY_LENGTH_MAX: usize = 256;
/// Most tags on one resource, and their lengths in characters, as AWS has them.
pub const TAGS_MAX: usize = 50;
/// Largest spec after merging and substitution, in bytes as the journal has it: with the largest
/// request beside it a journal message still has room for both.
pub const SPEC_BYTES_MAX: usize = 384 * 1024;
/// Most children of one event, so that an event fits a journal message.
pub const EVENT_CHILDREN_MAX: usize = 2048;
/// Most ranges of children of one event, for the same reason.
pub const EVENT_RANGES_MAX: usize = 16_384;
/// Most finished jobs forgotten in one step.
pub const FORGET_MAX: usize = 1000;
/// Highest priority of a queue, as AWS has it.
pub const PRIORITY_MAX: u32 = 1000;
/// Highest scheduling priority of a job, as AWS has it.
pub const SCHEDULING_PRIORITY_MAX: u32 = 9999;
/// Most consumable resources one job names.
pub const CONSUMABLES_PER_JOB_MAX: usize = 100;
/// Largest quantity of a consumable resource: AWS's is a signed number of 64 bits.
pub const QUANTITY_MAX: u64 = i64::MAX as u64;
/// Longest client token, as AWS has it.
pub const CLIENT_TOKEN_LENGTH_MAX: usize = 64;
/// Most service environments of one queue.
pub const SERVICE_ENVIRONMENTS_PER_QUEUE_MAX: usize = 3;
/// Most capacity limits of one service environment.
pub const CAPACITY_LIMITS_MAX: usize = 5;
/// Largest `serviceRequestPayload`, in bytes, as AWS has it.
pub const SERVICE_PAYLOAD_BYTES_MAX: usize = 10 * 1024;
/// Longest `onStatusReason` of a service job, in characters, as AWS has it.
pub const STATUS_REASON_PATTERN_MAX: usize = 512;
/// Largest policy of an access key, in bytes of JSON, as IAM has it for managed policies.
pub const POLICY_BYTES_MAX: usize = 6144;
/// How often a child may lose its host before it counts as failed: a job that takes its hosts down
/// must not go round for ever.
pub const HOST_LOSSES_MAX: u32 = 20;
