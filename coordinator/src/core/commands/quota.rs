//! Quota shares: create, update, delete.

use std::collections::BTreeMap;

use windrow_common::api::ApiError;
use windrow_common::api::jobs::SubmitJob;
use windrow_common::api::quota::{
    CapacityUnit, CreateQuotaShare, DeleteQuotaShare, QuotaShareCapacityLimit,
    QuotaSharePreemptionConfiguration, QuotaShareResourceSharingConfiguration, QuotaShareResponse,
    ResourceSharingStrategy, UpdateQuotaShare,
};
use windrow_common::api::resources::ResourceState;
use windrow_common::ids::Name;

use super::definitions::check_tags;
use super::{Answer, Decision};
use crate::core::State;
use crate::core::arn;
use crate::core::event::Event;
use crate::core::find;
use crate::core::limits::Limits;
use crate::core::quota::{self, JobQuota, QuotaShare, is_quota_queue};

pub(super) fn create(
    state: &State,
    limits: &Limits,
    request: &CreateQuotaShare,
) -> Result<Decision, ApiError> {
    let name: Name = request
        .quota_share_name
        .parse()
        .map_err(|e| ApiError::invalid(format!("quotaShareName: {e}")))?;
    let queue = find::queue(state, &request.job_queue)?.0;
    if !is_quota_queue(state, &queue) {
        return Err(ApiError::invalid(format!(
            "job queue `{queue}` has no scheduling policy with a quotaSharePolicy"
        ))
        .hint("such a policy is given to a queue when it is created: `windrow queue create NAME --policy POLICY`"));
    }
    let shares = state.quota_shares.get(&queue);
    if shares.is_some_and(|shares| shares.contains_key(&name)) {
        return Err(ApiError::conflict(format!(
            "quota share `{name}` of job queue `{queue}`: Object already exists"
        ))
        .hint(format!("change it with `windrow quota-share update {queue}/{name}`")));
    }
    let count = shares.map_or(0, BTreeMap::len);
    if count >= limits.quota_shares_per_queue {
        return Err(ApiError::invalid(format!(
            "job queue `{queue}` has {count} quota shares, at most {} are allowed",
            limits.quota_shares_per_queue
        )));
    }
    check_tags(&request.tags)?;
    let mut share = QuotaShare {
        state: request.state.unwrap_or_default(),
        limits: capacity(&request.capacity_limits)?,
        strategy: ResourceSharingStrategy::Reserve,
        borrow_limit: None,
        in_share_preemption: false,
        tags: request.tags.clone(),
        is_deleted: false,
    };
    let sharing = request.resource_sharing_configuration.as_ref();
    set_sharing(&mut share, required("resourceSharingConfiguration", sharing)?)?;
    let preemption = request.preemption_configuration.as_ref();
    set_preemption(&mut share, required("preemptionConfiguration", preemption)?);
    Ok(set(queue, name, share))
}

pub(super) fn update(state: &State, request: &UpdateQuotaShare) -> Result<Decision, ApiError> {
    let (queue, name, share) = quota::find(state, &request.quota_share_arn)?;
    let mut share = share.clone();
    if share.is_deleted {
        return Err(ApiError::conflict(format!(
            "quota share `{name}` of job queue `{queue}` is being deleted"
        )));
    }
    if !request.capacity_limits.is_empty() {
        share.limits = capacity(&request.capacity_limits)?;
    }
    if let Some(sharing) = &request.resource_sharing_configuration {
        set_sharing(&mut share, sharing)?;
    }
    if let Some(preemption) = &request.preemption_configuration {
        set_preemption(&mut share, preemption);
    }
    share.state = request.state.unwrap_or(share.state);
    Ok(set(queue, name, share))
}

pub(super) fn delete(state: &State, request: &DeleteQuotaShare) -> Result<Decision, ApiError> {
    let (queue, name, share) = quota::find(state, &request.quota_share_arn)?;
    if share.state == ResourceState::Enabled {
        return Err(ApiError::conflict(format!(
            "quota share `{name}` of job queue `{queue}` is ENABLED; disable it first"
        ))
        .hint(format!("windrow quota-share update {queue}/{name} --disable")));
    }
    if share.is_deleted {
        return Ok(Decision::default());
    }
    Ok(vec![Event::QuotaShareDeleted { queue, name }].into())
}

fn set(queue: Name, name: Name, share: QuotaShare) -> Decision {
    let response = QuotaShareResponse {
        quota_share_name: name.to_string(),
        quota_share_arn: arn::quota_share(&queue, &name),
    };
    let share = Box::new(share);
    Decision {
        events: vec![Event::QuotaShareSet { queue, name, share }],
        answer: Answer::QuotaShare(response),
    }
}

fn required<'a, T>(field: &str, value: Option<&'a T>) -> Result<&'a T, ApiError> {
    value.ok_or_else(|| ApiError::invalid(format!("{field} must be provided")))
}

fn set_sharing(
    share: &mut QuotaShare,
    sharing: &QuotaShareResourceSharingConfiguration,
) -> Result<(), ApiError> {
    share.strategy = sharing.strategy;
    share.borrow_limit = match (sharing.strategy, sharing.borrow_limit) {
        (_, None) | (ResourceSharingStrategy::LendAndBorrow, Some(-1)) => None,
        (ResourceSharingStrategy::LendAndBorrow, Some(percent)) => {
            Some(u32::try_from(percent).map_err(|_| {
                ApiError::invalid(format!(
                    "borrowLimit must be -1 (no limit) or a percentage from 0, got {percent}"
                ))
            })?)
        }
        (ResourceSharingStrategy::Reserve | ResourceSharingStrategy::Lend, Some(percent)) => {
            return Err(ApiError::invalid(format!(
                "borrowLimit is for the strategy LEND_AND_BORROW, got {percent}"
            )));
        }
    };
    Ok(())
}

fn set_preemption(share: &mut QuotaShare, preemption: &QuotaSharePreemptionConfiguration) {
    share.in_share_preemption = preemption.in_share_preemption == ResourceState::Enabled;
}

/// Most entries of `capacityLimits`, as AWS has it.
const CAPACITY_LIMITS_MAX: usize = 5;

fn capacity(entries: &[QuotaShareCapacityLimit]) -> Result<BTreeMap<CapacityUnit, u64>, ApiError> {
    if !(1..=CAPACITY_LIMITS_MAX).contains(&entries.len()) {
        return Err(ApiError::invalid(format!(
            "capacityLimits must have 1 to {CAPACITY_LIMITS_MAX} entries, got {}",
            entries.len()
        ))
        .hint("such as VCPU=8, MEMORY_MIB=16384 or GPU=1; what no entry names is not limited"));
    }
    let mut limits = BTreeMap::new();
    for entry in entries {
        let given: String = entry.capacity_unit.chars().take(80).collect();
        let unit = CapacityUnit::ALL.into_iter().find(|unit| unit.as_str() == given);
        let unit = unit.ok_or_else(|| {
            ApiError::invalid(format!(
                "capacityUnit must be VCPU, MEMORY_MIB or GPU, got `{given}`"
            ))
            .hint("instance types count the instances of service jobs, which this version lacks")
        })?;
        if entry.max_capacity == 0 {
            return Err(ApiError::invalid(format!("maxCapacity of {given} must be at least 1")));
        }
        let amount = u64::from(entry.max_capacity);
        let amount = if unit == CapacityUnit::Vcpu { amount * 1000 } else { amount };
        if limits.insert(unit, amount).is_some() {
            return Err(ApiError::invalid(format!("capacityLimits names {given} twice")));
        }
    }
    Ok(limits)
}

/// The quota share of a submission, which jobs of a queue of quota shares have and no others.
pub(super) fn check_job(
    state: &State,
    queue: &Name,
    request: &SubmitJob,
) -> Result<(Option<Name>, Option<JobQuota>), ApiError> {
    let named = request.quota_share_name.as_deref().filter(|name| !name.is_empty());
    if !is_quota_queue(state, queue) {
        return match (named, &request.preemption_configuration) {
            (None, None) => Ok((None, None)),
            (Some(name), _) => Err(ApiError::invalid(format!(
                "job queue `{queue}` has no quota shares, got quotaShareName `{}`",
                name.chars().take(130).collect::<String>()
            ))
            .hint("leave it out, or name a queue that was created with a policy for quota shares")),
            (None, Some(_)) => Err(ApiError::invalid(format!(
                "preemptionConfiguration is for queues of quota shares, `{queue}` is none"
            ))),
        };
    }
    let listed = format!("`windrow quota-share list {queue}` lists them");
    let Some(name) = named else {
        return Err(ApiError::invalid(format!(
            "job queue `{queue}` has quota shares: quotaShareName must be provided"
        ))
        .hint(format!("with the command line, `--quota-share NAME`; {listed}")));
    };
    let name = check_takes_jobs(state, queue, name)?;
    let preemption = request.preemption_configuration.as_ref();
    let preemptions_max = preemption.and_then(|p| p.preemption_retries_before_termination);
    Ok((Some(name), Some(JobQuota { preemptions_max })))
}

/// The share, if it takes jobs.
///
/// # Errors
/// It does not exist or is DISABLED, as one that is being deleted is.
pub(super) fn check_takes_jobs(state: &State, queue: &Name, name: &str) -> Result<Name, ApiError> {
    let (_, name, share) = quota::find(state, &format!("{queue}/{name}"))
        .map_err(|error| error.hint(format!("`windrow quota-share list {queue}` lists them")))?;
    if share.state == ResourceState::Disabled {
        return Err(ApiError::invalid(format!(
            "quota share `{name}` of job queue `{queue}` is DISABLED and takes no jobs"
        ))
        .hint(format!("windrow quota-share update {queue}/{name} --enable")));
    }
    Ok(name)
}
