//! What a submission overrides of its definition: command wholly, environment by name, resource
//! requirements by type; of several containers each by its name. Nothing else can be overridden.

use windrow_common::api::ApiError;
use windrow_common::api::definitions::{
    ContainerProperties, EcsProperties, KeyValuePair, ResourceRequirement,
};
use windrow_common::api::jobs::{
    ContainerOverrides, EcsPropertiesOverride, SubmitJob, TaskContainerOverrides,
};

use super::platform::Platform;
use super::{Workload, refuse_instance_type, shown};

/// The workload with what the request overrides.
pub(super) fn merge(
    workload: Workload,
    request: &SubmitJob,
    platform: Platform,
) -> Result<Workload, ApiError> {
    let container = request.container_overrides.as_ref();
    let container = container.filter(|o| **o != ContainerOverrides::default());
    let ecs = request.ecs_properties_override.as_ref().filter(|o| !o.task_properties.is_empty());
    match (workload, container, ecs) {
        (Workload::Container(mut base), container, None) => {
            if let Some(overrides) = container {
                merge_container(&mut base, overrides, platform)?;
            }
            Ok(Workload::Container(base))
        }
        (Workload::Ecs(mut base), None, ecs) => {
            if let Some(overrides) = ecs {
                merge_ecs(&mut base, overrides)?;
            }
            Ok(Workload::Ecs(base))
        }
        (Workload::Container(_), _, Some(_)) => Err(ApiError::invalid(
            "ecsPropertiesOverride needs a job definition with ecsProperties, this one has containerProperties",
        )
        .hint("use containerOverrides")),
        (Workload::Ecs(_), Some(_), _) => Err(ApiError::invalid(
            "containerOverrides needs a job definition with containerProperties, this one has ecsProperties",
        )
        .hint("use ecsPropertiesOverride")),
    }
}

fn merge_container(
    base: &mut ContainerProperties,
    overrides: &ContainerOverrides,
    platform: Platform,
) -> Result<(), ApiError> {
    refuse_instance_type("containerOverrides", overrides.instance_type.as_ref())?;
    merge_command(&mut base.command, &overrides.command)?;
    merge_environment(&mut base.environment, &overrides.environment);
    let older = [
        ("vcpus", "VCPU", overrides.vcpus, &mut base.vcpus),
        ("memory", "MEMORY", overrides.memory, &mut base.memory),
    ];
    for (field, kind, value, target) in older {
        let has = |all: &[ResourceRequirement]| all.iter().any(|need| need.kind == kind);
        let newer = has(&overrides.resource_requirements);
        if value.is_some() {
            platform.refuse_older_form(field)?;
            if newer || base.resource_requirements.as_deref().is_some_and(has) {
                return Err(contradiction(field, kind));
            }
            *target = value;
        } else if newer {
            *target = None;
        }
    }
    merge_requirements(&mut base.resource_requirements, &overrides.resource_requirements);
    if overrides.working_directory.is_some() {
        base.working_directory.clone_from(&overrides.working_directory);
    }
    Ok(())
}

fn contradiction(field: &str, kind: &str) -> ApiError {
    ApiError::invalid(format!(
        "containerOverrides.{field} does not override resourceRequirements of type {kind}"
    ))
    .hint(format!("use containerOverrides.resourceRequirements with type {kind}"))
}

fn merge_ecs(base: &mut EcsProperties, overrides: &EcsPropertiesOverride) -> Result<(), ApiError> {
    let ([task], [change]) = (&mut *base.task_properties, &*overrides.task_properties) else {
        return Err(ApiError::invalid(format!(
            "ecsPropertiesOverride.taskProperties must have one element, got {}",
            overrides.task_properties.len()
        )));
    };
    let mut seen = Vec::new();
    for TaskContainerOverrides { name, command, environment, resource_requirements } in
        &change.containers
    {
        let name = name.as_deref().unwrap_or_default();
        if seen.contains(&name) {
            return Err(ApiError::invalid(format!(
                "ecsPropertiesOverride names the container `{}` twice",
                shown(name)
            )));
        }
        seen.push(name);
        let known = task.containers.iter_mut().find(|c| c.name.as_deref() == Some(name));
        let Some(container) = known else {
            let there: Vec<_> = task.containers.iter().filter_map(|c| c.name.as_deref()).collect();
            return Err(ApiError::invalid(format!(
                "ecsPropertiesOverride: the job definition has no container named `{}`",
                shown(name)
            ))
            .hint(format!("its containers are {}", there.join(", "))));
        };
        merge_command(&mut container.command, command)?;
        merge_environment(&mut container.environment, environment);
        merge_requirements(&mut container.resource_requirements, resource_requirements);
    }
    Ok(())
}

fn merge_command(base: &mut Option<Vec<String>>, command: &[String]) -> Result<(), ApiError> {
    if command.iter().any(String::is_empty) {
        return Err(ApiError::invalid("Command field cannot have empty strings"));
    }
    if !command.is_empty() {
        *base = Some(command.to_vec());
    }
    Ok(())
}

fn merge_environment(base: &mut Option<Vec<KeyValuePair>>, entries: &[KeyValuePair]) {
    for entry in entries {
        let merged = base.get_or_insert_default();
        match merged.iter_mut().find(|known| known.name == entry.name) {
            Some(same) => same.value.clone_from(&entry.value),
            None => merged.push(entry.clone()),
        }
    }
}

fn merge_requirements(
    base: &mut Option<Vec<ResourceRequirement>>,
    requirements: &[ResourceRequirement],
) {
    for requirement in requirements {
        let merged = base.get_or_insert_default();
        match merged.iter_mut().find(|known| known.kind == requirement.kind) {
            Some(same) => same.value.clone_from(&requirement.value),
            None => merged.push(requirement.clone()),
        }
    }
}
