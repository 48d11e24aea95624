//! Children that may be leased, and the order in which they are: retries first, then by index.

use std::ops::Range;

use windrow_common::api::jobs::JobStatus;

use super::indices::Indices;
use super::{Child, Children, Readiness, len};

impl Children {
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
        let backing_off =
            u32::try_from(self.rare.backing_off.len()).expect("fewer than the children");
        self.count(JobStatus::Runnable) - backing_off
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

    /// Whether this child may be leased now; if so, how many are leased before it.
    pub fn ready_before(&self, child: u32) -> Option<u32> {
        let below = |ranges: &Indices| -> u32 {
            let below = ranges.iter().take_while(|range| range.start < child);
            below.map(|range| range.end.min(child) - range.start).sum()
        };
        if self.retry.contains(child) {
            return Some(below(&self.retry));
        }
        let retries: u32 = self.retry.iter().map(len).sum();
        self.runnable.contains(child).then(|| retries + below(&self.runnable))
    }

    fn next_attempt(&self, child: u32) -> u32 {
        match &*self.get(child) {
            Child::Retrying { attempt, .. } => *attempt,
            Child::Untried
            | Child::Starting { .. }
            | Child::Running { .. }
            | Child::Ended { .. }
            | Child::Settled { .. } => 1,
        }
    }
}
