//! The audit: builds the state once more from the newest snapshot and the journal after it, beside the
//! loop, checks the invariants on it, and compares it with what the leader remembers.

use sha2::{Digest, Sha256};
use windrow_common::api::ApiError;
use windrow_common::api::ErrorKind;
use windrow_common::api::audit::AuditClusterResponse;
use windrow_common::api::resources::DescribeClusterResponse;
use windrow_common::ids::LeaseId;

use super::journal::{Error, Position, follow};
use super::memory::Memory;
use super::outside::{JournalStream, SnapshotBucket};
use crate::core::{State, invariants};
use crate::view;

/// A state of up to so many jobs is written whole within a few milliseconds.
const JOBS_COMPARED_MAX: usize = 1_000;

/// What the leader remembers, as far as it can be had without standing still.
#[derive(Debug, PartialEq)]
pub struct Remembered {
    position: Position,
    statistics: DescribeClusterResponse,
    leases: usize,
    last_lease: LeaseId,
    last_session: u64,
    whole: Option<[u8; 32]>,
}

impl Remembered {
    /// Of the state at this position of the journal.
    pub fn of(state: &State, position: Position) -> Self {
        let is_small = state.jobs.len() <= JOBS_COMPARED_MAX;
        Self {
            position,
            statistics: view::statistics(state),
            leases: state.leases.len(),
            last_lease: state.last_lease,
            last_session: state.last_session,
            whole: is_small.then(|| hash(state)),
        }
    }

    /// In which ways the replayed state differs.
    fn differences(&self, replayed: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        let mut compare = |what: &str, live: String, journal: String| {
            if live != journal {
                differences.push(format!(
                    "INV-16: {what}: {live} in memory, {journal} by the journal up to {}",
                    self.position.sequence
                ));
            }
        };
        let chain = |one: &Self| hex(&one.position.chain);
        compare("chain value", chain(self), chain(replayed));
        let counts = |one: &Self| format!("{:?}", one.statistics);
        compare("counts", counts(self), counts(replayed));
        let numbers = |one: &Self| {
            format!(
                "{} leases, the last {}, session {}",
                one.leases, one.last_lease, one.last_session
            )
        };
        compare("numbers", numbers(self), numbers(replayed));
        if let (Some(live), Some(journal)) = (&self.whole, &replayed.whole) {
            compare("state", hex(live), hex(journal));
        }
        differences
    }
}

/// Replays up to where the leader was asked, and compares.
///
/// # Errors
/// It cannot be read now. What is wrong with it is no error but what was asked for.
pub async fn audit(
    bucket: &impl SnapshotBucket,
    journal: &impl JournalStream,
    live: Remembered,
) -> Result<AuditClusterResponse, ApiError> {
    let upto = live.position.sequence;
    let mut answer = AuditClusterResponse {
        journal_sequence: upto,
        is_compared_whole: live.whole.is_some(),
        ..Default::default()
    };
    let mut memory = Memory::of_snapshot(bucket).await.map_err(|e| unavailable(&e))?;
    answer.snapshot_sequence = memory.position.sequence;
    if memory.position.sequence > upto {
        return Err(unavailable(&"a snapshot was taken meanwhile"));
    }
    match memory.read_upto(journal, upto).await.map_err(follow::cold) {
        Ok(()) => {}
        Err(e @ (Error::Unavailable(_) | Error::Unwritable(_))) => return Err(unavailable(&e)),
        Err(e) => {
            answer.violations.push(e.to_string());
            return Ok(answer);
        }
    }
    let checked = tokio::task::spawn_blocking(move || check(&memory, &live, answer)).await;
    checked.map_err(|e| unavailable(&e))
}

fn check(
    replayed: &Memory,
    live: &Remembered,
    mut answer: AuditClusterResponse,
) -> AuditClusterResponse {
    let state = &replayed.state;
    answer.state_sha256 = hex(&hash(state));
    answer.jobs = state.jobs.len() as u64;
    answer.leases = state.leases.len() as u64;
    answer.violations.extend(invariants::check(state).err());
    answer.violations.extend(live.differences(&Remembered::of(state, replayed.position)));
    answer
}

fn hash(state: &State) -> [u8; 32] {
    let bytes = rmp_serde::to_vec(state).expect("the state has a MessagePack form");
    Sha256::digest(&bytes).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unavailable(e: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(ErrorKind::Unavailable, format!("audit: {e}")).hint("ask again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_that_differs_from_the_journal_is_told() {
        let position = Position { sequence: 7, chain: [1; 32] };
        let state = State::default();
        let live = Remembered::of(&state, position);
        assert_eq!(live.differences(&Remembered::of(&state, position)), Vec::<String>::new());

        let other = State { last_lease: LeaseId(3), ..State::default() };
        let found = live.differences(&Remembered::of(&other, position));
        assert_eq!(found.len(), 2, "the numbers, and the whole: {found:?}");
        let found =
            live.differences(&Remembered::of(&state, Position { chain: [2; 32], ..position }));
        assert!(found[0].contains("chain value"), "{found:?}");
    }
}
