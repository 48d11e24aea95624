//! Jobs with a child to lease: by queue, share and shape, in the order in which they go.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Bound;

use rangemap::RangeSet;
use windrow_common::ids::{JobId, Name};

use super::{Orders, Shape};
use crate::core::children::Readiness;
use crate::core::state::{Job, State};

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

/// What stands before the order of submission in a [`Rank`].
pub type Standing = (Readiness, Reverse<u32>);

/// The job's place; none while no child of it may be leased.
fn standing(job: &Job) -> Option<Standing> {
    if job.parallel_left() == 0 {
        return None;
    }
    let readiness = job.children.readiness()?;
    // In a quota share a job that made room for a higher one must not come back before it;
    // the order of submission brings retries to the front all the same.
    let readiness = if job.rare.quota.is_some() { Readiness::First } else { readiness };
    Some((readiness, Reverse(job.rank_priority())))
}

impl State {
    /// The job's place among those that are ready; none while it is not.
    pub fn rank(&self, id: JobId) -> Option<Rank> {
        let job = self.jobs.get(&id)?;
        let (readiness, priority) = job.standing?;
        Some(Rank { readiness, priority, order: job.order, job: id })
    }
}

/// All ready jobs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ready {
    queues: BTreeMap<Name, Shares>,
}

/// The shares of a queue that have ready jobs. A queue without shares has one, named by none.
pub type Shares = BTreeMap<Option<Name>, Share>;

/// The ready jobs of one share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Share {
    jobs: BTreeMap<Shape, Ranks>,
    /// The first job of every shape.
    heads: BTreeMap<Rank, Shape>,
}

/// The ready jobs of one shape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranks {
    orders: BTreeMap<Standing, RangeSet<u64>>,
    len: u64,
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

    /// Puts a job where its readiness belongs.
    pub(super) fn put(
        &mut self,
        orders: &Orders,
        job: &mut Job,
        shape: impl FnOnce(&Job) -> Shape,
    ) {
        let (before, now) = (job.standing, standing(job));
        if before == now {
            return;
        }
        let shape = shape(job);
        let shares = self.queues.entry(job.queue.clone()).or_default();
        let share = shares.entry(job.share.clone()).or_default();
        share.change(orders, &shape, |ranks| {
            before.inspect(|before| ranks.remove(*before, job.order));
            now.inspect(|now| ranks.insert(*now, job.order));
        });
        job.standing = now;
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

    /// The first job of each shape, in their order.
    pub fn heads(&self) -> impl Iterator<Item = (Rank, &Shape)> {
        self.heads.iter().map(|(rank, shape)| (*rank, shape))
    }

    /// The first job of each shape and all of them.
    pub fn shapes(&self) -> impl Iterator<Item = (Rank, &Ranks)> {
        self.heads.iter().map(|(rank, shape)| (*rank, &self.jobs[shape]))
    }

    fn change(&mut self, orders: &Orders, shape: &Shape, with: impl FnOnce(&mut Ranks)) {
        if !self.jobs.contains_key(shape) {
            self.jobs.insert(shape.clone(), Ranks::default());
        }
        let ranks = self.jobs.get_mut(shape).expect("just made sure");
        let before = ranks.first(orders);
        with(ranks);
        let after = ranks.first(orders);
        if ranks.len == 0 {
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

impl Ranks {
    /// In their order.
    pub fn iter<'a>(&'a self, orders: &'a Orders) -> impl Iterator<Item = Rank> + 'a {
        let all = self.orders.iter().flat_map(|(standing, ranges)| {
            ranges.iter().cloned().flatten().map(move |order| (*standing, order))
        });
        all.filter_map(|((readiness, priority), order)| {
            Some(Rank { readiness, priority, order, job: orders.job(order)? })
        })
    }

    /// How many they are.
    pub fn len(&self) -> u64 {
        self.len
    }

    fn first(&self, orders: &Orders) -> Option<Rank> {
        self.iter(orders).next()
    }

    fn insert(&mut self, standing: Standing, order: u64) {
        self.orders.entry(standing).or_default().insert(order..order + 1);
        self.len += 1;
    }

    fn remove(&mut self, standing: Standing, order: u64) {
        let Some(orders) = self.orders.get_mut(&standing) else { return };
        orders.remove(order..order + 1);
        if orders.is_empty() {
            self.orders.remove(&standing);
        }
        self.len -= 1;
    }
}
