//! CancelJob, TerminateJob and their bulk forms, by the state of each child (as AWS Batch has it):
//! cancel ends what has not been leased, terminate ends everything. Unknown and ended jobs are a
//! success that changes nothing.
//!
//! Unlike AWS, a job that waits for dependencies is cancelled at once, not when they have ended.

use std::collections::BTreeMap;
use std::ops::Range;

use rangemap::RangeSet;
use windrow_common::api::ApiError;
use windrow_common::api::jobs::{
    BulkError, BulkResponse, CancelJob, CancelJobs, TerminateJob, TerminateJobs,
};
use windrow_common::ids::{JobId, JobRef};
use windrow_common::time::Timestamp;

use super::{Answer, Decision, fail};
use crate::core::State;
use crate::core::arn;
use crate::core::children::{NeverRan, Ranges};
use crate::core::event::Event;
use crate::core::limits::{EVENT_RANGES_MAX, Limits, REASON_LENGTH_MAX};
use crate::core::state::{Job, Phase};

/// How jobs are to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// Only what has not been leased.
    Cancel,
    /// Also what runs.
    Terminate,
}

pub(super) fn cancel(
    state: &State,
    request: &CancelJob,
    now: Timestamp,
) -> Result<Decision, ApiError> {
    one(state, How::Cancel, &request.job_id, &request.reason, now)
}

pub(super) fn terminate(
    state: &State,
    request: &TerminateJob,
    now: Timestamp,
) -> Result<Decision, ApiError> {
    one(state, How::Terminate, &request.job_id, &request.reason, now)
}

pub(super) fn cancel_many(
    state: &State,
    limits: &Limits,
    request: &CancelJobs,
    now: Timestamp,
) -> Result<Decision, ApiError> {
    many(state, limits, How::Cancel, &request.jobs, &request.reason, now)
}

pub(super) fn terminate_many(
    state: &State,
    limits: &Limits,
    request: &TerminateJobs,
    now: Timestamp,
) -> Result<Decision, ApiError> {
    many(state, limits, How::Terminate, &request.jobs, &request.reason, now)
}

fn one(
    state: &State,
    how: How,
    id: &str,
    reason: &str,
    now: Timestamp,
) -> Result<Decision, ApiError> {
    check_given("jobId", id)?;
    check_reason(reason)?;
    let Some(id) = find(state, id)? else { return Ok(Decision::default()) };
    let mut scope = Scope::default();
    scope.add(state, id);
    Ok(end(state, how, id.job, &scope, reason, now).into())
}

fn many(
    state: &State,
    limits: &Limits,
    how: How,
    jobs: &[String],
    reason: &str,
    now: Timestamp,
) -> Result<Decision, ApiError> {
    check_reason(reason)?;
    check_count_of_jobs(limits, jobs)?;
    let mut response = BulkResponse::default();
    // A job that is named twice, or with its own child, ends once.
    let mut scopes = BTreeMap::<JobId, Scope>::new();
    for text in jobs {
        match check_given("jobId", text).and_then(|()| find(state, text)) {
            Ok(id) => {
                if let Some(id) = id {
                    scopes.entry(id.job).or_default().add(state, id);
                }
                response.successful.push(text.clone());
            }
            Err(ApiError { code, message, .. }) => {
                response.errors.push(BulkError { job: text.clone(), code, message });
            }
        }
    }
    let ended = scopes.iter().flat_map(|(id, scope)| end(state, how, *id, scope, reason, now));
    Ok(Decision { events: ended.collect(), answer: Answer::Bulk(response) })
}

/// At least one job, and not too many for one request.
pub(super) fn check_count_of_jobs(limits: &Limits, jobs: &[String]) -> Result<(), ApiError> {
    if jobs.is_empty() {
        return Err(ApiError::invalid("'jobs' is a required field (cannot be an empty list)"));
    }
    if jobs.len() > limits.bulk_jobs {
        return Err(ApiError::invalid(format!(
            "at most {} jobs may be given in one request, got {}",
            limits.bulk_jobs,
            jobs.len()
        ))
        .hint("use several requests"));
    }
    Ok(())
}

pub(super) fn check_given(field: &str, value: &str) -> Result<(), ApiError> {
    if value.is_empty() {
        return Err(ApiError::invalid(format!(
            "'{field}' is a required field (cannot be an empty string)"
        )));
    }
    Ok(())
}

pub(super) fn check_reason(reason: &str) -> Result<(), ApiError> {
    check_given("reason", reason)?;
    let length = reason.chars().count();
    if length > REASON_LENGTH_MAX {
        return Err(ApiError::invalid(format!(
            "reason is {length} characters long, at most {REASON_LENGTH_MAX} are allowed"
        )));
    }
    Ok(())
}

/// The job or child of this id or ARN, if there is one.
///
/// Errors: it is a node, which goes only with its job.
pub(super) fn find(state: &State, text: &str) -> Result<Option<JobRef>, ApiError> {
    let id = arn::plain(text).parse::<JobRef>().ok();
    let known = |id: &JobRef| state.jobs.get(&id.job).is_some_and(|job| job.has(*id));
    match id.filter(known) {
        Some(id) if id.is_node => Err(ApiError::invalid(format!(
            "{id} is a node of a multi-node job, which ends only as a whole"
        ))
        .hint(format!("name the job: {}", id.job))),
        other => Ok(other),
    }
}

/// Which children of a job are meant.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    children: RangeSet<u32>,
    /// The job was named as a whole.
    whole: bool,
}

impl Scope {
    /// Everything of a job.
    pub(super) fn whole(job: &Job) -> Self {
        Self { children: std::iter::once(0..job.children.size()).collect(), whole: true }
    }

    fn add(&mut self, state: &State, id: JobRef) {
        match id.child {
            None => *self = Self::whole(&state.jobs[&id.job]),
            Some(child) => self.children.insert(child..child + 1),
        }
    }
}

/// Ends what can be ended of these children; nothing happens to the others.
pub(super) fn end(
    state: &State,
    how: How,
    id: JobId,
    scope: &Scope,
    reason: &str,
    now: Timestamp,
) -> Vec<Event> {
    let job = &state.jobs[&id];
    let children: Ranges = scope.children.iter().cloned().collect();
    let idle = job.children.idle_in(&children);
    let mut affected: RangeSet<u32> = idle.iter().cloned().collect();
    if how == How::Terminate {
        let leased = job.children.leased_in(&children).into_iter();
        let running = leased.filter(|(_, child)| job.stop_reason(*child).is_none());
        affected.extend(running.map(|(_, child)| child..child + 1));
        // An attempt of a multi-node job lasts until what follows from it has been decided.
        let is_live = job.nodes.as_ref().is_some_and(|nodes| nodes.phase != Phase::Idle);
        if is_live && job.rare.stops.is_empty() {
            affected.extend(children);
        }
    }
    let reason: std::sync::Arc<str> = reason.into();
    let mut events = fail(id, &idle, &NeverRan { reason: reason.clone(), at: now });
    let affected: Vec<Range<u32>> = affected.into_iter().collect();
    for part in affected.chunks(EVENT_RANGES_MAX) {
        let (children, reason, whole) = (part.to_vec(), reason.clone(), scope.whole);
        events.push(match how {
            How::Cancel => Event::JobCancelled { job: id, children, reason, whole },
            How::Terminate => Event::StopRequested { job: id, children, reason, whole },
        });
    }
    events
}
