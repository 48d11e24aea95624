//! CancelJob and TerminateJob, by the state of each child (as AWS Batch has it): cancel ends what
//! has not been leased, terminate ends everything. Unknown and ended jobs are a success that
//! changes nothing.
//!
//! Unlike AWS, a job that waits for dependencies is cancelled at once, not when they have ended.

use std::ops::Range;

use rangemap::RangeSet;
use windrow_common::api::ApiError;
use windrow_common::api::jobs::{CancelJob, TerminateJob};
use windrow_common::ids::JobId;
use windrow_common::ids::JobRef;
use windrow_common::time::Timestamp;

use super::{Decision, fail};
use crate::core::State;
use crate::core::arn;
use crate::core::children::NeverRan;
use crate::core::event::Event;
use crate::core::limits::REASON_LENGTH_MAX;
use crate::core::state::{Job, Phase};

pub(super) fn cancel(
    state: &State,
    request: &CancelJob,
    now: Timestamp,
) -> Result<Decision, ApiError> {
    check(&request.job_id, &request.reason)?;
    let Some((id, job, children)) = find(state, &request.job_id)? else {
        return Ok(Decision::default());
    };
    let mut events = end_idle(id, job, &children, &request.reason, now);
    if !events.is_empty() {
        events.push(Event::JobCancelled { job: id });
    }
    Ok(events.into())
}

pub(super) fn terminate(
    state: &State,
    request: &TerminateJob,
    now: Timestamp,
) -> Result<Decision, ApiError> {
    check(&request.job_id, &request.reason)?;
    let Some((id, job, children)) = find(state, &request.job_id)? else {
        return Ok(Decision::default());
    };
    if job.status().is_terminal() {
        return Ok(Decision::default());
    }
    let mut events = end_idle(id, job, &children, &request.reason, now);
    let leased = job.children.leased_in(&children);
    let leased: RangeSet<u32> = leased.into_iter().map(|(_, child)| child..child + 1).collect();
    // An attempt of a multi-node job lasts until what follows from it has been decided.
    let is_live = job.nodes.as_ref().is_some_and(|nodes| nodes.phase != Phase::Idle);
    if !leased.is_empty() || !events.is_empty() || is_live {
        let reason = request.reason.as_str().into();
        let children = if job.nodes.is_some() { children } else { leased.into_iter().collect() };
        events.push(Event::StopRequested { job: id, children, reason });
    }
    Ok(events.into())
}

fn check(id: &str, reason: &str) -> Result<(), ApiError> {
    for (field, value) in [("jobId", id), ("reason", reason)] {
        if value.is_empty() {
            return Err(ApiError::invalid(format!(
                "'{field}' is a required field (cannot be an empty string)"
            )));
        }
    }
    let length = reason.chars().count();
    if length > REASON_LENGTH_MAX {
        return Err(ApiError::invalid(format!(
            "reason is {length} characters long, at most {REASON_LENGTH_MAX} are allowed"
        )));
    }
    Ok(())
}

/// A job, and the children meant.
type Found<'a> = (JobId, &'a Job, Vec<Range<u32>>);

/// The job, and the children meant: one, or all.
fn find<'a>(state: &'a State, text: &str) -> Result<Option<Found<'a>>, ApiError> {
    let Ok(id) = arn::plain(text).parse::<JobRef>() else { return Ok(None) };
    let Some(job) = state.jobs.get(&id.job).filter(|job| job.has(id)) else { return Ok(None) };
    if id.is_node {
        return Err(ApiError::invalid(format!(
            "{id} is a node of a multi-node job, which ends only as a whole"
        ))
        .hint(format!("name the job: {}", id.job)));
    }
    let children = id.child.map_or(0..job.children.size(), |child| child..child + 1);
    Ok(Some((id.job, job, vec![children])))
}

fn end_idle(
    id: JobId,
    job: &Job,
    children: &[Range<u32>],
    reason: &str,
    now: Timestamp,
) -> Vec<Event> {
    let ended = NeverRan { reason: reason.into(), at: now };
    fail(id, &job.children.idle_in(children), &ended)
}
