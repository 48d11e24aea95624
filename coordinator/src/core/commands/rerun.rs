//! RerunJob: an ended job once more, as a new job or in place.
//!
//! A new job is a copy of the old one as it was submitted. With only the failed children, those
//! that SUCCEEDED count as SUCCEEDED in the new one too and are not run again: the new array has
//! the size of the old, children keep their index, and an N_TO_N dependent finds every peer.
//!
//! In place, FAILED children wait for their dependencies again and then run with a fresh budget of
//! attempts. It is the one way out of an end (INV-3). What had failed because this job had stays
//! FAILED.

use windrow_common::api::ApiError;
use windrow_common::api::jobs::{JobDependency, JobStatus, RerunJob, RerunJobResponse};
use windrow_common::ids::{JobId, JobRef};
use windrow_common::time::Timestamp;

use super::stop::find;
use super::submit::{Key, find_queue, key_of, known_by};
use super::{Answer, Decision, dependencies, quota};
use crate::core::State;
use crate::core::arn;
use crate::core::children::len;
use crate::core::consumables;
use crate::core::event::{Event, Submitted};
use crate::core::limits::{EVENT_RANGES_MAX, Limits};
use crate::core::quota::share_of;
use crate::core::state::{Awaited, Dependency, Job, Nodes, Phase};

pub(super) fn rerun(
    state: &State,
    limits: &Limits,
    new: JobId,
    request: &RerunJob,
    now: Timestamp,
) -> Result<Decision, ApiError> {
    let content = RerunJob { idempotency_key: None, ..request.clone() };
    let key = key_of(request.idempotency_key.as_deref(), &content)?;
    if let Some(job) = known_by(state, key.as_ref())? {
        if !state.jobs.contains_key(&job) {
            return Err(ApiError::not_found(format!(
                "job {job}, which an earlier request under this idempotency key led to, is not known any more"
            ))
            .hint("use a new key for a new job"));
        }
        return Ok(answer(Vec::new(), state, job, job.into(), None));
    }
    let unknown = || {
        ApiError::not_found(format!("job {} does not exist", request.job_id))
            .hint("a job that has been forgotten cannot be run again: submit it anew")
    };
    let id = find(state, &request.job_id)?.ok_or_else(unknown)?;
    let job = &state.jobs[&id.job];
    // Also to reopen is to give work to the queue, and what limits its start must be there.
    find_queue(state, job.queue.as_str())?;
    if let Some(share) = share_of(job) {
        quota::check_takes_jobs(state, &job.queue, share.as_str())?;
    }
    for spec in job.specs() {
        consumables::check_known(state, &state.specs[&spec].spec.consumables)?;
    }
    if request.in_place {
        in_place(state, id, job, request, key, now)
    } else {
        as_new(state, limits, new, id, request, key, now)
    }
}

fn answer(
    events: Vec<Event>,
    state: &State,
    of: JobId,
    id: JobRef,
    children: Option<u32>,
) -> Decision {
    let response = RerunJobResponse {
        job_arn: arn::job(id),
        job_id: id.to_string(),
        job_name: state.jobs[&of].name.to_string(),
        children,
    };
    Decision { events, answer: Answer::Rerun(response) }
}

fn in_place(
    state: &State,
    id: JobRef,
    job: &Job,
    request: &RerunJob,
    mut key: Option<Key>,
    now: Timestamp,
) -> Result<Decision, ApiError> {
    if !request.depends_on.is_empty() {
        return Err(ApiError::invalid(
            "a rerun in place keeps its dependencies: give no dependsOn",
        )
        .hint("run it as a new job to give it others"));
    }
    if job.nodes.is_some() {
        return Err(ApiError::invalid(format!(
            "job {id} is a multi-node job, which cannot be run again in place"
        ))
        .hint("run it as a new job"));
    }
    let elsewhere = |what: String| {
        ApiError::conflict(format!("job {id} cannot be run again in place: {what}"))
            .hint("run it as a new job")
    };
    if job.children.is_archived() {
        return Err(elsewhere("its records are in the history".to_owned()));
    }
    let is_gone = |on: &JobId| !state.jobs.contains_key(on);
    if let Some(gone) = job.depends_on.iter().map(|d| d.job(id.job)).find(is_gone) {
        return Err(elsewhere(format!("job {gone}, which it waits for, is not known any more")));
    }
    let within = id.child.map_or(0..job.children.size(), |child| child..child + 1);
    let failed = job.children.failed_in(&within);
    if failed.is_empty() {
        return Err(nothing_failed(id, job));
    }
    let count = failed.iter().map(len).sum();
    let parts = failed.chunks(EVENT_RANGES_MAX);
    let events = parts.map(|part| Event::ChildrenReopened {
        job: id.job,
        children: part.to_vec(),
        key: key.take(),
        at: now,
    });
    Ok(answer(events.collect(), state, id.job, id, Some(count)))
}

fn nothing_failed(id: JobRef, job: &Job) -> ApiError {
    let status = id.child.map_or(job.status(), |child| job.children.status(child));
    ApiError::conflict(format!("nothing of job {id} has FAILED: it is {status}"))
        .hint("to run all of it once more, rerun it as a new job with all its children")
}

fn as_new(
    state: &State,
    limits: &Limits,
    new: JobId,
    id: JobRef,
    request: &RerunJob,
    key: Option<Key>,
    now: Timestamp,
) -> Result<Decision, ApiError> {
    let job = &state.jobs[&id.job];
    if id.child.is_some() {
        return Err(ApiError::invalid(format!("{id} is a part of a job and cannot be a new job"))
            .hint("rerun it in place, or rerun the failed children of the whole array"));
    }
    if !job.status().is_terminal() {
        return Err(ApiError::conflict(format!("job {id} has not ended: it is {}", job.status()))
            .hint("wait until it has, terminate it, or rerun what has FAILED in place"));
    }
    if request.only_failed && job.status() == JobStatus::Succeeded {
        return Err(nothing_failed(id, job));
    }
    // The nodes of a job run together or not at all.
    let only_failed = request.only_failed && job.nodes.is_none();
    let carried = if only_failed { job.children.count(JobStatus::Succeeded) } else { 0 };
    let count = job.children.size() - carried;
    let submitted = Submitted {
        name: job.name.clone(),
        queue: job.queue.clone(),
        definition: job.definition.clone(),
        spec: job.spec,
        at: now,
        array_size: job.array_size,
        depends_on: dependencies_of(state, limits, job, &request.depends_on)?,
        parameters: job.rare.parameters.clone(),
        tags: (*job.tags).clone(),
        key,
        max_parallel: job.rare.max_parallel,
        propagate_tags: job.propagate_tags,
        rerun_of: Some(id.job),
        only_failed,
        share: job.share.clone(),
        priority: job.priority,
        nodes: job.nodes.clone().map(idle),
        quota: job.rare.quota,
    };
    let events = vec![Event::JobSubmitted { job: new, submitted: Box::new(submitted) }];
    Ok(answer(events, state, id.job, new.into(), Some(count)))
}

/// Nodes that have not begun.
fn idle(mut nodes: Box<Nodes>) -> Box<Nodes> {
    nodes.phase = Phase::Idle;
    nodes
}

/// The order among its own children stays; what it waited for otherwise has ended, so it waits only
/// for what the request names.
fn dependencies_of(
    state: &State,
    limits: &Limits,
    job: &Job,
    entries: &[JobDependency],
) -> Result<Vec<Dependency>, ApiError> {
    let own = job.depends_on.iter().filter(|d| d.on == Awaited::Sequential).cloned();
    let mut all = dependencies::check(state, limits, entries, job.array_size)?;
    let new: Vec<Dependency> = own.filter(|dependency| !all.contains(dependency)).collect();
    all.extend(new);
    Ok(all)
}
