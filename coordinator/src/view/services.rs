//! Service environments and service jobs.

use std::ops::Bound;

use windrow_common::api::ApiError;
use windrow_common::api::jobs::KeyValuesPair;
use windrow_common::api::services::{
    CapacityLimit, DescribeServiceEnvironments, DescribeServiceEnvironmentsResponse,
    DescribeServiceJob, DescribeServiceJobResponse, ListServiceJobs, ListServiceJobsResponse,
    ServiceEnvironmentDetail, ServiceJobEvaluateOnExit, ServiceJobRetryStrategy, ServiceJobStatus,
    ServiceJobSummary, ServiceJobTimeout,
};
use windrow_common::ids::{JobId, Name};

use super::list::millis;
use super::{PAGE_MAX, bad_token, named, page, page_of_some, shown, token};
use crate::core::State;
use crate::core::arn;
use crate::core::find;
use crate::core::listing::Pattern;
use crate::core::services::{ServiceEnvironment, ServiceJob, ServiceRetry};

/// Filters beside which `jobStatus` counts.
const WITH_STATUS: [&str; 2] = ["SHARE_IDENTIFIER", "QUOTA_SHARE_NAME"];

/// Service environments by name.
///
/// # Errors
/// A wrong token or page size.
pub fn describe_service_environments(
    state: &State,
    request: &DescribeServiceEnvironments,
) -> Result<DescribeServiceEnvironmentsResponse, ApiError> {
    let names = &request.service_environments;
    let rows = named(&state.services.environments, names, request.next_token.as_ref())?;
    let rows = rows.map(|(name, one)| (name.to_string(), environment(name, one)));
    let page = page(rows, request.max_results, PAGE_MAX)?;
    Ok(DescribeServiceEnvironmentsResponse {
        service_environments: page.rows,
        next_token: page.next_token,
    })
}

fn environment(name: &Name, environment: &ServiceEnvironment) -> ServiceEnvironmentDetail {
    let limit = |(unit, most): &(String, u32)| CapacityLimit {
        capacity_unit: Some(unit.clone()),
        max_capacity: *most,
    };
    ServiceEnvironmentDetail {
        service_environment_name: name.to_string(),
        service_environment_arn: arn::service_environment(name),
        service_environment_type: environment.kind,
        state: environment.state,
        status: "VALID".to_owned(),
        capacity_limits: environment.capacity.iter().map(limit).collect(),
        tags: environment.tags.clone(),
    }
}

/// One service job.
///
/// # Errors
/// It does not exist, or is no longer known.
pub fn describe_service_job(
    state: &State,
    request: &DescribeServiceJob,
) -> Result<DescribeServiceJobResponse, ApiError> {
    let (id, job) = find::service_job(state, &request.job_id)?;
    let summary = summary(id, job);
    Ok(DescribeServiceJobResponse {
        job_arn: summary.job_arn,
        job_id: summary.job_id,
        job_name: summary.job_name,
        job_queue: arn::queue(&job.queue),
        service_job_type: job.kind,
        service_request_payload: job.payload.to_string(),
        status: summary.status,
        status_reason: summary.status_reason,
        created_at: summary.created_at,
        stopped_at: summary.stopped_at,
        is_terminated: summary.is_terminated,
        retry_strategy: job.retry.as_ref().map(retry),
        scheduling_priority: job.priority,
        share_identifier: summary.share_identifier,
        timeout_config: job
            .timeout_seconds
            .map(|seconds| ServiceJobTimeout { attempt_duration_seconds: Some(seconds) }),
        tags: job.tags.clone(),
    })
}

fn retry(retry: &ServiceRetry) -> ServiceJobRetryStrategy {
    let rules = retry.rules.iter().map(|(action, reason)| ServiceJobEvaluateOnExit {
        action: *action,
        on_status_reason: reason.clone(),
    });
    ServiceJobRetryStrategy { attempts: retry.attempts, evaluate_on_exit: rules.collect() }
}

/// Service jobs of a queue, newest first.
///
/// # Errors
/// Unknown queue, a wrong filter, token or page size.
pub fn list_service_jobs(
    state: &State,
    request: &ListServiceJobs,
) -> Result<ListServiceJobsResponse, ApiError> {
    if request.job_queue.is_empty() {
        return Err(ApiError::invalid("jobQueue must be given: service jobs are listed by queue"));
    }
    let (queue, _) = find::queue(state, &request.job_queue)?;
    let filters = read_filters(&request.filters)?;
    let by_status = request.filters.iter().all(|f| WITH_STATUS.contains(&f.name.as_str()));
    let wanted = request.job_status.unwrap_or(ServiceJobStatus::Running);
    let before = match token(request.next_token.as_ref()) {
        None => Bound::Unbounded,
        Some(token) => Bound::Excluded(token.parse::<JobId>().map_err(|_| bad_token(token))?),
    };
    let is_meant = |job: &ServiceJob| {
        job.queue == queue
            && (!by_status || status(job) == wanted)
            && filters.iter().all(|filter| filter.matches(job))
    };
    let jobs = state.services.jobs.range((Bound::Unbounded, before)).rev();
    let rows = jobs.map(|(id, job)| (*id, is_meant(job).then(|| summary(*id, job))));
    let page = page_of_some(rows, request.max_results, PAGE_MAX)?;
    Ok(ListServiceJobsResponse { job_summary_list: page.rows, next_token: page.next_token })
}

fn summary(id: JobId, job: &ServiceJob) -> ServiceJobSummary {
    ServiceJobSummary {
        job_arn: arn::service_job(id),
        job_id: id.to_string(),
        job_name: job.name.to_string(),
        service_job_type: job.kind,
        status: status(job),
        status_reason: status_reason(job),
        created_at: job.created_at.0,
        stopped_at: job.ended.as_ref().map(|(at, _)| at.0),
        is_terminated: job.ended.is_some(),
        share_identifier: job.share.as_ref().map(Name::to_string),
    }
}

fn status(job: &ServiceJob) -> ServiceJobStatus {
    match job.ended {
        None => ServiceJobStatus::Runnable,
        Some(_) => ServiceJobStatus::Failed,
    }
}

fn status_reason(job: &ServiceJob) -> String {
    match &job.ended {
        Some((_, reason)) => reason.to_string(),
        None => format!(
            "No backend of this cluster runs {} jobs: it stays RUNNABLE until it is terminated",
            job.kind.as_str()
        ),
    }
}

/// What a job has to be like.
enum Filter {
    Name(Pattern),
    Before(u64),
    After(u64),
    Share(String),
    /// No service job has one.
    QuotaShare,
}

impl Filter {
    fn matches(&self, job: &ServiceJob) -> bool {
        match self {
            Self::Name(pattern) => pattern.matches(&job.name.as_str().to_ascii_lowercase()),
            Self::Before(at) => job.created_at.0 < *at,
            Self::After(at) => job.created_at.0 > *at,
            Self::Share(share) => job.share.as_ref().is_some_and(|s| s.as_str() == share),
            Self::QuotaShare => false,
        }
    }
}

fn read_filters(filters: &[KeyValuesPair]) -> Result<Vec<Filter>, ApiError> {
    let read = |filter: &KeyValuesPair| {
        let [value] = filter.values.as_slice() else {
            return Err(ApiError::invalid(format!(
                "filter `{}` takes exactly one value, got {}",
                shown(&filter.name),
                filter.values.len()
            )));
        };
        match filter.name.as_str() {
            "JOB_NAME" => Ok(Filter::Name(Pattern::parse(&value.to_ascii_lowercase()))),
            "BEFORE_CREATED_AT" => Ok(Filter::Before(millis(&filter.name, value)?)),
            "AFTER_CREATED_AT" => Ok(Filter::After(millis(&filter.name, value)?)),
            "SHARE_IDENTIFIER" => Ok(Filter::Share(value.clone())),
            "QUOTA_SHARE_NAME" => Ok(Filter::QuotaShare),
            other => Err(ApiError::invalid(format!("there is no filter `{}`", shown(other)))
                .hint("use JOB_NAME, BEFORE_CREATED_AT, AFTER_CREATED_AT, SHARE_IDENTIFIER or QUOTA_SHARE_NAME")),
        }
    };
    filters.iter().map(read).collect()
}
