//! Finished jobs leave the memory and come back.

use windrow_common::ids::JobId;

use super::forget;
use crate::core::seldom::Seldom;
use crate::core::shelf::{PageId, Record, ended};
use crate::core::state::{Spec, State};

/// This page has these jobs.
pub(super) fn shelve(state: &mut State, page: PageId, jobs: &[JobId]) {
    let (jobs, keys) = forget(state, jobs);
    state.shelf.add_keys(keys, ended(&jobs));
    state.shelf.add(page, &jobs);
}

/// The job is in memory again. Its keys stay with the shelf.
pub(super) fn load(state: &mut State, record: &Record) {
    for (digest, spec) in &record.specs {
        let spec = || Spec { spec: spec.clone(), run_micros: None };
        state.specs.entry(*digest).or_insert_with(spec);
    }
    let mut job = record.job.clone();
    job.keys = Seldom::default();
    job.was_shelved = true;
    state.jobs.insert(record.id, job);
    let mut index = std::mem::take(&mut state.index);
    index.load(state, record.id);
    state.index = index;
}
