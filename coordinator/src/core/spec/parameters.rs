//! Parameters in commands: `Ref::name`.

use std::collections::BTreeMap;

use windrow_common::api::ApiError;

use super::{Workload, too_large};
use crate::core::limits::SPEC_BYTES_MAX;

/// Replaces parameters in the commands of all containers.
pub(super) fn substitute_workload(
    workload: &mut Workload,
    parameters: &BTreeMap<String, String>,
) -> Result<(), ApiError> {
    match workload {
        Workload::Container(container) => replace(&mut container.command, parameters),
        Workload::Ecs(ecs) => {
            let containers = ecs.task_properties.iter_mut().flat_map(|task| &mut task.containers);
            for container in containers {
                replace(&mut container.command, parameters)?;
            }
            Ok(())
        }
    }
}

fn replace(
    command: &mut Option<Vec<String>>,
    parameters: &BTreeMap<String, String>,
) -> Result<(), ApiError> {
    if let Some(command) = command {
        *command = substitute_all(command, parameters)?;
    }
    Ok(())
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
