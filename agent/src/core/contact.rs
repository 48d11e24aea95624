//! Whether a coordinator is reached, and what is done when none is: where its compute environment has
//! it so, the agent then stops its jobs itself, as they are about to be given to others.
//!
//! All by the monotonic clock. Contact counts from when a message was *sent* that was answered: the
//! coordinator has heard it later than that, so its own time for the agent ends later.

use std::collections::VecDeque;
use std::time::Duration;

use tracing::warn;
use windrow_common::time::Moment;
use windrow_common::wire::agent::{EndCause, SelfFence};

use super::held::Record;
use super::{Core, Ending};
use crate::executor::Fence;

/// Heartbeats whose answers are awaited; of older ones an answer means nothing new.
const AWAITED_MAX: usize = 64;
/// Part of the time until jobs are stopped after which contact is written down again. An agent that
/// starts again goes by what is written, so it stops its jobs earlier by at most this.
const WRITE_PARTS: u32 = 8;

/// When the coordinator was last reached.
#[derive(Debug, Default)]
pub(super) struct Contact {
    /// When the last message was sent that was answered.
    last: Option<Duration>,
    /// When the registration under way was sent.
    asked_at: Option<Duration>,
    /// Heartbeats of the session that are not answered: number, and when they were sent.
    awaited: VecDeque<(u64, Duration)>,
    last_number: u64,
    round_trip: Option<Duration>,
}

impl Contact {
    /// As it was written down.
    pub(super) fn restored(last: Option<Duration>) -> Self {
        Self { last, ..Self::default() }
    }

    /// A registration is sent.
    pub(super) fn ask(&mut self, now: Duration) {
        self.asked_at = Some(now);
    }

    /// It was accepted.
    pub(super) fn accepted(&mut self) {
        let last = self.asked_at.take().or(self.last);
        *self = Self { last, ..Self::default() };
    }

    /// A heartbeat is sent: its number, and how long the last answer took.
    pub(super) fn beat(&mut self, now: Duration) -> (u64, Option<Duration>) {
        self.last_number += 1;
        if self.awaited.len() == AWAITED_MAX {
            self.awaited.pop_front();
        }
        self.awaited.push_back((self.last_number, now));
        (self.last_number, self.round_trip)
    }

    /// The heartbeat of this number was answered.
    pub(super) fn heard(&mut self, number: u64, now: Duration) {
        let upto = self.awaited.partition_point(|(awaited, _)| *awaited <= number);
        if let Some((_, sent_at)) = self.awaited.drain(..upto).next_back() {
            self.last = self.last.max(Some(sent_at));
            self.round_trip = Some(now.saturating_sub(sent_at));
        }
    }
}

impl Core {
    /// A heartbeat is sent: its number in the session, and how long the last answer took.
    pub fn beat(&mut self, now: Moment) -> (u64, Option<Duration>) {
        self.contact.beat(now.monotonic)
    }

    pub(super) fn on_heard(&mut self, session: u64, term: u64, number: u64, now: Moment) {
        let is_current = self.session.as_ref().is_some_and(|s| s.session == session);
        if is_current && term >= self.held.term {
            self.contact.heard(number, now.monotonic);
            self.write_contact_down();
        }
    }

    /// When jobs are stopped unless a coordinator is reached.
    pub(super) fn fence_deadline(&self) -> Option<Duration> {
        let fence = self.held.self_fence?;
        if self.attempts.is_empty() && self.queue.is_empty() {
            return None;
        }
        Some(self.contact.last? + Duration::from_millis(fence.stop_after_millis))
            .filter(|_| !self.is_out_of_reach)
    }

    /// Where no two attempts may run at once: when all here must be over even if this agent does not see
    /// to it.
    pub fn must_end_by(&self) -> Option<Fence> {
        if windrow_common::sabotage::is("keeper-not-told") {
            return None;
        }
        let SelfFence { stop_after_millis, kill_after_millis } = self.held.self_fence?;
        let last = self.contact.last?;
        let after = |millis| last + Duration::from_millis(millis);
        Some(Fence { stop_at: after(stop_after_millis), kill_at: after(kill_after_millis?) })
    }

    /// Stops everything once no coordinator was reached for too long. Called before anything else is
    /// looked at, so that an agent that stood still starts nothing on the strength of old news.
    pub(super) fn check_contact(&mut self, now: Moment) {
        let silence = self.contact.last.map(|last| now.monotonic.saturating_sub(last));
        let (Some(fence), Some(silence)) = (self.held.self_fence, silence) else {
            self.is_out_of_reach = false;
            return;
        };
        let was = self.is_out_of_reach;
        self.is_out_of_reach = silence >= Duration::from_millis(fence.stop_after_millis);
        if !self.is_out_of_reach {
            return;
        }
        if !was {
            if !self.attempts.is_empty() {
                let seconds = silence.as_secs();
                warn!(seconds, "no coordinator was reached for too long: running jobs are stopped");
            }
            self.return_waiting(None);
            self.stop_out_of_reach(fence, silence, now);
        }
        // Also one that was accepted by an answer as old as that.
        if !was || self.session.is_some() {
            self.lose_session();
        }
    }

    fn stop_out_of_reach(&mut self, fence: SelfFence, silence: Duration, now: Moment) {
        let left = fence.kill_after_millis.map(Duration::from_millis);
        let left = left.map(|kill_after| kill_after.saturating_sub(silence));
        let keys: Vec<_> = self.attempts.iter().map(|(key, _)| *key).collect();
        for key in keys {
            let own = self.attempts.get(key).map_or(Duration::ZERO, |one| one.stop_timeout);
            let grace = left.map(|left| left.min(own));
            let reason = Some("no coordinator could be reached");
            self.end(key, EndCause::HostLost, reason, grace, now);
            // What is being stopped already may have more time than is left.
            if let Some(left) = left {
                self.attempts.change(key, |attempt| {
                    if let Some(Ending { kill_at, .. }) = &mut attempt.ending {
                        *kill_at = (*kill_at).min(now.monotonic + left);
                    }
                });
            }
        }
    }

    /// What a later start of the agent goes by.
    pub(super) fn write_contact_down(&mut self) {
        let (Some(last), Some(fence)) = (self.contact.last, self.held.self_fence) else { return };
        let every = Duration::from_millis(fence.stop_after_millis) / WRITE_PARTS;
        if self.held.contact.is_none_or(|written| last >= written + every) {
            self.record(Record::Contact { monotonic: last, self_fence: Some(fence) });
        }
    }

    /// What was agreed with this registration.
    pub(super) fn agree(&mut self, self_fence: Option<SelfFence>) {
        self.contact.accepted();
        let monotonic = self.contact.last.unwrap_or_default();
        if self.held.self_fence != self_fence || self_fence.is_some() {
            self.record(Record::Contact { monotonic, self_fence });
        }
    }
}
