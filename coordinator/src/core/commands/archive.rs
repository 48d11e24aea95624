//! Finished jobs: their records go to the history, then they do themselves, and after a longer time
//! they are forgotten.

use windrow_common::ids::JobId;
use windrow_common::time::Timestamp;

use super::{Shelve, services};
use crate::core::State;
use crate::core::event::Event;
use crate::core::limits::FORGET_MAX;
use crate::core::shelf::{PageId, Record};

/// The history has what archiving these loses. Each comes with the time of its end as it was then: one
/// that was run again since is another matter.
pub(super) fn archive(state: &State, stored: &[(Timestamp, JobId)]) -> Vec<Event> {
    let is_same = |(at, id): &&(Timestamp, JobId)| {
        let job = state.jobs.get(id);
        job.is_some_and(|job| job.stopped_at == Some(*at) && !job.children.is_archived())
    };
    let jobs: Vec<JobId> = stored.iter().filter(is_same).map(|(_, id)| *id).collect();
    if jobs.is_empty() { Vec::new() } else { vec![Event::JobsArchived { jobs }] }
}

/// Those that ended at or before this time go, a bounded number at once.
pub(super) fn forget(state: &State, upto: Timestamp) -> Vec<Event> {
    let old = state.index.finished.free().take_while(|(at, _)| *at <= upto);
    let jobs: Vec<JobId> = old.map(|(_, id)| id).take(FORGET_MAX).collect();
    let mut events = Vec::new();
    if !jobs.is_empty() {
        events.push(Event::JobsForgotten { jobs });
    }
    if let Some(upto) = state.shelf.forgettable(upto) {
        events.push(Event::PagesForgotten { upto });
    }
    forget_keys(state, upto, u64::MAX, &mut events);
    events.extend(services::forget(state, upto));
    events
}

fn forget_keys(state: &State, upto: Timestamp, keys_max: u64, events: &mut Vec<Event>) {
    let blocks = state.shelf.forgettable_keys(upto, keys_max);
    if blocks > 0 {
        events.push(Event::KeysForgotten { blocks });
    }
}

/// All jobs of a stored page go, or none if something has become of one since it was stored: the page
/// is then written anew.
pub(super) fn shelve(state: &State, shelve: &Shelve) -> Vec<Event> {
    let PageId { number, term } = shelve.page;
    let is_same = |record: &Record| {
        let is_equal = state.jobs.get(&record.id).is_some_and(|job| *job == record.job);
        is_equal && record.job.children.is_archived() && state.index.finished.is_free(record.id)
    };
    let is_next = term == state.term && number == state.shelf.last_page + 1;
    if !is_next || shelve.jobs.is_empty() || !shelve.jobs.iter().all(is_same) {
        return Vec::new();
    }
    let jobs = shelve.jobs.iter().map(|record| record.id).collect();
    let mut events = vec![Event::JobsShelved { page: number, term, jobs }];
    forget_keys(state, Timestamp::default(), shelve.keys_max, &mut events);
    events
}

/// A job that is not here comes back as the history has it.
pub(super) fn load(state: &State, record: &Record) -> Vec<Event> {
    let is_finished = record.job.stopped_at.is_some() && record.job.children.is_archived();
    if state.jobs.contains_key(&record.id) || !is_finished || !state.shelf.may_have(record.id) {
        return Vec::new();
    }
    vec![Event::JobLoaded(Box::new(record.clone()))]
}
