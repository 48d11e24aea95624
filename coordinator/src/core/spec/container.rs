//! From one container's settings to what an executor is told of it.

use windrow_common::api::ApiError;
use windrow_common::api::definitions::{
    KeyValuePair, LinuxParameters, LogConfiguration, Secret as ApiSecret,
};
use windrow_common::units::Resources;
use windrow_common::wire::container::{ContainerSpec, LogDriver, Secret, Volume};

use super::settings::Settings;
use super::volumes::mounts;
use super::{Stage, kernel, shown};

/// Least start or stop timeout, in seconds, as AWS has it.
const TIMEOUT_SECONDS_MIN: u32 = 2;
/// Log drivers whose output is the job's log in any case: what they say is recorded only.
const DRIVERS_RECORDED: [&str; 2] = ["awslogs", "json-file"];
/// Log drivers of the engine that carry the output elsewhere as well.
const DRIVERS_PASSED_ON: [&str; 5] = ["syslog", "journald", "gelf", "fluentd", "splunk"];

/// One container; what it depends on is left to the task.
pub(super) fn container(
    of: &Settings<'_>,
    resources: Resources,
    volumes: &[Volume],
    stage: Stage,
) -> Result<ContainerSpec, ApiError> {
    match of.image {
        Some(image) => check_image(image)?,
        None => check_process(of, volumes, stage)?,
    }
    if of.command.iter().any(|argument| argument.contains('\0')) {
        return Err(ApiError::invalid("command must not contain NUL characters"));
    }
    if of.firelens.is_some() {
        return Err(ApiError::invalid("firelensConfiguration is not supported")
            .hint("leave it out: all output goes to the job's log"));
    }
    if of.credentials.is_some_and(|c| !c.credentials_parameter.is_empty()) {
        return Err(ApiError::invalid("repositoryCredentials are not supported").hint(
            "log the agents' Docker in to the registry, or put the image where no login is needed",
        ));
    }
    let environment = environment(of.environment)?;
    Ok(ContainerSpec {
        name: of.name.to_owned(),
        essential: of.essential,
        depends_on: Vec::new(),
        start_timeout_seconds: timeout("startTimeout", of.start_timeout)?,
        stop_timeout_seconds: timeout("stopTimeout", of.stop_timeout)?,
        image: of.image.map(str::to_owned),
        command: of.command.to_vec(),
        secrets: secrets(of.secrets, &environment)?,
        environment,
        user: of.user.map(user).transpose()?,
        working_directory: of.working_directory.map(directory).transpose()?,
        mounts: mounts(of.mount_points, volumes)?,
        readonly_root: of.readonly_root,
        privileged: of.privileged,
        resources,
        ulimits: kernel::ulimits(of.ulimits)?,
        linux: kernel::linux(of.linux)?,
        log_driver: log_driver(of)?,
    })
}

fn check_image(image: &str) -> Result<(), ApiError> {
    let valid = |b: u8| b.is_ascii_alphanumeric() || b"-_:./#@".contains(&b);
    if image.len() > 255 || !image.bytes().all(valid) {
        return Err(ApiError::invalid(format!(
            "container image must be at most 255 letters, digits and `- _ : . / # @`, got `{}`",
            shown(image)
        )));
    }
    Ok(())
}

fn check_process(of: &Settings<'_>, volumes: &[Volume], stage: Stage) -> Result<(), ApiError> {
    if stage == Stage::Job && of.command.first().is_none_or(String::is_empty) {
        return Err(ApiError::invalid("a job without an image needs a command")
            .hint("give a command, or an image whose own command is to run"));
    }
    let linux = of.linux.is_some_and(|linux| {
        let LinuxParameters { devices, tmpfs, .. } = linux.clone();
        let empty = LinuxParameters {
            devices: devices.filter(Vec::is_empty),
            tmpfs: tmpfs.filter(Vec::is_empty),
            ..LinuxParameters::default()
        };
        *linux != empty
    });
    let driver = of.log.is_some_and(|log| !DRIVERS_RECORDED.contains(&log.log_driver.as_str()));
    let container_only = [
        ("mountPoints", !of.mount_points.is_empty()),
        ("volumes", !volumes.is_empty()),
        ("readonlyRootFilesystem", of.readonly_root),
        ("privileged", of.privileged),
        ("linuxParameters", linux),
        ("this logConfiguration", driver),
    ];
    match container_only.iter().find(|(_, set)| *set) {
        Some((field, _)) => {
            Err(ApiError::invalid(format!("{field} needs an image: a plain process has none")))
        }
        None => Ok(()),
    }
}

fn check_variable(name: &str) -> Result<(), ApiError> {
    let shown = shown(name);
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(ApiError::invalid(format!(
            "environment variable `{shown}`: names must not be empty or contain `=` or NUL"
        )));
    }
    if name.starts_with("AWS_BATCH") {
        return Err(ApiError::invalid(format!(
            "environment variable `{shown}`: names starting with AWS_BATCH are reserved"
        )));
    }
    Ok(())
}

fn environment(entries: &[KeyValuePair]) -> Result<Vec<(String, String)>, ApiError> {
    let mut environment = Vec::with_capacity(entries.len());
    for KeyValuePair { name, value } in entries {
        check_variable(name)?;
        if value.contains('\0') {
            return Err(ApiError::invalid(format!(
                "environment variable `{}`: values must not contain NUL",
                shown(name)
            )));
        }
        environment.push((name.clone(), value.clone()));
    }
    Ok(environment)
}

fn secrets(
    entries: &[ApiSecret],
    environment: &[(String, String)],
) -> Result<Vec<Secret>, ApiError> {
    let mut secrets: Vec<Secret> = Vec::with_capacity(entries.len());
    for ApiSecret { name, value_from } in entries {
        check_variable(name)?;
        let is_taken = environment.iter().any(|(known, _)| known == name)
            || secrets.iter().any(|known| known.name == *name);
        if is_taken {
            return Err(ApiError::invalid(format!(
                "secret `{}`: there is another variable of that name",
                shown(name)
            )));
        }
        let is_known = match value_from.split_once(':') {
            Some(("env", variable)) => !variable.is_empty() && !variable.contains(['=', '\0']),
            Some(("file", path)) => path.starts_with('/') && !path.contains('\0'),
            Some(_) | None => false,
        };
        if !is_known {
            return Err(ApiError::invalid(format!(
                "secret `{}`: valueFrom must be `env:NAME` or `file:/PATH`, got `{}`",
                shown(name),
                shown(value_from)
            ))
            .hint("Secrets Manager and Parameter Store are not read: give the secret to the agents' hosts, as a file or a variable of the agent"));
        }
        secrets.push(Secret { name: name.clone(), from: value_from.clone() });
    }
    Ok(secrets)
}

/// `user` or `user:group`, each a name or a number.
fn user(user: &str) -> Result<String, ApiError> {
    let is_part = |part: &str| {
        let valid = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        !part.is_empty() && part.len() <= 64 && !part.starts_with('-') && part.chars().all(valid)
    };
    let (name, group) = user.split_once(':').map_or((user, None), |(n, g)| (n, Some(g)));
    if is_part(name) && group.is_none_or(is_part) {
        return Ok(user.to_owned());
    }
    Err(ApiError::invalid(format!("User '{}' does not match regex", shown(user)))
        .hint("write `user` or `user:group`, names or numbers"))
}

fn directory(directory: &str) -> Result<String, ApiError> {
    if directory.starts_with('/') && !directory.contains('\0') {
        return Ok(directory.to_owned());
    }
    Err(ApiError::invalid(format!(
        "workingDirectory must be an absolute path, got `{}`",
        shown(directory)
    )))
}

fn timeout(field: &str, seconds: Option<u32>) -> Result<Option<u32>, ApiError> {
    match seconds {
        Some(seconds) if seconds < TIMEOUT_SECONDS_MIN => Err(ApiError::invalid(format!(
            "{field} must be at least {TIMEOUT_SECONDS_MIN} seconds, got {seconds}"
        ))),
        other => Ok(other),
    }
}

/// The driver that carries the output elsewhere, if one is asked for. The job's log has it anyway.
fn log_driver(of: &Settings<'_>) -> Result<Option<LogDriver>, ApiError> {
    let Some(log) = of.log.filter(|log| **log != LogConfiguration::default()) else {
        return Ok(None);
    };
    if log.secret_options.as_ref().is_some_and(|options| !options.is_empty()) {
        return Err(ApiError::invalid("logConfiguration.secretOptions are not supported")
            .hint("give the option in plain, or configure the driver in the hosts' Docker"));
    }
    let name = log.log_driver.as_str();
    if DRIVERS_RECORDED.contains(&name) {
        return Ok(None);
    }
    if !DRIVERS_PASSED_ON.contains(&name) {
        let known = [DRIVERS_RECORDED.as_slice(), &DRIVERS_PASSED_ON].concat().join(", ");
        return Err(ApiError::invalid(format!(
            "log driver `{}` is not supported",
            shown(name)
        ))
        .hint(format!("use one of {known}, or leave logConfiguration out: all output goes to the job's log")));
    }
    let options = log.options.iter().map(|(key, value)| (key.clone(), value.clone()));
    Ok(Some(LogDriver { name: name.to_owned(), options: options.collect() }))
}
