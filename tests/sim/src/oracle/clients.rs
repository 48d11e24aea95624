//! What clients were told.

use std::collections::{BTreeMap, BTreeSet};

use windrow_common::api::jobs::JobStatus;
use windrow_common::ids::JobId;

use super::model::Model;

/// What clients know.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    /// The job of each idempotency key, as answered, and for which of two contents.
    jobs: BTreeMap<String, (JobId, bool)>,
    /// Keys whose submission JetStream has acknowledged, with the payload.
    durable: BTreeMap<String, Vec<u8>>,
    /// Jobs that were seen to have ended, how, and when that was.
    ended: BTreeMap<JobId, (JobStatus, u64)>,
    /// What went to the dead letters.
    pub(super) dead: BTreeSet<Vec<u8>>,
}

impl Clients {
    /// A submission was answered.
    pub(super) fn submitted(
        &mut self,
        key: &str,
        is_other: bool,
        job: JobId,
        model: &Model,
    ) -> Result<(), String> {
        if !model.has(job) {
            return Err(format!("I1: `{key}` was answered with {job}, which the journal lacks"));
        }
        match self.jobs.insert(key.to_owned(), (job, is_other)) {
            Some(before) if before != (job, is_other) => {
                Err(format!("I2: `{key}` was {before:?} and is now {job}"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The stream has acknowledged a submission.
    pub fn stored(&mut self, key: &str, payload: Vec<u8>) {
        self.durable.insert(key.to_owned(), payload);
    }

    /// A job was described, as asked for at this time; `None`: it is unknown.
    pub fn described(
        &mut self,
        job: JobId,
        status: Option<JobStatus>,
        asked: u64,
        now: u64,
    ) -> Result<(), String> {
        let Some(status) = status else {
            return Err(format!("I1: {job} was accepted and is unknown"));
        };
        if let Some((before, at)) = self.ended.get(&job)
            && *before != status
            && asked > *at
        {
            return Err(format!("I3: {job} was {before:?} and is now {status:?}"));
        }
        if status.is_terminal() {
            self.ended.entry(job).or_insert((status, now));
        }
        Ok(())
    }

    /// A job that somebody has.
    pub fn any(&self, number: u64) -> Option<JobId> {
        let count = self.jobs.len();
        let at = number.checked_rem(u64::try_from(count).ok()?)?;
        self.jobs.values().nth(usize::try_from(at).ok()?).map(|(job, _)| *job)
    }

    /// At the end.
    pub(super) fn judge(&self, model: &Model) -> Result<(), String> {
        for (key, (job, _)) in &self.jobs {
            if !model.has(*job) {
                return Err(format!("I1: {job} of `{key}` is lost"));
            }
            if model.by_key(key).is_some_and(|of_key| of_key != *job) {
                return Err(format!("I2: `{key}` is no longer {job}"));
            }
        }
        for (key, payload) in &self.durable {
            if model.by_key(key).is_none() && !self.dead.contains(payload) {
                return Err(format!(
                    "I1: what was published as `{key}` is neither a job nor refused"
                ));
            }
        }
        for (job, (status, _)) in &self.ended {
            if model.status(*job).is_some_and(|now| now != *status) {
                return Err(format!("I3: {job} was told to be {status:?} and is not"));
            }
        }
        Ok(())
    }
}
