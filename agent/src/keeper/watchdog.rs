//! Ends what must be over by a time of which the agent tells ever anew while it reaches a coordinator. An
//! agent that is dead, or stands still, tells nothing; then the time comes.

use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::table::Table;
use crate::executor::docker::{Containers, end_all};
use crate::executor::{Fence, StopSignal};
use crate::shell::clock::since_boot;

/// An agent that lives asks its attempts itself to end; this much later they are asked here.
const AGENT_FIRST: Duration = Duration::from_secs(1);

/// The alarm. Its clock goes on while the host is suspended.
pub(super) struct Watchdog {
    timer: TimerFd,
}

impl Watchdog {
    pub(super) fn new() -> nix::Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_CLOEXEC)?;
        Ok(Self { timer })
    }

    /// Goes by this from now on.
    pub(super) fn set(&self, table: &Table, fence: Option<Fence>, containers: Option<Containers>) {
        let mut state = table.lock();
        (state.fence, state.containers) = (fence, containers);
        state.is_guarding = fence.is_some();
        match fence {
            Some(fence) => self.wake_at(fence.stop_at + AGENT_FIRST),
            None => self.timer.unset().expect("the timer is valid"),
        }
        table.upkeep.notify_one();
    }

    fn wake_at(&self, at: Duration) {
        // Zero would be never.
        let at = TimeSpec::from_duration(at.max(Duration::from_nanos(1)));
        let set = self.timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME);
        set.expect("the timer is valid, and so is the time");
    }

    /// Ends what must be over, whenever that is so.
    pub(super) fn run(&self, table: &Table) {
        loop {
            if let Err(e) = self.timer.wait() {
                eprintln!("keeper: cannot wait for the timer: {e}");
                return;
            }
            self.look(table);
        }
    }

    fn look(&self, table: &Table) {
        let mut state = table.lock();
        let Some(fence) = state.fence else { return };
        let now = since_boot();
        let signal = match now >= fence.kill_at {
            true => StopSignal::Kill,
            false if now >= fence.stop_at + AGENT_FIRST => StopSignal::Terminate,
            false => return,
        };
        let open = state.attempts.values_mut();
        for attempt in open.filter(|one| signal == StopSignal::Kill || !one.is_asked) {
            attempt.is_fenced = true;
            attempt.signal(signal);
        }
        if signal == StopSignal::Terminate {
            return self.wake_at(fence.kill_at);
        }
        eprintln!("keeper: no coordinator was reached for too long; what runs was killed");
        let containers = state.containers.clone();
        drop(state);
        let is_current = || table.lock().fence == Some(fence);
        if let Some(containers) = containers {
            end_all(&containers, is_current);
        }
        let mut state = table.lock();
        if state.fence == Some(fence) {
            state.is_guarding = false;
            table.upkeep.notify_one();
        }
    }
}
