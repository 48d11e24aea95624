//! What a name or an ARN in a request means; errors that say where to look.

use std::collections::BTreeMap;

use windrow_common::api::ApiError;
use windrow_common::ids::{JobId, Name};

use super::consumables::Consumable;
use super::policies::Policy;
use super::services::{ServiceEnvironment, ServiceJob};
use super::state::{Environment, Queue};
use super::{State, arn};

/// Characters of a user's text that a message shows.
const SHOWN_MAX: usize = 200;

/// A job queue.
pub fn queue<'a>(state: &'a State, text: &str) -> Result<(Name, &'a Queue), ApiError> {
    named(&state.queues, text, |shown| {
        ApiError::not_found(format!("JobQueue {shown} not found."))
            .hint("list the queues with `windrow queue list`")
    })
}

/// A compute environment.
pub fn environment<'a>(state: &'a State, text: &str) -> Result<(Name, &'a Environment), ApiError> {
    named(&state.environments, text, |shown| {
        ApiError::not_found(format!("compute environment `{shown}` does not exist"))
            .hint("list them with `windrow ce list`, create one with `windrow ce create`")
    })
}

/// A scheduling policy.
pub fn policy<'a>(state: &'a State, text: &str) -> Result<(Name, &'a Policy), ApiError> {
    named(&state.policies, text, |shown| {
        ApiError::not_found(format!("scheduling policy `{shown}` does not exist"))
            .hint("list them with `windrow policy list`, create one with `windrow policy create`")
    })
}

/// A consumable resource.
pub fn consumable<'a>(state: &'a State, text: &str) -> Result<(Name, &'a Consumable), ApiError> {
    named(&state.consumables, text, |shown| {
        ApiError::not_found(format!("consumable resource `{shown}` does not exist")).hint(
            "list them with `windrow consumable list`, create one with `windrow consumable create`",
        )
    })
}

/// A service environment.
pub fn service_environment<'a>(
    state: &'a State,
    text: &str,
) -> Result<(Name, &'a ServiceEnvironment), ApiError> {
    named(&state.services.environments, text, |shown| {
        ApiError::not_found(format!("service environment `{shown}` does not exist"))
            .hint("DescribeServiceEnvironments lists those there are")
    })
}

/// A service job.
pub fn service_job<'a>(state: &'a State, text: &str) -> Result<(JobId, &'a ServiceJob), ApiError> {
    let plain = arn::plain(text);
    let id = plain.parse::<JobId>().ok();
    id.and_then(|id| Some((id, state.services.jobs.get(&id)?))).ok_or_else(|| {
        let shown: String = plain.chars().take(SHOWN_MAX).collect();
        ApiError::not_found(format!("service job `{shown}` does not exist"))
            .hint("ListServiceJobs lists those of a queue; ended ones are forgotten after a time")
    })
}

fn named<'a, T>(
    all: &'a BTreeMap<Name, T>,
    text: &str,
    unknown: impl Fn(&str) -> ApiError,
) -> Result<(Name, &'a T), ApiError> {
    let plain = arn::plain(text);
    let found = plain.parse::<Name>().ok().and_then(|name| all.get_key_value(&name));
    found
        .map(|(name, one)| (name.clone(), one))
        .ok_or_else(|| unknown(&plain.chars().take(SHOWN_MAX).collect::<String>()))
}
