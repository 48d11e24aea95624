//! Consumable resources: what there is of each, and how much attempts hold. Taken when a lease is
//! granted, so that nothing is promised twice; what comes back, and when, depends on the kind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use windrow_common::api::ApiError;
use windrow_common::api::consumables::{
    ConsumableResourceProperties, ConsumableResourceRequirement, ConsumableResourceType,
};
use windrow_common::ids::Name;
use windrow_common::time::Timestamp;

use super::arn;
use super::find;
use super::limits::CONSUMABLES_PER_JOB_MAX;
use super::state::State;

/// How long an update's token is remembered, as AWS has it.
const TOKEN_AGE: Duration = Duration::from_secs(8 * 60 * 60);
/// Most tokens remembered for one resource; beyond that the oldest ones go first.
const TOKENS_MAX: usize = 10_000;

/// A consumable resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consumable {
    pub kind: ConsumableResourceType,
    /// Of the replenishable kind: how much there is in all. Of the other: how much is left.
    pub total: u64,
    /// What leased children hold; always 0 of the kind that is taken for good.
    pub in_use: u64,
    pub created_at: Timestamp,
    pub tags: BTreeMap<String, String>,
    /// Updates by their client token.
    pub tokens: BTreeMap<String, Token>,
}

/// An update that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Of the update's content.
    pub digest: u64,
    pub at: Timestamp,
}

/// What one child takes of each resource, by name. Shared: it is part of a job's shape.
pub type Needs = Arc<[(Name, u64)]>;

/// What becomes of what leased children held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// They were handed back unstarted: everything comes back.
    Unused,
    /// They ended: what is replenishable comes back.
    Used,
}

impl Consumable {
    /// What could still be taken.
    pub fn available(&self) -> u64 {
        self.total.saturating_sub(self.in_use)
    }

    /// The total changes; the update is remembered under its token.
    pub(super) fn change(&mut self, total: u64, token: Option<&(String, Token)>) {
        self.total = total;
        let Some((key, token)) = token else { return };
        self.tokens.retain(|_, old| token.at.since(old.at) < TOKEN_AGE);
        if self.tokens.len() >= TOKENS_MAX {
            let oldest = self.tokens.iter().min_by_key(|(_, old)| old.at);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.tokens.remove(&oldest);
            }
        }
        self.tokens.insert(key.clone(), token.clone());
    }

    /// The update that used this token and is still remembered.
    pub fn token(&self, key: &str, now: Timestamp) -> Option<&Token> {
        self.tokens.get(key).filter(|token| now.since(token.at) < TOKEN_AGE)
    }
}

/// How many children with these needs can start on what is left, at most `limit`. A resource that
/// is gone has nothing left.
pub fn startable(state: &State, needs: &[(Name, u64)], limit: u32) -> u32 {
    needs.iter().filter(|(_, quantity)| *quantity > 0).fold(limit, |count, (name, quantity)| {
        let available = state.consumables.get(name).map_or(0, Consumable::available);
        count.min(u32::try_from(available / quantity).unwrap_or(u32::MAX))
    })
}

/// The first resource of which too little is left for one child.
pub fn short<'a>(state: &State, needs: &'a [(Name, u64)]) -> Option<&'a (Name, u64)> {
    needs.iter().find(|need| startable(state, std::slice::from_ref(need), 1) == 0)
}

/// `count` children take what they need.
pub(super) fn take(state: &mut State, needs: &[(Name, u64)], count: u32) {
    for (name, quantity) in needs {
        let Some(consumable) = state.consumables.get_mut(name) else { continue };
        let taken = quantity.saturating_mul(u64::from(count));
        match consumable.kind {
            ConsumableResourceType::Replenishable => consumable.in_use += taken,
            ConsumableResourceType::NonReplenishable => {
                consumable.total = consumable.total.saturating_sub(taken);
            }
        }
    }
}

/// `count` leased children no longer hold what they took.
pub(super) fn give_back(state: &mut State, needs: &[(Name, u64)], count: u32, fate: Fate) {
    for (name, quantity) in needs {
        let Some(consumable) = state.consumables.get_mut(name) else { continue };
        let taken = quantity.saturating_mul(u64::from(count));
        match (consumable.kind, fate) {
            (ConsumableResourceType::Replenishable, Fate::Used | Fate::Unused) => {
                consumable.in_use = consumable
                    .in_use
                    .checked_sub(taken)
                    .expect("INV-12: what is in use is the sum over leased children");
            }
            (ConsumableResourceType::NonReplenishable, Fate::Unused) => {
                consumable.total = consumable.total.saturating_add(taken);
            }
            (ConsumableResourceType::NonReplenishable, Fate::Used) => {}
        }
    }
}

/// What a job takes: the definition's list, in which the submission's entries take the place of
/// those of the same resource.
///
/// # Errors
/// Something that is no name, a resource listed twice, or too many.
pub(super) fn merge(
    definition: Option<&ConsumableResourceProperties>,
    overrides: Option<&ConsumableResourceProperties>,
) -> Result<Needs, ApiError> {
    let mut needs = parse(definition)?;
    for (name, quantity) in parse(overrides)? {
        match needs.iter_mut().find(|(other, _)| *other == name) {
            Some(same) => same.1 = quantity,
            None => needs.push((name, quantity)),
        }
    }
    if needs.len() > CONSUMABLES_PER_JOB_MAX {
        return Err(ApiError::invalid(format!(
            "a job can name at most {CONSUMABLES_PER_JOB_MAX} consumable resources, got {}",
            needs.len()
        )));
    }
    needs.sort();
    Ok(needs.into())
}

/// Whether every resource is there.
///
/// # Errors
/// Names the first that is not.
pub(super) fn check_known(state: &State, needs: &[(Name, u64)]) -> Result<(), ApiError> {
    needs.iter().try_for_each(|(name, _)| find::consumable(state, name.as_str()).map(drop))
}

fn parse(properties: Option<&ConsumableResourceProperties>) -> Result<Vec<(Name, u64)>, ApiError> {
    let mut needs: Vec<(Name, u64)> = Vec::new();
    for entry in properties.into_iter().flat_map(|p| &p.consumable_resource_list) {
        let name: Name = arn::plain(&entry.consumable_resource).parse().map_err(|e| {
            ApiError::invalid(format!("consumableResourceList.consumableResource: {e}"))
        })?;
        if needs.iter().any(|(other, _)| *other == name) {
            return Err(ApiError::invalid(format!(
                "consumableResourceList names `{name}` twice; give one quantity"
            )));
        }
        needs.push((name, entry.quantity));
    }
    Ok(needs)
}

/// Needs as the API shows them.
pub(crate) fn to_api(needs: &[(Name, u64)]) -> Option<ConsumableResourceProperties> {
    let entry = |(name, quantity): &(Name, u64)| ConsumableResourceRequirement {
        consumable_resource: arn::consumable(name),
        quantity: *quantity,
    };
    (!needs.is_empty()).then(|| ConsumableResourceProperties {
        consumable_resource_list: needs.iter().map(entry).collect(),
    })
}
