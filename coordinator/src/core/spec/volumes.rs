//! Volumes and mount points.

use windrow_common::api::ApiError;
use windrow_common::api::definitions::{
    self as api, EfsVolumeConfiguration, MountPoint, S3FilesVolumeConfiguration,
};
use windrow_common::wire::container::{Mount, Volume, VolumeSource};

use super::settings::text;
use super::shown;

/// Longest name of a volume, as AWS has it.
const NAME_LENGTH_MAX: usize = 255;
/// Longest directory of a file server, as AWS has it.
const ROOT_LENGTH_MAX: usize = 4096;

/// The volumes of a task.
pub(super) fn volumes(of: &[api::Volume]) -> Result<Vec<Volume>, ApiError> {
    let mut checked: Vec<Volume> = Vec::with_capacity(of.len());
    for volume in of {
        let name = &volume.name;
        let valid = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > NAME_LENGTH_MAX || !name.bytes().all(valid) {
            return Err(ApiError::invalid(format!(
                "the name of a volume has 1 to {NAME_LENGTH_MAX} letters, digits, `-` and `_`, got `{}`",
                shown(name)
            )));
        }
        if checked.iter().any(|known| known.name == *name) {
            return Err(ApiError::invalid(format!("volume `{}` is given twice", shown(name))));
        }
        checked.push(Volume { name: name.clone(), source: source(volume)? });
    }
    Ok(checked)
}

fn source(volume: &api::Volume) -> Result<VolumeSource, ApiError> {
    let name = shown(&volume.name);
    if let Some(S3FilesVolumeConfiguration { .. }) = volume.s3files_volume_configuration {
        return Err(ApiError::invalid(format!(
            "volume `{name}`: s3filesVolumeConfiguration is not supported"
        ))
        .hint("mount the bucket on the hosts and give that directory as host.sourcePath"));
    }
    let path = volume.host.as_ref().and_then(|host| text(host.source_path.as_ref()));
    match (path, &volume.efs_volume_configuration) {
        (None, None) => Ok(VolumeSource::Shared),
        (Some(path), None) if !path.starts_with('/') || path.contains(['\0', ':']) => {
            Err(ApiError::invalid(format!(
                "volume `{name}`: host.sourcePath must be an absolute path without `:`, got `{}`",
                shown(path)
            )))
        }
        (Some(path), None) => Ok(VolumeSource::Host(path.to_owned())),
        (None, Some(efs)) => nfs(&name, efs),
        (Some(_), Some(_)) => Err(ApiError::invalid(format!(
            "volume `{name}` has host and efsVolumeConfiguration; give one"
        ))),
    }
}

/// An EFS file system, or any other NFS server, mounted without encryption.
fn nfs(name: &str, efs: &EfsVolumeConfiguration) -> Result<VolumeSource, ApiError> {
    let wrong = |problem: String| ApiError::invalid(format!("volume `{name}`: {problem}"));
    let server = &efs.file_system_id;
    let valid = |b: u8| b.is_ascii_alphanumeric() || b"-_.:[]".contains(&b);
    if server.is_empty() || server.len() > 255 || !server.bytes().all(valid) {
        return Err(wrong(format!(
            "fileSystemId must be the name or address of a file server, got `{}`",
            shown(server)
        )));
    }
    let on_off = [
        ("transitEncryption", &efs.transit_encryption),
        (
            "authorizationConfig.iam",
            &efs.authorization_config.as_ref().and_then(|config| config.iam.clone()),
        ),
    ];
    let mut secured = Vec::new();
    for (field, value) in on_off {
        match text(value.as_ref()) {
            None | Some("DISABLED") => {}
            Some("ENABLED") => secured.push(field),
            Some(other) => {
                let other = shown(other);
                return Err(wrong(format!("{field} is ENABLED or DISABLED, got `{other}`")));
            }
        }
    }
    if efs.transit_encryption_port.is_some() {
        secured.push("transitEncryptionPort");
    }
    let access_point =
        efs.authorization_config.as_ref().and_then(|c| text(c.access_point_id.as_ref()));
    if access_point.is_some() {
        secured.push("authorizationConfig.accessPointId");
    }
    if let Some(field) = secured.first() {
        return Err(wrong(format!("{field} is not supported: the mount is plain NFS")).hint(
            "leave it out, or mount the file system on the hosts and give that directory as host.sourcePath",
        ));
    }
    let path = text(efs.root_directory.as_ref()).unwrap_or("/");
    if !path.starts_with('/') || path.len() > ROOT_LENGTH_MAX || path.contains('\0') {
        return Err(wrong(format!(
            "rootDirectory must be an absolute path of at most {ROOT_LENGTH_MAX} bytes, got `{}`",
            shown(path)
        )));
    }
    Ok(VolumeSource::Nfs { server: server.clone(), path: path.to_owned(), options: String::new() })
}

/// Where a container sees volumes of its task.
pub(super) fn mounts(points: &[MountPoint], volumes: &[Volume]) -> Result<Vec<Mount>, ApiError> {
    let mut mounts: Vec<Mount> = Vec::with_capacity(points.len());
    for point in points {
        if !volumes.iter().any(|volume| volume.name == point.source_volume) {
            return Err(ApiError::invalid(format!(
                "mountPoints: there is no volume named `{}`",
                shown(&point.source_volume)
            )));
        }
        check_container_path("mountPoints", &point.container_path)?;
        if mounts.iter().any(|known| known.target == point.container_path) {
            return Err(ApiError::invalid(format!(
                "mountPoints has containerPath `{}` twice",
                shown(&point.container_path)
            )));
        }
        mounts.push(Mount {
            volume: point.source_volume.clone(),
            target: point.container_path.clone(),
            read_only: point.read_only.unwrap_or(false),
        });
    }
    Ok(mounts)
}

/// A path in a container, as the engine takes it.
pub(super) fn check_container_path(field: &str, path: &str) -> Result<(), ApiError> {
    if path.starts_with('/') && !path.contains(['\0', ':']) {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "{field}: containerPath must be an absolute path without `:`, got `{}`",
        shown(path)
    )))
}
