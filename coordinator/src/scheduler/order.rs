//! The order in which ready jobs of a queue go, for people: the scheduler itself only ever looks at
//! heads.

use std::collections::BTreeMap;
use std::iter;

use windrow_common::ids::{JobId, Name};
use windrow_common::time::Timestamp;

use super::shares::{charge, score};
use crate::core::State;
use crate::core::index::{Orders, Rank, Share};

/// The ready jobs of a share in the order in which they go. Costs the logarithm of the number of
/// shapes for each job taken from it.
pub fn in_share<'a>(orders: &'a Orders, share: &'a Share) -> impl Iterator<Item = Rank> + 'a {
    let mut next = BTreeMap::new();
    for (first, ranks) in share.shapes() {
        let mut ranks = ranks.iter(orders);
        ranks.next();
        next.insert(first, ranks);
    }
    iter::from_fn(move || {
        let (first, mut rest) = next.pop_first()?;
        if let Some(second) = rest.next() {
            next.insert(second, rest);
        }
        Some(first)
    })
}

/// The ready jobs of a queue in the order in which they would go if all of them had room: shares
/// take turns by their score, which rises by what each job holds.
pub fn dispatch_order<'a>(
    state: &'a State,
    queue: &'a Name,
    now: Timestamp,
) -> impl Iterator<Item = JobId> + 'a {
    let mut turns = BTreeMap::new();
    for (name, share) in state.index.ready.shares(queue).into_iter().flatten() {
        let mut jobs = in_share(&state.index.orders, share);
        if let Some(first) = jobs.next() {
            let score = score(state, queue, name.as_ref(), first.job, now);
            turns.insert((score, first, name), jobs);
        }
    }
    iter::from_fn(move || {
        let ((score, rank, name), mut rest) = turns.pop_first()?;
        let job = &state.jobs[&rank.job];
        let cpu = u64::from(state.specs[&job.spec].spec.resources.cpu.0);
        let held = cpu.saturating_mul(u64::from(job.children.runnable_count()));
        if let Some(second) = rest.next() {
            let score = score + charge(state, queue, name.as_ref(), held);
            turns.insert((score, second, name), rest);
        }
        Some(rank.job)
    })
}
