//! Blocked queues: looks at their heads, and ends those that block for too long. The reasons are those
//! that DescribeJobs and ExplainJob give.

use std::ops::Bound;

use windrow_common::api::ApiError;
use windrow_common::api::resources::{JobStateTimeLimitAction, TimeLimitActionKind};
use windrow_common::ids::JobId;
use windrow_common::time::Timestamp;

use super::stop::{How, Scope, end};
use crate::core::State;
use crate::core::blocked::{self, Line, action, code};
use crate::core::event::Event;
use crate::core::limits::{Limits, Preset};
use crate::core::reasons;
use crate::scheduler::explain::Look;

/// Most events of one look; the next one has the rest.
const EVENTS_MAX: usize = 256;

/// The reasons that AWS Batch takes. Jobs here have `JOB_RESOURCE_REQUIREMENT` and
/// `QUOTA_MANAGEMENT_LIMIT_EXCEEDED`; the others concern capacity that a service would have to make.
const REASONS: [&str; 5] = [
    "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY",
    "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE",
    "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT",
    "MISCONFIGURATION:SERVICE_ENVIRONMENT_MAX_RESOURCE",
    "MISCONFIGURATION:QUOTA_MANAGEMENT_LIMIT_EXCEEDED",
];
/// Others that a job here can have, which are taken unless AWS's limits hold.
const REASONS_MORE: [&str; 2] =
    ["ACTION_REQUIRED", "MISCONFIGURATION:EC2_INSTANCE_CONFIGURATION_UNSUPPORTED"];

/// Refuses `jobStateTimeLimitActions` with an unknown reason, with two actions for one, and with times
/// out of range.
pub(super) fn check_actions(
    limits: &Limits,
    actions: &[JobStateTimeLimitAction],
) -> Result<(), ApiError> {
    let more: &[&str] = if limits.preset == Preset::Aws { &[] } else { &REASONS_MORE };
    let reasons: Vec<&str> = REASONS.iter().chain(more).copied().collect();
    let (least, most) = (limits.state_limit_seconds_min, limits.state_limit_seconds_max);
    for (number, entry) in actions.iter().enumerate() {
        let shown: String = entry.reason.chars().take(80).collect();
        if !reasons.contains(&entry.reason.as_str()) {
            return Err(ApiError::invalid(format!(
                "jobStateTimeLimitActions: Invalid job reason `{shown}`"
            ))
            .hint(format!("one of {}", reasons.join(", "))));
        }
        if !(least..=most).contains(&entry.max_time_seconds) {
            return Err(ApiError::invalid(format!(
                "jobStateTimeLimitActions: maxTimeSeconds must be from {least} to {most}, got {} for {shown}",
                entry.max_time_seconds
            )));
        }
        if actions[..number].iter().any(|other| other.reason == entry.reason) {
            return Err(ApiError::invalid(format!(
                "jobStateTimeLimitActions: reason {shown} is given twice"
            )));
        }
    }
    Ok(())
}

/// Looks at the head of every line, after the scheduler has placed what it could. A head that was found
/// stays the one for as long as it is blocked for the same reason, though others come to stand before
/// it that only wait for room.
pub(super) fn watch(state: &State, now: Timestamp) -> Vec<Event> {
    let look = Look::bare(state);
    let mut events = Vec::new();
    for queue in state.index.ready.queues() {
        for (share, ready) in state.index.ready.shares(queue).into_iter().flatten() {
            let Some((head, _)) = ready.head(Bound::Unbounded) else { continue };
            let line = (queue.clone(), share.clone());
            events.extend(watch_line(state, &look, line, head.job, now));
            if events.len() >= EVENTS_MAX {
                return events;
            }
        }
    }
    events
}

fn watch_line(
    state: &State,
    look: &Look<'_>,
    line: Line,
    head: JobId,
    now: Timestamp,
) -> Option<Event> {
    let known = state.blocked.get(&line);
    let reason = look.status_reason(head);
    let Some(known) = known else {
        let reason = reason?.into();
        return Some(Event::QueueBlocked { line, job: head, reason, at: now });
    };
    match reason {
        Some(reason) if known.job == head && known.code() == code(&reason) => None,
        Some(reason) => {
            Some(Event::QueueBlocked { line, job: head, reason: reason.into(), at: now })
        }
        None if is_still(look, known) => None,
        None => Some(Event::QueueUnblocked { line }),
    }
}

fn is_still(look: &Look<'_>, known: &blocked::Blocked) -> bool {
    look.status_reason(known.job).is_some_and(|reason| code(&reason) == known.code())
}

/// The head of a line has been blocked for as long as its queue has it: it ends, if it still is.
pub(super) fn time_limit(state: &State, line: &Line, now: Timestamp) -> Vec<Event> {
    let unblocked = || vec![Event::QueueUnblocked { line: line.clone() }];
    let Some(known) = state.blocked.get(line) else { return unblocked() };
    let Some(action) = action(state, line, known) else { return unblocked() };
    if !is_still(&Look::bare(state), known) {
        return unblocked();
    }
    let (how, reason) = match action.action {
        TimeLimitActionKind::Cancel => (How::Cancel, reasons::time_limit("Canceled", known.code())),
        TimeLimitActionKind::Terminate => {
            (How::Terminate, reasons::time_limit("Terminated", known.code()))
        }
    };
    end(state, how, known.job, &Scope::whole(&state.jobs[&known.job]), &reason, now)
}
