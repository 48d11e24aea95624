//! Signatures of changing calls that were accepted: each is good for a moment. A client that tries again signs
//! again, so the same signature later is somebody else's.
//!
//! For a moment, and not for one call only: signatures hold whole seconds and botocore signs nothing else that
//! tells two equal calls apart, such as two submissions of one job in one second.

use std::collections::{BTreeMap, HashMap};

use windrow_common::time::Timestamp;

/// Most signatures remembered: ten minutes of about 3,000 calls a second, and 110 MiB.
const REMEMBERED_MAX: usize = 2_000_000;
/// What is remembered is forgotten in portions of this time, in milliseconds.
const PORTION: u64 = 10_000;
/// How long after its first use a signature is still good, in milliseconds: the second that it is of, and as
/// much for the way.
const GRACE: u64 = 2_000;

/// Whether a signature may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Fresh,
    Again,
    /// It cannot be remembered, so it must not be used now.
    Full,
}

/// The signatures with their first use, by the time until which they would be accepted.
#[derive(Debug, Default)]
pub(super) struct Replays {
    until: BTreeMap<u64, HashMap<u128, u64>>,
    count: usize,
}

impl Replays {
    /// Remembers a signature that is valid until then.
    pub(super) fn note(&mut self, signature: [u8; 32], until: Timestamp, now: Timestamp) -> Use {
        while let Some(oldest) = self.until.first_entry()
            && (oldest.key() + 1) * PORTION <= now.0
        {
            self.count -= oldest.remove().len();
        }
        // Half of a signature is as good as random, and enough to tell it from others.
        let (half, _) = signature.split_first_chunk::<16>().expect("32 bytes");
        let number = u128::from_be_bytes(*half);
        let portion = until.0 / PORTION;
        if let Some(first) = self.until.get(&portion).and_then(|known| known.get(&number)) {
            return if now.0 <= first + GRACE { Use::Fresh } else { Use::Again };
        }
        if self.count >= REMEMBERED_MAX {
            return Use::Full;
        }
        self.until.entry(portion).or_default().insert(number, now.0);
        self.count += 1;
        Use::Fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_used_for_a_moment_only_for_as_long_as_it_is_valid() {
        let (mut replays, until) = (Replays::default(), Timestamp(605_000));
        assert_eq!(replays.note([1; 32], until, Timestamp(5_000)), Use::Fresh);
        assert_eq!(replays.note([1; 32], until, Timestamp(7_000)), Use::Fresh, "an equal call");
        assert_eq!(replays.note([1; 32], until, Timestamp(7_001)), Use::Again);
        assert_eq!(replays.note([2; 32], until, Timestamp(7_001)), Use::Fresh);
        assert_eq!(replays.note([1; 32], until, Timestamp(605_000)), Use::Again);
        assert_eq!(replays.count, 2);
        replays.note([3; 32], Timestamp(1_300_000), Timestamp(700_000));
        assert_eq!((replays.count, replays.until.len()), (1, 1), "what is over is forgotten");
    }

    #[test]
    fn what_cannot_be_remembered_is_not_accepted() {
        let mut replays = Replays { count: REMEMBERED_MAX, ..Replays::default() };
        assert_eq!(replays.note([1; 32], Timestamp(60_000), Timestamp(0)), Use::Full);
    }
}
