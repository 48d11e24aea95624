//! Follow-up work: admission of new jobs and dependencies whose jobs got on. One piece at a time, so
//! that a job with a hundred thousand dependents is many small steps and not one large one; what is
//! left is in the state, so a restart goes on with it.

use windrow_common::time::Timestamp;

use super::agents::abandon;
use super::dependencies::evaluate;
use super::nodes::look_after;
use super::queues;
use super::stop::{self, How, Scope};
use crate::core::State;
use crate::core::event::Event;
use crate::core::limits::Limits;
use crate::core::reasons;
use crate::core::state::Work;

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
        Some(Work::EmptyQueue(queue, after)) => queues::empty(state, queue, *after, now),
        Some(Work::RemoveQueue(queue)) => queues::remove(state, queue),
        Some(Work::Abandon(agent)) => abandon(state, limits, agent, now),
        Some(Work::Nodes(job)) => look_after(state, limits, *job, now),
        Some(Work::CloseShare(queue, share)) => {
            // One job a step; the piece of work is done when none is left to be ended.
            let jobs = state.index.quota.jobs_of(queue, share);
            let end = |id| {
                let whole = Scope::whole(&state.jobs[&id]);
                stop::end(state, How::Terminate, id, &whole, reasons::SHARE_DELETED, now)
            };
            let mut ends = jobs.map(end);
            match ends.find(|events| !events.is_empty()) {
                Some(events) => return events,
                None => Vec::new(),
            }
        }
    };
    events.push(Event::WorkDone);
    events
}
