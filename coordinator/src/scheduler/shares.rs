//! Whose turn it is inside a queue: of the shares with a job left to look at, the one with the
//! lowest score. A queue without shares has one, and all of this comes down to its next head.
//!
//! A share's score is its weight times its use (`core/usage.rs`), where what it holds now counts as
//! if it held it for some time on: so a free core goes to the share that is furthest behind, and many
//! free cores at once are divided by the weights.

use std::collections::BTreeSet;
use std::ops::Bound;

use windrow_common::ids::{JobId, Name};
use windrow_common::time::Timestamp;

use super::hold::{Hold, hold, needs_at_once};
use crate::core::State;
use crate::core::index::{Rank, Shape};
use crate::core::policies::FairShare;
use crate::core::quota::{Books, Short};
use crate::core::usage::horizon;

/// The part of the horizon for which a job counts in advance as long as nobody knows how long those of
/// its queue run: cores that are free at once are divided by the weights all the same.
const ADVANCE: u64 = 8;

/// What decides between shares: lower goes first.
pub type Score = u128;

/// The first job of a shape, and the share it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) share: Option<Name>,
    pub(super) rank: Rank,
    pub(super) shape: Shape,
    score: Score,
}

/// The shares of one queue during one pass. Shares go by score, those of equal score by their heads.
#[derive(Debug)]
pub(super) struct Shares {
    queue: Name,
    now: Timestamp,
    /// Shares not finished with, by score and head.
    turns: BTreeSet<(Score, Rank, Option<Name>)>,
    take_turns: bool,
}

impl Shares {
    pub(super) fn new(state: &State, queue: Name, now: Timestamp) -> Self {
        let mut shares = Self { queue, now, turns: BTreeSet::new(), take_turns: false };
        let names = state.index.ready.shares(&shares.queue).into_iter().flat_map(|s| s.keys());
        for share in names {
            shares.enter(state, share.clone(), Bound::Unbounded);
        }
        shares.take_turns = shares.turns.len() > 1;
        shares
    }

    pub(super) fn queue(&self) -> &Name {
        &self.queue
    }

    /// Whether there was more than one to begin with.
    pub(super) fn take_turns(&self) -> bool {
        self.take_turns
    }

    /// Takes out the head that goes next. It comes back by [`Self::again`] or makes way to the next
    /// head of its share by [`Self::pass_over`].
    pub(super) fn next(&mut self, state: &State) -> Option<Head> {
        let (score, rank, share) = self.turns.pop_first()?;
        let ready = state.index.ready.share(&self.queue, share.as_ref())?;
        let (_, shape) = ready.head(Bound::Included(rank))?;
        Some(Head { rank, shape: shape.clone(), share, score })
    }

    /// How many children of the head may start before another share goes first.
    pub(super) fn turn_length(&self, state: &State, head: &Head) -> u32 {
        let Some((next, _, _)) = self.turns.first() else { return u32::MAX };
        let cpu = u64::from(head.shape.resources.cpu.0);
        let each = charge(state, &self.queue, head.share.as_ref(), cpu);
        let ahead = next.saturating_sub(head.score).checked_div(each).unwrap_or(Score::MAX);
        u32::try_from(ahead).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// The head was placed: the share goes on with what is left of the job, or the next.
    pub(super) fn again(&mut self, state: &State, head: Head) {
        self.enter(state, head.share, Bound::Included(head.rank));
    }

    /// Nothing more of this shape starts: the share goes on with the next one.
    pub(super) fn pass_over(&mut self, state: &State, head: Head) {
        self.enter(state, head.share, Bound::Excluded(head.rank));
    }

    /// Heads only ever move back in a pass, and those passed over stay where they are: going on from
    /// the last head looked at never meets one twice.
    fn enter(&mut self, state: &State, share: Option<Name>, from: Bound<Rank>) {
        let ready = state.index.ready.share(&self.queue, share.as_ref());
        if let Some((rank, _)) = ready.and_then(|ready| ready.head(from)) {
            let score = match Books::of(state, &self.queue).zip(share.as_ref()) {
                Some((books, share)) => self.quota_score(state, &books, share, rank),
                None => score(state, &self.queue, share.as_ref(), rank.job, self.now),
            };
            self.turns.insert((score, rank, share));
        }
    }

    /// A quota share's score: whoever stays within its own capacity goes before whoever borrows, each
    /// in the order of submission. A head that will be passed over does not speak for its share: the
    /// one behind it, for which others may have made room, would come after those who borrow.
    fn quota_score(&self, state: &State, books: &Books<'_>, share: &Name, head: Rank) -> Score {
        let first = first_in_line(state, &self.queue, share, head).unwrap_or(head);
        let (_, need) = needs_at_once(state, &state.jobs[&first.job]);
        let borrows = !books.is_own(share, need);
        (Score::from(borrows) << 64) | Score::from(first.order)
    }
}

/// Most shapes of one share looked at for a job that could start.
const HEADS_MAX: usize = 64;

/// The first head of a quota share, from this one on, that lacks only room or quota, and could ever
/// have it.
pub(super) fn first_in_line(state: &State, queue: &Name, share: &Name, from: Rank) -> Option<Rank> {
    let ready = state.index.ready.share(queue, Some(share))?;
    let mut from = Bound::Included(from);
    for _ in 0..HEADS_MAX {
        let (rank, _) = ready.head(from)?;
        match hold(state, rank.job) {
            Some(
                Hold::QuotaShare(Short::Never(_))
                | Hold::NoEnvironment
                | Hold::Consumable(..)
                | Hold::KeptForOtherShares { .. },
            ) => {
                from = Bound::Excluded(rank);
            }
            None | Some(Hold::QuotaShare(_)) => return Some(rank),
        }
    }
    None
}

/// A share's score when this job of it would be next; always 0 in a queue without a fair-share
/// policy. Half of the job counts with what is held: a share is judged by where it stands in the middle
/// of what it is about to get. Without it each would get half a job more than its due whatever its
/// weight, which is a lot for the smallest.
pub fn score(
    state: &State,
    queue: &Name,
    share: Option<&Name>,
    job: JobId,
    now: Timestamp,
) -> Score {
    let Some((share, rules)) = share.zip(state.fair_share(queue)) else { return 0 };
    let used = state.usage.get(queue).and_then(|queue| queue.shares.get(share));
    let amount = used.map_or(0, |used| used.amount(rules, now));
    let weight = Score::from(rules.weight(share.as_str()));
    let own = u64::from(state.specs[&state.jobs[&job].spec].spec.resources.cpu.0);
    let held = used.map_or(0, |used| used.held) + own / 2;
    Score::from(amount) * weight + charge(state, queue, Some(share), held)
}

/// What holding so many thousandths of a core adds to a share's score.
pub fn charge(state: &State, queue: &Name, share: Option<&Name>, milli_cpu: u64) -> Score {
    let Some((share, rules)) = share.zip(state.fair_share(queue)) else { return 0 };
    let weight = Score::from(rules.weight(share.as_str()));
    Score::from(milli_cpu) * Score::from(advance(state, queue, rules)) * weight
}

/// Milliseconds for which what a share of the queue holds, and is about to get, counts in advance: as
/// long as its jobs run, and at most what running for ever would come to. With less, cores that become
/// free together all go to the share that is furthest behind, and next time to another; with more,
/// each share gets a whole number of cores for good. The same for all shares: those with longer jobs
/// would come off worse otherwise.
fn advance(state: &State, queue: &Name, rules: &FairShare) -> u64 {
    let run = state.usage.get(queue).and_then(|queue| queue.run_micros());
    let most = horizon(rules);
    run.map_or(most / ADVANCE, |micros| most.min(micros / 1000)).max(1)
}
