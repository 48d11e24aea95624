//! Lists access keys.

use std::ops::Bound;

use windrow_common::access::AccessKeyId;
use windrow_common::api::ApiError;
use windrow_common::api::access::{AccessKeyDetail, ListAccessKeys, ListAccessKeysResponse};

use super::{PAGE_MAX, bad_token, page, token};
use crate::core::State;
use crate::core::state::AccessKey;

/// Access keys by id, without what they are signed with.
///
/// # Errors
/// A wrong id, token or page size.
pub fn list_access_keys(
    state: &State,
    request: &ListAccessKeys,
) -> Result<ListAccessKeysResponse, ApiError> {
    if let Some(id) = &request.access_key_id {
        let id: AccessKeyId =
            id.parse().map_err(|e: String| ApiError::invalid(format!("accessKeyId: {e}")))?;
        let found = state.access_keys.get(&id).map(|key| detail(&id, key));
        let access_keys = found.into_iter().collect();
        return Ok(ListAccessKeysResponse { access_keys, next_token: None });
    }
    let after = match token(request.next_token.as_ref()) {
        None => Bound::Unbounded,
        Some(token) => Bound::Excluded(token.parse::<AccessKeyId>().map_err(|_| bad_token(token))?),
    };
    let rows = state.access_keys.range::<AccessKeyId, _>((after, Bound::Unbounded));
    let rows = rows.map(|(id, key)| (id, detail(id, key)));
    let page = page(rows, request.max_results, PAGE_MAX)?;
    Ok(ListAccessKeysResponse { access_keys: page.rows, next_token: page.next_token })
}

fn detail(id: &AccessKeyId, key: &AccessKey) -> AccessKeyDetail {
    AccessKeyDetail {
        access_key_id: id.to_string(),
        user_name: key.user.to_string(),
        created_at: key.created_at,
        expires_at: key.expires_at,
        policy: key.policy.clone(),
        cluster_key: key.cluster_key.clone(),
    }
}
