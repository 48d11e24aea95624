//! From a job definition and a submission to what an attempt runs: merging, substitution, checks.
//! Rules of AWS Batch, where it has them.

use std::collections::{BTreeMap, BTreeSet};

use windrow_common::api::definitions::{
    ContainerProperties, KeyValuePair, RegisterJobDefinition, ResourceRequirement,
};
use windrow_common::api::jobs::{ContainerOverrides, SubmitJob};
use windrow_common::api::{ApiError, ErrorKind};
use windrow_common::codec::to_msgpack;
use windrow_common::units::Resources;
use windrow_common::wire::agent::Architecture;
use windrow_common::wire::container::{ContainerSpec, Mount, Volume, VolumeSource};
use windrow_common::wire::lease::{SpecDigest, TaskSpec};

use super::consumables;
use super::limits::{Limits, SPEC_BYTES_MAX};
use super::retry::Retry;
use super::state::JobSpec;

/// Names a spec.
pub(super) fn digest(spec: &JobSpec) -> SpecDigest {
    SpecDigest::of(spec)
}

/// What a job of this revision with this request runs.
pub(super) fn resolve(
    definition: &RegisterJobDefinition,
    request: &SubmitJob,
    limits: &Limits,
) -> Result<JobSpec, ApiError> {
    if request.ecs_properties_override.is_some() || request.eks_properties_override.is_some() {
        return Err(ApiError::invalid(
            "ecsPropertiesOverride and eksPropertiesOverride are not supported",
        ));
    }
    let none = ContainerOverrides::default();
    let overrides = request.container_overrides.as_ref().unwrap_or(&none);
    let mut properties = merge(container(definition)?, overrides)?;
    let resources = resources(&properties)?;
    let mut parameters = definition.parameters.clone();
    parameters.extend(request.parameters.clone());
    let command = properties.command.take().unwrap_or_default();
    let command = substitute_all(&command, &parameters)?;
    properties.command = Some(command.clone());
    let task = task(&properties, command, resources)?;
    let retry = request.retry_strategy.as_ref().or(definition.retry_strategy.as_ref());
    let timeout = request.timeout.as_ref().or(definition.timeout.as_ref());
    let spec = JobSpec {
        task_digest: task.digest(),
        executor: task.executor(),
        task,
        resources,
        timeout_seconds: check_timeout(timeout.and_then(|t| t.attempt_duration_seconds), limits)?,
        retry: Retry::parse(retry, limits)?,
        architecture: architecture(&properties)?,
        properties,
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

fn too_large(size: usize) -> ApiError {
    let message = format!(
        "command, environment and mounts come to {} KiB after merging definition, overrides and parameters, at most {} KiB are allowed",
        size.div_ceil(1024),
        SPEC_BYTES_MAX / 1024
    );
    ApiError::new(ErrorKind::TooLarge, message)
        .hint("put large data into files and pass their names")
}

/// Whether a definition could run at all; what only a submission can complete is left to it.
pub(super) fn check_definition(
    definition: &RegisterJobDefinition,
    limits: &Limits,
) -> Result<(), ApiError> {
    let properties = container(definition)?;
    let resources = resources(properties)?;
    consumables::merge(definition.consumable_resource_properties.as_ref(), None)?;
    Retry::parse(definition.retry_strategy.as_ref(), limits)?;
    check_timeout(definition.timeout.as_ref().and_then(|t| t.attempt_duration_seconds), limits)?;
    // A command may come with each submission: check with a stand-in when there is none.
    let command = properties.command.clone().filter(|c| !c.is_empty());
    architecture(properties)?;
    let command = command.unwrap_or_else(|| vec!["true".to_owned()]);
    task(properties, command, resources).map(drop)
}

fn container(definition: &RegisterJobDefinition) -> Result<&ContainerProperties, ApiError> {
    if definition.ecs_properties.is_some() || definition.eks_properties.is_some() {
        return Err(ApiError::invalid("ecsProperties and eksProperties are not supported"));
    }
    let properties = definition.container_properties.as_ref();
    properties.ok_or_else(|| ApiError::invalid("containerProperties must be provided"))
}

fn merge(
    base: &ContainerProperties,
    overrides: &ContainerOverrides,
) -> Result<ContainerProperties, ApiError> {
    let mut merged = base.clone();
    if !overrides.command.is_empty() {
        merged.command = Some(overrides.command.clone());
    }
    if !overrides.environment.is_empty() {
        let environment = merged.environment.get_or_insert_default();
        for entry in &overrides.environment {
            match environment.iter_mut().find(|e| e.name == entry.name) {
                Some(same) => same.value.clone_from(&entry.value),
                None => environment.push(entry.clone()),
            }
        }
    }
    for requirement in &overrides.resource_requirements {
        replace_requirement(&mut merged, requirement);
    }
    for (field, kind, value) in
        [("vcpus", "VCPU", overrides.vcpus), ("memory", "MEMORY", overrides.memory)]
    {
        let Some(value) = value else { continue };
        if base.resource_requirements.iter().flatten().any(|r| r.kind == kind) {
            return Err(ApiError::invalid(format!(
                "containerOverrides.{field} does not override the definition's resourceRequirements"
            ))
            .hint(format!("use resourceRequirements with type {kind}")));
        }
        let value = value.to_string();
        replace_requirement(&mut merged, &ResourceRequirement { kind: kind.to_owned(), value });
    }
    if overrides.working_directory.is_some() {
        merged.working_directory.clone_from(&overrides.working_directory);
    }
    Ok(merged)
}

fn replace_requirement(properties: &mut ContainerProperties, requirement: &ResourceRequirement) {
    let all = properties.resource_requirements.get_or_insert_default();
    match all.iter_mut().find(|r| r.kind == requirement.kind) {
        Some(same) => same.value.clone_from(&requirement.value),
        None => all.push(requirement.clone()),
    }
}

fn resources(properties: &ContainerProperties) -> Result<Resources, ApiError> {
    let mut resources = Resources::new(
        properties.vcpus.unwrap_or(0).saturating_mul(1000),
        properties.memory.unwrap_or(0),
    );
    for requirement in properties.resource_requirements.iter().flatten() {
        let wrong = |rule: &str| {
            let value: String = requirement.value.chars().take(40).collect();
            ApiError::invalid(format!(
                "resource {} must be {rule}, got `{value}`",
                requirement.kind
            ))
        };
        match requirement.kind.as_str() {
            "VCPU" => {
                let rule = "a number of cores from 0.001 to 1000000";
                resources.cpu.0 = milli_cpu(&requirement.value).ok_or_else(|| wrong(rule))?;
            }
            "MEMORY" => {
                let rule = "a whole number of MiB of at least 4";
                resources.memory.0 = requirement.value.parse().map_err(|_| wrong(rule))?;
            }
            other => {
                return Err(ApiError::invalid(format!(
                    "resource requirement type must be VCPU or MEMORY, got `{other}`"
                )));
            }
        }
    }
    if resources.cpu.0 == 0 {
        return Err(ApiError::invalid("vCPU is not provided."));
    }
    if resources.memory.0 < 4 {
        return Err(ApiError::invalid(format!(
            "container memory must be at least 4 MiB, got {}",
            resources.memory
        )));
    }
    Ok(resources)
}

fn architecture(properties: &ContainerProperties) -> Result<Option<Architecture>, ApiError> {
    let Some(platform) = &properties.runtime_platform else { return Ok(None) };
    let family = platform.operating_system_family.as_deref().unwrap_or_default();
    if !matches!(family, "" | "LINUX") {
        return Err(ApiError::invalid(format!(
            "runtimePlatform.operatingSystemFamily must be LINUX, as agents run on Linux, got `{family}`"
        )));
    }
    let Some(wanted) = platform.cpu_architecture.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let found = Architecture::ALL.into_iter().find(|known| known.as_str() == wanted);
    found.map(Some).ok_or_else(|| {
        ApiError::invalid(format!(
            "runtimePlatform.cpuArchitecture must be X86_64 or ARM64, got `{wanted}`"
        ))
    })
}

/// Thousandths of a core, from a decimal number, in integers only.
fn milli_cpu(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: u32 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let kept: String = fraction.chars().chain("000".chars()).take(3).collect();
    let milli = whole.checked_mul(1000)?.checked_add(kept.parse().ok()?)?;
    (1..=1_000_000_000).contains(&milli).then_some(milli)
}

fn task(
    properties: &ContainerProperties,
    command: Vec<String>,
    resources: Resources,
) -> Result<TaskSpec, ApiError> {
    let image = properties.image.clone().filter(|image| !image.is_empty());
    if let Some(image) = &image {
        check_image(image)?;
    } else {
        check_process(properties, &command)?;
    }
    if command.iter().any(|argument| argument.contains('\0')) {
        return Err(ApiError::invalid("command must not contain NUL characters"));
    }
    let environment = check_environment(properties.environment.iter().flatten())?;
    let container = ContainerSpec {
        image,
        command,
        environment,
        user: properties.user.clone().filter(|user| !user.is_empty()),
        working_directory: check_directory(properties.working_directory.as_deref())?,
        mounts: mounts(properties)?,
        readonly_root: properties.readonly_root_filesystem.unwrap_or(false),
        privileged: properties.privileged.unwrap_or(false),
        resources,
        ..ContainerSpec::default()
    };
    Ok(TaskSpec { volumes: volumes(properties), ..TaskSpec::single(container) })
}

fn volumes(properties: &ContainerProperties) -> Vec<Volume> {
    let volumes = properties.volumes.iter().flatten().map(|volume| {
        let host = volume.host.as_ref().and_then(|host| host.source_path.clone());
        let source =
            host.filter(|path| !path.is_empty()).map_or(VolumeSource::Shared, VolumeSource::Host);
        Volume { name: volume.name.clone(), source }
    });
    volumes.collect()
}

fn check_image(image: &str) -> Result<(), ApiError> {
    let valid = |b: u8| b.is_ascii_alphanumeric() || b"-_:./#@".contains(&b);
    if image.len() > 255 || !image.bytes().all(valid) {
        let shown: String = image.chars().take(80).collect();
        return Err(ApiError::invalid(format!(
            "container image must be at most 255 letters, digits and `- _ : . / # @`, got `{shown}`"
        )));
    }
    Ok(())
}

fn check_process(properties: &ContainerProperties, command: &[String]) -> Result<(), ApiError> {
    if command.first().is_none_or(String::is_empty) {
        return Err(ApiError::invalid("a job without an image needs a command")
            .hint("give a command, or an image whose own command is to run"));
    }
    let container_only = [
        ("mountPoints", properties.mount_points.as_ref().is_some_and(|m| !m.is_empty())),
        ("readonlyRootFilesystem", properties.readonly_root_filesystem == Some(true)),
        ("privileged", properties.privileged == Some(true)),
    ];
    match container_only.iter().find(|(_, set)| *set) {
        Some((field, _)) => {
            Err(ApiError::invalid(format!("{field} needs an image: a plain process has none")))
        }
        None => Ok(()),
    }
}

fn check_environment<'a>(
    entries: impl Iterator<Item = &'a KeyValuePair>,
) -> Result<Vec<(String, String)>, ApiError> {
    let mut environment = Vec::new();
    for KeyValuePair { name, value } in entries {
        let shown: String = name.chars().take(80).collect();
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(ApiError::invalid(format!(
                "environment variable `{shown}`: names must not be empty or contain `=`, and neither names nor values NUL"
            )));
        }
        if name.starts_with("AWS_BATCH") {
            return Err(ApiError::invalid(format!(
                "environment variable `{shown}`: names starting with AWS_BATCH are reserved"
            )));
        }
        environment.push((name.clone(), value.clone()));
    }
    Ok(environment)
}

fn check_directory(directory: Option<&str>) -> Result<Option<String>, ApiError> {
    match directory.filter(|d| !d.is_empty()) {
        Some(d) if !d.starts_with('/') || d.contains('\0') => Err(ApiError::invalid(format!(
            "workingDirectory must be an absolute path, got `{}`",
            d.chars().take(200).collect::<String>()
        ))),
        other => Ok(other.map(str::to_owned)),
    }
}

fn mounts(properties: &ContainerProperties) -> Result<Vec<Mount>, ApiError> {
    let volumes: BTreeSet<&str> =
        properties.volumes.iter().flatten().map(|volume| volume.name.as_str()).collect();
    let points = properties.mount_points.iter().flatten();
    points
        .map(|point| {
            if !volumes.contains(point.source_volume.as_str()) {
                return Err(ApiError::invalid(format!(
                    "mountPoints: there is no volume named `{}`",
                    point.source_volume
                )));
            }
            if !point.container_path.starts_with('/') {
                return Err(ApiError::invalid(format!(
                    "mountPoints: containerPath must be an absolute path, got `{}`",
                    point.container_path
                )));
            }
            Ok(Mount {
                volume: point.source_volume.clone(),
                target: point.container_path.clone(),
                read_only: point.read_only.unwrap_or(false),
            })
        })
        .collect()
}

fn check_timeout(seconds: Option<u32>, limits: &Limits) -> Result<Option<u32>, ApiError> {
    match seconds {
        Some(seconds) if seconds < limits.timeout_seconds_min => Err(ApiError::invalid(format!(
            "timeout.attemptDurationSeconds must be at least {}, got {seconds}",
            limits.timeout_seconds_min
        ))),
        other => Ok(other),
    }
}

/// Replaces parameters in every argument, as long as the result stays within the limit.
fn substitute_all(
    command: &[String],
    parameters: &BTreeMap<String, String>,
) -> Result<Vec<String>, ApiError> {
    let mut bytes = 0;
    let mut substituted = Vec::with_capacity(command.len());
    for argument in command {
        let argument = substitute(argument, parameters);
        bytes += argument.len();
        if bytes > SPEC_BYTES_MAX {
            return Err(too_large(bytes));
        }
        substituted.push(argument);
    }
    Ok(substituted)
}

/// Replaces each `Ref::name` by the parameter of that name; unknown ones stay as they are.
fn substitute(argument: &str, parameters: &BTreeMap<String, String>) -> String {
    let mut result = String::with_capacity(argument.len());
    let mut rest = argument;
    // Beyond the limit the rest does not matter: the caller refuses it.
    while let Some(at) = rest.find("Ref::")
        && result.len() <= SPEC_BYTES_MAX
    {
        let (before, after) = (&rest[..at], &rest[at + "Ref::".len()..]);
        let end = after
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
            .unwrap_or(after.len());
        result.push_str(before);
        match parameters.get(&after[..end]) {
            Some(value) => result.push_str(value),
            None => {
                result.push_str("Ref::");
                result.push_str(&after[..end]);
            }
        }
        rest = &after[end..];
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_read_without_floating_point() {
        for (text, milli) in
            [("1", 1000), ("0.25", 250), ("16", 16_000), (".5", 500), ("0.0015", 1)]
        {
            assert_eq!(milli_cpu(text), Some(milli), "{text}");
        }
        for bad in ["", ".", "0", "-1", "1e3", "x", "0.0001", "99999999999"] {
            assert_eq!(milli_cpu(bad), None, "{bad}");
        }
    }

    #[test]
    fn parameters_are_substituted_inside_arguments() {
        let parameters = BTreeMap::from([("in".into(), "a.fq".into()), ("n".into(), "3".into())]);
        assert_eq!(substitute("--in=Ref::in,Ref::n", &parameters), "--in=a.fq,3");
        assert_eq!(substitute("Ref::missing Ref::", &parameters), "Ref::missing Ref::");
    }

    #[test]
    fn substitution_cannot_blow_up() {
        let parameters = BTreeMap::from([("big".into(), "x".repeat(100_000))]);
        let command = vec!["Ref::big ".repeat(10_000), "Ref::big".into()];
        let error = substitute_all(&command, &parameters).unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooLarge);
    }
}
