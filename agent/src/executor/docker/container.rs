//! What a container of ours looks like to the engine: name, labels, settings, state.

use std::collections::HashMap;
use std::path::PathBuf;

use bollard::errors::Error as EngineError;
use bollard::models::{
    ContainerCreateBody, ContainerState, ContainerStateStatusEnum, ContainerSummary, HostConfig,
    HostConfigLogConfig, Mount, MountType,
};
use windrow_common::time::Timestamp;
use windrow_common::wire::container::{ContainerSpec, VolumeSource};

use super::DockerConfig;
use crate::executor::{AttemptKey, StartRequest};

/// Keys of the containers' labels.
pub(super) mod labels {
    pub(in super::super) const AGENT: &str = "windrow.agent";
    pub(in super::super) const STATE_DIRECTORY: &str = "windrow.state-directory";
    pub(super) const JOB: &str = "windrow.job";
    pub(super) const CHILD: &str = "windrow.child";
    pub(super) const LEASE: &str = "windrow.lease";
    pub(super) const LOG_FILE: &str = "windrow.log-file";
    pub(super) const CREATED: &str = "windrow.created-millis";
}

/// Least CPU shares that the kernel takes.
const SHARES_MIN: u64 = 2;

/// What the labels tell of a container.
pub(super) struct Found {
    pub(super) key: AttemptKey,
    pub(super) container: String,
    pub(super) log_file: PathBuf,
    pub(super) created_at: Timestamp,
}

/// The container's name.
pub(super) fn name(request: &StartRequest) -> String {
    format!("windrow-{}-{}-{}", request.job, request.key.child, request.key.lease)
}

/// The container to create. The error is for the user.
pub(super) fn body(
    request: &StartRequest,
    config: &DockerConfig,
    image: &str,
    now: Timestamp,
) -> Result<ContainerCreateBody, String> {
    let (spec, environment) = match (&*request.spec.containers, &*request.environments) {
        ([spec], [environment]) => (spec, environment),
        _ => return Err("a job of several containers does not run here".to_owned()),
    };
    let some = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
    Ok(ContainerCreateBody {
        image: Some(image.to_owned()),
        // The image's entry point stays, as AWS Batch has it.
        cmd: (!spec.command.is_empty()).then(|| spec.command.clone()),
        env: Some(environment.0.iter().map(|(k, v)| format!("{k}={v}")).collect()),
        user: some(&spec.user),
        working_dir: some(&spec.working_directory),
        labels: Some(labels_of(request, config, now)),
        host_config: Some(host_config(request, spec, config)?),
        ..ContainerCreateBody::default()
    })
}

fn labels_of(
    request: &StartRequest,
    config: &DockerConfig,
    now: Timestamp,
) -> HashMap<String, String> {
    [
        (labels::AGENT, config.agent.to_string()),
        (labels::STATE_DIRECTORY, config.state_directory.display().to_string()),
        (labels::JOB, request.job.to_string()),
        (labels::CHILD, request.key.child.to_string()),
        (labels::LEASE, request.key.lease.to_string()),
        (labels::LOG_FILE, request.log_file.display().to_string()),
        (labels::CREATED, now.0.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

fn host_config(
    request: &StartRequest,
    spec: &ContainerSpec,
    config: &DockerConfig,
) -> Result<HostConfig, String> {
    let memory = i64::from(request.resources.memory.0) << 20;
    let shares = (u64::from(request.resources.cpu.0) * 1024 / 1000).max(SHARES_MIN);
    let (mut binds, mut volumes) = (Vec::new(), Vec::new());
    for mount in &spec.mounts {
        let volume = request.spec.volumes.iter().find(|volume| volume.name == mount.volume);
        let Some(VolumeSource::Host(source)) = volume.map(|volume| &volume.source) else {
            volumes.push(Mount {
                typ: Some(MountType::VOLUME),
                target: Some(mount.target.clone()),
                read_only: Some(mount.read_only),
                ..Mount::default()
            });
            continue;
        };
        // The engine makes a missing host directory of a bind, not of a mount.
        if let Some(path) = [source, &mount.target].into_iter().find(|path| path.contains(':')) {
            return Err(format!("cannot mount `{path}`: Docker allows no colon in a path"));
        }
        let mode = if mount.read_only { "ro" } else { "rw" };
        binds.push(format!("{source}:{}:{mode}", mount.target));
    }
    Ok(HostConfig {
        binds: Some(binds),
        mounts: Some(volumes),
        memory: (memory > 0).then_some(memory),
        // Memory and swap together, so no swap.
        memory_swap: (memory > 0).then_some(memory),
        cpu_shares: Some(i64::try_from(shares).map_err(|e| format!("CPU shares: {e}"))?),
        // A shell as process 1 would ignore SIGTERM.
        init: Some(true),
        readonly_rootfs: Some(spec.readonly_root),
        privileged: Some(spec.privileged),
        network_mode: Some(config.network.clone()),
        // Whatever the engine's default is, this can be read back, from its first byte.
        log_config: Some(HostConfigLogConfig { typ: Some("json-file".to_owned()), config: None }),
        ..HostConfig::default()
    })
}

/// Reads the labels; absent when they are not as we write them.
pub(super) fn read_labels(summary: &ContainerSummary) -> Option<Found> {
    let labels = summary.labels.as_ref()?;
    let get = |key: &str| labels.get(key);
    Some(Found {
        key: AttemptKey {
            lease: get(labels::LEASE)?.parse().ok()?,
            child: get(labels::CHILD)?.parse().ok()?,
        },
        container: summary.names.as_ref()?.first()?.trim_start_matches('/').to_owned(),
        log_file: PathBuf::from(get(labels::LOG_FILE)?),
        created_at: Timestamp(get(labels::CREATED)?.parse().ok()?),
    })
}

/// Whether the container has processes.
pub(super) fn is_live(state: &ContainerState) -> bool {
    match state.status {
        Some(
            ContainerStateStatusEnum::RUNNING
            | ContainerStateStatusEnum::PAUSED
            | ContainerStateStatusEnum::RESTARTING,
        ) => true,
        Some(
            ContainerStateStatusEnum::EMPTY
            | ContainerStateStatusEnum::CREATED
            | ContainerStateStatusEnum::REMOVING
            | ContainerStateStatusEnum::EXITED
            | ContainerStateStatusEnum::STOPPING
            | ContainerStateStatusEnum::DEAD,
        )
        | None => false,
    }
}

/// A time as the engine writes it; absent for its year 1, which means never.
pub(super) fn time_of(text: Option<&str>) -> Option<Timestamp> {
    let time: jiff::Timestamp = text?.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok().map(Timestamp)
}

/// Whether the engine says that the container, image or network does not exist.
pub(super) fn is_gone(error: &EngineError) -> bool {
    status(error) == Some(404)
}

/// The HTTP status of a refusal; absent when the engine gave no answer.
pub(super) fn status(error: &EngineError) -> Option<u16> {
    if let EngineError::DockerResponseServerError { status_code, .. } = error {
        Some(*status_code)
    } else {
        None
    }
}

/// What the engine says, without the client's words around it.
pub(super) fn message(error: &EngineError) -> String {
    if let EngineError::DockerResponseServerError { message: text, .. }
    | EngineError::DockerStreamError { error: text } = error
    {
        text.clone()
    } else {
        error.to_string()
    }
}
