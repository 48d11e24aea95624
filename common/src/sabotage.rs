//! Deliberate bugs, to show that the simulation finds such bugs. They exist only in builds with the
//! feature `sabotage`, which nothing but the simulation's own build turns on; without it [`is`] is
//! `false` at compile time and the code behind it is gone.

/// Every deliberate bug, by the name that switches it on.
pub const BUGS: &[&str] = &[
    "agent-overcommits",
    "answered-before-stored",
    "append-not-fenced",
    "capacity-released-twice",
    "confirmed-too-early",
    "dependents-never-released",
    "fenced-attempt-goes-on",
    "fencing-off-by-one",
    "keeper-not-told",
    "lease-extended-after-loss",
    "lost-agent-keeps-leases",
    "repeated-lease-taken",
    "reports-taken-twice",
    "retry-lost",
    "session-not-checked",
    "silence-ignored",
    "snapshot-lacks-keys",
    "standby-skips-a-message",
    "start-not-written",
    "stop-forgotten-on-registration",
    "submit-dedup-missing",
    "work-lost-at-restart",
];

#[cfg(feature = "sabotage")]
mod chosen {
    use std::cell::Cell;

    thread_local! {
        static CHOSEN: Cell<Option<&'static str>> = const { Cell::new(None) };
    }

    /// Switches one bug on in this thread, or all of them off.
    pub fn choose(bug: Option<&'static str>) {
        CHOSEN.set(bug);
    }

    /// Whether this bug is on in this thread.
    pub fn is(bug: &str) -> bool {
        debug_assert!(super::BUGS.contains(&bug), "`{bug}` is not in the list");
        CHOSEN.get() == Some(bug)
    }
}

#[cfg(feature = "sabotage")]
pub use chosen::{choose, is};

/// Whether this bug is on: never.
#[cfg(not(feature = "sabotage"))]
#[inline(always)]
pub const fn is(_bug: &str) -> bool {
    false
}
