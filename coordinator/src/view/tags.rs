//! ListTagsForResource.

use windrow_common::api::ApiError;
use windrow_common::api::tags::{ListTagsForResource, ListTagsForResourceResponse};

use crate::core::State;
use crate::core::tags::Tagged;

/// The tags of what an ARN names.
///
/// # Errors
/// There is no such thing, or it cannot have tags.
pub fn list_tags(
    state: &State,
    request: &ListTagsForResource,
) -> Result<ListTagsForResourceResponse, ApiError> {
    let resource = Tagged::find(state, &request.resource_arn)?;
    let tags = resource.tags(state).cloned().unwrap_or_default();
    Ok(ListTagsForResourceResponse { tags })
}
