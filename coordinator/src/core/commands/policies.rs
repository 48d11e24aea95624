//! Scheduling policies: create, update, delete.

use windrow_common::api::ApiError;
use windrow_common::api::policies::{
    CreateSchedulingPolicy, CreateSchedulingPolicyResponse, DeleteSchedulingPolicy,
    FairsharePolicy, QuotaSharePolicy, ShareAttributes, UpdateSchedulingPolicy, WeightFactor,
};
use windrow_common::ids::Name;

use super::definitions::check_tags;
use super::{Answer, Decision};
use crate::core::State;
use crate::core::arn;
use crate::core::event::Event;
use crate::core::find;
use crate::core::limits::{Limits, check_count};
use crate::core::policies::{FairShare, Policy, Rules};

/// Longest window of a fair-share policy, in seconds: a week, as AWS has it.
const DECAY_SECONDS_MAX: u32 = 604_800;
/// Most percent a fair-share policy keeps, as AWS has it.
const RESERVATION_MAX: u32 = 99;

pub(super) fn create(
    state: &State,
    limits: &Limits,
    request: &CreateSchedulingPolicy,
) -> Result<Decision, ApiError> {
    let name: Name = request.name.parse().map_err(|e| ApiError::invalid(format!("name: {e}")))?;
    if state.policies.contains_key(&name) {
        return Err(ApiError::conflict(format!(
            "scheduling policy `{name}`: Object already exists"
        ))
        .hint(format!("change it with `windrow policy update {name}`")));
    }
    check_count("scheduling policies", state.policies.len(), limits.policies)?;
    check_tags(&request.tags)?;
    let rules = check_rules(
        limits,
        request.fairshare_policy.as_ref(),
        request.quota_share_policy.as_ref(),
    )?;
    let answer = Answer::Policy(CreateSchedulingPolicyResponse {
        name: name.to_string(),
        arn: arn::policy(&name),
    });
    let policy = Box::new(Policy { rules, tags: request.tags.clone() });
    Ok(Decision { events: vec![Event::PolicySet { name, policy }], answer })
}

pub(super) fn update(
    state: &State,
    limits: &Limits,
    request: &UpdateSchedulingPolicy,
) -> Result<Decision, ApiError> {
    let (name, policy) = find::policy(state, &request.arn)?;
    let rules = check_rules(
        limits,
        request.fairshare_policy.as_ref(),
        request.quota_share_policy.as_ref(),
    )?;
    if rules.kind() != policy.rules.kind() {
        return Err(ApiError::invalid(format!(
            "scheduling policy `{name}` is a {} and cannot become a {}",
            policy.rules.kind(),
            rules.kind()
        ))
        .hint("create another policy; a queue's policy can be exchanged for one of its kind"));
    }
    let policy = Box::new(Policy { rules, tags: policy.tags.clone() });
    Ok(vec![Event::PolicySet { name, policy }].into())
}

pub(super) fn delete(
    state: &State,
    request: &DeleteSchedulingPolicy,
) -> Result<Decision, ApiError> {
    let (name, _) = find::policy(state, &request.arn)?;
    if let Some((queue, _)) = state.queues.iter().find(|(_, q)| q.policy.as_ref() == Some(&name)) {
        return Err(ApiError::conflict(format!(
            "scheduling policy `{name}` is used by job queue `{queue}`"
        ))
        .hint("give the queue another policy, or delete the queue first"));
    }
    Ok(vec![Event::PolicyDeleted { name }].into())
}

/// The policy of this name or ARN.
fn check_rules(
    limits: &Limits,
    fair: Option<&FairsharePolicy>,
    quota: Option<&QuotaSharePolicy>,
) -> Result<Rules, ApiError> {
    match (fair, quota) {
        (Some(fair), None) => check_fair_share(limits, fair).map(Rules::FairShare),
        (None, Some(_)) => Ok(Rules::QuotaShare),
        (None, None) => Err(ApiError::invalid(
            "a scheduling policy needs a fairsharePolicy or a quotaSharePolicy",
        )),
        (Some(_), Some(_)) => Err(ApiError::invalid(
            "a scheduling policy has either a fairsharePolicy or a quotaSharePolicy, not both",
        )),
    }
}

fn check_fair_share(limits: &Limits, given: &FairsharePolicy) -> Result<FairShare, ApiError> {
    let within = |field: &str, value: Option<u32>, most: u32| match value.unwrap_or(0) {
        value if value <= most => Ok(value),
        value => Err(ApiError::invalid(format!(
            "fairsharePolicy.{field} must be from 0 to {most}, got {value}"
        ))),
    };
    let mut rules = FairShare {
        decay_seconds: within("shareDecaySeconds", given.share_decay_seconds, DECAY_SECONDS_MAX)?,
        reservation: within("computeReservation", given.compute_reservation, RESERVATION_MAX)?,
        ..FairShare::default()
    };
    if given.share_distribution.len() > limits.active_shares {
        return Err(ApiError::invalid(format!(
            "fairsharePolicy.shareDistribution has {} entries, at most {} are allowed",
            given.share_distribution.len(),
            limits.active_shares
        )));
    }
    for entry in &given.share_distribution {
        add_entry(&mut rules, entry)?;
    }
    Ok(rules)
}

fn add_entry(rules: &mut FairShare, entry: &ShareAttributes) -> Result<(), ApiError> {
    let text = &entry.share_identifier;
    let weight = entry.weight_factor.unwrap_or(WeightFactor::ONE).0;
    let (plain, is_prefix) = match text.strip_suffix('*') {
        Some(prefix) => (prefix, true),
        None => (text.as_str(), false),
    };
    let name: Name = plain.parse().map_err(|e| {
        ApiError::invalid(format!("fairsharePolicy.shareDistribution: shareIdentifier: {e}"))
            .hint("a `*` at the end, after at least one character, covers all that begin so")
    })?;
    let overlaps = |other: &str, other_is_prefix: bool| {
        (is_prefix && other.starts_with(plain))
            || (other_is_prefix && plain.starts_with(other))
            || other == plain
    };
    let single = rules.shares.keys().find(|other| overlaps(other, false)).cloned();
    let prefix = rules.prefixes.keys().find(|other| overlaps(other, true));
    if let Some(other) = single.or_else(|| prefix.map(|other| format!("{other}*"))) {
        return Err(ApiError::invalid(format!(
            "fairsharePolicy.shareDistribution: `{text}` overlaps `{other}`"
        ))
        .hint("every share may be covered by one entry only"));
    }
    let entries = if is_prefix { &mut rules.prefixes } else { &mut rules.shares };
    entries.insert(name.to_string(), weight);
    Ok(())
}
