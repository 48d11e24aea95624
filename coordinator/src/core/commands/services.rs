//! Service environments and service jobs: create, update, delete, submit, terminate; and what is special
//! about queues of service jobs.

use std::collections::BTreeSet;
use std::sync::Arc;

use windrow_common::api::ApiError;
use windrow_common::api::jobs::{BulkError, BulkResponse};
use windrow_common::api::resources::{
    CreateJobQueue, JobQueueType, ResourceState, ServiceEnvironmentOrder,
};
use windrow_common::api::services::{
    CapacityLimit, CreateServiceEnvironment, DeleteServiceEnvironment, ServiceEnvironmentResponse,
    ServiceJobResponse, ServiceJobRetryStrategy, ServiceType, SubmitServiceJob,
    TerminateServiceJob, TerminateServiceJobs, UpdateServiceEnvironment, UpdateServiceJob,
};
use windrow_common::ids::{JobId, Name};
use windrow_common::time::Timestamp;

use super::consumables::check_token;
use super::definitions::check_tags;
use super::stop::{check_count_of_jobs, check_given, check_reason};
use super::submit::{
    check_job_name, check_scheduling_priority, check_share, find_enabled_queue, key_of,
};
use super::{Answer, Decision};
use crate::core::State;
use crate::core::arn;
use crate::core::event::Event;
use crate::core::find;
use crate::core::limits::{
    CAPACITY_LIMITS_MAX, FORGET_MAX, Limits, SERVICE_ENVIRONMENTS_PER_QUEUE_MAX,
    SERVICE_PAYLOAD_BYTES_MAX, STATUS_REASON_PATTERN_MAX, check_count, check_size,
};
use crate::core::policies::Rules;
use crate::core::services::{ServiceEnvironment, ServiceEvent, ServiceJob, ServiceRetry};

/// Unit of a capacity limit that names none.
const UNIT: &str = "NUM_INSTANCES";
/// Longest unit of a capacity limit, in bytes.
const UNIT_LENGTH_MAX: usize = 128;

/// What somebody asks about service environments and service jobs.
#[derive(Clone, Debug)]
pub enum ServiceCommand {
    CreateEnvironment(CreateServiceEnvironment),
    UpdateEnvironment(UpdateServiceEnvironment),
    DeleteEnvironment(DeleteServiceEnvironment),
    /// `id` is used if it becomes a new job.
    Submit {
        id: JobId,
        request: SubmitServiceJob,
    },
    Update(UpdateServiceJob),
    Terminate(TerminateServiceJob),
    TerminateMany(TerminateServiceJobs),
}

pub(super) fn decide(
    state: &State,
    limits: &Limits,
    command: &ServiceCommand,
    now: Timestamp,
) -> Result<Decision, ApiError> {
    match command {
        ServiceCommand::CreateEnvironment(request) => create_environment(state, limits, request),
        ServiceCommand::UpdateEnvironment(request) => update_environment(state, request),
        ServiceCommand::DeleteEnvironment(request) => delete_environment(state, request),
        ServiceCommand::Submit { id, request } => submit(state, limits, *id, request, now),
        ServiceCommand::Update(request) => update(state, request),
        ServiceCommand::Terminate(request) => terminate(state, request, now),
        ServiceCommand::TerminateMany(request) => terminate_many(state, limits, request, now),
    }
}

fn happens(event: ServiceEvent) -> Event {
    Event::Service(Box::new(event))
}

fn create_environment(
    state: &State,
    limits: &Limits,
    request: &CreateServiceEnvironment,
) -> Result<Decision, ApiError> {
    let name: Name = request
        .service_environment_name
        .parse()
        .map_err(|e| ApiError::invalid(format!("serviceEnvironmentName: {e}")))?;
    let environments = &state.services.environments;
    if environments.contains_key(&name) {
        return Err(ApiError::conflict(format!(
            "service environment `{name}`: Object already exists"
        ))
        .hint("change it with UpdateServiceEnvironment"));
    }
    check_count("service environments", environments.len(), limits.service_environments)?;
    check_tags(&request.tags)?;
    let environment = ServiceEnvironment {
        kind: check_type("serviceEnvironmentType", request.service_environment_type)?,
        state: request.state.unwrap_or_default(),
        capacity: check_capacity(&request.capacity_limits)?,
        tags: request.tags.clone(),
    };
    Ok(set_environment(name, environment))
}

fn update_environment(
    state: &State,
    request: &UpdateServiceEnvironment,
) -> Result<Decision, ApiError> {
    let (name, environment) = find::service_environment(state, &request.service_environment)?;
    let mut environment = environment.clone();
    if let Some(state) = request.state {
        environment.state = state;
    }
    if !request.capacity_limits.is_empty() {
        environment.capacity = check_capacity(&request.capacity_limits)?;
    }
    Ok(set_environment(name, environment))
}

fn delete_environment(
    state: &State,
    request: &DeleteServiceEnvironment,
) -> Result<Decision, ApiError> {
    let (name, environment) = find::service_environment(state, &request.service_environment)?;
    if environment.state == ResourceState::Enabled {
        return Err(ApiError::conflict(format!(
            "service environment `{name}` is ENABLED; disable it first"
        ))
        .hint("UpdateServiceEnvironment with state DISABLED"));
    }
    let user = state
        .queues
        .iter()
        .find(|(_, queue)| queue.service_environments.iter().any(|(_, other)| *other == name));
    if let Some((queue, _)) = user {
        return Err(ApiError::conflict(format!(
            "service environment `{name}` cannot be deleted: job queue `{queue}` uses it"
        ))
        .hint("update or delete that queue first"));
    }
    Ok(vec![happens(ServiceEvent::EnvironmentDeleted { name })].into())
}

fn set_environment(name: Name, environment: ServiceEnvironment) -> Decision {
    let answer = Answer::ServiceEnvironment(ServiceEnvironmentResponse {
        service_environment_name: name.to_string(),
        service_environment_arn: arn::service_environment(&name),
    });
    let event = ServiceEvent::EnvironmentSet { name, environment };
    Decision { events: vec![happens(event)], answer }
}

fn check_type(field: &str, given: Option<ServiceType>) -> Result<ServiceType, ApiError> {
    given.ok_or_else(|| {
        ApiError::invalid(format!("{field} must be given: `SAGEMAKER_TRAINING` is the only one"))
    })
}

fn check_capacity(entries: &[CapacityLimit]) -> Result<Vec<(String, u32)>, ApiError> {
    if !(1..=CAPACITY_LIMITS_MAX).contains(&entries.len()) {
        return Err(ApiError::invalid(format!(
            "from 1 to {CAPACITY_LIMITS_MAX} capacityLimits must be given, got {}",
            entries.len()
        )));
    }
    let mut capacity: Vec<(String, u32)> = Vec::with_capacity(entries.len());
    for entry in entries {
        let unit = entry.capacity_unit.as_deref().filter(|unit| !unit.is_empty()).unwrap_or(UNIT);
        let is_unit = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if unit.len() > UNIT_LENGTH_MAX || !unit.chars().all(is_unit) {
            return Err(ApiError::invalid(format!(
                "capacityLimits.capacityUnit must be `{UNIT}` or an instance type, got `{}`",
                unit.chars().take(UNIT_LENGTH_MAX).collect::<String>()
            )));
        }
        if capacity.iter().any(|(other, _)| other == unit) {
            return Err(ApiError::invalid(format!(
                "capacityLimits names capacityUnit `{unit}` twice; give one limit"
            )));
        }
        if entry.max_capacity == 0 {
            return Err(ApiError::invalid(format!(
                "capacityLimits: maxCapacity of `{unit}` must be at least 1, got 0"
            )));
        }
        capacity.push((unit.to_owned(), entry.max_capacity));
    }
    Ok(capacity)
}

/// The service environments of a queue to be; none if it is one for ordinary jobs.
pub(super) fn check_queue(
    state: &State,
    request: &CreateJobQueue,
) -> Result<Vec<(u32, Name)>, ApiError> {
    let order = &request.service_environment_order;
    match request.job_queue_type {
        None | Some(JobQueueType::Ecs | JobQueueType::SagemakerTraining) => {}
        Some(other) => {
            return Err(ApiError::invalid(format!(
                "jobQueueType `{}`: this cluster has no compute environments of that kind",
                other.as_str()
            ))
            .hint(
                "leave it out, or use `ECS`, or `SAGEMAKER_TRAINING` with serviceEnvironmentOrder",
            ));
        }
    }
    let is_service = request.job_queue_type == Some(JobQueueType::SagemakerTraining);
    if !order.is_empty() && !request.compute_environment_order.is_empty() {
        return Err(ApiError::invalid(
            "a job queue has either computeEnvironmentOrder or serviceEnvironmentOrder, not both",
        ));
    }
    if order.is_empty() && !is_service {
        return Ok(Vec::new());
    }
    if request.job_queue_type == Some(JobQueueType::Ecs) {
        return Err(ApiError::invalid(
            "serviceEnvironmentOrder is for job queues of jobQueueType `SAGEMAKER_TRAINING`, got `ECS`",
        ));
    }
    if !request.job_state_time_limit_actions.is_empty() {
        return Err(no_time_limits());
    }
    let policy = request.scheduling_policy_arn.as_deref().filter(|text| !text.is_empty());
    if let Some(policy) = policy.map(|text| find::policy(state, text)).transpose()?
        && matches!(policy.1.rules, Rules::QuotaShare)
    {
        return Err(ApiError::invalid(format!(
            "scheduling policy `{}` has a quotaSharePolicy: quota shares count vCPUs, memory and GPUs, which service jobs do not have",
            policy.0
        ))
        .hint("use a fair-share policy or none"));
    }
    check_order(state, order)
}

/// Blocked queues are noticed where jobs are scheduled.
pub(super) fn no_time_limits() -> ApiError {
    ApiError::invalid(
        "jobStateTimeLimitActions are for queues of ordinary jobs: no backend of this cluster runs service jobs",
    )
    .hint("end service jobs with TerminateServiceJob")
}

/// The service environments of a queue.
pub(super) fn check_order(
    state: &State,
    entries: &[ServiceEnvironmentOrder],
) -> Result<Vec<(u32, Name)>, ApiError> {
    if !(1..=SERVICE_ENVIRONMENTS_PER_QUEUE_MAX).contains(&entries.len()) {
        return Err(ApiError::invalid(format!(
            "a job queue of type SAGEMAKER_TRAINING has from 1 to {SERVICE_ENVIRONMENTS_PER_QUEUE_MAX} service environments in serviceEnvironmentOrder, got {}",
            entries.len()
        ))
        .hint("DescribeServiceEnvironments lists those there are"));
    }
    let mut environments: Vec<(u32, Name)> = Vec::with_capacity(entries.len());
    for entry in entries {
        let (name, _) = find::service_environment(state, &entry.service_environment)?;
        if environments.iter().any(|(_, other)| *other == name) {
            return Err(ApiError::invalid(format!("service environment `{name}` is listed twice")));
        }
        environments.push((entry.order, name));
    }
    environments.sort();
    Ok(environments)
}

fn submit(
    state: &State,
    limits: &Limits,
    id: JobId,
    request: &SubmitServiceJob,
    now: Timestamp,
) -> Result<Decision, ApiError> {
    let token = check_token(request.client_token.as_deref())?;
    let content = SubmitServiceJob { client_token: None, ..request.clone() };
    let token = key_of(token, &content)?;
    if let Some((token, digest)) = &token
        && let Some(known) = state.services.tokens.get(token)
    {
        let job = &state.services.jobs[known];
        if job.token.as_ref().is_some_and(|(_, first)| first == digest) {
            return Ok(Decision { events: Vec::new(), answer: response(*known, &job.name) });
        }
        return Err(ApiError::conflict(format!(
            "clientToken `{token}` was used for service job {known} with other content"
        ))
        .hint("use a new token for a new job, or repeat the first request unchanged"));
    }
    check_size("Service job size", request, limits.submit_kib)?;
    let kind = check_type("serviceJobType", request.service_job_type)?;
    let name = check_job_name(&request.job_name)?;
    let (queue, found) = find_enabled_queue(state, &request.job_queue)?;
    if !found.is_service() {
        return Err(ApiError::invalid(format!(
            "job queue `{queue}` takes ordinary jobs, not service jobs of type {}",
            kind.as_str()
        ))
        .hint("name a queue of jobQueueType SAGEMAKER_TRAINING, or use SubmitJob"));
    }
    check_payload(&request.service_request_payload)?;
    check_tags(&request.tags)?;
    refuse_quota(&queue, request)?;
    let share = check_share(state, limits, &queue, request.share_identifier.as_deref())?;
    let retry = request.retry_strategy.as_ref().map(|retry| check_retry(limits, retry));
    let timeout = request.timeout_config.as_ref().and_then(|t| t.attempt_duration_seconds);
    if let Some(seconds) = timeout.filter(|seconds| *seconds < limits.timeout_seconds_min) {
        return Err(ApiError::invalid(format!(
            "timeoutConfig.attemptDurationSeconds must be at least {}, got {seconds}",
            limits.timeout_seconds_min
        )));
    }
    let submitted = ServiceJob {
        kind,
        name: name.clone(),
        queue,
        payload: request.service_request_payload.as_str().into(),
        retry: retry.transpose()?,
        priority: request.scheduling_priority.map(check_scheduling_priority).transpose()?,
        share,
        timeout_seconds: timeout,
        tags: request.tags.clone(),
        token,
        created_at: now,
        ended: None,
    };
    let mut events = make_room(state, limits)?;
    events.push(happens(ServiceEvent::JobSubmitted { job: id, submitted }));
    Ok(Decision { events, answer: response(id, &name) })
}

fn response(id: JobId, name: &Name) -> Answer {
    Answer::ServiceJob(ServiceJobResponse {
        job_arn: arn::service_job(id),
        job_id: id.to_string(),
        job_name: name.to_string(),
    })
}

/// As many jobs as may be: the one that ended first is forgotten for the new one.
fn make_room(state: &State, limits: &Limits) -> Result<Vec<Event>, ApiError> {
    let count = state.services.jobs.len();
    if count < limits.service_jobs {
        return Ok(Vec::new());
    }
    let Some((_, oldest)) = state.services.ended.first() else {
        return Err(ApiError::invalid(format!(
            "there are {count} service jobs that have not ended, at most {} are allowed",
            limits.service_jobs
        ))
        .hint("end some with TerminateServiceJobs, or raise `service_jobs` in the configuration"));
    };
    Ok(vec![happens(ServiceEvent::JobsForgotten { jobs: vec![*oldest] })])
}

fn check_payload(payload: &str) -> Result<(), ApiError> {
    check_given("serviceRequestPayload", payload)?;
    if payload.len() > SERVICE_PAYLOAD_BYTES_MAX {
        return Err(ApiError::invalid(format!(
            "serviceRequestPayload is {} bytes long, at most {SERVICE_PAYLOAD_BYTES_MAX} are allowed",
            payload.len()
        ))
        .hint("put large data into files and pass their names"));
    }
    let read = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(payload);
    read.map(drop).map_err(|e| {
        ApiError::invalid(format!("serviceRequestPayload must be a JSON object as text: {e}"))
    })
}

fn refuse_quota(queue: &Name, request: &SubmitServiceJob) -> Result<(), ApiError> {
    if let Some(share) = request.quota_share_name.as_deref().filter(|name| !name.is_empty()) {
        return Err(ApiError::invalid(format!(
            "job queue `{queue}` has no quota shares, got quotaShareName `{}`",
            share.chars().take(130).collect::<String>()
        ))
        .hint("leave it out"));
    }
    if request.preemption_configuration.is_some() {
        return Err(ApiError::invalid(format!(
            "preemptionConfiguration is for queues of quota shares, `{queue}` is none"
        )));
    }
    Ok(())
}

fn check_retry(limits: &Limits, given: &ServiceJobRetryStrategy) -> Result<ServiceRetry, ApiError> {
    if !(1..=limits.attempts).contains(&given.attempts) {
        return Err(ApiError::invalid(format!(
            "retryStrategy.attempts must be from 1 to {}, got {}",
            limits.attempts, given.attempts
        )));
    }
    if given.evaluate_on_exit.len() > limits.evaluate_on_exit {
        return Err(ApiError::invalid(format!(
            "retryStrategy.evaluateOnExit has {} entries, at most {} are allowed",
            given.evaluate_on_exit.len(),
            limits.evaluate_on_exit
        )));
    }
    let mut rules = Vec::with_capacity(given.evaluate_on_exit.len());
    for rule in &given.evaluate_on_exit {
        let reason = rule.on_status_reason.clone().filter(|reason| !reason.is_empty());
        let length = reason.as_deref().map_or(0, |reason| reason.chars().count());
        if length > STATUS_REASON_PATTERN_MAX {
            return Err(ApiError::invalid(format!(
                "retryStrategy.evaluateOnExit: onStatusReason is {length} characters long, at most {STATUS_REASON_PATTERN_MAX} are allowed"
            )));
        }
        rules.push((rule.action, reason));
    }
    Ok(ServiceRetry { attempts: given.attempts, rules })
}

fn update(state: &State, request: &UpdateServiceJob) -> Result<Decision, ApiError> {
    let (id, job) = find::service_job(state, &request.job_id)?;
    let Some(priority) = request.scheduling_priority else {
        return Err(ApiError::invalid("schedulingPriority must be given: only that can change"));
    };
    let priority = check_scheduling_priority(priority)?;
    if job.ended.is_some() {
        return Err(ApiError::conflict(format!(
            "service job {id} is FAILED and cannot be changed any more"
        )));
    }
    let event = ServiceEvent::JobUpdated { job: id, priority };
    Ok(Decision { events: vec![happens(event)], answer: response(id, &job.name) })
}

fn terminate(
    state: &State,
    request: &TerminateServiceJob,
    now: Timestamp,
) -> Result<Decision, ApiError> {
    check_given("jobId", &request.job_id)?;
    check_reason(&request.reason)?;
    Ok(end(running(state, &request.job_id).into_iter().collect(), &request.reason, now).into())
}

fn terminate_many(
    state: &State,
    limits: &Limits,
    request: &TerminateServiceJobs,
    now: Timestamp,
) -> Result<Decision, ApiError> {
    check_reason(&request.reason)?;
    check_count_of_jobs(limits, &request.jobs)?;
    let mut answer = BulkResponse::default();
    // One that is named twice ends once.
    let mut jobs = BTreeSet::new();
    for text in &request.jobs {
        match check_given("jobId", text) {
            Ok(()) => {
                jobs.extend(running(state, text));
                answer.successful.push(text.clone());
            }
            Err(ApiError { code, message, .. }) => {
                answer.errors.push(BulkError { job: text.clone(), code, message });
            }
        }
    }
    let events = end(jobs.into_iter().collect(), &request.reason, now);
    Ok(Decision { events, answer: Answer::Bulk(answer) })
}

/// The job, unless it is unknown or has ended: to end that is a success that changes nothing.
fn running(state: &State, text: &str) -> Option<JobId> {
    let (id, job) = find::service_job(state, text).ok()?;
    job.ended.is_none().then_some(id)
}

fn end(jobs: Vec<JobId>, reason: &str, at: Timestamp) -> Vec<Event> {
    let reason: Arc<str> = reason.into();
    let part = |part: &[JobId]| ServiceEvent::JobsEnded {
        jobs: part.to_vec(),
        reason: reason.clone(),
        at,
    };
    jobs.chunks(FORGET_MAX).map(|jobs| happens(part(jobs))).collect()
}

/// The jobs of a queue that is being deleted are terminated.
pub(super) fn empty(state: &State, queue: &Name, reason: &str, now: Timestamp) -> Vec<Event> {
    let jobs = state.services.jobs.iter();
    let left = jobs.filter(|(_, job)| job.queue == *queue && job.ended.is_none());
    end(left.map(|(id, _)| *id).collect(), reason, now)
}

/// Those that ended at or before this time go, a bounded number at once.
pub(super) fn forget(state: &State, upto: Timestamp) -> Option<Event> {
    let old = state.services.ended.iter().take_while(|(at, _)| *at <= upto);
    let jobs: Vec<JobId> = old.map(|(_, id)| *id).take(FORGET_MAX).collect();
    (!jobs.is_empty()).then(|| happens(ServiceEvent::JobsForgotten { jobs }))
}
