//! [`Marks`]: which bytes of the stream are not to be delivered, as disjoint ranges of stream offsets.
//!
//! A tree, not a list: several readings of one frame report in their own order, and a frame may hold as many runs as an
//! upstream that knows the key cares to write.

use std::collections::BTreeMap;

use super::variant::Variants;

#[derive(Default)]
pub(super) struct Marks {
    /// Start to end.
    ranges: BTreeMap<u64, u64>,
    /// In which spellings they were found.
    pub(super) variants: Variants,
}

impl Marks {
    /// Adds `start..end`, merging what overlaps or touches.
    pub(super) fn add(&mut self, mut start: u64, mut end: u64) {
        if start >= end {
            return;
        }
        if let Some((&before, &before_end)) = self.ranges.range(..=start).next_back()
            && before_end >= start
        {
            if before_end >= end {
                return;
            }
            start = before;
        }
        while let Some((&after, &after_end)) = self.ranges.range(start + 1..=end).next() {
            self.ranges.remove(&after);
            end = end.max(after_end);
        }
        self.ranges.insert(start, end);
    }

    /// The first range that ends after `offset`; ranges before it are forgotten.
    pub(super) fn next_after(&mut self, offset: u64) -> Option<(u64, u64)> {
        while let Some(first) = self.ranges.first_entry() {
            if *first.get() > offset {
                return Some((*first.key(), *first.get()));
            }
            first.remove();
        }
        None
    }
}
