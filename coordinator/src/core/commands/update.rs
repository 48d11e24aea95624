//! UpdateJob: what of a submitted job can still be changed.

use windrow_common::api::ApiError;
use windrow_common::api::jobs::{UpdateJob, UpdateJobResponse};
use windrow_common::ids::{JobId, JobRef};

use super::{Answer, Decision};
use crate::core::State;
use crate::core::arn;
use crate::core::event::Event;
use crate::core::limits::SCHEDULING_PRIORITY_MAX;
use crate::core::state::Job;

pub(super) fn update(state: &State, request: &UpdateJob) -> Result<Decision, ApiError> {
    let (id, job) = find(state, &request.job_id)?;
    if job.children.all_ended() {
        return Err(ApiError::conflict(format!(
            "job {id} is {} and cannot be changed any more",
            job.status()
        )));
    }
    if request.max_parallel.is_some() && job.array_size.is_none() {
        return Err(ApiError::invalid(format!(
            "maxParallel is for array jobs, job {id} is a single one"
        )));
    }
    if let Some(priority) = request.scheduling_priority {
        check_priority(id, job, priority)?;
    }
    let response = UpdateJobResponse {
        job_arn: arn::job(id.into()),
        job_id: id.to_string(),
        job_name: job.name.to_string(),
    };
    let answer = Answer::JobUpdated(response);
    let (max_parallel, priority) = (request.max_parallel, request.scheduling_priority);
    let events = match (max_parallel, priority) {
        (None, None) => Vec::new(),
        _ => vec![Event::JobUpdated { job: id, max_parallel, priority }],
    };
    Ok(Decision { events, answer })
}

fn check_priority(id: JobId, job: &Job, priority: u32) -> Result<(), ApiError> {
    if job.share.is_none() {
        return Err(ApiError::invalid(format!(
            "schedulingPriority orders the jobs of a share, and queue `{}` of job {id} has none",
            job.queue
        ))
        .hint("such a queue goes by the order of submission"));
    }
    if priority > SCHEDULING_PRIORITY_MAX {
        return Err(ApiError::invalid(format!(
            "schedulingPriority must be from 0 to {SCHEDULING_PRIORITY_MAX}, got {priority}"
        )));
    }
    Ok(())
}

fn find<'a>(state: &'a State, text: &str) -> Result<(JobId, &'a Job), ApiError> {
    let plain = arn::plain(text);
    let id: JobRef = plain.parse().map_err(|e| ApiError::invalid(format!("jobId: {e}")))?;
    if id.child.is_some() {
        return Err(ApiError::invalid(format!(
            "jobId: {plain} is one child; an array is changed as a whole"
        ))
        .hint(format!("name the array, {}", id.job)));
    }
    state
        .jobs
        .get(&id.job)
        .map(|job| (id.job, &**job))
        .ok_or_else(|| ApiError::not_found(format!("job {plain} does not exist")))
}
