//! `platformCapabilities`: what a definition for Fargate or for EC2 may say. Fargate's rules are
//! checked as AWS checks them, so that what is accepted here is accepted there; the job itself runs
//! on the agents of its queue.

use windrow_common::api::ApiError;
use windrow_common::api::definitions::{
    ContainerProperties, EcsTaskProperties, LinuxParameters, NetworkConfiguration, Volume,
};
use windrow_common::units::Resources;

use super::settings::{Settings, text};
use super::shown;

/// Sizes on Fargate that are evenly spaced: thousandths of a core, and MiB from, to, in steps of.
const FARGATE_SIZES: [(u32, u32, u32, u32); 6] = [
    (500, 1024, 4096, 1024),
    (1000, 2048, 8192, 1024),
    (2000, 4096, 16_384, 1024),
    (4000, 8192, 30_720, 1024),
    (8000, 16_384, 61_440, 4096),
    (16_000, 32_768, 122_880, 8192),
];
/// Longest start or stop timeout on Fargate, in seconds.
const FARGATE_TIMEOUT_MAX: u32 = 120;

/// Which rules hold for a definition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Platform {
    #[default]
    Ec2,
    Fargate,
    ManagedInstances,
}

impl Platform {
    /// Of `platformCapabilities`; with several the strictest rules hold.
    pub(super) fn of(capabilities: &[String]) -> Result<Self, ApiError> {
        let has = |name: &str| capabilities.iter().any(|one| one == name);
        let known = ["EC2", "FARGATE", "MANAGED_INSTANCES"];
        if let Some(other) = capabilities.iter().find(|one| !known.contains(&one.as_str())) {
            return Err(ApiError::invalid(format!(
                "platformCapabilities: a platform is EC2, FARGATE or MANAGED_INSTANCES, got `{}`",
                shown(other)
            )));
        }
        Ok(if has("FARGATE") {
            Self::Fargate
        } else if has("MANAGED_INSTANCES") {
            Self::ManagedInstances
        } else {
            Self::Ec2
        })
    }

    /// `vcpus` and `memory`, in a definition or an override.
    pub(super) fn refuse_older_form(self, field: &str) -> Result<(), ApiError> {
        match self {
            Self::Fargate => Err(ApiError::invalid(format!(
                "{field} is not applicable for Fargate. Use resource requirements instead."
            ))),
            Self::Ec2 | Self::ManagedInstances => Ok(()),
        }
    }

    /// What only `containerProperties` has.
    pub(super) fn check_single(self, of: &ContainerProperties) -> Result<(), ApiError> {
        let version = of.fargate_platform_configuration.as_ref();
        let version = version.and_then(|platform| text(platform.platform_version.as_ref()));
        let volumes = of.volumes.as_deref().unwrap_or_default();
        let storage = of.ephemeral_storage.as_ref().map(|storage| storage.size_in_gib);
        let surroundings = Surroundings {
            network: of.network_configuration.as_ref(),
            version: ("fargatePlatformConfiguration", version),
            storage,
            volumes,
        };
        match self {
            Self::Fargate => surroundings.check_fargate(),
            Self::Ec2 => surroundings.check_ec2(),
            Self::ManagedInstances => {
                Err(ApiError::invalid("platformCapabilities MANAGED_INSTANCES needs ecsProperties"))
            }
        }
    }

    /// What only `ecsProperties` has.
    pub(super) fn check_task(self, of: &EcsTaskProperties) -> Result<(), ApiError> {
        let surroundings = Surroundings {
            network: of.network_configuration.as_ref(),
            version: ("platformVersion", text(of.platform_version.as_ref())),
            storage: of.ephemeral_storage.as_ref().map(|storage| storage.size_in_gib),
            volumes: of.volumes.as_deref().unwrap_or_default(),
        };
        if self != Self::Fargate {
            return surroundings.check_ec2();
        }
        let is = |value: &Option<String>, what: &str| value.as_deref() == Some(what);
        refuse_first(&[
            ("ipcMode", text(of.ipc_mode.as_ref()).is_some()),
            ("pidMode host", is(&of.pid_mode, "host")),
            ("networkMode", text(of.network_mode.as_ref()).is_some()),
        ])?;
        surroundings.check_fargate()
    }

    /// What each container has.
    pub(super) fn check_container(self, of: &Settings<'_>) -> Result<(), ApiError> {
        if self != Self::Fargate {
            return Ok(());
        }
        if of.image.is_none() {
            return Err(ApiError::invalid("platformCapabilities FARGATE needs an image"));
        }
        for (field, given) in [("vcpus", of.vcpus), ("memory", of.memory)] {
            if given.is_some() {
                self.refuse_older_form(field)?;
            }
        }
        let init_only = |linux: &LinuxParameters| LinuxParameters {
            init_process_enabled: linux.init_process_enabled,
            devices: linux.devices.clone().filter(Vec::is_empty),
            tmpfs: linux.tmpfs.clone().filter(Vec::is_empty),
            ..LinuxParameters::default()
        };
        let driver = of.log.map_or("awslogs", |log| log.log_driver.as_str());
        refuse_first(&[
            ("privileged", of.privileged),
            ("ulimits", !of.ulimits.is_empty()),
            (
                "linuxParameters other than initProcessEnabled",
                of.linux.is_some_and(|linux| *linux != init_only(linux)),
            ),
            ("resource requirement GPU", of.requirements.iter().any(|need| need.kind == "GPU")),
            (
                "a log driver other than awslogs and splunk",
                !["awslogs", "splunk"].contains(&driver),
            ),
        ])?;
        for (field, seconds) in
            [("startTimeout", of.start_timeout), ("stopTimeout", of.stop_timeout)]
        {
            if seconds.is_some_and(|seconds| seconds > FARGATE_TIMEOUT_MAX) {
                return Err(ApiError::invalid(format!(
                    "{field} must be at most {FARGATE_TIMEOUT_MAX} seconds for Fargate, got {}",
                    seconds.unwrap_or_default()
                )));
            }
        }
        Ok(())
    }

    /// The needs of all containers together.
    pub(super) fn check_needs(self, needs: Resources) -> Result<(), ApiError> {
        if self != Self::Fargate {
            return Ok(());
        }
        let (cpu, memory) = (needs.cpu, needs.memory.0);
        let Some(allowed) = fargate_memory(cpu.0) else {
            return Err(ApiError::invalid(format!(
                "VCPU for Fargate must be 0.25, 0.5, 1, 2, 4, 8, 16 or 32, got {cpu}"
            )));
        };
        if allowed.contains(&memory) {
            return Ok(());
        }
        let list: Vec<_> = allowed.iter().map(u32::to_string).collect();
        Err(ApiError::invalid(format!(
            "MEMORY for Fargate with {cpu} vCPU must be one of {} MiB, got {memory}",
            list.join(", ")
        )))
    }
}

/// The sizes of memory that go with so many thousandths of a core.
fn fargate_memory(cpu: u32) -> Option<Vec<u32>> {
    match cpu {
        250 => Some(vec![512, 1024, 2048]),
        32_000 => Some(vec![61_440, 122_880, 249_856]),
        _ => {
            let (_, from, to, step) = FARGATE_SIZES.iter().find(|size| size.0 == cpu)?;
            Some((*from..=*to).step_by(*step as usize).collect())
        }
    }
}

/// What surrounds the containers.
struct Surroundings<'a> {
    network: Option<&'a NetworkConfiguration>,
    /// The field's name and what it says.
    version: (&'static str, Option<&'a str>),
    storage: Option<u32>,
    volumes: &'a [Volume],
}

impl Surroundings<'_> {
    fn check_ec2(&self) -> Result<(), ApiError> {
        let fields = [
            ("networkConfiguration", self.public_ip().is_some()),
            (self.version.0, self.version.1.is_some()),
            ("ephemeralStorage", self.storage.is_some()),
        ];
        match fields.iter().find(|(_, is_set)| *is_set) {
            Some((field, _)) => Err(ApiError::invalid(format!("{field} not applicable for EC2."))
                .hint("leave it out, or set platformCapabilities to FARGATE")),
            None => Ok(()),
        }
    }

    fn check_fargate(&self) -> Result<(), ApiError> {
        if let Some(other) = self.public_ip().filter(|ip| !["ENABLED", "DISABLED"].contains(ip)) {
            return Err(ApiError::invalid(format!(
                "networkConfiguration.assignPublicIp is ENABLED or DISABLED, got `{}`",
                shown(other)
            )));
        }
        let version = self.version.1.unwrap_or("LATEST");
        if !["1.3.0", "1.4.0", "LATEST"].contains(&version) {
            return Err(ApiError::invalid(format!(
                "platformVersion is 1.3.0, 1.4.0 or LATEST, got `{}`",
                shown(version)
            )));
        }
        let has_efs = self.volumes.iter().any(|v| v.efs_volume_configuration.is_some());
        if has_efs && version == "1.3.0" {
            return Err(ApiError::invalid("EFS is supported for Fargate platform version 1.4.0"));
        }
        if let Some(size) = self.storage.filter(|size| !(21..=200).contains(size)) {
            return Err(ApiError::invalid(format!(
                "ephemeralStorage.sizeInGiB must be from 21 to 200, got {size}"
            )));
        }
        let has_path = |volume: &Volume| {
            volume.host.as_ref().is_some_and(|host| text(host.source_path.as_ref()).is_some())
        };
        refuse_first(&[("volumes.host.sourcePath", self.volumes.iter().any(has_path))])
    }

    fn public_ip(&self) -> Option<&str> {
        self.network.and_then(|network| text(network.assign_public_ip.as_ref()))
    }
}

/// Refuses the first field that is set.
fn refuse_first(fields: &[(&str, bool)]) -> Result<(), ApiError> {
    match fields.iter().find(|(_, is_set)| *is_set) {
        Some((field, _)) => {
            Err(ApiError::invalid(format!("{field} is not applicable for Fargate.")))
        }
        None => Ok(()),
    }
}
