//! Agents that cannot be heard: what was agreed with them, and what was given up of what they held.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use windrow_common::api::ApiError;
use windrow_common::api::disconnect::{DisconnectPolicy, Reconcile};
use windrow_common::ids::Name;
use windrow_common::time::Timestamp;
use windrow_common::wire::agent::SelfFence;

use super::limits::Limits;

/// Where two attempts must never run at the same time: how long before its jobs are given to others an
/// agent has killed the last of them. Killing takes a moment, and clocks do not run equally fast.
const KILLED_BEFORE_SECONDS: u32 = 3;
/// Least time that jobs then have between SIGTERM and SIGKILL.
const STOPPING_SECONDS_MIN: u32 = 2;
/// Longest of these times.
const SECONDS_MAX: u32 = 31_536_000;

/// What happens when an agent cannot be heard. An agent keeps what was agreed at its registration
/// until it registers again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disconnect {
    /// Silence after which what it holds is given to others; absent: the coordinator's lease time.
    pub lost_after_seconds: Option<u32>,
    /// Time without an answer after which it stops its jobs itself; absent: never.
    pub stop_after_seconds: Option<u32>,
    /// Which attempt goes on when it comes back.
    pub reconcile: Reconcile,
    /// No two attempts of a child at the same time.
    pub strict: bool,
}

impl Disconnect {
    /// With what a request changes.
    ///
    /// # Errors
    /// Times that are too short or too long, or that do not keep a strict promise.
    pub(super) fn changed(
        self,
        limits: &Limits,
        request: Option<&DisconnectPolicy>,
    ) -> Result<Self, ApiError> {
        let Some(request) = request else { return Ok(self) };
        let lost_after = seconds(limits, "lostAfterSeconds", request.lost_after_seconds)?;
        let stop_after = seconds(limits, "stopAfterSeconds", request.stop_after_seconds)?;
        let changed = Self {
            lost_after_seconds: lost_after.unwrap_or(self.lost_after_seconds),
            stop_after_seconds: stop_after.unwrap_or(self.stop_after_seconds),
            reconcile: request.reconcile.unwrap_or(self.reconcile),
            strict: request.strict.unwrap_or(self.strict),
        };
        changed.check_strict()?;
        Ok(changed)
    }

    fn check_strict(&self) -> Result<(), ApiError> {
        if !self.strict {
            return Ok(());
        }
        let (Some(lost), Some(stop)) = (self.lost_after_seconds, self.stop_after_seconds) else {
            return Err(ApiError::invalid(
                "disconnect.strict needs both stopAfterSeconds and lostAfterSeconds",
            )
            .hint("for example `--strict --stop-after 20s --lost-after 40s`"));
        };
        let least = stop + STOPPING_SECONDS_MIN + KILLED_BEFORE_SECONDS;
        if lost < least {
            return Err(ApiError::invalid(format!(
                "disconnect.strict: with stopAfterSeconds {stop} lostAfterSeconds must be at least \
                 {least}, got {lost}: jobs are stopped and killed in between"
            ))
            .hint(format!("use `--lost-after {least}s` or more, or a shorter `--stop-after`")));
        }
        Ok(())
    }

    /// As the API shows it.
    pub fn to_api(self) -> DisconnectPolicy {
        DisconnectPolicy {
            lost_after_seconds: self.lost_after_seconds,
            stop_after_seconds: self.stop_after_seconds,
            reconcile: Some(self.reconcile),
            strict: Some(self.strict),
        }
    }

    /// Silence after which an agent counts as lost.
    pub fn lost_after(&self, lease_ttl: Duration) -> Duration {
        self.lost_after_seconds.map_or(lease_ttl, |seconds| Duration::from_secs(u64::from(seconds)))
    }

    /// What the agent is told of it.
    pub fn self_fence(&self) -> Option<SelfFence> {
        let millis = |seconds: u32| u64::from(seconds) * 1000;
        let killed_by = |lost: u32| millis(lost.saturating_sub(KILLED_BEFORE_SECONDS));
        Some(SelfFence {
            stop_after_millis: millis(self.stop_after_seconds?),
            kill_after_millis: self.lost_after_seconds.filter(|_| self.strict).map(killed_by),
        })
    }
}

/// A time of a request: nothing if it stays, else the new one if there is one.
fn seconds(
    limits: &Limits,
    field: &str,
    given: Option<u32>,
) -> Result<Option<Option<u32>>, ApiError> {
    let least = limits.silence_seconds_min;
    match given {
        None => Ok(None),
        Some(0) => Ok(Some(None)),
        Some(seconds) if (least..=SECONDS_MAX).contains(&seconds) => Ok(Some(Some(seconds))),
        Some(seconds) => Err(ApiError::invalid(format!(
            "disconnect.{field} must be from {least} to {SECONDS_MAX}, got {seconds}"
        ))
        .hint("0 takes it away; the least is the coordinator's `limits.silence_seconds_min`")),
    }
}

/// What was given up of a lease whose agent could not be heard, so that the agent can have it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    pub agent: Name,
    /// The attempt of all its children.
    pub attempt: u32,
    pub children: BTreeMap<u32, Before>,
}

/// A child of a lease before that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// Attempts charged before this one.
    pub charged: u32,
    /// Since when it runs, if it does.
    pub started_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(policy: DisconnectPolicy) -> Result<Disconnect, ApiError> {
        Disconnect::default().changed(&Limits::default(), Some(&policy))
    }

    #[test]
    fn a_strict_policy_leaves_time_to_stop_and_kill() {
        let of = |stop, lost| DisconnectPolicy {
            stop_after_seconds: Some(stop),
            lost_after_seconds: Some(lost),
            strict: Some(true),
            ..DisconnectPolicy::default()
        };
        let strict = changed(of(20, 25)).unwrap();
        let fence = strict.self_fence().unwrap();
        assert_eq!((fence.stop_after_millis, fence.kill_after_millis), (20_000, Some(22_000)));
        let error = changed(of(20, 24)).unwrap_err();
        assert!(error.message.contains("at least 25, got 24"), "{error:?}");
        let alone = DisconnectPolicy { strict: Some(true), ..DisconnectPolicy::default() };
        assert!(changed(alone).unwrap_err().message.contains("needs both"));
    }

    #[test]
    fn what_is_absent_stays_and_zero_takes_away() {
        let limits = Limits::default();
        let first = DisconnectPolicy {
            lost_after_seconds: Some(60),
            stop_after_seconds: Some(30),
            reconcile: Some(Reconcile::KeepOriginal),
            strict: None,
        };
        let policy = changed(first).unwrap();
        let none = DisconnectPolicy::default();
        assert_eq!(policy.changed(&limits, Some(&none)).unwrap(), policy);
        let zero = DisconnectPolicy { stop_after_seconds: Some(0), ..none };
        let policy = policy.changed(&limits, Some(&zero)).unwrap();
        assert_eq!((policy.stop_after_seconds, policy.lost_after_seconds), (None, Some(60)));
        assert_eq!(policy.self_fence(), None);
        let short = DisconnectPolicy { lost_after_seconds: Some(14), ..Default::default() };
        assert!(changed(short).unwrap_err().message.contains("from 15"));
    }
}
