//! The settings that a job's one container and a container of several share, in one shape.

use windrow_common::api::definitions::{
    ContainerProperties, FirelensConfiguration, KeyValuePair, LinuxParameters, LogConfiguration,
    MountPoint, RepositoryCredentials, ResourceRequirement, Secret, TaskContainerDependency,
    TaskContainerProperties, Ulimit,
};
use windrow_common::wire::container::DEFAULT_NAME;

/// One container's settings, borrowed from the workload. Absent lists are empty ones.
pub(super) struct Settings<'a> {
    pub(super) name: &'a str,
    /// Absent or empty: a plain process.
    pub(super) image: Option<&'a str>,
    pub(super) command: &'a [String],
    pub(super) environment: &'a [KeyValuePair],
    pub(super) secrets: &'a [Secret],
    pub(super) requirements: &'a [ResourceRequirement],
    pub(super) vcpus: Option<u32>,
    pub(super) memory: Option<u32>,
    pub(super) mount_points: &'a [MountPoint],
    pub(super) user: Option<&'a str>,
    pub(super) working_directory: Option<&'a str>,
    pub(super) readonly_root: bool,
    pub(super) privileged: bool,
    pub(super) ulimits: &'a [Ulimit],
    pub(super) linux: Option<&'a LinuxParameters>,
    pub(super) log: Option<&'a LogConfiguration>,
    pub(super) credentials: Option<&'a RepositoryCredentials>,
    pub(super) essential: bool,
    pub(super) depends_on: &'a [TaskContainerDependency],
    pub(super) start_timeout: Option<u32>,
    pub(super) stop_timeout: Option<u32>,
    pub(super) firelens: Option<&'a FirelensConfiguration>,
}

fn list<T>(list: Option<&Vec<T>>) -> &[T] {
    list.map_or(&[], Vec::as_slice)
}

/// A text that says something: clients send empty ones for absent ones.
pub(super) fn text(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

impl<'a> From<&'a ContainerProperties> for Settings<'a> {
    fn from(of: &'a ContainerProperties) -> Self {
        Self {
            name: DEFAULT_NAME,
            image: text(of.image.as_ref()),
            command: list(of.command.as_ref()),
            environment: list(of.environment.as_ref()),
            secrets: list(of.secrets.as_ref()),
            requirements: list(of.resource_requirements.as_ref()),
            vcpus: of.vcpus,
            memory: of.memory,
            mount_points: list(of.mount_points.as_ref()),
            user: text(of.user.as_ref()),
            working_directory: text(of.working_directory.as_ref()),
            readonly_root: of.readonly_root_filesystem.unwrap_or(false),
            privileged: of.privileged.unwrap_or(false),
            ulimits: list(of.ulimits.as_ref()),
            linux: of.linux_parameters.as_ref(),
            log: of.log_configuration.as_ref(),
            credentials: of.repository_credentials.as_ref(),
            essential: true,
            depends_on: &[],
            start_timeout: None,
            stop_timeout: None,
            firelens: None,
        }
    }
}

impl<'a> From<&'a TaskContainerProperties> for Settings<'a> {
    fn from(of: &'a TaskContainerProperties) -> Self {
        Self {
            name: text(of.name.as_ref()).unwrap_or(DEFAULT_NAME),
            image: Some(of.image.as_str()).filter(|image| !image.is_empty()),
            command: list(of.command.as_ref()),
            environment: list(of.environment.as_ref()),
            secrets: list(of.secrets.as_ref()),
            requirements: list(of.resource_requirements.as_ref()),
            vcpus: None,
            memory: None,
            mount_points: list(of.mount_points.as_ref()),
            user: text(of.user.as_ref()),
            working_directory: text(of.working_directory.as_ref()),
            readonly_root: of.readonly_root_filesystem.unwrap_or(false),
            privileged: of.privileged.unwrap_or(false),
            ulimits: list(of.ulimits.as_ref()),
            linux: of.linux_parameters.as_ref(),
            log: of.log_configuration.as_ref(),
            credentials: of.repository_credentials.as_ref(),
            essential: of.essential.unwrap_or(true),
            depends_on: list(of.depends_on.as_ref()),
            start_timeout: of.start_timeout,
            stop_timeout: of.stop_timeout,
            firelens: of.firelens_configuration.as_ref(),
        }
    }
}
