//! Job queues: create, update, delete. Changes settle at once; a delete takes as long as its jobs
//! take to end.

use std::ops::Bound;

use windrow_common::api::ApiError;
use windrow_common::api::resources::{
    ComputeEnvironmentOrder, CreateJobQueue, DeleteJobQueue, JobQueueResponse, ResourceState,
    UpdateJobQueue,
};
use windrow_common::ids::{JobId, Name};
use windrow_common::time::Timestamp;

use super::definitions::check_tags;
use super::stop::{How, Scope, end};
use super::{Answer, Decision, blocked, services};
use crate::core::State;
use crate::core::arn;
use crate::core::event::Event;
use crate::core::find;
use crate::core::limits::{Limits, PRIORITY_MAX, check_count};
use crate::core::state::Queue;

/// Jobs that one step of a delete looks at.
const EMPTY_STEP: usize = 1024;

pub(super) fn create(
    state: &State,
    limits: &Limits,
    request: &CreateJobQueue,
) -> Result<Decision, ApiError> {
    let name: Name = request
        .job_queue_name
        .parse()
        .map_err(|e| ApiError::invalid(format!("jobQueueName: {e}")))?;
    if state.queues.contains_key(&name) {
        return Err(ApiError::conflict(format!("job queue `{name}`: Object already exists"))
            .hint(format!("change it with `windrow queue update {name}`")));
    }
    check_count("job queues", state.queues.len(), limits.queues)?;
    check_priority(request.priority)?;
    check_tags(&request.tags)?;
    blocked::check_actions(limits, &request.job_state_time_limit_actions)?;
    let service_environments = services::check_queue(state, request)?;
    let queue = Queue {
        priority: request.priority,
        state: request.state.unwrap_or_default(),
        environments: match service_environments.is_empty() {
            true => check_environments(state, limits, &request.compute_environment_order)?,
            false => Vec::new(),
        },
        tags: request.tags.clone(),
        active_jobs: 0,
        policy: match given(request.scheduling_policy_arn.as_ref()) {
            None => None,
            Some(text) => Some(find::policy(state, text)?.0),
        },
        is_deleting: false,
        time_limits: request.job_state_time_limit_actions.clone(),
        service_environments,
    };
    Ok(set(name, queue))
}

pub(super) fn update(
    state: &State,
    limits: &Limits,
    request: &UpdateJobQueue,
) -> Result<Decision, ApiError> {
    let (name, queue) = find::queue(state, &request.job_queue)?;
    if queue.is_deleting {
        return Err(ApiError::conflict(format!(
            "job queue `{name}` is DELETING: it cannot be changed, {} of its jobs have not ended",
            queue.active_jobs
        )));
    }
    let mut queue = queue.clone();
    if let Some(priority) = request.priority {
        check_priority(priority)?;
        queue.priority = priority;
    }
    if let Some(state) = request.state {
        queue.state = state;
    }
    check_kind(&name, &queue, request)?;
    if !request.service_environment_order.is_empty() {
        queue.service_environments =
            services::check_order(state, &request.service_environment_order)?;
    }
    if !request.compute_environment_order.is_empty() {
        queue.environments = check_environments(state, limits, &request.compute_environment_order)?;
    }
    if let Some(actions) = &request.job_state_time_limit_actions {
        blocked::check_actions(limits, actions)?;
        queue.time_limits.clone_from(actions);
    }
    if let Some(text) = given(request.scheduling_policy_arn.as_ref()) {
        queue.policy = Some(exchange_policy(state, &name, &queue, text)?);
    }
    Ok(set(name, queue))
}

/// A queue stays one of ordinary jobs or one of service jobs.
fn check_kind(name: &Name, queue: &Queue, request: &UpdateJobQueue) -> Result<(), ApiError> {
    if queue.is_service() && !request.compute_environment_order.is_empty() {
        return Err(ApiError::invalid(format!(
            "job queue `{name}` is of type SAGEMAKER_TRAINING and has no compute environments"
        ))
        .hint("change its serviceEnvironmentOrder, or create another queue"));
    }
    if !queue.is_service() && !request.service_environment_order.is_empty() {
        return Err(ApiError::invalid(format!(
            "job queue `{name}` takes ordinary jobs and has no service environments"
        ))
        .hint("create another queue, of jobQueueType SAGEMAKER_TRAINING"));
    }
    let actions = request.job_state_time_limit_actions.as_ref();
    if queue.is_service() && actions.is_some_and(|actions| !actions.is_empty()) {
        return Err(services::no_time_limits());
    }
    Ok(())
}

fn given(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

/// A queue's policy can be exchanged for another of its kind, and nothing else.
fn exchange_policy(
    state: &State,
    name: &Name,
    queue: &Queue,
    text: &str,
) -> Result<Name, ApiError> {
    let (policy, new) = find::policy(state, text)?;
    let Some(old) = state.rules(queue) else {
        return Err(ApiError::invalid(format!(
            "job queue `{name}` was created without a scheduling policy and cannot be given one"
        ))
        .hint("create another queue with the policy"));
    };
    if old.kind() != new.rules.kind() {
        return Err(ApiError::invalid(format!(
            "job queue `{name}` has a {}, policy `{policy}` is a {}",
            old.kind(),
            new.rules.kind()
        ))
        .hint("a queue's policy can be exchanged for one of its kind only"));
    }
    Ok(policy)
}

pub(super) fn delete(state: &State, request: &DeleteJobQueue) -> Result<Decision, ApiError> {
    let (name, queue) = find::queue(state, &request.job_queue)?;
    if queue.state == ResourceState::Enabled {
        return Err(ApiError::conflict(format!("job queue `{name}` is ENABLED; disable it first"))
            .hint(format!("windrow queue update {name} --disable")));
    }
    if queue.is_deleting {
        return Ok(Decision::default());
    }
    Ok(vec![Event::QueueDeleting { name }].into())
}

/// The next jobs of a queue that is being deleted are terminated.
pub(super) fn empty(
    state: &State,
    name: &Name,
    after: Option<JobId>,
    now: Timestamp,
) -> Vec<Event> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let jobs = state.jobs.range((from, Bound::Unbounded)).take(EMPTY_STEP);
    let (mut events, mut last, mut looked) = (Vec::new(), None, 0);
    let reason = format!("Job queue {name} was deleted");
    for (id, job) in jobs {
        (last, looked) = (Some(*id), looked + 1);
        if job.queue == *name && !job.status().is_terminal() {
            events.extend(end(state, How::Terminate, *id, &Scope::whole(job), &reason, now));
        }
    }
    if after.is_none() {
        events.extend(services::empty(state, name, &reason, now));
    }
    let upto = last.filter(|_| looked == EMPTY_STEP);
    events.push(Event::QueueEmptied { name: name.clone(), upto });
    events
}

/// A queue that is being deleted is gone once it is empty.
pub(super) fn remove(state: &State, name: &Name) -> Vec<Event> {
    let gone = state.queues.get(name).filter(|queue| queue.is_deleting && queue.active_jobs == 0);
    gone.map(|_| Event::QueueDeleted { name: name.clone() }).into_iter().collect()
}

fn set(name: Name, queue: Queue) -> Decision {
    let response =
        JobQueueResponse { job_queue_name: name.to_string(), job_queue_arn: arn::queue(&name) };
    Decision { events: vec![Event::QueueSet { name, queue }], answer: Answer::Queue(response) }
}

fn check_priority(priority: u32) -> Result<(), ApiError> {
    if priority > PRIORITY_MAX {
        return Err(ApiError::invalid(format!(
            "queue priority must be from 0 to {PRIORITY_MAX}, got {priority}"
        )));
    }
    Ok(())
}

fn check_environments(
    state: &State,
    limits: &Limits,
    entries: &[ComputeEnvironmentOrder],
) -> Result<Vec<(u32, Name)>, ApiError> {
    if entries.is_empty() {
        return Err(ApiError::invalid("At least 1 compute environment must be provided")
            .hint("list them with `windrow ce list`"));
    }
    if entries.len() > limits.environments_per_queue {
        return Err(ApiError::invalid(format!(
            "a job queue has at most {} compute environments, got {}",
            limits.environments_per_queue,
            entries.len()
        )));
    }
    let mut environments = Vec::with_capacity(entries.len());
    for entry in entries {
        let (name, _) = find::environment(state, &entry.compute_environment)?;
        if environments.iter().any(|(_, other)| *other == name) {
            return Err(ApiError::invalid(format!("compute environment `{name}` is listed twice")));
        }
        environments.push((entry.order, name));
    }
    environments.sort();
    Ok(environments)
}
