//! Whose turn it is inside a queue: of the shares with a job left to look at, the one with the
//! lowest score. A queue without shares has one, and all of this comes down to its next head.

use std::collections::BTreeSet;
use std::ops::Bound;

use windrow_common::ids::Name;
use windrow_common::time::Timestamp;

use super::hold::needs_at_once;
use crate::core::State;
use crate::core::index::{Rank, Shape};
use crate::core::quota::{Amounts, Books};

/// What decides between shares: lower goes first.
type Score = u128;

/// The first job of a shape, and the share it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) share: Option<Name>,
    pub(super) rank: Rank,
    pub(super) shape: Shape,
}

/// The shares of one queue during one pass. Shares go by score, those of equal score by their heads.
#[derive(Debug)]
pub(super) struct Shares {
    queue: Name,
    now: Timestamp,
    /// Shares not finished with, by score and head.
    turns: BTreeSet<(Score, Rank, Option<Name>)>,
}

impl Shares {
    pub(super) fn new(state: &State, queue: Name, now: Timestamp) -> Self {
        let mut shares = Self { queue, now, turns: BTreeSet::new() };
        let names = state.index.ready.shares(&shares.queue).into_iter().flat_map(|s| s.keys());
        for share in names {
            shares.enter(state, share.clone(), Bound::Unbounded);
        }
        shares
    }

    pub(super) fn queue(&self) -> &Name {
        &self.queue
    }

    /// Takes out the head that goes next. It comes back by [`Self::again`] or makes way to the next
    /// head of its share by [`Self::pass_over`].
    pub(super) fn next(&mut self, state: &State) -> Option<Head> {
        let (_, rank, share) = self.turns.pop_first()?;
        let ready = state.index.ready.share(&self.queue, share.as_ref())?;
        let (_, shape) = ready.head(Bound::Included(rank))?;
        Some(Head { rank, shape: shape.clone(), share })
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
                Some((books, share)) => {
                    let (_, need) = needs_at_once(state, &state.jobs[&rank.job]);
                    quota_score(&books, share, rank, need)
                }
                None => score(state, &self.queue, share.as_ref(), self.now),
            };
            self.turns.insert((score, rank, share));
        }
    }
}

/// A quota share's score: whoever stays within its own capacity goes before whoever borrows, each
/// in the order of submission.
fn quota_score(books: &Books<'_>, share: &Name, rank: Rank, need: Amounts) -> Score {
    let borrows = !books.is_own(share, need);
    (Score::from(borrows) << 64) | Score::from(rank.order)
}

/// A share's score.
fn score(_state: &State, _queue: &Name, _share: Option<&Name>, _now: Timestamp) -> Score {
    0
}
