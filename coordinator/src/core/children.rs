//! The children of one job, packed: a single job has one child, an array job up to a million.
//!
//! Children that were never tried cost nothing each: they are ranges. A child gets a record of its own,
//! in chunks, once it is leased for the first time; a chunk whose children have all ended is packed, to about a
//! byte each. `counts` always equals a count over all children (INV-9).
//!
//! ```text
//! SUBMITTED -> PENDING -> RUNNABLE -> STARTING -> RUNNING -> SUCCEEDED
//!                            ^ ^         |           | |---> FAILED
//!                            | +-return--+           |   (back to either: reclaimed by its agent)
//!                            +--------retry, host lost
//! SUBMITTED, PENDING, RUNNABLE -> FAILED (cancelled, terminated, dependency failed)
//! FAILED -> PENDING (reopened by a rerun in place: the only way out of an end)
//! SUBMITTED -> SUCCEEDED (it did in the job that this one reruns)
//! ```

pub mod archive;
mod back_off;
mod chunk;
mod indices;
mod nodes;
mod ready;
mod record;
mod rerun;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use rangemap::{RangeMap, RangeSet};
use serde::{Deserialize, Serialize};
use windrow_common::api::jobs::JobStatus;
use windrow_common::ids::LeaseId;
use windrow_common::time::Timestamp;

pub use archive::Archived;
pub use record::{Attempt, Child, NeverRan, NodeEnd};

use super::seldom::{Collection, Seldom};
use chunk::Chunk;
use indices::Indices;

/// Children a record chunk holds: the unit in which memory is taken as an array runs.
const CHUNK: u32 = 256;

/// Ranges of child indices.
pub type Ranges = Vec<Range<u32>>;

/// All children of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Children {
    size: u32,
    admitted: bool,
    runnable: Indices,
    retry: Indices,
    chunks: Seldom<BTreeMap<u32, Chunk>>,
    counts: [u32; 7],
    /// Instead of records, once the history has them.
    #[serde(default)]
    archived: Option<Box<Archived>>,
    /// Children that changed their status since they were last taken out, each range in one way. Not
    /// part of the state.
    #[serde(skip)]
    moved: Seldom<Ranges>,
    /// Nodes that wait for what is decided about their attempt.
    #[serde(default)]
    settled: u32,
    rare: Seldom<Rare>,
}

/// What only few jobs have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Rare {
    never_ran: RangeMap<u32, NeverRan>,
    /// Attempts before the one in the record, oldest first.
    past: BTreeMap<u32, Vec<Attempt>>,
    /// Those of the children to be retried that may not run yet, by when they may.
    backing_off: BTreeSet<(Timestamp, u32)>,
    /// Children that SUCCEEDED in the job that this one reruns.
    carried: RangeSet<u32>,
    /// Those of the children with a record that wait for dependencies, since they were reopened.
    reopened: RangeSet<u32>,
    /// Attempts that children had when they were reopened.
    attempts_before: BTreeMap<u32, u32>,
}

impl Collection for Rare {
    const EMPTY: &'static Self = &Self {
        never_ran: RangeMap::new(),
        past: BTreeMap::new(),
        backing_off: BTreeSet::new(),
        carried: RangeSet::new(),
        reopened: RangeSet::new(),
        attempts_before: BTreeMap::new(),
    };
}

impl Children {
    /// `size` children, all SUBMITTED.
    pub fn new(size: u32) -> Self {
        let mut counts = [0; 7];
        counts[JobStatus::Submitted as usize] = size;
        Self {
            size,
            admitted: false,
            runnable: Indices::default(),
            retry: Indices::default(),
            chunks: Seldom::default(),
            counts,
            archived: None,
            moved: Seldom::default(),
            settled: 0,
            rare: Seldom::default(),
        }
    }

    /// Takes out what has changed since the last time, oldest first.
    pub(super) fn take_moved(&mut self) -> Ranges {
        self.moved.take()
    }

    /// How many there are.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// How many have this status.
    pub fn count(&self, status: JobStatus) -> u32 {
        self.counts[status as usize]
    }

    /// Whether every child has ended.
    pub fn all_ended(&self) -> bool {
        self.settled == 0
            && self.count(JobStatus::Succeeded) + self.count(JobStatus::Failed) == self.size
    }

    /// Whether some child waits for dependencies.
    pub fn waits(&self) -> bool {
        self.count(JobStatus::Submitted) + self.count(JobStatus::Pending) > 0
    }

    /// The child's record.
    pub fn get(&self, child: u32) -> Cow<'_, Child> {
        if let Some(chunk) = self.chunks.get(&(child / CHUNK)) {
            return chunk.get(place(child));
        }
        let archived = self.archived.as_ref().and_then(|archived| archived.record());
        Cow::Borrowed(archived.unwrap_or(&Child::Untried))
    }

    /// The child's status.
    pub fn status(&self, child: u32) -> JobStatus {
        if let Some(archived) = &self.archived {
            return archived.status(child);
        }
        let packed = self.chunks.get(&(child / CHUNK)).and_then(|c| c.packed_success(place(child)));
        if let Some(succeeded) = packed {
            return if succeeded { JobStatus::Succeeded } else { JobStatus::Failed };
        }
        match &*self.get(child) {
            Child::Untried if self.rare.never_ran.contains_key(&child) => JobStatus::Failed,
            Child::Untried if self.rare.carried.contains(&child) => JobStatus::Succeeded,
            Child::Untried if !self.admitted => JobStatus::Submitted,
            Child::Untried if self.runnable.contains(child) => JobStatus::Runnable,
            Child::Untried => JobStatus::Pending,
            Child::Retrying { .. } if self.rare.reopened.contains(&child) => JobStatus::Pending,
            Child::Retrying { .. } => JobStatus::Runnable,
            Child::Starting { .. } => JobStatus::Starting,
            Child::Running { .. } => JobStatus::Running,
            Child::Ended { succeeded: true, .. } => JobStatus::Succeeded,
            Child::Ended { succeeded: false, .. } => JobStatus::Failed,
            Child::Settled { end: NodeEnd::Succeeded, .. } => JobStatus::Succeeded,
            Child::Settled { end: NodeEnd::Stopped | NodeEnd::Preempted, .. } => JobStatus::Running,
            Child::Settled { end: NodeEnd::Failed | NodeEnd::TimedOut | NodeEnd::Lost, .. } => {
                JobStatus::Failed
            }
        }
    }

    /// Why a child that was never tried has ended.
    pub fn never_ran(&self, child: u32) -> Option<&NeverRan> {
        self.rare.never_ran.get(&child)
    }

    /// Attempts before the last one, oldest first.
    pub fn past(&self, child: u32) -> &[Attempt] {
        self.rare.past.get(&child).map_or(&[], Vec::as_slice)
    }

    /// The part of `within` that waits for dependencies.
    pub fn pending_in(&self, within: &[Range<u32>]) -> Ranges {
        let mut waiting = RangeSet::new();
        if self.is_archived() {
            return Vec::new();
        }
        for range in within {
            let range = range.start..range.end.min(self.size);
            if range.is_empty() {
                continue;
            }
            waiting.insert(range.clone());
            for gone in self.runnable.overlapping(&range) {
                waiting.remove(gone.clone());
            }
            for (gone, _) in self.rare.never_ran.overlapping(&range) {
                waiting.remove(gone.clone());
            }
            for gone in self.rare.carried.overlapping(&range) {
                waiting.remove(gone.clone());
            }
            for (first, chunk) in self.chunks_in(&range) {
                let Chunk::Open { records, .. } = chunk else {
                    waiting.remove(first..first + CHUNK);
                    continue;
                };
                for (child, record) in (first..).zip(records) {
                    if *record != Child::Untried && !self.rare.reopened.contains(&child) {
                        waiting.remove(child..child + 1);
                    }
                }
            }
        }
        waiting.into_iter().collect()
    }

    /// The part of `within` that is neither leased nor ended: what a cancel ends at once.
    pub fn idle_in(&self, within: &[Range<u32>]) -> Ranges {
        let mut idle: RangeSet<u32> = self.pending_in(within).into_iter().collect();
        for range in within {
            for set in [&self.runnable, &self.retry] {
                for found in set.overlapping(range) {
                    let part = found.start.max(range.start)..found.end.min(range.end);
                    if !part.is_empty() {
                        idle.insert(part);
                    }
                }
            }
            idle.extend(self.backing_off_in(range).into_iter().map(|child| child..child + 1));
        }
        idle.into_iter().collect()
    }

    /// The leased children of `within`, with their leases.
    pub fn leased_in(&self, within: &[Range<u32>]) -> Vec<(LeaseId, u32)> {
        let tried = within.iter().flat_map(|range| self.unpacked_in(range));
        tried.filter_map(|child| Some((self.get(child).lease()?, child))).collect()
    }

    /// Children with this status from `from` on, as far as one look goes, and where the next look
    /// begins; none after the last child.
    ///
    /// One look takes a stretch that was never tried, however long, or one chunk of records.
    pub fn with_status(&self, status: JobStatus, from: u32) -> (Ranges, Option<u32>) {
        if let Some(archived) = &self.archived {
            return (archived.with_status(status, &(from..self.size)), None);
        }
        let chunk = from / CHUNK;
        let next_tried = self.chunks.range(chunk..).next().map(|(index, _)| *index);
        let end = match next_tried {
            Some(tried) if tried == chunk => (chunk + 1) * CHUNK,
            Some(tried) => tried * CHUNK,
            None => self.size,
        };
        let look = from..end.min(self.size);
        let found = if next_tried == Some(chunk) {
            let with = look.clone().filter(|child| self.status(*child) == status);
            with.map(|child| child..child + 1).collect::<RangeSet<u32>>().into_iter().collect()
        } else {
            self.untried_with_status(status, &look)
        };
        (found, (look.end < self.size).then_some(look.end))
    }

    /// Children with this status in a stretch without records.
    fn untried_with_status(&self, status: JobStatus, look: &Range<u32>) -> Ranges {
        let clip = |range: &Range<u32>| range.start.max(look.start)..range.end.min(look.end);
        match status {
            JobStatus::Submitted if self.admitted => Vec::new(),
            JobStatus::Pending if !self.admitted => Vec::new(),
            JobStatus::Submitted | JobStatus::Pending => {
                self.pending_in(std::slice::from_ref(look))
            }
            JobStatus::Runnable => self.runnable.overlapping(look).map(clip).collect(),
            JobStatus::Failed => {
                let failed = self.rare.never_ran.overlapping(look).map(|(range, _)| clip(range));
                failed.collect::<RangeSet<u32>>().into_iter().collect()
            }
            JobStatus::Succeeded => self.rare.carried.overlapping(look).map(clip).collect(),
            JobStatus::Starting | JobStatus::Running => Vec::new(),
        }
    }

    /// The chunks that have children of `range`, each with its first child.
    fn chunks_in(&self, range: &Range<u32>) -> impl Iterator<Item = (u32, &Chunk)> {
        let chunks = self.chunks.range(range.start / CHUNK..range.end.div_ceil(CHUNK));
        chunks.map(|(index, chunk)| (index * CHUNK, chunk))
    }

    /// SUBMITTED becomes PENDING.
    pub(super) fn admit(&mut self) {
        let all = 0..self.size;
        for range in self.pending_in(std::slice::from_ref(&all)) {
            self.move_count(JobStatus::Submitted, JobStatus::Pending, range);
        }
        self.admitted = true;
    }

    /// PENDING becomes RUNNABLE.
    pub(super) fn release(&mut self, ranges: &[Range<u32>]) {
        for range in ranges {
            self.runnable.insert(range.clone());
            self.move_count(JobStatus::Pending, JobStatus::Runnable, range.clone());
            self.release_reopened(range);
        }
    }

    /// Children that are not leased end FAILED.
    pub(super) fn fail_idle(&mut self, ranges: &[Range<u32>], ended: &NeverRan) {
        for range in ranges {
            for child in self.unpacked_in(range) {
                let Child::Retrying { attempt, not_before, .. } = *self.get(child) else {
                    continue;
                };
                let from = self.status(child);
                self.retry.remove(child..child + 1);
                self.rare.cut(|rare| rare.reopened.remove(child..child + 1));
                not_before.map(|at| self.rare.cut(|rare| rare.backing_off.remove(&(at, child))));
                // A later attempt was only awaited: the last real one stays the last in the record.
                let past = self.rare.cut(|rare| rare.past.remove(&child)).flatten();
                let mut past = past.unwrap_or_default();
                let mut last = past.pop().expect("a retry follows an attempt");
                last.status_reason = Some(ended.reason.clone());
                if !past.is_empty() {
                    self.rare.past.insert(child, past);
                }
                self.put(child, Child::Ended { succeeded: false, attempt: attempt - 1, last });
                self.move_count(from, JobStatus::Failed, child..child + 1);
            }
            self.fail_untried(range, ended);
        }
    }

    fn fail_untried(&mut self, range: &Range<u32>, ended: &NeverRan) {
        let from = if self.admitted { JobStatus::Pending } else { JobStatus::Submitted };
        let runnable: Ranges = self
            .runnable
            .overlapping(range)
            .map(|r| r.start.max(range.start)..r.end.min(range.end))
            .filter(|r| !r.is_empty())
            .collect();
        for part in self.pending_in(std::slice::from_ref(range)) {
            self.move_count(from, JobStatus::Failed, part.clone());
            self.rare.never_ran.insert(part, ended.clone());
        }
        for part in runnable {
            self.runnable.remove(part.clone());
            self.move_count(JobStatus::Runnable, JobStatus::Failed, part.clone());
            self.rare.never_ran.insert(part, ended.clone());
        }
    }

    /// Children in `range` that have a record, but for those of packed chunks, which have all ended.
    fn unpacked_in(&self, range: &Range<u32>) -> Vec<u32> {
        let records = self.chunks_in(range).flat_map(|(first, chunk)| match chunk {
            Chunk::Open { records, .. } => (first..).zip(records.as_slice()),
            Chunk::Packed(_) => (first..).zip(&[][..]),
        });
        let tried = records.filter(|(_, record)| **record != Child::Untried);
        tried.map(|(child, _)| child).filter(|child| range.contains(child)).collect()
    }

    /// RUNNABLE becomes STARTING under `lease`.
    pub(super) fn lease(&mut self, range: Range<u32>, lease: LeaseId) {
        self.runnable.remove(range.clone());
        self.retry.remove(range.clone());
        self.move_count(JobStatus::Runnable, JobStatus::Starting, range.clone());
        for child in range {
            let (attempt, charged) = match &*self.get(child) {
                Child::Retrying { attempt, charged, .. } => (*attempt, *charged),
                Child::Untried
                | Child::Starting { .. }
                | Child::Running { .. }
                | Child::Ended { .. }
                | Child::Settled { .. } => (1, 0),
            };
            self.put(child, Child::Starting { lease, attempt, charged });
        }
    }

    /// STARTING becomes RUNNING.
    pub(super) fn start(&mut self, child: u32, at: Timestamp) {
        if let Child::Starting { lease, attempt, charged } = *self.get(child) {
            self.put(child, Child::Running { lease, attempt, charged, started_at: at });
            self.move_count(JobStatus::Starting, JobStatus::Running, child..child + 1);
        }
    }

    /// STARTING becomes RUNNABLE again in the same attempt: it never started. So does RUNNING: its
    /// agent takes back that it started.
    pub(super) fn give_back(&mut self, child: u32) {
        let from = self.status(child);
        if let Some((attempt, charged)) = self.get(child).live() {
            self.move_count(from, JobStatus::Runnable, child..child + 1);
            if attempt == 1 {
                self.put(child, Child::Untried);
                self.runnable.insert(child..child + 1);
            } else {
                self.put(child, Child::Retrying { attempt, charged, not_before: None });
                self.retry.insert(child..child + 1);
            }
        }
    }

    /// STARTING or RUNNING becomes RUNNABLE for another attempt, not to start before a time.
    pub(super) fn retry(
        &mut self,
        child: u32,
        ended: Attempt,
        charged_too: bool,
        not_before: Option<Timestamp>,
    ) {
        let from = self.status(child);
        if let Some((attempt, charged)) = self.get(child).live() {
            self.rare.past.entry(child).or_default().push(ended);
            let charged = charged + u32::from(charged_too);
            self.put(child, Child::Retrying { attempt: attempt + 1, charged, not_before });
            match not_before {
                Some(at) => drop(self.rare.backing_off.insert((at, child))),
                None => self.retry.insert(child..child + 1),
            }
            self.move_count(from, JobStatus::Runnable, child..child + 1);
        }
    }

    /// RUNNABLE becomes STARTING or RUNNING in the attempt before, which was given up too early.
    pub(super) fn reclaim(
        &mut self,
        child: u32,
        lease: LeaseId,
        (attempt, charged): (u32, u32),
        started_at: Option<Timestamp>,
    ) {
        let Child::Retrying { not_before, .. } = *self.get(child) else { return };
        self.retry.remove(child..child + 1);
        not_before.map(|at| self.rare.cut(|rare| rare.backing_off.remove(&(at, child))));
        let past = self.rare.past.get_mut(&child).expect("a retry follows an attempt");
        past.pop();
        if past.is_empty() {
            self.rare.cut(|rare| rare.past.remove(&child));
        }
        let (record, to) = match started_at {
            Some(started_at) => {
                (Child::Running { lease, attempt, charged, started_at }, JobStatus::Running)
            }
            None => (Child::Starting { lease, attempt, charged }, JobStatus::Starting),
        };
        self.put(child, record);
        self.move_count(JobStatus::Runnable, to, child..child + 1);
    }

    /// STARTING or RUNNING ends.
    pub(super) fn end(&mut self, child: u32, ended: Attempt, succeeded: bool) {
        let from = self.status(child);
        if let Some((attempt, _)) = self.get(child).live() {
            self.put(child, Child::Ended { succeeded, attempt, last: ended });
            let to = if succeeded { JobStatus::Succeeded } else { JobStatus::Failed };
            self.move_count(from, to, child..child + 1);
        }
    }

    fn put(&mut self, child: u32, record: Child) {
        let length = CHUNK.min(self.size - child / CHUNK * CHUNK);
        let chunk = self.chunks.entry(child / CHUNK);
        chunk.or_insert_with(|| Chunk::untried(length as usize)).put(place(child), record);
    }

    /// Every change of status passes through here: counts and events follow from it.
    fn move_count(&mut self, from: JobStatus, to: JobStatus, children: Range<u32>) {
        let count = len(&children);
        let from = &mut self.counts[from as usize];
        *from = from.checked_sub(count).expect("INV-9: counts equal a count over the children");
        self.counts[to as usize] += count;
        self.moved.push(children);
    }

    /// Counts over all children, the slow way. For [`super::invariants`].
    pub fn recount(&self) -> [u32; 7] {
        let mut counts = [0; 7];
        for child in 0..self.size {
            counts[self.status(child) as usize] += 1;
        }
        counts
    }
}

/// Whether a job's next child is a first attempt or a retry; retries go to the front of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Readiness {
    /// A retry is ready.
    Retry,
    /// A first attempt is ready.
    First,
}

/// A child's place in its chunk.
fn place(child: u32) -> usize {
    (child % CHUNK) as usize
}

/// Number of children in a range.
pub fn len(range: &Range<u32>) -> u32 {
    range.end - range.start
}
