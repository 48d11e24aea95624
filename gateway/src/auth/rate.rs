//! How often each principal may call: a token bucket, kept as the one time at which it will be full again.

use std::collections::BTreeMap;
use std::time::Duration;

/// Principals whose buckets are kept; full buckets need none.
const BUCKETS_MAX: usize = 10_000;

/// The limits and where each principal stands.
#[derive(Debug)]
pub(super) struct Rates {
    /// Time in which one call comes back.
    interval: Duration,
    /// How far a bucket may be behind.
    depth: Duration,
    full_at: BTreeMap<String, Duration>,
}

impl Rates {
    /// So many calls a second, and so many at once; a rate of 0 means no limit.
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1).checked_div(per_second).unwrap_or_default();
        Self { interval, depth: interval * burst.max(1), full_at: BTreeMap::new() }
    }

    /// Takes one call of this principal's, or says how long to wait. `now` is monotonic.
    pub(super) fn take(&mut self, who: &str, now: Duration) -> Result<(), Duration> {
        if self.full_at.len() >= BUCKETS_MAX {
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        let full_at = self.full_at.get(who).copied().unwrap_or_default().max(now) + self.interval;
        match full_at.checked_sub(now + self.depth) {
            Some(wait) if !wait.is_zero() => return Err(wait),
            Some(_) | None => {}
        }
        match self.full_at.get_mut(who) {
            Some(known) => *known = full_at,
            None => drop(self.full_at.insert(who.to_owned(), full_at)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let (mut rates, start) = (Rates::new(10, 3), Duration::from_secs(100));
        for _ in 0..3 {
            assert_eq!(rates.take("a", start), Ok(()));
        }
        assert_eq!(rates.take("a", start), Err(Duration::from_millis(100)));
        assert_eq!(rates.take("b", start), Ok(()), "each has its own");
        let later = start + Duration::from_millis(100);
        assert_eq!(rates.take("a", later), Ok(()));
        assert!(rates.take("a", later).is_err());
        let much_later = start + Duration::from_secs(60);
        assert_eq!((0..4).filter(|_| rates.take("a", much_later).is_ok()).count(), 3);
    }

    #[test]
    fn a_rate_of_zero_is_no_limit() {
        let mut rates = Rates::new(0, 0);
        assert!((0..1000).all(|_| rates.take("a", Duration::ZERO).is_ok()));
    }
}
