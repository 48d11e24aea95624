//! DescribeJobs, and rows of ListJobs.

use std::collections::BTreeMap;
use std::sync::Arc;

use windrow_common::api::ApiError;
use windrow_common::api::definitions::JobTimeout;
use windrow_common::api::jobs::{
    ArrayPropertiesDetail, AttemptContainerDetail, AttemptDetail, AttemptTaskContainerDetails,
    AttemptTaskDetails, ContainerDetail, ContainerSummary, DependencyCondition, DependencyType,
    DescribeJobs, DescribeJobsResponse, JobDependency, JobDetail, JobStatus, JobSummary,
    NodeDetails, NodePropertiesSummary,
};
use windrow_common::api::quota::{PreemptedAttempt, PreemptionConfiguration, PreemptionSummary};
use windrow_common::api::snapshot::CapacityUsage;
use windrow_common::ids::{JobRef, Name};
use windrow_common::time::Timestamp;
use windrow_common::wire::agent::ContainerEnd;

use super::workload;
use crate::core::State;
use crate::core::arn;
use crate::core::children::{Attempt, Child};
use crate::core::consumables;
use crate::core::quota::{JobQuota, share_of};
use crate::core::reasons;
use crate::core::state::{Awaited, Dependency, Job, Nodes};
use crate::scheduler::explain::Look;

/// Most ids of one DescribeJobs, as AWS has it.
const DESCRIBE_MAX: usize = 100;

/// Every known job asked for; unknown ones are left out.
///
/// # Errors
/// More than 100 ids.
pub fn describe_jobs(
    state: &State,
    request: &DescribeJobs,
    now: Timestamp,
) -> Result<DescribeJobsResponse, ApiError> {
    if request.jobs.len() > DESCRIBE_MAX {
        return Err(ApiError::invalid(format!(
            "Maximum number of jobs supported is  {DESCRIBE_MAX} ."
        )));
    }
    let look = Look::bare(state);
    let known = request.jobs.iter().filter_map(|text| {
        let id: JobRef = arn::plain(text).parse().ok()?;
        let job = state.jobs.get(&id.job).filter(|job| job.has(id))?;
        let mut detail = detail(state, id, job);
        if detail.status_reason.is_none()
            && job.children.readiness().is_some()
            && !detail.status.is_terminal()
        {
            detail.status_reason = look.status_reason(id.job);
        }
        date_counts(&mut detail.array_properties, now);
        Some(detail)
    });
    Ok(DescribeJobsResponse { jobs: known.collect() })
}

/// Children are counted when they are asked about, until the last one has ended.
pub(super) fn date_counts(array: &mut Option<ArrayPropertiesDetail>, now: Timestamp) {
    if let Some(parent) = array.as_mut().filter(|array| array.size.is_some()) {
        parent.status_summary_last_updated_at.get_or_insert(now.0);
    }
}

/// A job, an array parent or a child as it is, without a look at why it waits.
pub(super) fn detail(state: &State, id: JobRef, job: &Job) -> JobDetail {
    let is_parent = job.array_size.is_some() && id.child.is_none();
    let child = job.child_of(id);
    let spec = &state.specs[&job.spec_of(child)].spec;
    let attempts = if is_parent { Vec::new() } else { attempts(state, id, job, child) };
    let status = status(job, id);
    let times = times(job, id);
    let outcome = outcome(state, id, job, attempts.last());
    let ends = attempts.last().map_or(&[][..], |last| &last.task_properties).to_vec();
    JobDetail {
        job_arn: arn::job(id),
        job_id: id.to_string(),
        job_name: job.name.to_string(),
        job_queue: arn::queue(&job.queue),
        job_definition: arn::definition(&job.definition.0, job.definition.1),
        status,
        status_reason: status_reason(job, id, status).or_else(|| {
            let preemption = state.preemptions.get(&(id.job, child)).filter(|_| !is_parent);
            preemption.map(reasons::being_preempted)
        }),
        created_at: job.created_at.0,
        started_at: times.0,
        stopped_at: times.1,
        container: workload::container(&spec.workload, outcome.clone()),
        ecs_properties: workload::ecs(&spec.workload, &outcome, &ends),
        attempts,
        retry_strategy: Some(spec.retry.to_api()),
        timeout: spec
            .timeout_seconds
            .map(|seconds| JobTimeout { attempt_duration_seconds: Some(seconds) }),
        depends_on: job.depends_on.iter().map(dependency).collect(),
        parameters: job.rare.parameters.clone(),
        array_properties: array_properties(job, id),
        // Those of an array stay with the parent, as AWS has it.
        tags: if id.child.is_none() { (*job.tags).clone() } else { BTreeMap::new() },
        is_cancelled: job.was_cancelled(id.child),
        is_terminated: job.was_terminated(id.child),
        propagate_tags: job.propagate_tags,
        share_identifier: share_identifier(job),
        scheduling_priority: Some(job.priority),
        platform_capabilities: platform_capabilities(state, job),
        consumable_resource_properties: consumables::to_api(&spec.consumables),
        node_properties: nodes_of(job, id).map(|nodes| nodes.properties.clone()),
        node_details: node_details(job, id),
        rerun_of: job.rare.rerun_of.map(|id| id.to_string()),
        quota_share_name: share_of(job).map(ToString::to_string),
        preemption_configuration: job.rare.quota.and_then(preemption_configuration),
        preemption_summary: preemption_summary(job, child, is_parent),
    }
}

/// As the definition has them, which stays as long as its jobs.
fn platform_capabilities(state: &State, job: &Job) -> Vec<String> {
    let (name, number) = &job.definition;
    let revision = state.definitions.get(name).and_then(|d| d.revisions.get(number));
    revision.map(|r| r.definition.platform_capabilities.clone()).unwrap_or_default()
}

/// Of the job, or of the child or node named.
pub(super) fn status(job: &Job, id: JobRef) -> JobStatus {
    id.child.map_or_else(|| job.status(), |child| job.children.status(child))
}

/// The nodes, when the id names a multi-node job as a whole.
fn nodes_of(job: &Job, id: JobRef) -> Option<&Nodes> {
    job.nodes.as_deref().filter(|_| id.child.is_none())
}

fn node_details(job: &Job, id: JobRef) -> Option<NodeDetails> {
    let (nodes, node) = (job.nodes.as_ref()?, id.child?);
    Some(NodeDetails { node_index: node, is_main_node: node == nodes.main })
}

fn nodes_summary(job: &Job, id: JobRef) -> Option<NodePropertiesSummary> {
    let nodes = job.nodes.as_ref()?;
    Some(NodePropertiesSummary {
        is_main_node: id.child.map(|node| node == nodes.main),
        num_nodes: nodes.count(),
        node_index: id.child,
    })
}

fn dependency(dependency: &Dependency) -> JobDependency {
    let (on, kind) = match &dependency.on {
        Awaited::Job(on) => (Some(JobRef::from(*on)), None),
        Awaited::Child(on, child) => (Some(JobRef::child(*on, *child)), None),
        Awaited::NToN(on) => (Some(JobRef::from(*on)), Some(DependencyType::NToN)),
        Awaited::Sequential => (None, Some(DependencyType::Sequential)),
    };
    let condition = Some(dependency.condition).filter(|c| *c != DependencyCondition::Success);
    JobDependency { job_id: on.map(|on| on.to_string()), kind, condition }
}

fn array_properties(job: &Job, id: JobRef) -> Option<ArrayPropertiesDetail> {
    let size = job.array_size?;
    Some(match id.child {
        Some(child) => ArrayPropertiesDetail { index: Some(child), ..Default::default() },
        None => ArrayPropertiesDetail {
            size: Some(size),
            index: None,
            status_summary: JobStatus::ALL
                .into_iter()
                .map(|status| (status, job.children.count(status)))
                .collect::<BTreeMap<_, _>>(),
            max_parallel: job.rare.max_parallel,
            status_summary_last_updated_at: job.stopped_at.map(|at| at.0),
        },
    })
}

/// When it started and stopped, in milliseconds.
pub(super) fn times(job: &Job, id: JobRef) -> (Option<u64>, Option<u64>) {
    if job.array_size.is_some() && id.child.is_none() {
        return (None, job.stopped_at.map(|at| at.0));
    }
    let child = job.child_of(id);
    match &*job.children.get(child) {
        Child::Running { started_at, .. } => (Some(started_at.0), None),
        // The job itself goes on until all of its nodes have ended.
        Child::Settled { last, .. } if id.child.is_none() => (last.started_at.map(|at| at.0), None),
        Child::Ended { last, .. } | Child::Settled { last, .. } => {
            (last.started_at.map(|at| at.0), Some(last.ended_at.0))
        }
        Child::Untried => (None, job.children.never_ran(child).map(|ended| ended.at.0)),
        Child::Retrying { .. } | Child::Starting { .. } => (None, None),
    }
}

fn preemption_configuration(quota: JobQuota) -> Option<PreemptionConfiguration> {
    let most = quota.preemptions_max?;
    Some(PreemptionConfiguration { preemption_retries_before_termination: Some(most) })
}

/// Most preempted attempts shown: the newest.
const PREEMPTED_MAX: usize = 10;

fn preemption_summary(job: &Job, child: u32, is_parent: bool) -> Option<PreemptionSummary> {
    let count = job.rare.preempted.get(&child).copied().filter(|_| !is_parent)?;
    let past = job.children.past(child).iter();
    let is_preempted = |attempt: &&Attempt| {
        attempt.status_reason.as_deref().is_some_and(|r| r.starts_with(reasons::PREEMPTED))
    };
    let shown =
        past.rev().filter(is_preempted).take(PREEMPTED_MAX).map(|attempt| PreemptedAttempt {
            started_at: attempt.started_at.map(|at| at.0),
            stopped_at: Some(attempt.ended_at.0),
            status_reason: attempt.status_reason.as_ref().map(Arc::to_string),
        });
    let mut recent: Vec<PreemptedAttempt> = shown.collect();
    recent.reverse();
    Some(PreemptionSummary { preempted_attempt_count: count, recent_preempted_attempts: recent })
}

pub(super) fn status_reason(job: &Job, id: JobRef, status: JobStatus) -> Option<String> {
    if job.array_size.is_some() && id.child.is_none() {
        let given = job.rare.end_reason.as_ref().map(Arc::to_string);
        return (status == JobStatus::Failed)
            .then(|| given.unwrap_or_else(|| reasons::CHILD_FAILED.to_owned()));
    }
    let child = job.child_of(id);
    if let Some(ended) = job.children.never_ran(child) {
        return Some(ended.reason.to_string());
    }
    match &*job.children.get(child) {
        Child::Settled { .. } if id.child.is_none() => None,
        Child::Untried if job.children.is_carried(child) => {
            job.rare.rerun_of.map(|of| format!("SUCCEEDED in job {of}, of which this is a rerun"))
        }
        Child::Ended { last, .. } | Child::Settled { last, .. } => Some(attempt_reason(last)),
        Child::Untried | Child::Starting { .. } | Child::Running { .. } => None,
        Child::Retrying { .. } => job.children.past(child).last().map(attempt_reason),
    }
}

fn attempt_reason(attempt: &Attempt) -> String {
    attempt.status_reason.as_deref().unwrap_or(reasons::ENDED).to_owned()
}

/// Attempts that ended, oldest first.
fn attempts(state: &State, id: JobRef, job: &Job, child: u32) -> Vec<AttemptDetail> {
    let past = job.children.past(child);
    let record = job.children.get(child);
    let last = match &*record {
        Child::Ended { last, .. } | Child::Settled { last, .. } => Some(last),
        Child::Untried
        | Child::Retrying { .. }
        | Child::Starting { .. }
        | Child::Running { .. } => None,
    };
    let numbered = (1..).zip(past.iter().chain(last));
    numbered.map(|(number, attempt)| attempt_detail(state, id, job, attempt, number)).collect()
}

fn attempt_detail(
    state: &State,
    id: JobRef,
    job: &Job,
    attempt: &Attempt,
    number: u32,
) -> AttemptDetail {
    let ran = attempt.started_at.is_some();
    let stream = || log_stream(&job.definition.0, id, number);
    let agent = arn::agent(state.agent_name(attempt.agent));
    let task = attempt.containers.as_ref().map(|ends| AttemptTaskDetails {
        container_instance_arn: Some(agent.clone()),
        containers: ends.iter().map(|end| container_end(end, stream)).collect(),
    });
    AttemptDetail {
        container: AttemptContainerDetail {
            container_instance_arn: Some(agent),
            exit_code: attempt.exit_code,
            reason: attempt.reason.as_ref().map(Arc::to_string),
            log_stream_name: ran.then(stream),
            log_bytes: ran.then_some(attempt.log_bytes),
        },
        started_at: attempt.started_at.map(|at| at.0),
        stopped_at: Some(attempt.ended_at.0),
        status_reason: Some(attempt_reason(attempt)),
        task_properties: task.into_iter().collect(),
    }
}

fn container_end(end: &ContainerEnd, stream: impl Fn() -> String) -> AttemptTaskContainerDetails {
    AttemptTaskContainerDetails {
        name: end.name.clone(),
        exit_code: end.exit_code,
        reason: end.reason.clone(),
        log_stream_name: end.exit_code.map(|_| stream()),
    }
}

/// AWS's form `DEFINITION/default/TASK`; our task is the attempt, as `JOB[-INDEX]-ATTEMPT`: CloudWatch Logs
/// allows no `:` in the name of a stream. The gateway finds the attempt by it.
fn log_stream(definition: &Name, id: JobRef, attempt: u32) -> String {
    let child = id.child.map(|child| format!("-{child}")).unwrap_or_default();
    format!("{definition}/default/{}{child}-{attempt}", id.job)
}

/// What the latest attempt has come to.
fn outcome(
    state: &State,
    id: JobRef,
    job: &Job,
    last: Option<&AttemptDetail>,
) -> AttemptContainerDetail {
    match &*job.children.get(job.child_of(id)) {
        _ if job.array_size.is_some() && id.child.is_none() => AttemptContainerDetail::default(),
        Child::Running { lease, attempt, .. } => AttemptContainerDetail {
            container_instance_arn: Some(arn::agent(&state.leases[lease].agent)),
            log_stream_name: Some(log_stream(&job.definition.0, id, *attempt)),
            ..Default::default()
        },
        Child::Untried
        | Child::Retrying { .. }
        | Child::Starting { .. }
        | Child::Ended { .. }
        | Child::Settled { .. } => last.map(|l| l.container.clone()).unwrap_or_default(),
    }
}

/// What is a child's own: without the settings that it shares with all of its array.
pub(super) fn child_detail(state: &State, id: JobRef, job: &Job) -> JobDetail {
    let child = id.child.unwrap_or(0);
    let attempts = attempts(state, id, job, child);
    let status = job.children.status(child);
    let times = times(job, id);
    JobDetail {
        job_arn: arn::job(id),
        job_id: id.to_string(),
        job_name: job.name.to_string(),
        job_queue: arn::queue(&job.queue),
        job_definition: arn::definition(&job.definition.0, job.definition.1),
        status,
        status_reason: status_reason(job, id, status),
        created_at: job.created_at.0,
        started_at: times.0,
        stopped_at: times.1,
        container: Some(ContainerDetail {
            outcome: outcome(state, id, job, attempts.last()),
            ..ContainerDetail::default()
        }),
        attempts,
        array_properties: array_properties(job, id),
        node_details: node_details(job, id),
        ..JobDetail::default()
    }
}

/// The share of a fair-share policy.
pub(super) fn share_identifier(job: &Job) -> Option<String> {
    job.share.as_ref().filter(|_| job.rare.quota.is_none()).map(Name::to_string)
}

/// vCPUs that a job, child or node asks for; all nodes together of a multi-node job as a whole, and
/// none of an array parent.
fn capacity(state: &State, id: JobRef, job: &Job) -> Vec<CapacityUsage> {
    if job.array_size.is_some() && id.child.is_none() {
        return Vec::new();
    }
    let of = |child: u32| u64::from(state.specs[&job.spec_of(child)].spec.resources.cpu.0);
    let whole = match (&job.nodes, id.child) {
        (Some(nodes), None) => (0..nodes.count()).map(of).sum(),
        (None, None) => of(0),
        (_, Some(child)) => of(child),
    };
    vec![CapacityUsage::vcpus(whole)]
}

/// When it was given to its agent, while it is there.
fn scheduled_at(state: &State, id: JobRef, job: &Job) -> Option<u64> {
    if job.array_size.is_some() && id.child.is_none() {
        return None;
    }
    let child = job.child_of(id);
    let lease = state.leases.get(&job.children.get(child).lease()?)?;
    lease.granted_at.map(|at| at.0)
}

/// A row of ListJobs.
pub(super) fn summary(state: &State, id: JobRef, job: &Job) -> JobSummary {
    let is_parent = job.array_size.is_some() && id.child.is_none();
    let child = job.child_of(id);
    let status = status(job, id);
    let (started_at, stopped_at) = times(job, id);
    let container = match &*job.children.get(child) {
        Child::Ended { last, .. } | Child::Settled { last, .. } if !is_parent => {
            Some(ContainerSummary {
                exit_code: last.exit_code,
                reason: last.reason.as_ref().map(Arc::to_string),
            })
        }
        Child::Ended { .. }
        | Child::Settled { .. }
        | Child::Untried
        | Child::Retrying { .. }
        | Child::Starting { .. }
        | Child::Running { .. } => None,
    };
    JobSummary {
        job_arn: arn::job(id),
        job_id: id.to_string(),
        job_name: job.name.to_string(),
        job_definition: arn::definition(&job.definition.0, job.definition.1),
        job_queue: job.queue.to_string(),
        created_at: job.created_at.0,
        status,
        status_reason: status_reason(job, id, status),
        started_at,
        stopped_at,
        container,
        array_properties: array_properties(job, id),
        is_cancelled: job.was_cancelled(id.child),
        is_terminated: job.was_terminated(id.child),
        node_properties: nodes_summary(job, id),
        wait_code: None,
        share_identifier: share_identifier(job),
        scheduled_at: scheduled_at(state, id, job),
        capacity_usage: capacity(state, id, job),
    }
}
