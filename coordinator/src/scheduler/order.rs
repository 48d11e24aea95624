//! The order in which ready jobs of a queue go, for people: the scheduler itself only ever looks at
//! heads.

use std::collections::BTreeMap;
use std::iter;

use windrow_common::ids::{JobId, Name};

use crate::core::State;
use crate::core::index::{Rank, Share};

/// The ready jobs of a share in the order in which they go. Costs the logarithm of the number of
/// shapes for each job taken from it.
pub fn in_share(share: &Share) -> impl Iterator<Item = Rank> + '_ {
    let mut next = BTreeMap::new();
    for (_, ranks) in share.shapes() {
        let mut ranks = ranks.iter();
        if let Some(first) = ranks.next() {
            next.insert(*first, ranks);
        }
    }
    iter::from_fn(move || {
        let (first, mut rest) = next.pop_first()?;
        if let Some(second) = rest.next() {
            next.insert(*second, rest);
        }
        Some(first)
    })
}

/// The ready jobs of a queue in the order in which they go.
pub fn dispatch_order<'a>(state: &'a State, queue: &Name) -> impl Iterator<Item = JobId> + 'a {
    let shares = state.index.ready.shares(queue).into_iter().flat_map(|shares| shares.values());
    shares.flat_map(in_share).map(|rank| rank.job)
}
