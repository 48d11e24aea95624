//! What an operator has to know of: parts of the cluster's memory that were lost.
//!
//! When the journal was put back to an older copy, numbers that were given before come again: terms,
//! sessions, leases. An agent that still holds a lease of the lost time must never be taken for the holder of a
//! new one of the same number, so after every recovery the numbers go on far above what was seen.

use serde::{Deserialize, Serialize};
use windrow_common::ids::LeaseId;
use windrow_common::time::Timestamp;

use super::State;

/// Alarms kept; the oldest go first.
const KEPT: usize = 16;
/// How far terms jump: more starts than a cluster sees in the time that can be lost.
const TERM_JUMP: u64 = 1_000;
/// How far sessions jump.
const SESSION_JUMP: u64 = 1 << 20;
/// How far leases jump: more than are given in the time that can be lost.
const LEASE_JUMP: u64 = 1 << 32;

/// Something was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    pub at: Timestamp,
    /// What is missing, and what was done.
    pub text: String,
}

/// The highest numbers that somebody has seen; zero where nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    pub term: u64,
    pub session: u64,
    pub lease: LeaseId,
}

/// The state goes on after something was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// Numbers go on above these.
    pub above: Numbers,
    pub alarm: Alarm,
}

/// What follows from a loss of which `seen` is the evidence.
pub fn recover(state: &State, seen: Numbers, text: &str, now: Timestamp) -> Recovered {
    let above = Numbers {
        term: state.term.max(seen.term).saturating_add(TERM_JUMP),
        session: state.last_session.max(seen.session).saturating_add(SESSION_JUMP),
        lease: LeaseId(state.last_lease.0.max(seen.lease.0).saturating_add(LEASE_JUMP)),
    };
    let alarm = Alarm { at: now, text: text.to_owned() };
    Recovered { above, alarm }
}

/// It happened.
pub(super) fn apply(state: &mut State, recovered: &Recovered) {
    let Numbers { term, session, lease } = recovered.above;
    state.term = state.term.max(term);
    state.last_session = state.last_session.max(session);
    state.last_lease = state.last_lease.max(lease);
    state.alarms.push(recovered.alarm.clone());
    let old = state.alarms.len().saturating_sub(KEPT);
    state.alarms.drain(..old);
}
