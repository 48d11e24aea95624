//! Sets of children's indices.

use std::ops::Range;

use rangemap::RangeSet;
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A set of indices. As long as it is one range, which it is in most jobs, it takes no memory of its own. It is
/// written as a `RangeSet`.
#[derive(Clone, Debug, Default)]
pub(super) struct Indices {
    only: Range<u32>,
    /// Instead of that one, when they are several.
    several: Option<Box<RangeSet<u32>>>,
}

impl Indices {
    /// The ranges, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Range<u32>> {
        let only = Some(&self.only).filter(|only| self.several.is_none() && !only.is_empty());
        only.into_iter().chain(self.several.iter().flat_map(|several| several.iter()))
    }

    pub(super) fn first(&self) -> Option<&Range<u32>> {
        self.iter().next()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first().is_none()
    }

    pub(super) fn contains(&self, index: u32) -> bool {
        match &self.several {
            Some(several) => several.contains(&index),
            None => self.only.contains(&index),
        }
    }

    /// Ranges that have an index in common with this one.
    pub(super) fn overlapping(&self, with: &Range<u32>) -> impl Iterator<Item = &Range<u32>> {
        let meets = |only: &&Range<u32>| only.start < with.end && with.start < only.end;
        let only = Some(&self.only).filter(|_| self.several.is_none()).filter(meets);
        let several = self.several.iter().flat_map(|several| several.overlapping(with.clone()));
        only.into_iter().chain(several)
    }

    /// Adds a range that is not empty.
    pub(super) fn insert(&mut self, range: Range<u32>) {
        if let Some(several) = &mut self.several {
            several.insert(range);
            self.settle();
        } else if self.only.is_empty() {
            self.only = range;
        } else if range.start <= self.only.end && self.only.start <= range.end {
            self.only = self.only.start.min(range.start)..self.only.end.max(range.end);
        } else {
            self.several = Some(Box::new([self.only.clone(), range].into_iter().collect()));
        }
    }

    /// Takes a range out that is not empty.
    pub(super) fn remove(&mut self, range: Range<u32>) {
        if let Some(several) = &mut self.several {
            several.remove(range);
            return self.settle();
        }
        let before = self.only.start..self.only.end.min(range.start);
        let behind = self.only.start.max(range.end)..self.only.end;
        match (before.is_empty(), behind.is_empty()) {
            (false, false) => {
                self.several = Some(Box::new([before, behind].into_iter().collect()));
            }
            (false, true) => self.only = before,
            (true, false) => self.only = behind,
            (true, true) => self.only = 0..0,
        }
    }

    fn settle(&mut self) {
        let Some(several) = &self.several else { return };
        let mut ranges = several.iter();
        let (first, second) = (ranges.next(), ranges.next());
        if second.is_none() {
            self.only = first.cloned().unwrap_or_default();
            self.several = None;
        }
    }
}

impl PartialEq for Indices {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Indices {}

impl Serialize for Indices {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut ranges = serializer.serialize_seq(Some(self.iter().count()))?;
        for range in self.iter() {
            ranges.serialize_element(&(range.start, range.end))?;
        }
        ranges.end()
    }
}

impl<'de> Deserialize<'de> for Indices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut indices = Self::default();
        for range in RangeSet::deserialize(deserializer)? {
            indices.insert(range);
        }
        Ok(indices)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// It is what a `RangeSet` is, and one range is never kept as several.
        #[test]
        fn it_is_a_range_set(
            steps in prop::collection::vec((any::<bool>(), 0u32..20, 1u32..6), 0..30),
            (start, len) in (0u32..22, 1u32..6),
        ) {
            let (mut indices, mut set) = (Indices::default(), RangeSet::new());
            for (adds, start, len) in steps {
                let range = start..start + len;
                if adds {
                    indices.insert(range.clone());
                    set.insert(range);
                } else {
                    indices.remove(range.clone());
                    set.remove(range);
                }
            }
            prop_assert!(indices.iter().eq(set.iter()));
            prop_assert_eq!(indices.several.is_some(), set.iter().count() > 1);
            prop_assert_eq!((indices.first(), indices.is_empty()), (set.first(), set.is_empty()));
            prop_assert_eq!(indices.contains(start), set.contains(&start));
            let range = start..start + len;
            prop_assert!(indices.overlapping(&range).eq(set.overlapping(&range)));
            let bytes = rmp_serde::to_vec(&indices).unwrap();
            prop_assert_eq!(&bytes, &rmp_serde::to_vec(&set).unwrap());
            prop_assert_eq!(rmp_serde::from_slice::<Indices>(&bytes).unwrap(), indices);
        }
    }
}
