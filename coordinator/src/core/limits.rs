//! How large things may be. AWS Batch's own limits are far lower; these keep one request from harming the
//! others.

/// Limits of requests.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Children of an array job.
    pub array_size: u32,
    /// Entries of `dependsOn`.
    pub dependencies: usize,
    /// `retryStrategy.attempts`.
    pub attempts: u32,
    /// Entries of `retryStrategy.evaluateOnExit`.
    pub evaluate_on_exit: usize,
    /// Whether an attempt that was lost with its host counts as one of the job's attempts, as AWS
    /// Batch has it. Otherwise it is tried again uncharged, up to [`HOST_LOSSES_MAX`] times.
    pub charge_host_losses: bool,
    /// Consumable resources in all.
    pub consumables: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            array_size: 1_000_000,
            dependencies: 1_000,
            attempts: 100,
            evaluate_on_exit: 100,
            charge_host_losses: false,
            consumables: 1_000_000,
        }
    }
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
/// Highest priority of a queue, as AWS has it.
pub const PRIORITY_MAX: u32 = 1000;
/// Most consumable resources one job names.
pub const CONSUMABLES_PER_JOB_MAX: usize = 100;
/// Largest quantity of a consumable resource: AWS's is a signed number of 64 bits.
pub const QUANTITY_MAX: u64 = i64::MAX as u64;
/// Longest client token, as AWS has it.
pub const CLIENT_TOKEN_LENGTH_MAX: usize = 64;
/// How often a child may lose its host before it counts as failed: a job that takes its hosts down
/// must not go round for ever.
pub const HOST_LOSSES_MAX: u32 = 20;
