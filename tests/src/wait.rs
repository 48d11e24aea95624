//! Waiting on a condition.

use std::time::{Duration, Instant};

/// Calls `probe` until it gives a value.
///
/// # Panics
/// After `seconds` without one, naming `what` was waited for.
pub fn wait_until<T>(what: &str, seconds: u64, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(
            start.elapsed() < Duration::from_secs(seconds),
            "waited {seconds} s in vain for: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
