//! The children of one job, packed: a single job has one child, an array job up to a million.
//!
//! Children that were never tried cost nothing each: they are ranges. A child gets a record of its own,
//! in chunks, once it is leased for the first time. `counts` always equals a count over all
//! children (INV-9).
//!
//! ```text
//! SUBMITTED -> PENDING -> RUNNABLE -> STARTING -> RUNNING -> SUCCEEDED
//!                            ^ ^         |           | |---> FAILED
//!                            | +-return--+           |
//!                            +--------retry, host lost
//! SUBMITTED, PENDING, RUNNABLE -> FAILED (cancelled, terminated, dependency failed)
//! ```

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use rangemap::{RangeMap, RangeSet};
use serde::{Deserialize, Serialize};
use windrow_common::api::jobs::JobStatus;
use windrow_common::ids::LeaseId;
use windrow_common::time::Timestamp;

/// Children a record chunk holds: the unit in which memory is taken as an array runs.
const CHUNK: u32 = 256;

/// Ranges of child indices.
pub type Ranges = Vec<Range<u32>>;

/// One child's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Child {
    /// Never leased; whether it waits, may run or has failed is told by the range sets.
    Untried,
    /// May run again.
    Retrying { attempt: u32, charged: u32 },
    /// Leased, not known to run.
    Starting { lease: LeaseId, attempt: u32, charged: u32 },
    /// Runs.
    Running { lease: LeaseId, attempt: u32, charged: u32, started_at: Timestamp },
    /// Ended for good.
    Ended { succeeded: bool, attempt: u32, last: Attempt },
}

/// An attempt that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The agent's number.
    pub agent: u32,
    /// When it started; absent if it never ran.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Its exit status.
    pub exit_code: Option<i32>,
    /// The job's status reason; absent: the normal one.
    pub status_reason: Option<Arc<str>>,
    /// The container's reason.
    pub reason: Option<Arc<str>>,
    /// Where its output ends.
    pub log_bytes: u64,
}

/// Why and when children ended that were never tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeverRan {
    /// The status reason.
    pub reason: Arc<str>,
    /// When.
    pub at: Timestamp,
}

/// All children of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Children {
    size: u32,
    admitted: bool,
    runnable: RangeSet<u32>,
    retry: RangeSet<u32>,
    never_ran: RangeMap<u32, NeverRan>,
    chunks: BTreeMap<u32, Vec<Child>>,
    /// Attempts before the one in the record, oldest first.
    past: BTreeMap<u32, Vec<Attempt>>,
    counts: [u32; 7],
}

impl Children {
    /// `size` children, all SUBMITTED.
    pub fn new(size: u32) -> Self {
        let mut counts = [0; 7];
        counts[JobStatus::Submitted as usize] = size;
        Self {
            size,
            admitted: false,
            runnable: RangeSet::new(),
            retry: RangeSet::new(),
            never_ran: RangeMap::new(),
            chunks: BTreeMap::new(),
            past: BTreeMap::new(),
            counts,
        }
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
        self.count(JobStatus::Succeeded) + self.count(JobStatus::Failed) == self.size
    }

    /// The child's record.
    pub fn get(&self, child: u32) -> &Child {
        let chunk = self.chunks.get(&(child / CHUNK));
        chunk.and_then(|c| c.get((child % CHUNK) as usize)).unwrap_or(&Child::Untried)
    }

    /// The child's status.
    pub fn status(&self, child: u32) -> JobStatus {
        match self.get(child) {
            Child::Untried if self.never_ran.contains_key(&child) => JobStatus::Failed,
            Child::Untried if !self.admitted => JobStatus::Submitted,
            Child::Untried if self.runnable.contains(&child) => JobStatus::Runnable,
            Child::Untried => JobStatus::Pending,
            Child::Retrying { .. } => JobStatus::Runnable,
            Child::Starting { .. } => JobStatus::Starting,
            Child::Running { .. } => JobStatus::Running,
            Child::Ended { succeeded: true, .. } => JobStatus::Succeeded,
            Child::Ended { succeeded: false, .. } => JobStatus::Failed,
        }
    }

    /// Why a child that was never tried has ended.
    pub fn never_ran(&self, child: u32) -> Option<&NeverRan> {
        self.never_ran.get(&child)
    }

    /// Attempts before the last one, oldest first.
    pub fn past(&self, child: u32) -> &[Attempt] {
        self.past.get(&child).map_or(&[], Vec::as_slice)
    }

    /// Whether some child may be leased now, and whether one of them is a retry.
    pub fn readiness(&self) -> Option<Readiness> {
        if !self.retry.is_empty() {
            Some(Readiness::Retry)
        } else if !self.runnable.is_empty() {
            Some(Readiness::First)
        } else {
            None
        }
    }

    /// How many may be leased now.
    pub fn runnable_count(&self) -> u32 {
        self.count(JobStatus::Runnable)
    }

    /// The next children to lease: at most `limit` consecutive ones in the same attempt, retries
    /// first. Gives their range and attempt number.
    pub fn next_runnable(&self, limit: u32) -> Option<(Range<u32>, u32)> {
        if let Some(range) = self.retry.first() {
            let attempt = self.next_attempt(range.start);
            let end = range.end.min(range.start.saturating_add(limit.max(1)));
            let same = (range.start..end).take_while(|c| self.next_attempt(*c) == attempt).count();
            let same = u32::try_from(same).expect("part of a range of u32");
            return Some((range.start..range.start + same, attempt));
        }
        let range = self.runnable.first()?;
        let end = range.end.min(range.start.saturating_add(limit.max(1)));
        Some((range.start..end, 1))
    }

    fn next_attempt(&self, child: u32) -> u32 {
        match self.get(child) {
            Child::Retrying { attempt, .. } => *attempt,
            Child::Untried
            | Child::Starting { .. }
            | Child::Running { .. }
            | Child::Ended { .. } => 1,
        }
    }

    /// The part of `within` that waits for dependencies.
    pub fn pending_in(&self, within: &[Range<u32>]) -> Ranges {
        let mut waiting = RangeSet::new();
        for range in within {
            let range = range.start..range.end.min(self.size);
            if range.is_empty() {
                continue;
            }
            waiting.insert(range.clone());
            for gone in self.runnable.overlapping(&range) {
                waiting.remove(gone.clone());
            }
            for (gone, _) in self.never_ran.overlapping(&range) {
                waiting.remove(gone.clone());
            }
            for index in range.start / CHUNK..=(range.end - 1) / CHUNK {
                for (child, record) in self.chunk(index) {
                    if *record != Child::Untried {
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
        }
        idle.into_iter().collect()
    }

    /// The leased children of `within`, with their leases.
    pub fn leased_in(&self, within: &[Range<u32>]) -> Vec<(LeaseId, u32)> {
        let tried = within.iter().flat_map(|range| self.tried_in(range));
        tried.filter_map(|child| Some((self.get(child).lease()?, child))).collect()
    }

    /// Children with this status from `from` on, as far as one look goes, and where the next look
    /// begins; none after the last child.
    ///
    /// One look takes a stretch that was never tried, however long, or one chunk of records.
    pub fn with_status(&self, status: JobStatus, from: u32) -> (Ranges, Option<u32>) {
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
                let failed = self.never_ran.overlapping(look).map(|(range, _)| clip(range));
                failed.collect::<RangeSet<u32>>().into_iter().collect()
            }
            JobStatus::Starting | JobStatus::Running | JobStatus::Succeeded => Vec::new(),
        }
    }

    fn chunk(&self, index: u32) -> impl Iterator<Item = (u32, &Child)> {
        let records = self.chunks.get(&index).map_or(&[][..], Vec::as_slice);
        (index * CHUNK..).zip(records)
    }

    /// SUBMITTED becomes PENDING.
    pub(super) fn admit(&mut self) {
        self.admitted = true;
        let submitted = std::mem::take(&mut self.counts[JobStatus::Submitted as usize]);
        self.counts[JobStatus::Pending as usize] += submitted;
    }

    /// PENDING becomes RUNNABLE.
    pub(super) fn release(&mut self, ranges: &[Range<u32>]) {
        for range in ranges {
            self.runnable.insert(range.clone());
            self.move_count(JobStatus::Pending, JobStatus::Runnable, len(range));
        }
    }

    /// Children that are not leased end FAILED.
    pub(super) fn fail_idle(&mut self, ranges: &[Range<u32>], ended: &NeverRan) {
        for range in ranges {
            for child in self.tried_in(range) {
                let Child::Retrying { attempt, .. } = *self.get(child) else { continue };
                self.retry.remove(child..child + 1);
                // A later attempt was only awaited: the last real one stays the last in the record.
                let mut past = self.past.remove(&child).unwrap_or_default();
                let mut last = past.pop().expect("a retry follows an attempt");
                last.status_reason = Some(ended.reason.clone());
                if !past.is_empty() {
                    self.past.insert(child, past);
                }
                self.put(child, Child::Ended { succeeded: false, attempt: attempt - 1, last });
                self.move_count(JobStatus::Runnable, JobStatus::Failed, 1);
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
            self.move_count(from, JobStatus::Failed, len(&part));
            self.never_ran.insert(part, ended.clone());
        }
        for part in runnable {
            self.runnable.remove(part.clone());
            self.move_count(JobStatus::Runnable, JobStatus::Failed, len(&part));
            self.never_ran.insert(part, ended.clone());
        }
    }

    /// Children in `range` that have a record.
    fn tried_in(&self, range: &Range<u32>) -> Vec<u32> {
        let chunks = range.start / CHUNK..=range.end.saturating_sub(1) / CHUNK;
        chunks
            .flat_map(|index| self.chunk(index))
            .filter(|(child, record)| range.contains(child) && **record != Child::Untried)
            .map(|(child, _)| child)
            .collect()
    }

    /// RUNNABLE becomes STARTING under `lease`.
    pub(super) fn lease(&mut self, range: Range<u32>, lease: LeaseId) {
        self.runnable.remove(range.clone());
        self.retry.remove(range.clone());
        self.move_count(JobStatus::Runnable, JobStatus::Starting, len(&range));
        for child in range {
            let (attempt, charged) = match self.get(child) {
                Child::Retrying { attempt, charged } => (*attempt, *charged),
                Child::Untried
                | Child::Starting { .. }
                | Child::Running { .. }
                | Child::Ended { .. } => (1, 0),
            };
            self.put(child, Child::Starting { lease, attempt, charged });
        }
    }

    /// STARTING becomes RUNNING.
    pub(super) fn start(&mut self, child: u32, at: Timestamp) {
        if let Child::Starting { lease, attempt, charged } = *self.get(child) {
            self.put(child, Child::Running { lease, attempt, charged, started_at: at });
            self.move_count(JobStatus::Starting, JobStatus::Running, 1);
        }
    }

    /// STARTING becomes RUNNABLE again in the same attempt: it never started. So does RUNNING: its
    /// agent takes back that it started.
    pub(super) fn give_back(&mut self, child: u32) {
        let from = self.status(child);
        if let Some((attempt, charged)) = self.get(child).live() {
            self.move_count(from, JobStatus::Runnable, 1);
            if attempt == 1 {
                self.put(child, Child::Untried);
                self.runnable.insert(child..child + 1);
            } else {
                self.put(child, Child::Retrying { attempt, charged });
                self.retry.insert(child..child + 1);
            }
        }
    }

    /// STARTING or RUNNING becomes RUNNABLE for another attempt.
    pub(super) fn retry(&mut self, child: u32, ended: Attempt, charged_too: bool) {
        let from = self.status(child);
        if let Some((attempt, charged)) = self.get(child).live() {
            self.past.entry(child).or_default().push(ended);
            let charged = charged + u32::from(charged_too);
            self.put(child, Child::Retrying { attempt: attempt + 1, charged });
            self.retry.insert(child..child + 1);
            self.move_count(from, JobStatus::Runnable, 1);
        }
    }

    /// STARTING or RUNNING ends.
    pub(super) fn end(&mut self, child: u32, ended: Attempt, succeeded: bool) {
        let from = self.status(child);
        if let Some((attempt, _)) = self.get(child).live() {
            self.put(child, Child::Ended { succeeded, attempt, last: ended });
            let to = if succeeded { JobStatus::Succeeded } else { JobStatus::Failed };
            self.move_count(from, to, 1);
        }
    }

    fn put(&mut self, child: u32, record: Child) {
        let length = CHUNK.min(self.size - child / CHUNK * CHUNK);
        let chunk = self.chunks.entry(child / CHUNK).or_default();
        if chunk.is_empty() {
            chunk.resize(length as usize, Child::Untried);
        }
        chunk[(child % CHUNK) as usize] = record;
    }

    fn move_count(&mut self, from: JobStatus, to: JobStatus, count: u32) {
        let from = &mut self.counts[from as usize];
        *from = from.checked_sub(count).expect("INV-9: counts equal a count over the children");
        self.counts[to as usize] += count;
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

impl Child {
    /// Attempt number and attempts charged so far, of a leased child.
    pub fn live(&self) -> Option<(u32, u32)> {
        match self {
            Self::Starting { attempt, charged, .. } | Self::Running { attempt, charged, .. } => {
                Some((*attempt, *charged))
            }
            Self::Untried | Self::Retrying { .. } | Self::Ended { .. } => None,
        }
    }

    /// Since when it runs, of a running child.
    pub fn started_at(&self) -> Option<Timestamp> {
        match self {
            Self::Running { started_at, .. } => Some(*started_at),
            Self::Untried | Self::Retrying { .. } | Self::Starting { .. } | Self::Ended { .. } => {
                None
            }
        }
    }

    /// The lease of a leased child.
    pub fn lease(&self) -> Option<LeaseId> {
        match self {
            Self::Starting { lease, .. } | Self::Running { lease, .. } => Some(*lease),
            Self::Untried | Self::Retrying { .. } | Self::Ended { .. } => None,
        }
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

/// Number of children in a range.
pub fn len(range: &Range<u32>) -> u32 {
    range.end - range.start
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(exit_code: i32) -> Attempt {
        Attempt {
            agent: 0,
            started_at: Some(Timestamp(1)),
            ended_at: Timestamp(2),
            exit_code: Some(exit_code),
            status_reason: None,
            reason: None,
            log_bytes: 0,
        }
    }

    fn counts_hold(children: &Children) {
        assert_eq!(children.counts, children.recount());
    }

    #[test]
    fn a_million_untried_children_are_ranges() {
        let mut children = Children::new(1_000_000);
        children.admit();
        children.release(std::slice::from_ref(&(0..1_000_000)));
        assert_eq!(children.runnable_count(), 1_000_000);
        assert!(children.chunks.is_empty());
        assert_eq!(children.next_runnable(10), Some((0..10, 1)));
    }

    #[test]
    fn every_transition_keeps_the_counts() {
        let mut children = Children::new(600);
        counts_hold(&children);
        children.admit();
        children.release(&[0..300, 400..600]);
        counts_hold(&children);
        children.lease(0..4, LeaseId(1));
        children.start(0, Timestamp(5));
        children.give_back(1);
        children.retry(2, attempt(1), true);
        children.end(3, attempt(0), true);
        counts_hold(&children);
        assert_eq!(children.status(1), JobStatus::Runnable);
        assert_eq!(children.next_runnable(9), Some((2..3, 2)), "retries go first");
        children.fail_idle(
            std::slice::from_ref(&(0..600)),
            &NeverRan { reason: "no more".into(), at: Timestamp(9) },
        );
        counts_hold(&children);
        assert_eq!(children.status(0), JobStatus::Running);
        assert_eq!(children.status(2), JobStatus::Failed);
        assert_eq!(children.status(350), JobStatus::Failed);
        assert_eq!(children.count(JobStatus::Failed), 598);
        children.end(0, attempt(0), true);
        assert!(children.all_ended());
    }

    #[test]
    fn transitions_that_do_not_exist_change_nothing() {
        let mut children = Children::new(2);
        children.admit();
        children.release(std::slice::from_ref(&(0..1)));
        let before = children.clone();
        children.start(0, Timestamp(1));
        children.give_back(0);
        children.retry(1, attempt(1), true);
        children.end(1, attempt(0), true);
        assert_eq!(children, before);
        children.lease(0..1, LeaseId(1));
        children.end(0, attempt(0), true);
        let ended = children.clone();
        children.start(0, Timestamp(1));
        children.end(0, attempt(1), false);
        children.retry(0, attempt(1), true);
        assert_eq!(children, ended, "terminal is final");
    }

    #[test]
    fn looks_by_status_find_every_child_once() {
        let mut children = Children::new(1000);
        let failed = NeverRan { reason: "no".into(), at: Timestamp(9) };
        let found = |children: &Children, status| {
            let (mut all, mut from) = (Vec::new(), Some(0));
            while let Some(start) = from {
                let (ranges, next) = children.with_status(status, start);
                all.extend(ranges.into_iter().flatten());
                from = next;
            }
            all
        };
        let check = |children: &Children| {
            for status in JobStatus::ALL {
                let walked: Vec<u32> =
                    (0..1000).filter(|child| children.status(*child) == status).collect();
                assert_eq!(found(children, status), walked, "{status}");
            }
        };
        check(&children);
        children.admit();
        children.release(&[0..300, 700..900]);
        check(&children);
        children.lease(0..4, LeaseId(1));
        children.start(0, Timestamp(5));
        children.retry(1, attempt(1), true);
        children.end(2, attempt(0), true);
        children.fail_idle(&[290..310, 890..1000], &failed);
        check(&children);
    }

    #[test]
    fn pending_and_idle_parts_are_exact() {
        let mut children = Children::new(1000);
        children.admit();
        children.release(&[10..20, 500..510]);
        children.lease(10..12, LeaseId(1));
        assert_eq!(children.pending_in(std::slice::from_ref(&(5..25))), vec![5..10, 20..25]);
        assert_eq!(children.idle_in(std::slice::from_ref(&(5..25))), vec![5..10, 12..25]);
    }
}
