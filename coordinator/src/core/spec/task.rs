//! From a workload to the task an agent runs: its containers, how they wait for each other, what they
//! need together.

use std::collections::BTreeSet;

use windrow_common::api::ApiError;
use windrow_common::api::definitions::{EcsTaskProperties, RuntimePlatform};
use windrow_common::units::Resources;
use windrow_common::wire::agent::Architecture;
use windrow_common::wire::container::{Condition, ContainerSpec};
use windrow_common::wire::lease::{IpcMode, PidMode, TaskSpec};

use super::platform::Platform;
use super::settings::{Settings, text};
use super::volumes::volumes;
use super::{Stage, Workload, container, resources, shown};
use crate::core::limits::Limits;

/// What a workload comes to.
pub(super) struct Built {
    pub(super) task: TaskSpec,
    /// Of all containers together.
    pub(super) resources: Resources,
    pub(super) architecture: Option<Architecture>,
}

/// Checks a workload and makes the task of it.
pub(super) fn build(
    workload: &Workload,
    platform: Platform,
    stage: Stage,
    limits: &Limits,
) -> Result<Built, ApiError> {
    match workload {
        Workload::Container(of) => {
            platform.check_single(of)?;
            let settings = Settings::from(&**of);
            platform.check_container(&settings)?;
            let volumes = volumes(of.volumes.as_deref().unwrap_or_default())?;
            let resources = resources::needs(&settings)?;
            platform.check_needs(resources)?;
            let container = container::container(&settings, resources, &volumes, stage)?;
            Ok(Built {
                task: TaskSpec { volumes, ..TaskSpec::single(container) },
                resources,
                architecture: architecture(of.runtime_platform.as_ref())?,
            })
        }
        Workload::Ecs(of) => match &*of.task_properties {
            [task] => build_task(task, platform, stage, limits),
            other => Err(ApiError::invalid(format!(
                "ecsProperties.taskProperties must have one element, got {}",
                other.len()
            ))),
        },
    }
}

fn build_task(
    of: &EcsTaskProperties,
    platform: Platform,
    stage: Stage,
    limits: &Limits,
) -> Result<Built, ApiError> {
    platform.check_task(of)?;
    let settings: Vec<_> = of.containers.iter().map(Settings::from).collect();
    check_names(&settings, limits)?;
    let volumes = volumes(of.volumes.as_deref().unwrap_or_default())?;
    let mut together = Resources::default();
    let mut containers = Vec::with_capacity(settings.len());
    for one in &settings {
        let named = |mut error: ApiError| {
            error.message = format!("container `{}`: {}", shown(one.name), error.message);
            error
        };
        if one.image.is_none() {
            return Err(named(ApiError::invalid("image is required")));
        }
        platform.check_container(one).map_err(named)?;
        let needs = resources::needs(one).map_err(named)?;
        together = together.plus(needs);
        let mut container = container::container(one, needs, &volumes, stage).map_err(named)?;
        container.depends_on = dependencies(one, &settings).map_err(named)?;
        containers.push(container);
    }
    platform.check_needs(together)?;
    check_order(&containers)?;
    let task = TaskSpec {
        containers,
        volumes,
        host_network: is_host_network(of)?,
        ipc: ipc(of)?,
        pid: pid(of)?,
    };
    let architecture = architecture(of.runtime_platform.as_ref())?;
    Ok(Built { task, resources: together, architecture })
}

fn check_names(containers: &[Settings<'_>], limits: &Limits) -> Result<(), ApiError> {
    if !(1..=limits.containers).contains(&containers.len()) {
        return Err(ApiError::invalid(format!(
            "ecsProperties must have 1 to {} containers, got {}",
            limits.containers,
            containers.len()
        )));
    }
    let mut names = BTreeSet::new();
    for one in containers {
        let valid = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if one.name.len() > 255 || !one.name.bytes().all(valid) {
            return Err(ApiError::invalid(format!(
                "the name of a container has at most 255 letters, digits, `-` and `_`, got `{}`",
                shown(one.name)
            )));
        }
        if !names.insert(one.name) {
            return Err(ApiError::invalid(format!(
                "two containers are named `{}`",
                shown(one.name)
            ))
            .hint("give each container a name of its own"));
        }
    }
    if containers.iter().any(|one| one.essential) {
        return Ok(());
    }
    Err(ApiError::invalid("at least one container must be essential"))
}

fn dependencies(
    of: &Settings<'_>,
    all: &[Settings<'_>],
) -> Result<Vec<(String, Condition)>, ApiError> {
    let mut checked = Vec::with_capacity(of.depends_on.len());
    for dependency in of.depends_on {
        let name = dependency.container_name.as_str();
        let Some(other) = all.iter().find(|other| other.name == name && name != of.name) else {
            return Err(ApiError::invalid(format!(
                "dependsOn: there is no other container named `{}`",
                shown(name)
            )));
        };
        let condition = match dependency.condition.as_str() {
            "START" => Condition::Start,
            "HEALTHY" => Condition::Healthy,
            "COMPLETE" => Condition::Complete,
            "SUCCESS" => Condition::Success,
            wrong => {
                return Err(ApiError::invalid(format!(
                    "dependsOn: a condition is START, COMPLETE, SUCCESS or HEALTHY, got `{}`",
                    shown(wrong)
                )));
            }
        };
        let is_end = matches!(condition, Condition::Complete | Condition::Success);
        if is_end && other.essential {
            return Err(ApiError::invalid(format!(
                "dependsOn: condition {} needs a container that is not essential, `{}` is",
                dependency.condition,
                shown(name)
            ))
            .hint("the job ends when an essential container does; set essential to false"));
        }
        checked.push((name.to_owned(), condition));
    }
    Ok(checked)
}

/// Whether every container gets its turn: no two wait for each other.
fn check_order(containers: &[ContainerSpec]) -> Result<(), ApiError> {
    let mut ready: BTreeSet<&str> = BTreeSet::new();
    loop {
        let may = |one: &&ContainerSpec| {
            !ready.contains(one.name.as_str())
                && one.depends_on.iter().all(|(name, _)| ready.contains(name.as_str()))
        };
        let Some(next) = containers.iter().find(may) else { break };
        ready.insert(&next.name);
    }
    match containers.iter().find(|one| !ready.contains(one.name.as_str())) {
        Some(stuck) => Err(ApiError::invalid(format!(
            "dependsOn: containers wait for each other in a circle, `{}` among them",
            shown(&stuck.name)
        ))),
        None => Ok(()),
    }
}

fn wrong_mode(field: &str, allowed: &str, got: &str) -> ApiError {
    ApiError::invalid(format!("{field} is {allowed}, got `{}`", shown(got)))
}

fn is_host_network(of: &EcsTaskProperties) -> Result<bool, ApiError> {
    match text(of.network_mode.as_ref()) {
        None => Ok(false),
        Some("host") => Ok(true),
        Some(other) => Err(wrong_mode("networkMode", "host", other)),
    }
}

fn ipc(of: &EcsTaskProperties) -> Result<Option<IpcMode>, ApiError> {
    match text(of.ipc_mode.as_ref()) {
        None => Ok(None),
        Some("host") => Ok(Some(IpcMode::Host)),
        Some("task") => Ok(Some(IpcMode::Task)),
        Some("none") => Ok(Some(IpcMode::None)),
        Some(other) => Err(wrong_mode("ipcMode", "host, task or none", other)),
    }
}

fn pid(of: &EcsTaskProperties) -> Result<Option<PidMode>, ApiError> {
    match text(of.pid_mode.as_ref()) {
        None => Ok(None),
        Some("host") => Ok(Some(PidMode::Host)),
        Some("task") => Ok(Some(PidMode::Task)),
        Some(other) => Err(wrong_mode("pidMode", "host or task", other)),
    }
}

/// The architecture that is asked for, if one is.
fn architecture(platform: Option<&RuntimePlatform>) -> Result<Option<Architecture>, ApiError> {
    let Some(platform) = platform else { return Ok(None) };
    let family = text(platform.operating_system_family.as_ref()).unwrap_or("LINUX");
    if family != "LINUX" {
        return Err(ApiError::invalid(format!(
            "runtimePlatform.operatingSystemFamily must be LINUX, as agents run on Linux, got `{}`",
            shown(family)
        )));
    }
    let Some(wanted) = text(platform.cpu_architecture.as_ref()) else { return Ok(None) };
    let found = Architecture::ALL.into_iter().find(|known| known.as_str() == wanted);
    found.map(Some).ok_or_else(|| {
        ApiError::invalid(format!(
            "runtimePlatform.cpuArchitecture must be X86_64 or ARM64, got `{}`",
            shown(wanted)
        ))
    })
}
