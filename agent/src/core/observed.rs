//! What executors report of attempts: that they started, and how they ended.

use std::time::Duration;

use windrow_common::time::{Moment, Timestamp};
use windrow_common::wire::agent::{ContainerEnd, EndCause, Ended};

use super::attempts::Ending;
use super::held::Record;
use super::outbox::Item;
use super::{Core, OUT_OF_MEMORY, Observed};
use crate::executor::{AttemptKey, ExecutorEvent, StopSignal};

/// Longest detail of a report, in characters; what is longer is cut.
const REASON_LENGTH_MAX: usize = 255;

impl Core {
    pub(super) fn on_observed(&mut self, observed: Observed, now: Moment) {
        let log_bytes = observed.log_bytes;
        match observed.event {
            ExecutorEvent::Started { key, at } => self.on_started(key, at, false, now),
            ExecutorEvent::StartFailed { key, at, reason } => {
                let outcome =
                    Outcome { reason: Some(reason), ..Outcome::of(EndCause::StartFailed) };
                self.on_ended(key, at, outcome, log_bytes);
            }
            ExecutorEvent::Exited { key, at, exit_code, out_of_memory, reason, containers } => {
                let cause = if out_of_memory { EndCause::OutOfMemory } else { EndCause::Exited };
                let reason = match out_of_memory {
                    true => Some(OUT_OF_MEMORY.to_owned()),
                    false => reason,
                };
                let exit_code = Some(exit_code);
                let outcome = Outcome { exit_code, reason, containers, ..Outcome::of(cause) };
                self.on_ended(key, at, outcome, log_bytes);
            }
            ExecutorEvent::Lost { key, at, reason } => {
                let outcome = Outcome { reason: Some(reason), ..Outcome::of(EndCause::HostLost) };
                self.on_ended(key, at, outcome, log_bytes);
            }
        }
    }

    /// `before`: it started under an earlier agent, and the wall clock tells how long ago. That one may
    /// have been set since; it is not longer ago than the order to start it.
    pub(super) fn on_started(&mut self, key: AttemptKey, at: Timestamp, before: bool, now: Moment) {
        let ordered_at = self.held.begun(key).and_then(|begun| begun.monotonic);
        let longest = ordered_at.map_or(Duration::MAX, |at| now.monotonic.saturating_sub(at));
        let ago = if before { now.wall.since(at).min(longest) } else { Duration::ZERO };
        let now = now.monotonic;
        let stop_again = self.attempts.change(key, |attempt| {
            attempt.started_at = Some(at);
            attempt.runs_since = Some(now.saturating_sub(ago));
            match attempt.ending {
                _ if attempt.fenced => Some(StopSignal::Kill),
                Some(ending) if ending.kill_at <= now => Some(StopSignal::Kill),
                Some(_) => Some(StopSignal::Terminate),
                None => None,
            }
        });
        // A signal before the start may have met nothing.
        if let Some(Some(signal)) = stop_again {
            self.output.stops.push((key, signal));
        }
        self.outbox.push(Item::Started(key));
    }

    fn on_ended(&mut self, key: AttemptKey, at: Timestamp, outcome: Outcome, log_bytes: u64) {
        self.output.forgets.push(key);
        let begun_at = self.held.begun(key).map(|begun| begun.at);
        let Some(attempt) = self.attempts.remove(key) else { return };
        let (Some(held), Some(begun_at), false) =
            (self.held.leases.get(&key.lease), begun_at, attempt.fenced)
        else {
            return;
        };
        let outcome = match attempt.ending {
            Some(Ending { cause, reason, .. }) => {
                Outcome { cause, reason: reason.map(str::to_owned), ..outcome }
            }
            None => outcome,
        };
        let ended = Ended {
            lease: key.lease,
            job: held.lease.job,
            child: key.child,
            started_at: outcome.ran.then_some(attempt.started_at.unwrap_or(begun_at)),
            ended_at: at,
            exit_code: outcome.exit_code.filter(|_| outcome.cause != EndCause::HostLost),
            cause: outcome.cause,
            reason: outcome.reason.map(|text| text.chars().take(REASON_LENGTH_MAX).collect()),
            log_bytes,
            containers: outcome.containers,
        };
        self.record(Record::Ended(ended));
        self.outbox.push(Item::Ended(key));
    }
}

/// How an attempt ended by itself.
struct Outcome {
    ran: bool,
    exit_code: Option<i32>,
    cause: EndCause,
    reason: Option<String>,
    containers: Vec<ContainerEnd>,
}

impl Outcome {
    fn of(cause: EndCause) -> Self {
        let ran = cause != EndCause::StartFailed;
        Self { ran, exit_code: None, cause, reason: None, containers: Vec::new() }
    }
}
