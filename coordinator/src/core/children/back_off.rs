//! Children that wait before they are tried again.

use std::ops::Range;

use rangemap::RangeSet;
use windrow_common::time::Timestamp;

use super::{Child, Children, Ranges};

impl Children {
    /// When the first of the children that back off may run again.
    pub fn next_back_off_end(&self) -> Option<Timestamp> {
        self.rare.backing_off.first().map(|(at, _)| *at)
    }

    /// The child whose back-off ends first.
    pub fn first_backing_off(&self) -> Option<u32> {
        self.rare.backing_off.first().map(|(_, child)| *child)
    }

    /// Until when this child backs off.
    pub fn not_before(&self, child: u32) -> Option<Timestamp> {
        self.get(child).not_before()
    }

    /// Children whose back-off is over at `now`, at most `limit` of them.
    pub fn back_off_over(&self, now: Timestamp, limit: usize) -> Ranges {
        let over = self.rare.backing_off.iter().take_while(|(at, _)| *at <= now).take(limit);
        over.map(|(_, child)| *child..*child + 1).collect::<RangeSet<u32>>().into_iter().collect()
    }

    /// The part of `within` that backs off.
    pub(super) fn backing_off_in(&self, within: &Range<u32>) -> Vec<u32> {
        let children = self.rare.backing_off.iter().map(|(_, child)| *child);
        children.filter(|child| within.contains(child)).collect()
    }

    /// These need not wait any longer.
    pub(in crate::core) fn end_back_off(&mut self, ranges: &[Range<u32>]) {
        for child in ranges.iter().cloned().flatten() {
            if let Child::Retrying { attempt, charged, not_before: Some(at) } = *self.get(child) {
                self.rare.cut(|rare| rare.backing_off.remove(&(at, child)));
                self.put(child, Child::Retrying { attempt, charged, not_before: None });
                self.retry.insert(child..child + 1);
            }
        }
    }
}
