//! Where jobs stand in lists: by queue and status, by name and by definition, so that a page of a list
//! never walks over all jobs. Kept by [`super::apply`] and rebuilt after a snapshot.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::ops::{Bound, Range};

use rangemap::RangeSet;
use windrow_common::api::jobs::JobStatus;
use windrow_common::ids::Name;

use super::state::Job;

/// A job's row in a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Lists by name or definition go by this first.
    pub group: Option<Name>,
    /// Its place among all jobs ever submitted: [`super::index::Orders`] knows which job that is.
    pub order: u64,
}

/// Rows in the order of their list.
pub type Rows<'a> = Box<dyn Iterator<Item = Row> + 'a>;

/// A name, or the beginning of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This name.
    Exact(String),
    /// Names that begin with this.
    Prefix(String),
}

impl Pattern {
    /// From a filter's value, where a trailing `*` makes it a prefix.
    pub fn parse(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Exact(text.to_owned()),
        }
    }

    /// Whether the name is one of these.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => name == exact,
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
        }
    }

    /// The first text that can match.
    fn start(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Prefix(text) => text,
        }
    }
}

/// The tables, one for each queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    queues: BTreeMap<Name, Listed>,
}

/// Jobs of one queue, by their places among all jobs ever submitted.
#[derive(Clone, Debug, Default, PartialEq)]
struct Listed {
    by_status: BTreeMap<JobStatus, Placed>,
    /// By [`folded`] name, then newest first.
    by_name: BTreeSet<(Name, Reverse<u64>)>,
    by_definition: BTreeMap<Name, RangeSet<u64>>,
}

/// Jobs with one status.
#[derive(Clone, Debug, Default, PartialEq)]
struct Placed {
    orders: RangeSet<u64>,
    count: u64,
}

impl Listing {
    /// Enters a job in this status.
    pub(super) fn enter(&mut self, job: &Job, status: JobStatus) {
        let listed = self.queues.entry(job.queue.clone()).or_default();
        listed.put(status, job.order);
        listed.by_name.insert((folded(&job.name), Reverse(job.order)));
        let of_definition = listed.by_definition.entry(job.definition.0.clone()).or_default();
        of_definition.insert(job.order..job.order + 1);
    }

    /// A job's status is another one.
    pub(super) fn move_job(&mut self, job: &Job, from: JobStatus, to: JobStatus) {
        let listed = self.queues.entry(job.queue.clone()).or_default();
        listed.take(from, job.order);
        listed.put(to, job.order);
    }

    /// Removes a job.
    pub(super) fn leave(&mut self, job: &Job) {
        let Some(listed) = self.queues.get_mut(&job.queue) else { return };
        listed.take(job.status(), job.order);
        listed.by_name.remove(&(folded(&job.name), Reverse(job.order)));
        if let Some(of_definition) = listed.by_definition.get_mut(&job.definition.0) {
            of_definition.remove(job.order..job.order + 1);
            if of_definition.is_empty() {
                listed.by_definition.remove(&job.definition.0);
            }
        }
        if listed.by_name.is_empty() {
            self.queues.remove(&job.queue);
        }
    }

    /// How many jobs of the queue have this status.
    pub fn count(&self, queue: &Name, status: JobStatus) -> u64 {
        let listed = self.queues.get(queue).and_then(|listed| listed.by_status.get(&status));
        listed.map_or(0, |placed| placed.count)
    }

    /// Jobs of a queue (or all) in these statuses whose place is in a range that is not empty, newest first or
    /// oldest first.
    pub fn by_status<'a>(
        &'a self,
        queue: Option<&Name>,
        statuses: &[JobStatus],
        within: Range<u64>,
        oldest_first: bool,
    ) -> Rows<'a> {
        let tables = self
            .of(queue)
            .flat_map(|listed| statuses.iter().filter_map(|status| listed.by_status.get(status)))
            .map(|placed| &placed.orders);
        let row = |order| Row { group: None, order };
        if oldest_first {
            let rows = tables.map(|orders| oldest(orders, within.clone()).map(row));
            merge(rows.collect(), |row: &Row| row.order)
        } else {
            let rows = tables.map(|orders| newest(orders, within.clone()).map(row));
            merge(rows.collect(), |row: &Row| Reverse(row.order))
        }
    }

    /// Jobs of a queue (or all) with such a name, in any case, after `after`: by name, then newest
    /// first.
    pub fn by_name<'a>(
        &'a self,
        queue: Option<&Name>,
        pattern: &Pattern,
        after: Option<&(Name, u64)>,
    ) -> Rows<'a> {
        let pattern = match pattern {
            Pattern::Exact(text) => Pattern::Exact(text.to_ascii_lowercase()),
            Pattern::Prefix(text) => Pattern::Prefix(text.to_ascii_lowercase()),
        };
        let start = match after {
            Some((name, order)) => Bound::Excluded((name.clone(), Reverse(*order))),
            None => first_name(&pattern)
                .map_or(Bound::Unbounded, |name| Bound::Included((name, Reverse(u64::MAX)))),
        };
        let rows = self.of(queue).map(|listed| {
            let pattern = pattern.clone();
            let names = listed.by_name.range((start.clone(), Bound::Unbounded));
            names
                .take_while(move |(name, _)| pattern.matches(name.as_str()))
                .map(|(name, order)| Row { group: Some(name.clone()), order: order.0 })
        });
        merge(rows.collect(), group_key)
    }

    /// Jobs of a queue (or all) of such definitions, after `after`: by definition, then newest first.
    pub fn by_definition<'a>(
        &'a self,
        queue: Option<&Name>,
        pattern: &Pattern,
        after: Option<&(Name, u64)>,
    ) -> Rows<'a> {
        let first = after.map(|(name, _)| name.clone()).or_else(|| first_name(pattern));
        let start = first.map_or(Bound::Unbounded, Bound::Included);
        let rows = self.of(queue).map(|listed| {
            let (pattern, after) = (pattern.clone(), after.cloned());
            let names = listed.by_definition.range((start.clone(), Bound::Unbounded));
            let names = names.take_while(move |(name, _)| pattern.matches(name.as_str()));
            names.flat_map(move |(name, orders)| {
                let upto = after.as_ref().filter(|(last, _)| last == name);
                let within = 0..upto.map_or(u64::MAX, |(_, order)| *order);
                newest(orders, within).map(|order| Row { group: Some(name.clone()), order })
            })
        });
        merge(rows.collect(), group_key)
    }

    /// The tables of one queue, or all.
    fn of(&self, queue: Option<&Name>) -> impl Iterator<Item = &Listed> {
        let (one, all) = match queue {
            Some(queue) => (self.queues.get(queue), None),
            None => (None, Some(self.queues.values())),
        };
        one.into_iter().chain(all.into_iter().flatten())
    }
}

impl Listed {
    fn put(&mut self, status: JobStatus, order: u64) {
        let placed = self.by_status.entry(status).or_default();
        placed.orders.insert(order..order + 1);
        placed.count += 1;
    }

    fn take(&mut self, status: JobStatus, order: u64) {
        if let Some(placed) = self.by_status.get_mut(&status) {
            placed.orders.remove(order..order + 1);
            placed.count -= 1;
            if placed.count == 0 {
                self.by_status.remove(&status);
            }
        }
    }
}

/// Places within a range, the highest first.
fn newest(orders: &RangeSet<u64>, within: Range<u64>) -> impl Iterator<Item = u64> {
    parts(orders, within).rev().flat_map(Iterator::rev)
}

/// Places within a range, the lowest first.
fn oldest(orders: &RangeSet<u64>, within: Range<u64>) -> impl Iterator<Item = u64> {
    parts(orders, within).flatten()
}

fn parts(
    orders: &RangeSet<u64>,
    within: Range<u64>,
) -> impl DoubleEndedIterator<Item = Range<u64>> {
    let within = if within.is_empty() { None } else { Some(within) };
    let clip = |within: Range<u64>| {
        let parts = orders.overlapping(within.clone());
        parts.map(move |part| part.start.max(within.start)..part.end.min(within.end))
    };
    within.into_iter().flat_map(clip)
}

/// The name as lists by name compare it: in lower case.
fn folded(name: &Name) -> Name {
    if name.as_str().bytes().any(|b| b.is_ascii_uppercase()) {
        name.as_str().to_ascii_lowercase().parse().expect("a name in lower case is a name")
    } else {
        name.clone()
    }
}

/// The first name that can match; none: any, as no name is empty.
fn first_name(pattern: &Pattern) -> Option<Name> {
    pattern.start().parse().ok()
}

fn group_key(row: &Row) -> (Option<Name>, Reverse<u64>) {
    (row.group.clone(), Reverse(row.order))
}

/// Merges sources that are each in the order of `key`.
fn merge<'a, K: Ord + 'a>(
    mut sources: Vec<impl Iterator<Item = Row> + 'a>,
    key: impl Fn(&Row) -> K + 'a,
) -> Rows<'a> {
    if sources.len() == 1 {
        return Box::new(sources.remove(0));
    }
    let mut heads = BinaryHeap::new();
    for (number, source) in sources.iter_mut().enumerate() {
        heads.extend(source.next().map(|row| Reverse((key(&row), number, row))));
    }
    Box::new(std::iter::from_fn(move || {
        let Reverse((_, number, row)) = heads.pop()?;
        heads.extend(sources[number].next().map(|next| Reverse((key(&next), number, next))));
        Some(row)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_with_a_star_is_a_prefix() {
        assert!(Pattern::parse("a*").matches("ab"));
        assert!(!Pattern::parse("a").matches("ab"));
        assert!(Pattern::parse("*").matches("x"));
    }
}
