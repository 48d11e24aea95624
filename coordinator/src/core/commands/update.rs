//! UpdateJob: what of a submitted job can still be changed.

use windrow_common::api::ApiError;
use windrow_common::api::jobs::{UpdateJob, UpdateJobResponse};
use windrow_common::ids::{JobId, JobRef};

use super::{Answer, Decision};
use crate::core::State;
use crate::core::arn;
use crate::core::event::Event;
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
    let response = UpdateJobResponse {
        job_arn: arn::job(id.into()),
        job_id: id.to_string(),
        job_name: job.name.to_string(),
    };
    let answer = Answer::JobUpdated(response);
    let events = match request.max_parallel {
        None => Vec::new(),
        max_parallel => vec![Event::JobUpdated { job: id, max_parallel }],
    };
    Ok(Decision { events, answer })
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
        .map(|job| (id.job, job))
        .ok_or_else(|| ApiError::not_found(format!("job {plain} does not exist")))
}
