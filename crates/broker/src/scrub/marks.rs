//! [`Marks`]: which bytes of the stream are not to be delivered, as sorted, disjoint ranges of stream offsets.

use std::collections::VecDeque;

#[derive(Default)]
pub(super) struct Marks {
    ranges: VecDeque<(u64, u64)>,
}

impl Marks {
    /// Adds `start..end`, merging what overlaps or touches. Lanes report roughly in order, so the search starts at the end.
    pub(super) fn add(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        // The ranges that touch the new one are `first..last`.
        let mut last = self.ranges.len();
        while last > 0 && self.ranges[last - 1].0 > end {
            last -= 1;
        }
        let mut first = last;
        let (mut start, mut end) = (start, end);
        while first > 0 && self.ranges[first - 1].1 >= start {
            first -= 1;
            start = start.min(self.ranges[first].0);
            end = end.max(self.ranges[first].1);
        }
        if last - first == 1 {
            self.ranges[first] = (start, end);
        } else {
            self.ranges.drain(first..last);
            self.ranges.insert(first, (start, end));
        }
    }

    /// The first range that ends after `offset`; ranges before it are forgotten.
    pub(super) fn next_after(&mut self, offset: u64) -> Option<(u64, u64)> {
        while self.ranges.front().is_some_and(|range| range.1 <= offset) {
            self.ranges.pop_front();
        }
        self.ranges.front().copied()
    }
}
