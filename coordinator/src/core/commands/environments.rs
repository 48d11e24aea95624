//! Compute environments: create, update, delete. Unmanaged only: agents join by themselves.

use serde_json::Value;
use windrow_common::api::ApiError;
use windrow_common::api::resources::{
    AgentStatus, ComputeEnvironmentResponse, CreateComputeEnvironment, DeleteComputeEnvironment,
    ResourceState, UpdateComputeEnvironment,
};
use windrow_common::ids::Name;

use super::definitions::check_tags;
use super::{Answer, Decision};
use crate::core::State;
use crate::core::arn;
use crate::core::disconnect::Disconnect;
use crate::core::event::Event;
use crate::core::find;
use crate::core::limits::{Limits, check_count};
use crate::core::state::Environment;

pub(super) fn create(
    state: &State,
    limits: &Limits,
    request: &CreateComputeEnvironment,
) -> Result<Decision, ApiError> {
    let name: Name = request
        .compute_environment_name
        .parse()
        .map_err(|e| ApiError::invalid(format!("computeEnvironmentName: {e}")))?;
    if state.environments.contains_key(&name) {
        return Err(ApiError::conflict(format!(
            "compute environment `{name}`: Object already exists"
        ))
        .hint(format!("change it with `windrow ce update {name}`")));
    }
    check_count("compute environments", state.environments.len(), limits.environments)?;
    refuse_kubernetes(request.eks_configuration.as_ref())?;
    if request.kind != "UNMANAGED" {
        let shown: String = request.kind.chars().take(40).collect();
        return Err(unmanaged_only(format!(
            "compute environment type must be `UNMANAGED`, got `{shown}`"
        )));
    }
    refuse_managed(request.compute_resources.as_ref())?;
    check_tags(&request.tags)?;
    let environment = Environment {
        state: request.state.unwrap_or_default(),
        tags: request.tags.clone(),
        unmanaged_vcpus: request.unmanagedv_cpus,
        service_role: request.service_role.clone().filter(|role| !role.is_empty()),
        disconnect: Disconnect::default().changed(limits, request.disconnect.as_ref())?,
    };
    Ok(set(name, environment))
}

pub(super) fn update(
    state: &State,
    limits: &Limits,
    request: &UpdateComputeEnvironment,
) -> Result<Decision, ApiError> {
    let (name, environment) = find::environment(state, &request.compute_environment)?;
    refuse_kubernetes(request.eks_configuration.as_ref())?;
    refuse_managed(request.compute_resources.as_ref())?;
    let mut environment = environment.clone();
    if let Some(state) = request.state {
        environment.state = state;
    }
    environment.unmanaged_vcpus = request.unmanagedv_cpus.or(environment.unmanaged_vcpus);
    if let Some(role) = &request.service_role {
        environment.service_role = Some(role.clone()).filter(|role| !role.is_empty());
    }
    environment.disconnect = environment.disconnect.changed(limits, request.disconnect.as_ref())?;
    Ok(set(name, environment))
}

pub(super) fn delete(
    state: &State,
    request: &DeleteComputeEnvironment,
) -> Result<Decision, ApiError> {
    let (name, environment) = find::environment(state, &request.compute_environment)?;
    if environment.state == ResourceState::Enabled {
        return Err(ApiError::conflict(format!(
            "compute environment `{name}` is ENABLED; disable it first"
        ))
        .hint(format!("windrow ce update {name} --disable")));
    }
    let user = state.queues.iter().find(|(_, q)| q.environments.iter().any(|(_, e)| *e == name));
    if let Some((queue, _)) = user {
        return Err(ApiError::conflict("Cannot delete, found existing JobQueue relationship")
            .hint(format!("queue `{queue}` uses it: update or delete that queue first")));
    }
    let lives =
        |a: &&crate::core::state::Agent| a.environment == name && a.status != AgentStatus::Lost;
    if let Some(agent) = state.agents.values().find(lives) {
        return Err(ApiError::conflict(format!(
            "compute environment `{name}` still has agents, such as `{}`",
            agent.host
        ))
        .hint("stop its agents first"));
    }
    Ok(vec![Event::EnvironmentDeleted { name }].into())
}

fn refuse_managed(compute_resources: Option<&Value>) -> Result<(), ApiError> {
    if compute_resources.is_none_or(says_nothing) {
        return Ok(());
    }
    Err(unmanaged_only(
        "computeResources is for managed compute environments, which launch hosts".to_owned(),
    ))
}

fn refuse_kubernetes(eks_configuration: Option<&Value>) -> Result<(), ApiError> {
    if eks_configuration.is_none_or(says_nothing) {
        return Ok(());
    }
    Err(unmanaged_only("eksConfiguration: Kubernetes clusters are not supported".to_owned()))
}

/// Empty is absent, as to AWS.
fn says_nothing(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty)
}

fn unmanaged_only(message: String) -> ApiError {
    ApiError::invalid(message).hint(
        "hosts join by themselves: start agents with `windrow-agent --compute-environment NAME`",
    )
}

fn set(name: Name, environment: Environment) -> Decision {
    let response = ComputeEnvironmentResponse {
        compute_environment_name: name.to_string(),
        compute_environment_arn: arn::environment(&name),
    };
    Decision {
        events: vec![Event::EnvironmentSet { name, environment }],
        answer: Answer::Environment(response),
    }
}
