//! The keeper's watchdog: where no two attempts may run at once, it ends what runs when the agent has told it
//! nothing new for too long, because that is dead or stands still.

use std::time::Duration;

use windrow_agent::executor::{AttemptKey, ExecutorEvent, Fence, StopSignal};
use windrow_common::time::Timestamp;

use super::{Host, Run};
use crate::net::{Net, Timer};

/// An agent that lives asks its attempts itself to end; this much later the keeper asks them.
const AGENT_FIRST: Duration = Duration::from_secs(1);

impl Host {
    /// Goes by this from now on.
    pub fn keep(&mut self, net: &mut Net, fence: Option<Fence>) {
        self.fence = fence;
        if !self.is_watching {
            self.watch_later(net);
        }
    }

    fn watch_later(&mut self, net: &mut Net) {
        let Some(fence) = self.fence else { return };
        let now = Duration::from_millis(net.now);
        let due = [fence.stop_at + AGENT_FIRST, fence.kill_at].into_iter().find(|at| *at > now);
        let Some(at) = due else { return };
        self.is_watching = true;
        let delay = crate::coordinator::millis(at - now);
        net.timer(self.node, self.life, delay, Timer::Watchdog);
    }

    /// Ends what must be over.
    pub(super) fn watch(&mut self, net: &mut Net) {
        self.is_watching = false;
        let now = Duration::from_millis(net.now);
        let signal = match self.fence {
            Some(fence) if now >= fence.kill_at => Some(StopSignal::Kill),
            Some(fence) if now >= fence.stop_at + AGENT_FIRST => Some(StopSignal::Terminate),
            Some(_) | None => None,
        };
        if let Some(signal) = signal {
            let is_open = |run: &&mut Run| run.ended.is_none();
            let open = self.runs.iter_mut().map(|(key, run)| (*key, run));
            let open = open.filter(|(_, run)| is_open(run));
            let due = open.filter(|(_, run)| signal == StopSignal::Kill || !run.is_asked);
            let due: Vec<AttemptKey> = due
                .map(|(key, run)| {
                    run.is_fenced = true;
                    key
                })
                .collect();
            for key in due {
                net.inject("keeper ends an attempt");
                self.stop(net, key, signal);
            }
        }
        self.watch_later(net);
    }

    /// Whether nothing may start any more.
    pub(super) fn is_too_late(&self, net: &Net) -> bool {
        self.fence.is_some_and(|fence| fence.kill_at <= Duration::from_millis(net.now))
    }

    /// An attempt that never ran.
    pub(super) fn refuse(
        &mut self,
        net: &mut Net,
        key: AttemptKey,
        run: Run,
        now: Timestamp,
    ) -> ExecutorEvent {
        net.inject("keeper refuses a start");
        let event = fenced(key, now);
        self.runs.insert(key, Run { ended: Some(event.clone()), ..run });
        event
    }
}

/// The keeper has ended it.
pub(super) fn fenced(key: AttemptKey, at: Timestamp) -> ExecutorEvent {
    let reason = "no coordinator was reached for too long";
    ExecutorEvent::Lost { key, at, reason: reason.to_owned() }
}
