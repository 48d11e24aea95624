//! Which finished jobs may be archived, shelved or forgotten. Derived from the state, as every table of
//! the index.

use std::collections::{BTreeMap, BTreeSet};

use windrow_common::ids::JobId;
use windrow_common::time::Timestamp;
use windrow_common::wire::lease::SpecDigest;

use super::state::Job;

/// The tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finished {
    /// When each finished job ended.
    ended: BTreeMap<JobId, Timestamp>,
    /// Finished jobs that no unended job waits for, by the time of their end.
    free: BTreeSet<(Timestamp, JobId)>,
    /// Those whose records are still here.
    with_records: BTreeSet<(Timestamp, JobId)>,
    /// How many unended jobs name this one in what they wait for.
    needed: BTreeMap<JobId, u32>,
    /// How many jobs have a spec.
    users: BTreeMap<SpecDigest, u32>,
}

impl Finished {
    /// A job is known.
    pub(super) fn enter(&mut self, id: JobId, job: &Job) {
        for spec in specs(job) {
            *self.users.entry(spec).or_default() += 1;
        }
        match job.stopped_at {
            None => self.need(id, job),
            Some(at) => self.list(id, job, at),
        }
    }

    fn need(&mut self, id: JobId, job: &Job) {
        for on in needs(id, job) {
            *self.needed.entry(on).or_default() += 1;
            if let Some(at) = self.ended.get(&on) {
                self.free.remove(&(*at, on));
            }
        }
    }

    fn list(&mut self, id: JobId, job: &Job, at: Timestamp) {
        self.ended.insert(id, at);
        if !self.needed.contains_key(&id) {
            self.free.insert((at, id));
        }
        if !job.children.is_archived() {
            self.with_records.insert((at, id));
        }
    }

    /// It has ended, at this time.
    pub(super) fn end(&mut self, id: JobId, job: &Job, at: Timestamp) {
        for on in needs(id, job) {
            count_down(&mut self.needed, on);
            if let Some(at) = self.ended.get(&on).filter(|_| !self.needed.contains_key(&on)) {
                self.free.insert((*at, on));
            }
        }
        self.list(id, job, at);
    }

    /// It goes on after all; it had ended at this time.
    pub(super) fn reopen(&mut self, id: JobId, job: &Job, at: Timestamp) {
        self.leave(id, at);
        self.need(id, job);
    }

    fn leave(&mut self, id: JobId, at: Timestamp) {
        self.ended.remove(&id);
        self.free.remove(&(at, id));
        self.with_records.remove(&(at, id));
    }

    /// Its records are given up.
    pub(super) fn archive(&mut self, id: JobId, at: Timestamp) {
        self.with_records.remove(&(at, id));
    }

    /// It is unknown from now on. Gives those of its specs that nothing has any more.
    pub(super) fn forget(&mut self, id: JobId, job: &Job) -> Vec<SpecDigest> {
        if let Some(at) = job.stopped_at {
            self.leave(id, at);
        }
        let specs = specs(job);
        specs.iter().for_each(|spec| count_down(&mut self.users, *spec));
        specs.into_iter().filter(|spec| !self.users.contains_key(spec)).collect()
    }

    /// How many finished jobs have given up their records.
    pub fn archived_count(&self) -> u64 {
        (self.ended.len() - self.with_records.len()) as u64
    }

    /// Jobs that ended at or before this time and whose records are here, those that ended first
    /// first.
    pub fn with_records(&self, upto: Timestamp) -> impl Iterator<Item = (Timestamp, JobId)> {
        self.with_records.iter().copied().take_while(move |(at, _)| *at <= upto)
    }

    /// How many finished jobs no unended job waits for.
    pub fn free_count(&self) -> usize {
        self.free.len()
    }

    /// Those, the one that ended first first.
    pub fn free(&self) -> impl Iterator<Item = (Timestamp, JobId)> {
        self.free.iter().copied()
    }

    /// Whether the job has ended and no unended job waits for it.
    pub fn is_free(&self, id: JobId) -> bool {
        self.ended.get(&id).is_some_and(|at| self.free.contains(&(*at, id)))
    }
}

/// The jobs that this one names in what it waits for.
fn needs(id: JobId, job: &Job) -> BTreeSet<JobId> {
    job.depends_on.iter().map(|d| d.job(id)).filter(|on| *on != id).collect()
}

fn specs(job: &Job) -> BTreeSet<SpecDigest> {
    job.specs().collect()
}

fn count_down<K: Ord>(counts: &mut BTreeMap<K, u32>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}
