//! Quota shares and what of their capacity is in use.

use std::collections::BTreeMap;

use windrow_common::api::ApiError;
use windrow_common::api::quota::{
    CapacityUnit, DescribeQuotaShare, ListQuotaShares, ListQuotaSharesResponse,
    QuotaShareCapacityLimit, QuotaShareDetail, QuotaSharePreemptionConfiguration,
    QuotaShareResourceSharingConfiguration, QuotaShareUse, ResourceSharingStrategy,
};
use windrow_common::api::resources::ResourceState;
use windrow_common::ids::Name;

use super::{PAGE_MAX, named, page};
use crate::core::State;
use crate::core::arn;
use crate::core::find;
use crate::core::quota::{Books, QuotaShare, find};

/// One share.
///
/// # Errors
/// It does not exist.
pub fn describe_quota_share(
    state: &State,
    request: &DescribeQuotaShare,
) -> Result<QuotaShareDetail, ApiError> {
    let (queue, name, share) = find(state, &request.quota_share_arn)?;
    Ok(detail(state, &queue, &name, share))
}

/// The shares of a queue by name.
///
/// # Errors
/// Unknown queue, a wrong token or page size.
pub fn list_quota_shares(
    state: &State,
    request: &ListQuotaShares,
) -> Result<ListQuotaSharesResponse, ApiError> {
    let (queue, _) = find::queue(state, &request.job_queue)?;
    let none = BTreeMap::new();
    let shares = state.quota_shares.get(&queue).unwrap_or(&none);
    let rows = named(shares, &[], request.next_token.as_ref())?;
    let rows = rows.map(|(name, share)| (name.to_string(), detail(state, &queue, name, share)));
    let page = page(rows, request.max_results, PAGE_MAX)?;
    Ok(ListQuotaSharesResponse { quota_shares: page.rows, next_token: page.next_token })
}

fn detail(state: &State, queue: &Name, name: &Name, share: &QuotaShare) -> QuotaShareDetail {
    let strategy = share.strategy;
    let borrows = strategy == ResourceSharingStrategy::LendAndBorrow;
    let limit = |(unit, limit): (&CapacityUnit, &u64)| QuotaShareCapacityLimit {
        capacity_unit: unit.as_str().to_owned(),
        max_capacity: u32::try_from(if *unit == CapacityUnit::Vcpu {
            limit / 1000
        } else {
            *limit
        })
        .unwrap_or(u32::MAX),
    };
    QuotaShareDetail {
        quota_share_name: name.to_string(),
        quota_share_arn: arn::quota_share(queue, name),
        job_queue_arn: arn::queue(queue),
        capacity_limits: share.limits.iter().map(limit).collect(),
        resource_sharing_configuration: QuotaShareResourceSharingConfiguration {
            strategy,
            borrow_limit: borrows
                .then(|| share.borrow_limit.map_or(-1, |p| i32::try_from(p).unwrap_or(i32::MAX))),
        },
        preemption_configuration: QuotaSharePreemptionConfiguration {
            in_share_preemption: match share.in_share_preemption {
                true => ResourceState::Enabled,
                false => ResourceState::Disabled,
            },
        },
        state: share.state,
        status: if share.is_deleted { "DELETING" } else { "VALID" }.to_owned(),
        tags: share.tags.clone(),
        used: used(state, queue, name),
    }
}

fn used(state: &State, queue: &Name, name: &Name) -> Vec<QuotaShareUse> {
    let Some(books) = Books::of(state, queue) else { return Vec::new() };
    let amounts = books.used(name);
    let one = |unit: CapacityUnit| QuotaShareUse {
        capacity_unit: unit,
        used: amounts[unit as usize],
        borrowed: books.borrowed(name, unit),
    };
    CapacityUnit::ALL.into_iter().map(one).collect()
}
