//! Sets of child indices as ranges, so that a lease of ten thousand children costs as much as one.

/// Child indices in rising order, without overlap, as (first, count).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    /// `count` indices from `first` on.
    pub fn new(first: u32, count: u32) -> Self {
        let mut ranges = Self::default();
        ranges.push(first, count);
        ranges
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many indices are in it.
    pub fn count(&self) -> u32 {
        self.0.iter().map(|&(_, count)| count).sum()
    }

    /// The ranges, as messages carry them.
    pub fn to_vec(&self) -> Vec<(u32, u32)> {
        self.0.clone()
    }

    /// Every index.
    pub fn indices(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().flat_map(|&(first, count)| first..first.saturating_add(count))
    }

    /// The lowest `count` indices, or all when there are fewer. They stay in.
    pub fn lowest(&self, mut count: u32) -> Self {
        let mut lowest = Self::default();
        for &(first, length) in &self.0 {
            let taken = length.min(count);
            lowest.push(first, taken);
            count -= taken;
            if count == 0 {
                break;
            }
        }
        lowest
    }

    /// Puts one index in.
    pub fn insert(&mut self, index: u32) {
        self.insert_all(&[(index, 1)]);
    }

    /// Puts ranges in; they may overlap what is there.
    pub fn insert_all(&mut self, ranges: &[(u32, u32)]) {
        let mut all = std::mem::take(&mut self.0);
        all.extend_from_slice(ranges);
        all.sort_unstable();
        for (first, count) in all {
            self.push(first, count);
        }
    }

    /// Takes ranges out and gives back those indices that were in.
    pub fn remove(&mut self, ranges: &[(u32, u32)]) -> Self {
        let mut removed = Self::default();
        for &(first, count) in ranges {
            removed.insert_all(&self.remove_one(first, first.saturating_add(count)));
        }
        removed
    }

    /// Takes out what lies in `from..to`.
    fn remove_one(&mut self, from: u32, to: u32) -> Vec<(u32, u32)> {
        let mut removed = Vec::new();
        let begin = self.0.partition_point(|&(first, count)| first.saturating_add(count) <= from);
        let end = self.0.partition_point(|&(first, _)| first < to);
        if begin >= end {
            return removed;
        }
        let mut kept = Vec::new();
        for &(first, count) in &self.0[begin..end] {
            let last = first.saturating_add(count);
            if first < from {
                kept.push((first, from - first));
            }
            removed.push((first.max(from), last.min(to) - first.max(from)));
            if to < last {
                kept.push((to, last - to));
            }
        }
        self.0.splice(begin..end, kept);
        removed
    }

    /// Appends a range that begins at or after the last one's beginning.
    fn push(&mut self, first: u32, count: u32) {
        if count == 0 {
            return;
        }
        if let Some((last_first, last_count)) = self.0.last_mut()
            && first <= last_first.saturating_add(*last_count)
        {
            let end = first.saturating_add(count).max(last_first.saturating_add(*last_count));
            *last_count = end - *last_first;
        } else {
            self.0.push((first, count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_once() {
        let mut ranges = Ranges::new(10, 10);
        assert_eq!(ranges.remove(&[(12, 2), (12, 3)]).to_vec(), [(12, 3)]);
        assert_eq!(ranges.to_vec(), [(10, 2), (15, 5)]);
        assert_eq!(ranges.remove(&[(0, 100)]).to_vec(), [(10, 2), (15, 5)]);
        assert!(ranges.is_empty());
        assert!(ranges.remove(&[(0, 100)]).is_empty());
    }

    #[test]
    fn neighbours_and_overlaps_join() {
        let mut ranges = Ranges::new(5, 2);
        ranges.insert(7);
        ranges.insert(4);
        ranges.insert_all(&[(0, 2), (6, 4)]);
        assert_eq!(ranges.to_vec(), [(0, 2), (4, 6)]);
        assert_eq!(ranges.count(), 8);
        assert_eq!(ranges.lowest(3).to_vec(), [(0, 2), (4, 1)]);
        assert_eq!(ranges.lowest(99), ranges);
        assert_eq!(ranges.indices().last(), Some(9));
    }
}
