//! Finished jobs: their records go to the history, and after a longer time they are forgotten.

use windrow_common::ids::JobId;
use windrow_common::time::Timestamp;

use crate::core::State;
use crate::core::event::Event;
use crate::core::limits::FORGET_MAX;

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
    let jobs: Vec<JobId> = state.index.finished.forgettable(upto).take(FORGET_MAX).collect();
    if jobs.is_empty() { Vec::new() } else { vec![Event::JobsForgotten { jobs }] }
}
