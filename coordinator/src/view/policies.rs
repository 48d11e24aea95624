//! Describe and list scheduling policies.

use windrow_common::api::ApiError;
use windrow_common::api::policies::{
    DescribeSchedulingPolicies, DescribeSchedulingPoliciesResponse, ListSchedulingPolicies,
    ListSchedulingPoliciesResponse, QuotaSharePolicy, SchedulingPolicyDetail,
    SchedulingPolicyListing,
};
use windrow_common::ids::Name;

use super::{PAGE_MAX, named, page};
use crate::core::State;
use crate::core::arn;
use crate::core::policies::{Policy, Rules};

/// Policies by name or ARN, in the order asked for.
///
/// # Errors
/// None or more than 100 asked for.
pub fn describe_policies(
    state: &State,
    request: &DescribeSchedulingPolicies,
) -> Result<DescribeSchedulingPoliciesResponse, ApiError> {
    let asked = request.arns.len();
    if asked == 0 || asked > PAGE_MAX as usize {
        return Err(ApiError::invalid(format!(
            "arns must name 1 to {PAGE_MAX} scheduling policies, got {asked}"
        ))
        .hint("list them with ListSchedulingPolicies"));
    }
    let known = request.arns.iter().filter_map(|text| {
        let name: Name = arn::plain(text).parse().ok()?;
        Some(detail(&name, state.policies.get(&name)?))
    });
    Ok(DescribeSchedulingPoliciesResponse { scheduling_policies: known.collect() })
}

fn detail(name: &Name, policy: &Policy) -> SchedulingPolicyDetail {
    let (fairshare_policy, quota_share_policy) = match &policy.rules {
        Rules::FairShare(rules) => (Some(rules.to_api()), None),
        Rules::QuotaShare => (None, Some(QuotaSharePolicy::default())),
    };
    SchedulingPolicyDetail {
        name: name.to_string(),
        arn: arn::policy(name),
        fairshare_policy,
        tags: policy.tags.clone(),
        quota_share_policy,
    }
}

/// ARNs of all policies, by name.
///
/// # Errors
/// A wrong token or page size.
pub fn list_policies(
    state: &State,
    request: &ListSchedulingPolicies,
) -> Result<ListSchedulingPoliciesResponse, ApiError> {
    let rows = named(&state.policies, &[], request.next_token.as_ref())?;
    let rows = rows
        .map(|(name, _)| (name.to_string(), SchedulingPolicyListing { arn: arn::policy(name) }));
    let page = page(rows, request.max_results, PAGE_MAX)?;
    Ok(ListSchedulingPoliciesResponse {
        scheduling_policies: page.rows,
        next_token: page.next_token,
    })
}
