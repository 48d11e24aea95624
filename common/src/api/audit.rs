//! Whether the cluster's memory is what its journal says. All of it is an *extension*.

use serde::{Deserialize, Serialize};

/// Asks for the state to be built once more from snapshot and journal, and compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct AuditCluster {}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditClusterResponse {
    /// The snapshot that it began from ends with this journal message.
    pub snapshot_sequence: u64,
    /// The journal message up to which it was replayed and compared.
    pub journal_sequence: u64,
    /// SHA-256 of the state there, in hexadecimal.
    pub state_sha256: String,
    /// Whether the leader's own state was compared byte by byte: a large one is compared by its
    /// counts and numbers, as it has no time to stand still.
    pub is_compared_whole: bool,
    /// Jobs known there.
    pub jobs: u64,
    /// Leases that agents hold.
    pub leases: u64,
    /// What does not hold, in words; empty when all is well.
    pub violations: Vec<String>,
}
