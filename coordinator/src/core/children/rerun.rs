//! Children that are run anew: FAILED ones reopened in place, and those of a new job that need not
//! run again.

use std::ops::Range;

use rangemap::RangeSet;
use windrow_common::api::jobs::JobStatus;

use super::chunk::Chunk;
use super::{Child, Children, Ranges};

impl Children {
    /// The part of `within` that has FAILED.
    pub fn failed_in(&self, within: &Range<u32>) -> Ranges {
        let end = within.end.min(self.size);
        let (mut failed, mut from) = (RangeSet::new(), Some(within.start));
        while let Some(start) = from.filter(|start| *start < end) {
            let (found, next) = self.with_status(JobStatus::Failed, start);
            let clipped = found.into_iter().map(|r| r.start..r.end.min(end));
            failed.extend(clipped.filter(|r| !r.is_empty()));
            from = next;
        }
        failed.into_iter().collect()
    }

    /// Attempts a child had before it was last reopened: its budget does not know of them.
    pub fn attempts_before(&self, child: u32) -> u32 {
        self.rare.attempts_before.get(&child).copied().unwrap_or(0)
    }

    /// Whether the child counts as SUCCEEDED because it did in the job that this one reruns.
    pub fn is_carried(&self, child: u32) -> bool {
        self.rare.carried.contains(&child)
    }

    /// Those that SUCCEEDED in `before` have SUCCEEDED here too. Only before anything else.
    pub(in crate::core) fn carry(&mut self, before: &Self) {
        let mut from = Some(0);
        while let Some(start) = from {
            let (found, next) = before.with_status(JobStatus::Succeeded, start);
            for range in found {
                self.rare.carried.insert(range.clone());
                self.move_count(JobStatus::Submitted, JobStatus::Succeeded, range);
            }
            from = next;
        }
    }

    /// FAILED becomes PENDING again, with all attempts before it. The only way out of an end
    /// (INV-3).
    pub(in crate::core) fn reopen(&mut self, ranges: &[Range<u32>]) {
        let waits = if self.admitted { JobStatus::Pending } else { JobStatus::Submitted };
        for range in ranges {
            for child in self.failures_in(range) {
                let Child::Ended { attempt, last, .. } = self.get(child).into_owned() else {
                    continue;
                };
                self.rare.past.entry(child).or_default().push(last);
                self.rare.attempts_before.insert(child, attempt);
                let (attempt, charged, not_before) = (attempt + 1, 0, None);
                self.put(child, Child::Retrying { attempt, charged, not_before });
                self.rare.reopened.insert(child..child + 1);
                self.move_count(JobStatus::Failed, JobStatus::Pending, child..child + 1);
            }
            let never_ran = self.rare.never_ran.overlapping(range).map(|(r, _)| r.clone());
            for part in never_ran.collect::<Ranges>() {
                let part = part.start.max(range.start)..part.end.min(range.end);
                if !part.is_empty() {
                    self.rare.cut(|rare| rare.never_ran.remove(part.clone()));
                    self.move_count(JobStatus::Failed, waits, part);
                }
            }
        }
    }

    /// Those of `range` that ran and FAILED.
    fn failures_in(&self, range: &Range<u32>) -> Vec<u32> {
        let numbered = |(first, chunk): (u32, &Chunk)| {
            chunk.failures().into_iter().map(move |place| first + place)
        };
        self.chunks_in(range).flat_map(numbered).filter(|child| range.contains(child)).collect()
    }

    /// Those of `range` that ran before and wait again may run again.
    pub(super) fn release_reopened(&mut self, range: &Range<u32>) {
        for part in self.reopened_in(range) {
            self.rare.cut(|rare| rare.reopened.remove(part.clone()));
            self.runnable.remove(part.clone());
            self.retry.insert(part);
        }
    }

    fn reopened_in(&self, range: &Range<u32>) -> Ranges {
        let overlapping = self.rare.reopened.overlapping(range);
        let clipped = overlapping.map(|r| r.start.max(range.start)..r.end.min(range.end));
        clipped.filter(|r| !r.is_empty()).collect()
    }
}
