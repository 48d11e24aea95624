//! The agent's clocks. Nothing else in the agent's shell reads them.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use windrow_common::time::{Moment, wall_clock};

/// This instant by both clocks. The monotonic one counts from the start of the host, also while the host
/// sleeps, and is the same for all processes on it: an agent that starts again can go by it.
pub fn moment() -> Moment {
    Moment { wall: wall_clock(), monotonic: since_boot() }
}

/// How long this host runs, suspended or not.
pub fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}
