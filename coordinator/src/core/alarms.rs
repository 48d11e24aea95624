//! What an operator has to know of: parts of the cluster's memory that were lost.
//!
//! When the journal was put back to an older copy, numbers that were given before come again: terms,
//! sessions, leases. An agent that still holds a lease of the lost time must never be taken for the holder of a
//! new one of the same number, so after every recovery the numbers go on far above what was seen.

use serde::{Deserialize, Serialize};
use windrow_common::api::ApiError;
use windrow_common::api::resources::AcknowledgeAlarm;
use windrow_common::ids::LeaseId;
use windrow_common::time::Timestamp;

use super::State;
use super::commands::Decision;
use super::event::Event;

/// Most bytes of the name of who acknowledges.
const BY_MAX: usize = 256;
/// Most bytes of a note about an alarm.
const NOTE_MAX: usize = 1_024;
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
    /// Its number, given when it is applied; they only rise.
    #[serde(default)]
    pub id: u64,
    /// Somebody has seen to it.
    #[serde(default)]
    pub acknowledged: Option<Acknowledged>,
}

/// Somebody has seen to an alarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    pub at: Timestamp,
    pub by: String,
    pub note: Option<String>,
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
    let alarm = Alarm { at: now, text: text.to_owned(), id: 0, acknowledged: None };
    Recovered { above, alarm }
}

/// It happened.
pub(super) fn apply(state: &mut State, recovered: &Recovered) {
    let Numbers { term, session, lease } = recovered.above;
    state.term = state.term.max(term);
    state.last_session = state.last_session.max(session);
    state.last_lease = state.last_lease.max(lease);
    state.last_alarm += 1;
    state.alarms.push(Alarm { id: state.last_alarm, ..recovered.alarm.clone() });
    let old = state.alarms.len().saturating_sub(KEPT);
    state.alarms.drain(..old);
}

/// Somebody says that they have seen to an alarm. The first stays.
pub(super) fn acknowledge(
    state: &State,
    request: &AcknowledgeAlarm,
    now: Timestamp,
) -> Result<Decision, ApiError> {
    let AcknowledgeAlarm { id, by, note } = request;
    let lengths =
        [("by", by.len(), BY_MAX), ("note", note.as_ref().map_or(0, String::len), NOTE_MAX)];
    for (field, bytes, most) in lengths {
        if bytes > most {
            let text = format!("`{field}` has at most `{most}` bytes, got `{bytes}`");
            return Err(ApiError::invalid(text));
        }
    }
    if by.trim().is_empty() {
        return Err(ApiError::invalid("`by` is empty").hint("say who has seen to the alarm"));
    }
    // Those of before they had numbers have none.
    let found = state.alarms.iter().find(|alarm| alarm.id == *id && *id > 0);
    let Some(alarm) = found else {
        return Err(ApiError::not_found(format!("alarm `{id}` does not exist"))
            .hint("list them with `windrow cluster alarms`"));
    };
    if alarm.acknowledged.is_some() {
        return Ok(Decision::default());
    }
    let acknowledged = Acknowledged { at: now, by: by.clone(), note: note.clone() };
    Ok(vec![Event::AlarmAcknowledged { alarm: *id, acknowledged }].into())
}

/// That was said.
pub(super) fn apply_acknowledged(state: &mut State, id: u64, acknowledged: &Acknowledged) {
    if let Some(alarm) = state.alarms.iter_mut().find(|alarm| alarm.id == id) {
        alarm.acknowledged = Some(acknowledged.clone());
    }
}
