//! What really ran.

use std::collections::{BTreeMap, BTreeSet};

use windrow_agent::core::StartPlan;
use windrow_agent::executor::AttemptKey;
use windrow_common::ids::{JobId, LeaseId, Name};

use super::model::Model;

/// How long something unwanted may run where everybody can be told, in milliseconds.
const STOPPED_AFTER: u64 = 25_000;

#[derive(Clone, Debug)]
struct Attempt {
    host: u8,
    agent: Name,
    job: JobId,
    child: u32,
    cpu: u64,
    memory: u64,
}

/// Every attempt that was started, on whichever host.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    live: BTreeMap<(u8, AttemptKey), Attempt>,
    /// How each ended; `None`: with its host. An attempt that was copied with its host has several.
    ended: BTreeMap<AttemptKey, Vec<(u8, Option<i32>)>>,
    started: u64,
    /// A machine was copied.
    pub(super) has_clones: bool,
    /// Hosts that have died.
    died: BTreeSet<u8>,
}

impl Truth {
    pub(super) fn start(
        &mut self,
        now: u64,
        (host, agent): (u8, &Name),
        plan: &StartPlan,
        capacity: (u64, u64),
        model: &Model,
    ) -> Result<(), String> {
        let (key, lease) = (plan.key, &plan.lease);
        self.started += 1;
        model.may_start(key, lease).map_err(|why| format!("at {now}: P5: {key:?}: {why}"))?;
        // A host that lost power may have lost that it had started something, which died with it.
        let may_repeat = self.has_clones || self.died.contains(&host);
        if self.live.contains_key(&(host, key)) || self.ended.contains_key(&key) && !may_repeat {
            return Err(format!("I6: {key:?} is started a second time"));
        }
        let others = self.live.iter().filter(|(_, other)| {
            other.job == lease.job && other.child == key.child && !self.has_clones
        });
        for ((_, other), attempt) in others {
            // The one that was leased before must be over.
            let before = if other.lease < key.lease { &attempt.agent } else { agent };
            if model.is_strict(before) {
                return Err(format!(
                    "strict: {key:?} starts on {agent} while {other:?} runs on {}",
                    attempt.agent
                ));
            }
            // What was given up may start and run where nobody can be told, for a while; what was not
            // must not be started elsewhere.
            let is_late = model.may_run_on(key, now).is_err();
            if model.lease_of(lease.job, key.child) == Some(other.lease) && is_late {
                return Err(format!("I6: {key:?} starts while {other:?} is the one that counts"));
            }
        }
        let attempt = Attempt {
            host,
            agent: agent.clone(),
            job: lease.job,
            child: key.child,
            cpu: lease.resources.cpu.0.into(),
            memory: lease.resources.memory.0.into(),
        };
        self.live.insert((host, key), attempt);
        let here = || self.live.values().filter(|attempt| attempt.host == host);
        let cpu: u64 = here().map(|attempt| attempt.cpu).sum();
        let memory: u64 = here().map(|attempt| attempt.memory).sum();
        if cpu > capacity.0 || memory > capacity.1 {
            return Err(format!("I7: host {host} runs {cpu} / {memory} of {capacity:?}"));
        }
        Ok(())
    }

    pub(super) fn on_host_lost(&mut self, host: u8) {
        self.died.insert(host);
    }

    pub(super) fn end(&mut self, host: u8, key: AttemptKey, code: Option<i32>) {
        self.live.remove(&(host, key));
        if code.is_none() {
            self.died.insert(host);
        }
        self.ended.entry(key).or_default().push((host, code));
    }

    /// A child that is handed back has no result, unless its host or its agent's disk was lost.
    pub(super) fn is_not_lost(&self, key: AttemptKey) -> Result<(), String> {
        match self.has_result(key) && !self.has_clones {
            true => Err(format!("I4: {key:?} has ended, and its result is lost")),
            false => Ok(()),
        }
    }

    /// Whether the attempt ended by itself on a host that has not died.
    fn has_result(&self, key: AttemptKey) -> bool {
        let has = |(host, end): &(u8, Option<i32>)| {
            matches!(end, Some(0 | 1)) && !self.died.contains(host)
        };
        self.ended.get(&key).is_some_and(|ends| ends.iter().any(has))
    }

    /// Whether an agent may forget these: not a result that the journal does not have.
    pub(super) fn may_forget(
        &self,
        lease: LeaseId,
        children: &[(u32, u32)],
        model: &Model,
    ) -> Result<(), String> {
        let Some(job) = model.job_of(lease).filter(|_| !self.has_clones) else { return Ok(()) };
        for child in children.iter().flat_map(|(first, count)| *first..first + count) {
            let key = AttemptKey { lease, child };
            if model.lease_of(job, child) == Some(lease) && self.has_result(key) {
                return Err(format!("I4: {key:?} has ended; its agent forgets it, unconfirmed"));
            }
        }
        Ok(())
    }

    /// Whether what nobody wants was stopped.
    pub(super) fn judge_calm(&self, now: u64, calm_at: u64, model: &Model) -> Result<(), String> {
        for (host, key) in self.live.keys() {
            let Some(since) = model.unwanted_since(*key) else { continue };
            if now > since.max(calm_at) + STOPPED_AFTER {
                return Err(format!(
                    "I10: {key:?} still runs on host {host}, {} ms after nobody wants it",
                    now - since
                ));
            }
        }
        Ok(())
    }

    /// Whether an attempt ended like this.
    pub(super) fn has_ended(&self, key: AttemptKey, code: i32) -> bool {
        let ends = self.ended.get(&key);
        ends.is_some_and(|ends| ends.iter().any(|(_, end)| *end == Some(code)))
    }

    pub(super) fn running(&self) -> usize {
        self.live.len()
    }

    pub(super) fn attempts(&self) -> u64 {
        self.started
    }

    /// What SUCCEEDED has run to a good end.
    pub(super) fn judge(&self, model: &Model) -> Result<(), String> {
        for (key, job, child) in model.successes() {
            if !self.has_ended(key, 0) {
                return Err(format!(
                    "I4: child {child} of {job} SUCCEEDED by {key:?}, which did not"
                ));
            }
        }
        Ok(())
    }
}
