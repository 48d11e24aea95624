//! What a container of ours is to the engine: its settings, its state.

use std::collections::HashMap;
use std::path::Path;

use bollard::errors::Error as EngineError;
use bollard::models::{
    ContainerCreateBody, ContainerState, ContainerStateStatusEnum, DeviceMapping, DeviceRequest,
    HealthStatusEnum, HostConfig, HostConfigLogConfig, Mount as EngineMount, MountType,
    MountVolumeOptions, MountVolumeOptionsDriverConfig, ResourcesUlimits,
};
use windrow_common::time::Timestamp;
use windrow_common::wire::container::{
    ContainerSpec, Device, LinuxParameters, Mount, Tmpfs, VolumeSource,
};
use windrow_common::wire::lease::{IpcMode, PidMode, TaskSpec};

use super::DockerConfig;
use super::group::{Group, Role, attempt_labels, container_labels, volume_name};
use super::life::Health;
use super::pause;
use crate::executor::{Environment, StartRequest};

/// Least CPU shares that the kernel takes.
const SHARES_MIN: u64 = 2;
/// Options of an NFS mount that names none, as AWS has them for EFS.
const NFS_OPTIONS: &str = "nfsvers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2";

/// The `index`th container of an attempt. `image` has a tag, `environment` the secrets. The error is
/// for the user.
pub(super) fn body(
    request: &StartRequest,
    group: &Group,
    index: usize,
    image: &str,
    environment: &Environment,
    config: &DockerConfig,
    now: Timestamp,
) -> Result<ContainerCreateBody, String> {
    let spec = &request.spec.containers[index];
    let some = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
    let member = group.members[index].clone();
    let role = Role::Member { index, count: group.members.len(), member };
    let gpus = request.gpus.get(index).map_or(&[][..], Vec::as_slice);
    Ok(ContainerCreateBody {
        image: Some(image.to_owned()),
        // The image's entry point stays, as AWS Batch has it.
        cmd: (!spec.command.is_empty()).then(|| spec.command.clone()),
        env: Some(environment.0.iter().map(|(k, v)| format!("{k}={v}")).collect()),
        user: some(&spec.user),
        working_dir: some(&spec.working_directory),
        labels: Some(container_labels(request, config, &role, now)),
        host_config: Some(HostConfig {
            device_requests: (!gpus.is_empty()).then(|| vec![gpu_request(gpus)]),
            ..host_config(request, group, spec, config)?
        }),
        ..ContainerCreateBody::default()
    })
}

/// The container that holds what the others share.
pub(super) fn pause_body(
    request: &StartRequest,
    config: &DockerConfig,
    now: Timestamp,
) -> ContainerCreateBody {
    let sizes = request.spec.containers.iter().filter_map(|one| one.linux.shared_memory_mib);
    ContainerCreateBody {
        image: Some(pause::IMAGE.to_owned()),
        cmd: Some(vec![pause::PROGRAM.to_owned()]),
        labels: Some(container_labels(request, config, &Role::Pause, now)),
        host_config: Some(HostConfig {
            network_mode: Some(network(&request.spec, config)),
            ipc_mode: (request.spec.ipc == Some(IpcMode::Task)).then(|| "shareable".to_owned()),
            shm_size: sizes.max().map(bytes),
            // It collects processes whose parents have ended, where process numbers are shared.
            init: Some(true),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

fn network(task: &TaskSpec, config: &DockerConfig) -> String {
    if task.host_network { "host".to_owned() } else { config.network.clone() }
}

fn bytes(mib: u32) -> i64 {
    i64::from(mib) << 20
}

fn gpu_request(ids: &[String]) -> DeviceRequest {
    DeviceRequest {
        device_ids: Some(ids.to_vec()),
        capabilities: Some(vec![vec!["gpu".to_owned()]]),
        ..DeviceRequest::default()
    }
}

fn host_config(
    request: &StartRequest,
    group: &Group,
    spec: &ContainerSpec,
    config: &DockerConfig,
) -> Result<HostConfig, String> {
    let (task, linux) = (&request.spec, &spec.linux);
    let shares = (u64::from(spec.resources.cpu.0) * 1024 / 1000).max(SHARES_MIN);
    let limited = spec.resources.memory.0 > 0;
    let memory = bytes(spec.resources.memory.0);
    let swap = linux.max_swap_mib.unwrap_or(0);
    let (binds, mounts) = mounts(request, spec, config)?;
    let of_group = |pause: &String| format!("container:{pause}");
    let log = spec.log_driver.as_ref();
    Ok(HostConfig {
        binds: Some(binds),
        mounts: Some(mounts),
        memory: limited.then_some(memory),
        // Memory and swap together: without `maxSwap` there is none.
        memory_swap: limited.then_some(memory + bytes(swap)),
        memory_swappiness: linux.swappiness.filter(|_| limited && swap > 0).map(i64::from),
        cpu_shares: Some(i64::try_from(shares).map_err(|e| format!("CPU shares: {e}"))?),
        // A shell as process 1 would ignore SIGTERM.
        init: Some(linux.init.unwrap_or(task.pid.is_none())),
        readonly_rootfs: Some(spec.readonly_root),
        privileged: Some(spec.privileged),
        network_mode: Some(group.pause.as_ref().map_or_else(|| network(task, config), of_group)),
        ipc_mode: task.ipc.and_then(|ipc| match ipc {
            IpcMode::Host => Some("host".to_owned()),
            IpcMode::Task => group.pause.as_ref().map(of_group),
            IpcMode::None => Some("none".to_owned()),
        }),
        pid_mode: task.pid.and_then(|pid| match pid {
            PidMode::Host => Some("host".to_owned()),
            PidMode::Task => group.pause.as_ref().map(of_group),
        }),
        shm_size: linux.shared_memory_mib.map(bytes),
        tmpfs: tmpfs(linux),
        devices: Some(linux.devices.iter().map(device).collect()),
        ulimits: Some(ulimits(spec)),
        // Whatever the engine's default is, this can be read back, from its first byte. So can any
        // driver that the job names: the engine keeps a copy of what goes through it.
        log_config: Some(HostConfigLogConfig {
            typ: Some(log.map_or_else(|| "json-file".to_owned(), |driver| driver.name.clone())),
            config: log.map(|driver| driver.options.iter().cloned().collect()),
        }),
        ..HostConfig::default()
    })
}

fn tmpfs(linux: &LinuxParameters) -> Option<HashMap<String, String>> {
    let one = |tmpfs: &Tmpfs| {
        let mut options = vec![format!("size={}m", tmpfs.size_mib)];
        options.extend(tmpfs.options.iter().cloned());
        (tmpfs.target.clone(), options.join(","))
    };
    (!linux.tmpfs.is_empty()).then(|| linux.tmpfs.iter().map(one).collect())
}

fn device(device: &Device) -> DeviceMapping {
    let permissions = [(device.read, 'r'), (device.write, 'w'), (device.mknod, 'm')];
    let permissions = permissions.iter().filter(|(given, _)| *given).map(|(_, letter)| *letter);
    DeviceMapping {
        path_on_host: Some(device.source.clone()),
        path_in_container: Some(device.target.clone()),
        cgroup_permissions: Some(permissions.collect()),
    }
}

fn ulimits(spec: &ContainerSpec) -> Vec<ResourcesUlimits> {
    let all = spec.ulimits.iter().map(|limit| ResourcesUlimits {
        name: Some(limit.name.clone()),
        soft: Some(limit.soft),
        hard: Some(limit.hard),
    });
    all.collect()
}

/// Host directories, as the engine's binds, and all other volumes.
fn mounts(
    request: &StartRequest,
    spec: &ContainerSpec,
    config: &DockerConfig,
) -> Result<(Vec<String>, Vec<EngineMount>), String> {
    let (mut binds, mut mounts) = (Vec::new(), Vec::new());
    for mount in &spec.mounts {
        let volumes = &request.spec.volumes;
        let Some(index) = volumes.iter().position(|volume| volume.name == mount.volume) else {
            return Err(format!("cannot mount `{}`: the job has no such volume", mount.volume));
        };
        match &volumes[index].source {
            VolumeSource::Host(source) => binds.push(bind(source, mount)?),
            VolumeSource::Shared => {
                let name = (request.spec.containers.len() > 1).then(|| volume_name(request, index));
                let options = MountVolumeOptions {
                    labels: name.as_ref().map(|_| attempt_labels(request, config)),
                    ..MountVolumeOptions::default()
                };
                mounts.push(EngineMount { source: name, ..volume(mount, options) });
            }
            VolumeSource::Nfs { server, path, options } => {
                mounts.push(volume(mount, nfs(server, path, options)));
            }
        }
    }
    Ok((binds, mounts))
}

fn bind(source: &str, mount: &Mount) -> Result<String, String> {
    // The engine makes a missing host directory of a bind, not of a mount.
    if let Some(path) = [source, &mount.target].into_iter().find(|path| path.contains(':')) {
        return Err(format!("cannot mount `{path}`: Docker allows no colon in a path"));
    }
    if !Path::new(source).is_absolute() {
        return Err(format!("cannot mount `{source}`: it is not an absolute path"));
    }
    let mode = if mount.read_only { "ro" } else { "rw" };
    Ok(format!("{source}:{}:{mode}", mount.target))
}

fn volume(mount: &Mount, options: MountVolumeOptions) -> EngineMount {
    EngineMount {
        typ: Some(MountType::VOLUME),
        target: Some(mount.target.clone()),
        read_only: Some(mount.read_only),
        volume_options: Some(options),
        ..EngineMount::default()
    }
}

/// An export that the engine's own volume driver mounts, for as long as the container lives.
fn nfs(server: &str, path: &str, options: &str) -> MountVolumeOptions {
    let options = if options.is_empty() { NFS_OPTIONS } else { options };
    let settings = [
        ("type", "nfs".to_owned()),
        ("o", format!("addr={server},{options}")),
        ("device", format!(":{path}")),
    ];
    MountVolumeOptions {
        driver_config: Some(MountVolumeOptionsDriverConfig {
            name: Some("local".to_owned()),
            options: Some(settings.map(|(key, value)| (key.to_owned(), value)).into()),
        }),
        ..MountVolumeOptions::default()
    }
}

/// What the image's health check says now.
pub(super) fn health_of(state: &ContainerState) -> Health {
    match state.health.as_ref().and_then(|health| health.status) {
        Some(HealthStatusEnum::HEALTHY) => Health::Good,
        Some(HealthStatusEnum::UNHEALTHY) => Health::Bad,
        Some(HealthStatusEnum::STARTING) => Health::Unknown,
        Some(HealthStatusEnum::NONE | HealthStatusEnum::EMPTY) | None => Health::Unchecked,
    }
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
