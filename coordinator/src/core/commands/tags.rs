//! TagResource and UntagResource.

use windrow_common::api::ApiError;
use windrow_common::api::tags::{TagResource, UntagResource};

use super::Decision;
use super::definitions::check_tags;
use crate::core::State;
use crate::core::event::Event;
use crate::core::limits::TAGS_MAX;
use crate::core::tags::{Tagged, Tags};

pub(super) fn tag(state: &State, request: &TagResource) -> Result<Decision, ApiError> {
    let (resource, mut tags) = find(state, &request.resource_arn)?;
    if request.tags.is_empty() {
        return Err(ApiError::invalid("tags must be provided"));
    }
    tags.extend(request.tags.clone());
    // Together with those that are there already.
    check_tags(&tags)?;
    Ok(set(state, resource, tags))
}

pub(super) fn untag(state: &State, request: &UntagResource) -> Result<Decision, ApiError> {
    let (resource, mut tags) = find(state, &request.resource_arn)?;
    let count = request.tag_keys.len();
    if !(1..=TAGS_MAX).contains(&count) {
        return Err(ApiError::invalid(format!(
            "from 1 to {TAGS_MAX} tagKeys must be provided, got {count}"
        )));
    }
    tags.retain(|key, _| !request.tag_keys.contains(key));
    Ok(set(state, resource, tags))
}

fn find(state: &State, text: &str) -> Result<(Tagged, Tags), ApiError> {
    let resource = Tagged::find(state, text)?;
    let tags = resource.tags(state).cloned().unwrap_or_default();
    Ok((resource, tags))
}

fn set(state: &State, resource: Tagged, tags: Tags) -> Decision {
    if resource.tags(state) == Some(&tags) {
        return Decision::default();
    }
    vec![Event::TagsSet { resource, tags }].into()
}
