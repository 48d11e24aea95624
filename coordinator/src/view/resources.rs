//! Describe and list queues, compute environments, definitions, agents; counts of the cluster.

use std::collections::BTreeMap;

use windrow_common::api::ApiError;
use windrow_common::api::definitions::{
    DescribeJobDefinitions, DescribeJobDefinitionsResponse, JobDefinitionDetail,
};
use windrow_common::api::resources::{
    Acknowledgement, AgentDetail, AgentStatus, Alarm, ComputeEnvironmentDetail,
    ComputeEnvironmentOrder, DescribeClusterResponse, DescribeComputeEnvironments,
    DescribeComputeEnvironmentsResponse, DescribeJobQueues, DescribeJobQueuesResponse, GpuDetail,
    JobQueueDetail, JobQueueType, ListAgentsResponse, ProblemDetail, ServiceEnvironmentOrder,
};
use windrow_common::ids::Name;
use windrow_common::wire::agent::{Gpu, Problem};

use super::{PAGE_MAX, bad_token, named, page, token};
use crate::core::State;
use crate::core::arn;
use crate::core::state::{Agent, Environment, Queue, Revision};

const VALID: &str = "VALID";
/// Status of a queue whose jobs are being terminated.
const DELETING: &str = "DELETING";

/// Queues by name.
///
/// # Errors
/// A wrong token or page size.
pub fn describe_queues(
    state: &State,
    request: &DescribeJobQueues,
) -> Result<DescribeJobQueuesResponse, ApiError> {
    let rows = named(&state.queues, &request.job_queues, request.next_token.as_ref())?;
    let rows = rows.map(|(name, queue)| (name.to_string(), queue_detail(name, queue)));
    let page = page(rows, request.max_results, PAGE_MAX)?;
    Ok(DescribeJobQueuesResponse { job_queues: page.rows, next_token: page.next_token })
}

fn queue_detail(name: &Name, queue: &Queue) -> JobQueueDetail {
    let environments = queue.environments.iter();
    JobQueueDetail {
        job_queue_name: name.to_string(),
        job_queue_arn: arn::queue(name),
        state: queue.state,
        status: if queue.is_deleting { DELETING } else { VALID }.to_owned(),
        status_reason: if queue.is_deleting {
            format!("its jobs are being terminated, {} have not ended", queue.active_jobs)
        } else {
            "JobQueue Healthy".to_owned()
        },
        priority: queue.priority,
        compute_environment_order: environments
            .map(|(order, name)| ComputeEnvironmentOrder {
                order: *order,
                compute_environment: arn::environment(name),
            })
            .collect(),
        tags: queue.tags.clone(),
        active_jobs: queue.active_jobs,
        scheduling_policy_arn: queue.policy.as_ref().map(arn::policy),
        job_state_time_limit_actions: queue.time_limits.clone(),
        service_environment_order: queue
            .service_environments
            .iter()
            .map(|(order, name)| ServiceEnvironmentOrder {
                order: *order,
                service_environment: arn::service_environment(name),
            })
            .collect(),
        job_queue_type: queue.is_service().then_some(JobQueueType::SagemakerTraining),
    }
}

/// Compute environments by name.
///
/// # Errors
/// A wrong token or page size.
pub fn describe_environments(
    state: &State,
    request: &DescribeComputeEnvironments,
) -> Result<DescribeComputeEnvironmentsResponse, ApiError> {
    let names = &request.compute_environments;
    let rows = named(&state.environments, names, request.next_token.as_ref())?;
    let rows = rows.map(|(name, e)| (name.to_string(), environment_detail(state, name, e)));
    let page = page(rows, request.max_results, PAGE_MAX)?;
    Ok(DescribeComputeEnvironmentsResponse {
        compute_environments: page.rows,
        next_token: page.next_token,
    })
}

fn environment_detail(
    state: &State,
    name: &Name,
    environment: &Environment,
) -> ComputeEnvironmentDetail {
    let live = |agent: &&Agent| agent.environment == *name && agent.status != AgentStatus::Lost;
    let cores = state.agents.values().filter(live).map(|agent| agent.resources.cpu.0);
    let (agents, total) =
        cores.fold((0, 0), |(agents, total), cpu| (agents + 1, total + u64::from(cpu)));
    ComputeEnvironmentDetail {
        compute_environment_name: name.to_string(),
        compute_environment_arn: arn::environment(name),
        kind: "UNMANAGED".to_owned(),
        state: environment.state,
        status: VALID.to_owned(),
        status_reason: "ComputeEnvironment Healthy".to_owned(),
        tags: environment.tags.clone(),
        unmanagedv_cpus: environment.unmanaged_vcpus,
        service_role: environment.service_role.clone(),
        agents,
        total_milli_cpu: total,
        disconnect: environment.disconnect.to_api(),
    }
}

/// Revisions of definitions, by name and number.
///
/// # Errors
/// A wrong status, token or page size.
pub fn describe_definitions(
    state: &State,
    request: &DescribeJobDefinitions,
) -> Result<DescribeJobDefinitionsResponse, ApiError> {
    let active = match request.status.as_deref().filter(|s| !s.is_empty()) {
        None => None,
        Some("ACTIVE") => Some(true),
        Some("INACTIVE") => Some(false),
        Some(other) => {
            return Err(ApiError::invalid(format!(
                "status must be ACTIVE or INACTIVE, got `{other}`"
            )));
        }
    };
    let after = match token(request.next_token.as_ref()) {
        None => None,
        Some(token) => Some(parse_token(token).ok_or_else(|| bad_token(token))?),
    };
    let named = request.job_definition_name.as_deref().filter(|n| !n.is_empty()).map(arn::plain);
    check_definition_filters(request)?;
    let is_meant = |text: &String, name: &Name, number: u32| match arn::plain(text).split_once(':')
    {
        Some((plain, revision)) => plain == name.as_str() && revision.parse() == Ok(number),
        None => arn::plain(text) == name.as_str(),
    };
    let wanted = |name: &Name, number: u32, revision: &Revision| {
        after.as_ref().is_none_or(|(n, r)| (name, number) > (n, *r))
            && active.is_none_or(|active| active == revision.active)
            && named.is_none_or(|named| named == name.as_str())
            && (request.job_definitions.is_empty()
                || request.job_definitions.iter().any(|text| is_meant(text, name, number)))
    };
    let all = state.definitions.iter().flat_map(|(name, definition)| {
        definition.revisions.iter().map(move |(number, revision)| (name, *number, revision))
    });
    let rows = all
        .filter(|(name, number, revision)| wanted(name, *number, revision))
        .map(|(name, number, r)| (format!("{name}:{number}"), definition_detail(name, number, r)));
    let page = page(rows, request.max_results, PAGE_MAX)?;
    Ok(DescribeJobDefinitionsResponse { job_definitions: page.rows, next_token: page.next_token })
}

/// A list of definitions stands alone, and is not too long.
fn check_definition_filters(request: &DescribeJobDefinitions) -> Result<(), ApiError> {
    let list = &request.job_definitions;
    if list.len() > PAGE_MAX as usize {
        return Err(ApiError::invalid(format!(
            "at most {PAGE_MAX} jobDefinitions can be described at once, got {}",
            list.len()
        )));
    }
    let has = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    if !list.is_empty() && (has(&request.job_definition_name) || has(&request.status)) {
        return Err(ApiError::invalid(
            "jobDefinitions cannot be combined with jobDefinitionName or status",
        ));
    }
    Ok(())
}

fn parse_token(token: &str) -> Option<(Name, u32)> {
    let (name, number) = token.split_once(':')?;
    Some((name.parse().ok()?, number.parse().ok()?))
}

fn definition_detail(name: &Name, number: u32, revision: &Revision) -> JobDefinitionDetail {
    JobDefinitionDetail {
        job_definition_arn: arn::definition(name, number),
        revision: number,
        status: if revision.active { "ACTIVE" } else { "INACTIVE" }.to_owned(),
        container_orchestration_type: "ECS".to_owned(),
        definition: revision.definition.clone(),
    }
}

/// What is known of an agent by its heartbeats alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heard {
    /// Milliseconds since the last one.
    pub before_millis: Option<u64>,
    /// How far its clock was ahead of ours then.
    pub skew_millis: Option<i64>,
}

/// All agents by name. `heard` gives what their heartbeats tell.
pub fn list_agents(state: &State, heard: impl Fn(&Name) -> Heard) -> ListAgentsResponse {
    let rows = state.agents.iter().map(|(name, agent)| agent_detail(name, agent, heard(name)));
    ListAgentsResponse { agents: rows.collect() }
}

fn agent_detail(name: &Name, agent: &Agent, heard: Heard) -> AgentDetail {
    AgentDetail {
        agent: name.to_string(),
        host: agent.host.clone(),
        compute_environment: agent.environment.to_string(),
        status: agent.status,
        executors: agent.executors.iter().copied().collect(),
        architecture: agent.architecture.clone(),
        agent_version: agent.version.clone(),
        total_milli_cpu: agent.resources.cpu.0,
        total_memory_mib: agent.resources.memory.0,
        leased_milli_cpu: u32::try_from(agent.leased.milli_cpu).unwrap_or(u32::MAX),
        leased_memory_mib: u32::try_from(agent.leased.memory_mib).unwrap_or(u32::MAX),
        leased_children: agent.leased.children,
        last_heard_millis: heard.before_millis,
        total_gpus: agent.resources.gpu,
        leased_gpus: u32::try_from(agent.leased.gpus).unwrap_or(u32::MAX),
        gpus: agent.gpus.iter().map(gpu_detail).collect(),
        clock_skew_millis: heard.skew_millis,
        problems: agent.problems.iter().map(problem_detail).collect(),
    }
}

fn problem_detail(problem: &Problem) -> ProblemDetail {
    ProblemDetail { message: problem.message.clone(), takes_no_work: problem.takes_no_work }
}

fn gpu_detail(gpu: &Gpu) -> GpuDetail {
    GpuDetail { id: gpu.id.clone(), model: gpu.model.clone(), memory_mib: gpu.memory_mib }
}

/// Counts over the state, for DescribeCluster; what only the shell knows is left at zero.
pub fn statistics(state: &State) -> DescribeClusterResponse {
    let counts = state.index.unended.counts();
    let children: BTreeMap<_, _> = counts.map(|(status, n)| (status.to_string(), n)).collect();
    let children = match children.values().all(|n| *n == 0) {
        true => BTreeMap::new(),
        false => children,
    };
    let up = state.agents.values().filter(|agent| agent.status == AgentStatus::Up).count();
    DescribeClusterResponse {
        term: state.term,
        jobs: state.jobs.len() as u64,
        archived_jobs: state.index.finished.archived_count(),
        shelved_jobs: state.shelf.jobs,
        children,
        agents_up: u32::try_from(up).unwrap_or(u32::MAX),
        fenced_results: state.fenced_results,
        alarms: state.alarms.iter().map(alarm).collect(),
        ..DescribeClusterResponse::default()
    }
}

fn alarm(alarm: &crate::core::alarms::Alarm) -> Alarm {
    let acknowledged = alarm.acknowledged.as_ref().map(|said| Acknowledgement {
        at: said.at,
        by: said.by.clone(),
        note: said.note.clone(),
    });
    Alarm { at: alarm.at, text: alarm.text.clone(), id: alarm.id, acknowledged }
}
