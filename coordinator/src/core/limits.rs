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
}

impl Default for Limits {
    fn default() -> Self {
        Self { array_size: 1_000_000, dependencies: 1_000, attempts: 100 }
    }
}

/// Longest reason of a cancel or terminate request, in characters, as AWS has it.
pub const REASON_LENGTH_MAX: usize = 1024;
/// Longest idempotency key, in bytes.
pub const KEY_LENGTH_MAX: usize = 256;
/// Most tags on one resource, and their lengths in characters, as AWS has them.
pub const TAGS_MAX: usize = 50;
/// Highest priority of a queue, as AWS has it.
pub const PRIORITY_MAX: u32 = 1000;
/// How often a child may lose its host before it counts as failed: a job that takes its hosts down
/// must not go round for ever.
pub const HOST_LOSSES_MAX: u32 = 20;
