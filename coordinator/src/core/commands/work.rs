//! Follow-up work: admission of new jobs and dependencies whose jobs got on. One piece at a time, so
//! that a job with a hundred thousand dependents is many small steps and not one large one; what is
//! left is in the state, so a restart goes on with it.

use std::ops::Range;

use rangemap::RangeSet;
use windrow_common::api::jobs::JobStatus;
use windrow_common::ids::JobId;
use windrow_common::time::Timestamp;

use super::agents::abandon;
use super::fail;
use crate::core::State;
use crate::core::children::{NeverRan, Ranges};
use crate::core::event::Event;
use crate::core::limits::{EVENT_RANGES_MAX, Limits};
use crate::core::reasons;
use crate::core::state::{Dependency, Job, Work};

pub(super) fn work(state: &State, limits: &Limits, now: Timestamp) -> Vec<Event> {
    let mut events = match state.work.front() {
        None => return Vec::new(),
        Some(Work::Admit(id)) => {
            let all = 0..state.jobs[id].children.size();
            let mut events = vec![Event::JobAdmitted { job: *id }];
            events.extend(evaluate(state, *id, std::slice::from_ref(&all), now));
            events
        }
        Some(Work::Evaluate(id, ranges)) => evaluate(state, *id, ranges, now),
        Some(Work::Abandon(agent)) => abandon(state, limits, agent, now),
    };
    events.push(Event::WorkDone);
    events
}

/// How far a dependency, or all of them, have got.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Met {
    Yes,
    NotYet,
    Never,
}

impl From<JobStatus> for Met {
    fn from(status: JobStatus) -> Self {
        match status {
            JobStatus::Succeeded => Self::Yes,
            JobStatus::Failed => Self::Never,
            JobStatus::Submitted
            | JobStatus::Pending
            | JobStatus::Runnable
            | JobStatus::Starting
            | JobStatus::Running => Self::NotYet,
        }
    }
}

/// Releases or fails those of `ranges` that wait and whose dependencies say so.
fn evaluate(state: &State, id: JobId, ranges: &[Range<u32>], now: Timestamp) -> Vec<Event> {
    let job = &state.jobs[&id];
    let waiting = job.children.pending_in(ranges);
    if waiting.is_empty() {
        return Vec::new();
    }
    let of_job = job.depends_on.iter().map(|d| met_by_job(state, d)).max().unwrap_or(Met::Yes);
    let by_child =
        job.depends_on.iter().any(|d| matches!(d, Dependency::NToN(_) | Dependency::Sequential));
    let (mut released, mut failed) = (RangeSet::new(), RangeSet::new());
    for range in waiting {
        match (of_job, by_child) {
            (Met::Never, _) => failed.insert(range),
            (Met::Yes, false) => released.insert(range),
            (Met::Yes | Met::NotYet, true) => {
                for child in range {
                    match met_by_child(state, job, child).max(of_job) {
                        Met::Yes => released.insert(child..child + 1),
                        Met::Never => failed.insert(child..child + 1),
                        Met::NotYet => {}
                    }
                }
            }
            (Met::NotYet, false) => {}
        }
    }
    starve(job, &mut failed);
    let released: Ranges = released.into_iter().collect();
    let failed: Ranges = failed.into_iter().collect();
    let ended = NeverRan { reason: reasons::DEPENDENCY_FAILED.into(), at: now };
    let mut events = fail(id, &failed, &ended);
    let parts = released.chunks(EVENT_RANGES_MAX);
    events.extend(parts.map(|part| Event::ChildrenReleased { job: id, children: part.to_vec() }));
    events
}

/// In a sequential array the first failure fails all that follow, in one step.
fn starve(job: &Job, failed: &mut RangeSet<u32>) {
    let sequential = job.depends_on.contains(&Dependency::Sequential);
    if let Some(first) = failed.first().map(|r| r.start).filter(|_| sequential) {
        let rest = first..job.children.size();
        failed.extend(job.children.pending_in(std::slice::from_ref(&rest)));
    }
}

fn met_by_job(state: &State, dependency: &Dependency) -> Met {
    match dependency {
        Dependency::Job(on) => state.jobs[on].status().into(),
        Dependency::Child(on, child) => state.jobs[on].children.status(*child).into(),
        Dependency::NToN(_) | Dependency::Sequential => Met::Yes,
    }
}

fn met_by_child(state: &State, job: &Job, child: u32) -> Met {
    let one = |dependency: &Dependency| match dependency {
        Dependency::NToN(on) => state.jobs[on].children.status(child).into(),
        Dependency::Sequential if child > 0 => job.children.status(child - 1).into(),
        Dependency::Sequential | Dependency::Job(_) | Dependency::Child(..) => Met::Yes,
    };
    job.depends_on.iter().map(one).max().unwrap_or(Met::Yes)
}
