//! Jobs with a child to lease: by queue, share and shape, in the order in which they go.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use windrow_common::ids::{JobId, Name};

use super::Shape;
use crate::core::children::Readiness;
use crate::core::state::Job;

/// A ready job's place inside its share: retries, then higher scheduling priority, then the order
/// of submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Retries go first.
    pub readiness: Readiness,
    /// The scheduling priority; the same for all jobs of a queue without shares.
    pub priority: Reverse<u32>,
    /// Position among all jobs ever submitted.
    pub order: u64,
    /// The job.
    pub job: JobId,
}

impl Rank {
    /// The job's place; none while no child of it may be leased.
    pub(super) fn of(id: JobId, job: &Job) -> Option<Self> {
        if job.parallel_left() == 0 {
            return None;
        }
        let readiness = job.children.readiness()?;
        // In a quota share a job that made room for a higher one must not come back before it;
        // the order of submission brings retries to the front all the same.
        let readiness = if job.quota.is_some() { Readiness::First } else { readiness };
        let priority = Reverse(job.rank_priority());
        Some(Self { readiness, priority, order: job.order, job: id })
    }
}

/// All ready jobs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ready {
    queues: BTreeMap<Name, Shares>,
    ranks: BTreeMap<JobId, Rank>,
}

/// The shares of a queue that have ready jobs. A queue without shares has one, named by none.
pub type Shares = BTreeMap<Option<Name>, Share>;

/// The ready jobs of one share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Share {
    jobs: BTreeMap<Shape, BTreeSet<Rank>>,
    /// The first job of every shape.
    heads: BTreeMap<Rank, Shape>,
}

impl Ready {
    /// Queues with ready jobs.
    pub fn queues(&self) -> impl Iterator<Item = &Name> {
        self.queues.keys()
    }

    /// The shares of a queue that have ready jobs.
    pub fn shares(&self, queue: &Name) -> Option<&Shares> {
        self.queues.get(queue)
    }

    /// The ready jobs of a share.
    pub fn share(&self, queue: &Name, share: Option<&Name>) -> Option<&Share> {
        self.queues.get(queue)?.get(&share.cloned())
    }

    /// The job's place; none while it is not ready.
    pub fn rank(&self, job: JobId) -> Option<Rank> {
        self.ranks.get(&job).copied()
    }

    /// Puts a job where its readiness belongs.
    pub(super) fn put(&mut self, id: JobId, job: &Job, shape: impl FnOnce() -> Shape) {
        let rank = Rank::of(id, job);
        if self.rank(id) == rank {
            return;
        }
        let shape = shape();
        let shares = self.queues.entry(job.queue.clone()).or_default();
        let share = shares.entry(job.share.clone()).or_default();
        if let Some(old) = self.ranks.remove(&id) {
            share.change(&shape, |ranks| ranks.remove(&old));
        }
        if let Some(rank) = rank {
            share.change(&shape, |ranks| ranks.insert(rank));
            self.ranks.insert(id, rank);
        }
        if share.jobs.is_empty() {
            shares.remove(&job.share);
            if shares.is_empty() {
                self.queues.remove(&job.queue);
            }
        }
    }
}

impl Share {
    /// The first of the heads from here on: the head of a shape is its first job. Costs the
    /// logarithm of the number of shapes.
    pub fn head(&self, from: Bound<Rank>) -> Option<(Rank, &Shape)> {
        let first = self.heads.range((from, Bound::Unbounded)).next();
        first.map(|(rank, shape)| (*rank, shape))
    }

    /// The jobs of each shape, in their order.
    pub fn shapes(&self) -> impl Iterator<Item = (&Shape, &BTreeSet<Rank>)> {
        self.jobs.iter()
    }

    fn change(&mut self, shape: &Shape, with: impl FnOnce(&mut BTreeSet<Rank>) -> bool) {
        if !self.jobs.contains_key(shape) {
            self.jobs.insert(shape.clone(), BTreeSet::new());
        }
        let ranks = self.jobs.get_mut(shape).expect("just made sure");
        let before = ranks.first().copied();
        with(ranks);
        let after = ranks.first().copied();
        if ranks.is_empty() {
            self.jobs.remove(shape);
        }
        if before != after {
            if let Some(before) = before {
                self.heads.remove(&before);
            }
            if let Some(after) = after {
                self.heads.insert(after, shape.clone());
            }
        }
    }
}
