//! What a name or an ARN in a request means; errors that say where to look.

use std::collections::BTreeMap;

use windrow_common::api::ApiError;
use windrow_common::ids::Name;

use super::consumables::Consumable;
use super::policies::Policy;
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
