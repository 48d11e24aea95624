//! RegisterJobDefinition, DeregisterJobDefinition, and finding a revision.

use std::collections::BTreeMap;

use windrow_common::api::ApiError;
use windrow_common::api::definitions::{
    DeregisterJobDefinition, RegisterJobDefinition, RegisterJobDefinitionResponse,
};
use windrow_common::ids::Name;

use super::submit::check_scheduling_priority;
use super::{Answer, Decision};
use crate::core::State;
use crate::core::arn;
use crate::core::event::Event;
use crate::core::limits::{Limits, TAGS_MAX, check_size};
use crate::core::spec;
use crate::core::state::Revision;

/// Type of the definitions of multi-node jobs.
pub(super) const KIND_MULTINODE: &str = "multinode";

pub(super) fn register(
    state: &State,
    limits: &Limits,
    request: &RegisterJobDefinition,
) -> Result<Decision, ApiError> {
    let name: Name = request
        .job_definition_name
        .parse()
        .map_err(|e| ApiError::invalid(format!("jobDefinitionName: {e}")))?;
    if request.kind != "container" && request.kind != KIND_MULTINODE {
        return Err(ApiError::invalid(format!(
            "job definition type must be `container` or `{KIND_MULTINODE}`, got `{}`",
            request.kind
        )));
    }
    check_tags(&request.tags)?;
    request.scheduling_priority.map(check_scheduling_priority).transpose()?;
    check_size("Job definition size", request, limits.definition_kib)?;
    if request.kind == KIND_MULTINODE {
        spec::check_nodes(request, limits)?;
    } else {
        spec::check_definition(request, limits)?;
    }
    let known = state.definitions.get(&name).and_then(|d| d.revisions.keys().next_back());
    let revision = known.map_or(1, |last| last + 1);
    let response = RegisterJobDefinitionResponse {
        job_definition_name: name.to_string(),
        job_definition_arn: arn::definition(&name, revision),
        revision,
    };
    let content = Box::new(Revision { active: true, definition: request.clone() });
    Ok(Decision {
        events: vec![Event::RevisionRegistered { name, revision, content }],
        answer: Answer::Definition(response),
    })
}

pub(super) fn deregister(
    state: &State,
    request: &DeregisterJobDefinition,
) -> Result<Decision, ApiError> {
    let plain = arn::plain(&request.job_definition);
    let Some((name, Some(revision))) = parse(plain) else {
        return Err(ApiError::invalid(format!(
            "`{plain}` does not name a revision; write `name:revision`"
        )));
    };
    let found = state.definitions.get(&name).and_then(|d| d.revisions.get(&revision));
    match found {
        None => Err(unknown(plain)),
        Some(found) if !found.active => Ok(Decision::default()),
        Some(_) => Ok(vec![Event::RevisionDeregistered { name, revision }].into()),
    }
}

/// The active revision that `text` (`name`, `name:revision` or an ARN of either) means for a new
/// job: without a number the newest one.
pub(super) fn find_revision<'a>(
    state: &'a State,
    text: &str,
) -> Result<((Name, u32), &'a Revision), ApiError> {
    let plain = arn::plain(text);
    let (name, revision) = parse(plain).ok_or_else(|| unknown(plain))?;
    let definition = state.definitions.get(&name).ok_or_else(|| unknown(plain))?;
    let found = match revision {
        Some(number) => definition.revisions.get_key_value(&number).filter(|(_, r)| r.active),
        None => definition.revisions.iter().rev().find(|(_, r)| r.active),
    };
    let (number, revision) = found.ok_or_else(|| unknown(plain))?;
    Ok(((name, *number), revision))
}

fn unknown(plain: &str) -> ApiError {
    let shown: String = plain.chars().take(200).collect();
    ApiError::not_found(format!(
        "JobDefinition name {shown} does not exist or is not in ACTIVE status"
    ))
    .hint("list the definitions with `windrow jobdef list`")
}

fn parse(plain: &str) -> Option<(Name, Option<u32>)> {
    match plain.split_once(':') {
        None => Some((plain.parse().ok()?, None)),
        Some((name, revision)) => Some((name.parse().ok()?, Some(revision.parse().ok()?))),
    }
}

/// Tags within AWS's rules.
pub(super) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if tags.len() > TAGS_MAX {
        return Err(ApiError::invalid(format!(
            "at most {TAGS_MAX} tags are allowed, got {}",
            tags.len()
        )));
    }
    for (key, value) in tags {
        let fits = (1..=128).contains(&key.chars().count()) && value.chars().count() <= 256;
        if !fits || key.to_ascii_lowercase().starts_with("aws:") {
            let shown: String = key.chars().take(130).collect();
            return Err(ApiError::invalid(format!(
                "tag `{shown}`: keys have 1 to 128 characters and do not start with `aws:`, values have at most 256"
            )));
        }
    }
    Ok(())
}
