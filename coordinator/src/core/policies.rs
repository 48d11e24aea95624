//! Scheduling policies as the scheduler reads them.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::{Deserialize, Serialize};
use windrow_common::api::policies::{FairsharePolicy, ShareAttributes, WeightFactor};
use windrow_common::ids::Name;

use super::State;
use super::state::Queue;

/// Window in which use counts when a policy says 0, as AWS has it.
const DECAY_SECONDS_DEFAULT: u32 = 600;

/// A scheduling policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub rules: Rules,
    pub tags: BTreeMap<String, String>,
}

/// What a policy says; its kind never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rules {
    FairShare(FairShare),
    /// Idle capacity of quota shares goes to those who borrow in the order of submission: the only
    /// strategy there is.
    QuotaShare,
}

impl Rules {
    /// The kind, as the API's field is called.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::FairShare(_) => "fairsharePolicy",
            Self::QuotaShare => "quotaSharePolicy",
        }
    }
}

/// Shares get turns by their weighted use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FairShare {
    /// As given; 0 stands for the default.
    pub decay_seconds: u32,
    /// Percent kept for shares that are not active, to the power of the number of active ones.
    pub reservation: u32,
    /// Weights of single shares, in ten-thousandths.
    pub shares: BTreeMap<String, u32>,
    /// Weights of shares by what they begin with; no entry covers another.
    pub prefixes: BTreeMap<String, u32>,
}

impl FairShare {
    /// The window in which use counts, in milliseconds.
    pub fn window_millis(&self) -> u64 {
        let seconds =
            if self.decay_seconds == 0 { DECAY_SECONDS_DEFAULT } else { self.decay_seconds };
        u64::from(seconds) * 1000
    }

    /// A share's weight in ten-thousandths. Entries never overlap, so there is at most one.
    pub fn weight(&self, share: &str) -> u32 {
        if let Some(weight) = self.shares.get(share) {
            return *weight;
        }
        let upto = (Bound::Unbounded, Bound::Included(share));
        let nearest = self.prefixes.range::<str, _>(upto).next_back();
        let covering = nearest.filter(|(prefix, _)| share.starts_with(prefix.as_str()));
        covering.map_or(WeightFactor::ONE.0, |(_, weight)| *weight)
    }

    /// As the API shows it.
    pub fn to_api(&self) -> FairsharePolicy {
        let entry = |share_identifier: String, weight: u32| ShareAttributes {
            share_identifier,
            weight_factor: Some(WeightFactor(weight)),
        };
        let shares = self.shares.iter().map(|(share, weight)| entry(share.clone(), *weight));
        let prefixes = self.prefixes.iter().map(|(prefix, w)| entry(format!("{prefix}*"), *w));
        FairsharePolicy {
            share_decay_seconds: Some(self.decay_seconds),
            compute_reservation: Some(self.reservation),
            share_distribution: shares.chain(prefixes).collect(),
        }
    }
}

impl State {
    /// The rules by which a queue is shared; none for one that goes by submission alone.
    pub fn rules(&self, queue: &Queue) -> Option<&Rules> {
        self.policies.get(queue.policy.as_ref()?).map(|policy| &policy.rules)
    }

    /// The fair-share rules of a queue.
    pub fn fair_share(&self, queue: &Name) -> Option<&FairShare> {
        fair_share(&self.queues, &self.policies, queue)
    }
}

/// The fair-share rules of a queue, from the parts of the state that say so.
pub(super) fn fair_share<'a>(
    queues: &BTreeMap<Name, Queue>,
    policies: &'a BTreeMap<Name, Policy>,
    queue: &Name,
) -> Option<&'a FairShare> {
    match &policies.get(queues.get(queue)?.policy.as_ref()?)?.rules {
        Rules::FairShare(rules) => Some(rules),
        Rules::QuotaShare => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_come_from_the_share_its_prefix_or_are_one() {
        let rules = FairShare {
            shares: BTreeMap::from([("UserB".into(), 5000)]),
            prefixes: BTreeMap::from([("UserA".into(), 1), ("UserC1".into(), 3)]),
            ..FairShare::default()
        };
        let weights = [
            ("UserB", 5000),
            ("UserA", 1),
            ("UserA12", 1),
            ("UserC12", 3),
            ("UserC", 10_000),
            ("Other", 10_000),
        ];
        for (share, weight) in weights {
            assert_eq!(rules.weight(share), weight, "{share}");
        }
    }
}
