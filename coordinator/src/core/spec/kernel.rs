//! `ulimits` and `linuxParameters`.

use windrow_common::api::ApiError;
use windrow_common::api::definitions::{self as api, Ulimit as ApiUlimit};
use windrow_common::wire::container::{Device, LinuxParameters, Tmpfs, Ulimit};

use super::settings::text;
use super::shown;
use super::volumes::check_container_path;

const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// The limits of a container's processes.
pub(super) fn ulimits(limits: &[ApiUlimit]) -> Result<Vec<Ulimit>, ApiError> {
    let mut checked: Vec<Ulimit> = Vec::with_capacity(limits.len());
    for ApiUlimit { name, soft_limit, hard_limit } in limits {
        let shown = shown(name);
        if !ULIMITS.contains(&name.as_str()) {
            return Err(ApiError::invalid(format!("there is no ulimit `{shown}`"))
                .hint(format!("use one of {}", ULIMITS.join(", "))));
        }
        if checked.iter().any(|known| known.name == *name) {
            return Err(ApiError::invalid(format!("ulimit `{shown}` is given twice")));
        }
        let (soft, hard) = (*soft_limit, *hard_limit);
        let is_ordered = hard == -1 || (soft != -1 && soft <= hard);
        if soft < -1 || hard < -1 || !is_ordered {
            return Err(ApiError::invalid(format!(
                "ulimit `{shown}`: softLimit must be at most hardLimit, and both at least 0, or -1 for no limit; got {soft} and {hard}"
            )));
        }
        checked.push(Ulimit { name: name.clone(), soft, hard });
    }
    Ok(checked)
}

/// Settings of the Linux kernel.
pub(super) fn linux(of: Option<&api::LinuxParameters>) -> Result<LinuxParameters, ApiError> {
    let Some(of) = of else { return Ok(LinuxParameters::default()) };
    if of.swappiness.is_some_and(|swappiness| swappiness > 100) {
        return Err(ApiError::invalid(format!(
            "linuxParameters.swappiness must be from 0 to 100, got {}",
            of.swappiness.unwrap_or_default()
        )));
    }
    if of.shared_memory_size == Some(0) {
        return Err(ApiError::invalid(
            "linuxParameters.sharedMemorySize must be at least 1 MiB, got 0",
        ));
    }
    Ok(LinuxParameters {
        init: of.init_process_enabled,
        shared_memory_mib: of.shared_memory_size,
        tmpfs: of.tmpfs.iter().flatten().map(tmpfs).collect::<Result<_, _>>()?,
        max_swap_mib: of.max_swap,
        swappiness: of.swappiness,
        devices: of.devices.iter().flatten().map(device).collect::<Result<_, _>>()?,
    })
}

fn tmpfs(of: &api::Tmpfs) -> Result<Tmpfs, ApiError> {
    check_container_path("linuxParameters.tmpfs", &of.container_path)?;
    if of.size == 0 {
        return Err(ApiError::invalid(format!(
            "linuxParameters.tmpfs `{}`: size must be at least 1 MiB, got 0",
            shown(&of.container_path)
        )));
    }
    let options = of.mount_options.clone().unwrap_or_default();
    let is_wrong = |c: char| c == ',' || c == '\0' || c.is_whitespace();
    if let Some(option) = options.iter().find(|o| o.is_empty() || o.contains(is_wrong)) {
        return Err(ApiError::invalid(format!(
            "linuxParameters.tmpfs: `{}` is not one mount option",
            shown(option)
        )));
    }
    Ok(Tmpfs { target: of.container_path.clone(), size_mib: of.size, options })
}

fn device(of: &api::Device) -> Result<Device, ApiError> {
    let source = of.host_path.as_str();
    if !source.starts_with('/') || source.contains(['\0', ':']) {
        return Err(ApiError::invalid(format!(
            "linuxParameters.devices: hostPath must be an absolute path, got `{}`",
            shown(source)
        )));
    }
    let target = text(of.container_path.as_ref()).unwrap_or(source);
    check_container_path("linuxParameters.devices", target)?;
    let given = of.permissions.as_deref().unwrap_or_default();
    if let Some(other) = given.iter().find(|p| !["READ", "WRITE", "MKNOD"].contains(&p.as_str())) {
        return Err(ApiError::invalid(format!(
            "linuxParameters.devices: a permission is READ, WRITE or MKNOD, got `{}`",
            shown(other)
        )));
    }
    let may = |what: &str| given.is_empty() || given.iter().any(|p| p == what);
    Ok(Device {
        source: source.to_owned(),
        target: target.to_owned(),
        read: may("READ"),
        write: may("WRITE"),
        mknod: may("MKNOD"),
    })
}
