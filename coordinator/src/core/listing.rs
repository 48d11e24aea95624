//! Where jobs stand in lists: by queue and status, by name and by definition, so that a page of a list
//! never walks over all jobs. Kept by [`super::apply`] and rebuilt after a snapshot.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Bound;

use windrow_common::api::jobs::JobStatus;
use windrow_common::ids::{JobId, Name};
use windrow_common::time::Timestamp;

use super::state::Job;

/// A job's time in a list: when it was created, and its order of submission among those of the same
/// millisecond.
pub type Placed = (Timestamp, u64);

/// A job's row in a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Lists by name or definition go by this first.
    pub group: Option<Name>,
    /// When.
    pub placed: Placed,
    /// Which job.
    pub job: JobId,
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

/// Jobs of one queue.
#[derive(Clone, Debug, Default, PartialEq)]
struct Listed {
    by_status: BTreeMap<JobStatus, BTreeMap<Placed, JobId>>,
    /// By [`folded`] name, then newest first.
    by_name: BTreeMap<(Name, Reverse<Placed>), JobId>,
    /// By name of the definition, then newest first.
    by_definition: BTreeMap<(Name, Reverse<Placed>), JobId>,
}

impl Listing {
    /// Enters a job in this status.
    pub(super) fn enter(&mut self, id: JobId, job: &Job, status: JobStatus) {
        let placed = placed(job);
        let listed = self.queues.entry(job.queue.clone()).or_default();
        listed.by_status.entry(status).or_default().insert(placed, id);
        listed.by_name.insert((folded(&job.name), Reverse(placed)), id);
        listed.by_definition.insert((job.definition.0.clone(), Reverse(placed)), id);
    }

    /// A job's status is another one.
    pub(super) fn move_job(&mut self, id: JobId, job: &Job, from: JobStatus, to: JobStatus) {
        let placed = placed(job);
        let listed = self.queues.entry(job.queue.clone()).or_default();
        listed.take(from, placed);
        listed.by_status.entry(to).or_default().insert(placed, id);
    }

    /// Removes a job.
    pub(super) fn leave(&mut self, job: &Job) {
        let placed = placed(job);
        let Some(listed) = self.queues.get_mut(&job.queue) else { return };
        listed.take(job.status(), placed);
        listed.by_name.remove(&(folded(&job.name), Reverse(placed)));
        listed.by_definition.remove(&(job.definition.0.clone(), Reverse(placed)));
        if listed.by_name.is_empty() {
            self.queues.remove(&job.queue);
        }
    }

    /// How many jobs of the queue have this status.
    pub fn count(&self, queue: &Name, status: JobStatus) -> usize {
        let listed = self.queues.get(queue).and_then(|listed| listed.by_status.get(&status));
        listed.map_or(0, BTreeMap::len)
    }

    /// Jobs of a queue (or all) in these statuses, created within the bounds, newest first or oldest
    /// first.
    pub fn by_status<'a>(
        &'a self,
        queue: Option<&Name>,
        statuses: &[JobStatus],
        bounds: (Bound<Placed>, Bound<Placed>),
        oldest_first: bool,
    ) -> Rows<'a> {
        if !is_possible(bounds) {
            return Box::new(std::iter::empty());
        }
        let tables = self
            .of(queue)
            .flat_map(|listed| statuses.iter().filter_map(|status| listed.by_status.get(status)));
        let row =
            |(placed, job): (&Placed, &JobId)| Row { group: None, placed: *placed, job: *job };
        if oldest_first {
            merge(tables.map(|t| t.range(bounds).map(row)).collect(), |row: &Row| row.placed)
        } else {
            let newest = tables.map(|t| t.range(bounds).rev().map(row)).collect();
            merge(newest, |row: &Row| Reverse(row.placed))
        }
    }

    /// Jobs of a queue (or all) with such a name, in any case, after `after`: by name, then newest
    /// first.
    pub fn by_name<'a>(
        &'a self,
        queue: Option<&Name>,
        pattern: &Pattern,
        after: Option<&(Name, Placed)>,
    ) -> Rows<'a> {
        let pattern = match pattern {
            Pattern::Exact(text) => Pattern::Exact(text.to_ascii_lowercase()),
            Pattern::Prefix(text) => Pattern::Prefix(text.to_ascii_lowercase()),
        };
        grouped(self.of(queue).map(|listed| &listed.by_name), &pattern, after)
    }

    /// Jobs of a queue (or all) of such definitions, after `after`: by definition, then newest first.
    pub fn by_definition<'a>(
        &'a self,
        queue: Option<&Name>,
        pattern: &Pattern,
        after: Option<&(Name, Placed)>,
    ) -> Rows<'a> {
        grouped(self.of(queue).map(|listed| &listed.by_definition), pattern, after)
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
    fn take(&mut self, status: JobStatus, placed: Placed) {
        if let Some(jobs) = self.by_status.get_mut(&status) {
            jobs.remove(&placed);
            if jobs.is_empty() {
                self.by_status.remove(&status);
            }
        }
    }
}

/// The job's time in lists.
fn placed(job: &Job) -> Placed {
    (job.created_at, job.order)
}

/// The name as lists by name compare it: in lower case.
fn folded(name: &Name) -> Name {
    if name.as_str().bytes().any(|b| b.is_ascii_uppercase()) {
        name.as_str().to_ascii_lowercase().parse().expect("a name in lower case is a name")
    } else {
        name.clone()
    }
}

/// Whether a range between these bounds may be asked for: `BTreeMap` panics at others.
fn is_possible(bounds: (Bound<Placed>, Bound<Placed>)) -> bool {
    match bounds {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => true,
        (Bound::Included(low), Bound::Included(high)) => low <= high,
        (
            Bound::Included(low) | Bound::Excluded(low),
            Bound::Included(high) | Bound::Excluded(high),
        ) => low < high,
    }
}

fn grouped<'a>(
    tables: impl Iterator<Item = &'a BTreeMap<(Name, Reverse<Placed>), JobId>>,
    pattern: &Pattern,
    after: Option<&(Name, Placed)>,
) -> Rows<'a> {
    let first = |name: Name| Bound::Included((name, Reverse((Timestamp(u64::MAX), u64::MAX))));
    let start = match after {
        Some((name, placed)) => Bound::Excluded((name.clone(), Reverse(*placed))),
        // No name is empty: an empty prefix starts with the first one.
        None => pattern.start().parse().map_or(Bound::Unbounded, first),
    };
    let rows = tables.map(|table| {
        let pattern = pattern.clone();
        table
            .range((start.clone(), Bound::Unbounded))
            .take_while(move |((name, _), _)| pattern.matches(name.as_str()))
            .map(|((name, placed), job)| Row {
                group: Some(name.clone()),
                placed: placed.0,
                job: *job,
            })
    });
    merge(rows.collect(), |row: &Row| (row.group.clone(), Reverse(row.placed)))
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

    #[test]
    fn impossible_bounds_are_known() {
        let at = |t| (Timestamp(t), 0);
        assert!(!is_possible((Bound::Excluded(at(1)), Bound::Excluded(at(1)))));
        assert!(!is_possible((Bound::Included(at(2)), Bound::Included(at(1)))));
        assert!(is_possible((Bound::Included(at(1)), Bound::Included(at(1)))));
        assert!(is_possible((Bound::Excluded(at(1)), Bound::Unbounded)));
    }
}
