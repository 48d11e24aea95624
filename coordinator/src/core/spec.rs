//! From a job definition and a submission to what an attempt runs: merging, substitution, checks.
//! Rules of AWS Batch, where it has them. COMPATIBILITY.md lists every field and what comes of it.

mod container;
mod kernel;
mod merge;
mod nodes;
mod parameters;
mod platform;
mod resources;
mod settings;
mod task;
#[cfg(test)]
mod tests;
mod volumes;

use serde::{Deserialize, Serialize};
use windrow_common::api::definitions::{
    ContainerProperties, EcsProperties, JobTimeout, RegisterJobDefinition,
};
use windrow_common::api::jobs::SubmitJob;
use windrow_common::api::{ApiError, ErrorKind};
use windrow_common::codec::to_msgpack;
use windrow_common::wire::lease::SpecDigest;

use super::consumables;
use super::limits::{Limits, SPEC_BYTES_MAX};
use super::retry::Retry;
use super::state::JobSpec;
use platform::Platform;

pub(super) use nodes::{ResolvedNodes, check_nodes, resolve_nodes};

/// What is to run, in the API's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Workload {
    /// One container, or a plain process.
    Container(Box<ContainerProperties>),
    /// Several containers that make one job.
    Ecs(EcsProperties),
}

/// How complete what is checked has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A definition: a submission may still add a command.
    Definition,
    /// A job.
    Job,
}

/// Names a spec.
pub(super) fn digest(spec: &JobSpec) -> SpecDigest {
    SpecDigest::of(spec)
}

/// What a job of this definition with this request runs. The request's retry strategy and timeout
/// replace the definition's wholly.
pub(super) fn resolve(
    definition: &RegisterJobDefinition,
    request: &SubmitJob,
    limits: &Limits,
) -> Result<JobSpec, ApiError> {
    refuse_eks("eksPropertiesOverride", request.eks_properties_override.as_ref())?;
    let platform = Platform::of(&definition.platform_capabilities)?;
    let mut workload = merge::merge(workload(definition)?, request, platform)?;
    let mut parameters = definition.parameters.clone();
    parameters.extend(request.parameters.clone());
    parameters::substitute_workload(&mut workload, &parameters)?;
    let built = task::build(&workload, platform, Stage::Job, limits)?;
    let retry = request.retry_strategy.as_ref().or(definition.retry_strategy.as_ref());
    let timeout = request.timeout.as_ref().or(definition.timeout.as_ref());
    let spec = JobSpec {
        task_digest: built.task.digest(),
        executor: built.task.executor(),
        task: built.task,
        resources: built.resources,
        timeout_seconds: check_timeout(timeout, limits)?,
        retry: Retry::parse(retry, limits)?,
        workload,
        architecture: built.architecture,
        consumables: consumables::merge(
            definition.consumable_resource_properties.as_ref(),
            request.consumable_resource_properties_override.as_ref(),
        )?,
    };
    match to_msgpack(&spec).len() {
        size if size > SPEC_BYTES_MAX => Err(too_large(size)),
        _ => Ok(spec),
    }
}

/// Whether a definition could run at all; what only a submission can complete is left to it.
pub(super) fn check_definition(
    definition: &RegisterJobDefinition,
    limits: &Limits,
) -> Result<(), ApiError> {
    let platform = Platform::of(&definition.platform_capabilities)?;
    consumables::merge(definition.consumable_resource_properties.as_ref(), None)?;
    Retry::parse(definition.retry_strategy.as_ref(), limits)?;
    check_timeout(definition.timeout.as_ref(), limits)?;
    task::build(&workload(definition)?, platform, Stage::Definition, limits).map(drop)
}

/// The workload of a single-node definition.
fn workload(definition: &RegisterJobDefinition) -> Result<Workload, ApiError> {
    refuse_eks("eksProperties", definition.eks_properties.as_ref())?;
    if definition.node_properties.is_some() {
        return Err(ApiError::invalid("nodeProperties needs a job definition of type `multinode`"));
    }
    let container = definition.container_properties.as_ref();
    let instance_type = container.and_then(|container| container.instance_type.as_ref());
    refuse_instance_type("containerProperties", instance_type)?;
    match (&definition.container_properties, &definition.ecs_properties) {
        (Some(container), None) => Ok(Workload::Container(container.clone().into())),
        (None, Some(ecs)) => Ok(Workload::Ecs(ecs.clone())),
        (None, None) => Err(ApiError::invalid(
            "a job definition of type container needs containerProperties or ecsProperties",
        )),
        (Some(_), Some(_)) => Err(ApiError::invalid(
            "a job definition has containerProperties or ecsProperties, not both",
        )),
    }
}

/// Refuses an instance type for a single-node job, as AWS does.
fn refuse_instance_type(within: &str, value: Option<&String>) -> Result<(), ApiError> {
    match settings::text(value) {
        Some(_) => Err(ApiError::invalid(format!(
            "{within}.instanceType is for multi-node parallel jobs only"
        ))),
        None => Ok(()),
    }
}

/// Refuses anything said of Kubernetes pods in this field.
fn refuse_eks(field: &str, value: Option<&serde_json::Value>) -> Result<(), ApiError> {
    let is_empty = value.is_none_or(|v| v.as_object().is_some_and(serde_json::Map::is_empty));
    if is_empty {
        return Ok(());
    }
    Err(ApiError::invalid(format!("{field}: Kubernetes pods are not supported"))
        .hint("describe the containers in containerProperties or ecsProperties"))
}

fn check_timeout(timeout: Option<&JobTimeout>, limits: &Limits) -> Result<Option<u32>, ApiError> {
    match timeout.and_then(|timeout| timeout.attempt_duration_seconds) {
        Some(seconds) if seconds < limits.timeout_seconds_min => Err(ApiError::invalid(format!(
            "timeout.attemptDurationSeconds must be at least {}, got {seconds}",
            limits.timeout_seconds_min
        ))),
        other => Ok(other),
    }
}

fn too_large(size: usize) -> ApiError {
    let message = format!(
        "command, environment and mounts come to {} KiB after merging definition, overrides and parameters, at most {} KiB are allowed",
        size.div_ceil(1024),
        SPEC_BYTES_MAX / 1024
    );
    ApiError::new(ErrorKind::TooLarge, message)
        .hint("put large data into files and pass their names")
}

/// A user's text as far as a message shows it.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}
