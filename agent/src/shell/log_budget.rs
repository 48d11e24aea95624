//! How much of an attempt's output is shipped. Pure: told sizes and times.
//!
//! New output is judged when it is seen, not when it is shipped, so that a slow NATS costs nothing and
//! a flooding job leaves at most its size limit on the disk.

use std::collections::VecDeque;

use windrow_common::time::Timestamp;

/// Limits for each attempt, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sustained rate a second.
    pub rate: u64,
    /// What may come at once.
    pub burst: u64,
    /// All together.
    pub size: u64,
}

/// A piece of output to ship next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Offset of its first byte.
    pub from: u64,
    /// Offset past its last byte; the same as `from` when only the loss before it is told.
    pub to: u64,
    /// Bytes left out just before it.
    pub dropped: u64,
}

/// The budget of one attempt.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    tokens: u64,
    refilled_at: Timestamp,
    /// Bytes judged.
    seen: u64,
    /// Bytes accepted so far.
    accepted: u64,
    /// Accepted and not shipped, rising, as (from, to).
    ranges: VecDeque<(u64, u64)>,
    /// Shipped or told as dropped up to here.
    shipped: u64,
}

impl Budget {
    /// For an attempt that starts now.
    pub fn new(limits: Limits, now: Timestamp) -> Self {
        Self::with_tokens(limits, 0, limits.burst, now)
    }

    /// For output found at a restart, shipped up to `shipped`. How fast the rest came cannot be known,
    /// so the first look has the whole size.
    pub fn found(limits: Limits, shipped: u64, now: Timestamp) -> Self {
        Self::with_tokens(limits, shipped, limits.size, now)
    }

    fn with_tokens(limits: Limits, shipped: u64, tokens: u64, now: Timestamp) -> Self {
        let ranges = VecDeque::new();
        Self { limits, tokens, refilled_at: now, seen: shipped, accepted: shipped, ranges, shipped }
    }

    /// The output is now `length` long.
    pub fn observe(&mut self, length: u64, now: Timestamp) {
        let elapsed = u64::try_from(now.since(self.refilled_at).as_millis()).unwrap_or(u64::MAX);
        let refill = self.limits.rate.saturating_mul(elapsed) / 1000;
        if refill > 0 {
            let full = self.limits.burst.max(self.tokens);
            self.tokens = self.tokens.saturating_add(refill).min(full);
            self.refilled_at = now;
        }
        let new = length.saturating_sub(self.seen);
        let left = self.limits.size.saturating_sub(self.accepted);
        let accepted = new.min(self.tokens).min(left);
        if accepted > 0 {
            let (from, to) = (self.seen, self.seen + accepted);
            match self.ranges.back_mut() {
                Some(last) if last.1 == from => last.1 = to,
                Some(_) | None => self.ranges.push_back((from, to)),
            }
        }
        self.tokens -= accepted;
        self.accepted += accepted;
        self.seen += new;
    }

    /// What to ship next, at most `bytes_max` long. At the end of the attempt (`is_over`) also an empty
    /// piece that tells what was left out last.
    pub fn next(&self, bytes_max: u64, is_over: bool) -> Option<Piece> {
        match self.ranges.front() {
            Some(&(from, to)) => {
                let to = to.min(from.saturating_add(bytes_max));
                Some(Piece { from, to, dropped: from - self.shipped })
            }
            None if is_over && self.shipped < self.seen => {
                let dropped = self.seen - self.shipped;
                Some(Piece { from: self.seen, to: self.seen, dropped })
            }
            None => None,
        }
    }

    /// Everything up to `to` is shipped or told.
    pub fn shipped(&mut self, to: u64) {
        self.shipped = self.shipped.max(to);
        while let Some(front) = self.ranges.front_mut() {
            if front.1 > to {
                front.0 = front.0.max(to);
                break;
            }
            self.ranges.pop_front();
        }
    }

    /// Nothing before this offset is needed on disk any more.
    pub fn needless_before(&self) -> u64 {
        self.ranges.front().map_or(self.seen, |&(from, _)| from)
    }

    /// Whether the accepted output reaches the end of what was seen.
    pub fn is_end(&self, to: u64) -> bool {
        to == self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { rate: 100, burst: 1000, size: 5000 };

    fn ship_all(budget: &mut Budget, is_over: bool) -> Vec<(u64, u64, u64)> {
        let mut pieces = Vec::new();
        while let Some(piece) = budget.next(400, is_over) {
            pieces.push((piece.from, piece.to, piece.dropped));
            budget.shipped(piece.to);
        }
        pieces
    }

    #[test]
    fn quiet_output_is_shipped_whole_and_in_order() {
        let mut budget = Budget::new(LIMITS, Timestamp(0));
        assert_eq!(budget.next(400, true), None);
        budget.observe(300, Timestamp(10));
        budget.observe(900, Timestamp(20));
        assert_eq!(ship_all(&mut budget, true), [(0, 400, 0), (400, 800, 0), (800, 900, 0)]);
        assert_eq!(budget.needless_before(), 900);
    }

    #[test]
    fn a_flood_is_cut_and_the_loss_is_told() {
        let mut budget = Budget::new(LIMITS, Timestamp(0));
        budget.observe(3000, Timestamp(0));
        assert_eq!(budget.needless_before(), 0);
        assert_eq!(ship_all(&mut budget, false), [(0, 400, 0), (400, 800, 0), (800, 1000, 0)]);
        assert_eq!(budget.needless_before(), 3000);
        // Two seconds later there is room for 200 more.
        budget.observe(3150, Timestamp(2000));
        assert_eq!(ship_all(&mut budget, false), [(3000, 3150, 2000)]);
        budget.observe(4000, Timestamp(2000));
        assert_eq!(ship_all(&mut budget, true), [(3150, 3200, 0), (4000, 4000, 800)]);
    }

    #[test]
    fn the_size_limit_holds_over_time_and_restarts() {
        let mut budget = Budget::found(LIMITS, 4900, Timestamp(0));
        budget.observe(9000, Timestamp(0));
        assert_eq!(ship_all(&mut budget, true), [(4900, 5000, 0), (9000, 9000, 4000)]);
        budget.observe(9001, Timestamp(1_000_000));
        assert_eq!(ship_all(&mut budget, true), [(9001, 9001, 1)]);
    }
}
