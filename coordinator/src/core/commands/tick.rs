//! What is due by time alone: one entry of the table of deadlines a tick, in steps of bounded size.

use windrow_common::time::Timestamp;

use super::blocked;
use crate::core::State;
use crate::core::deadlines::Due;
use crate::core::event::Event;
use crate::core::limits::EVENT_CHILDREN_MAX;

pub(super) fn tick(state: &State, now: Timestamp) -> Vec<Event> {
    match state.index.deadlines.first_due(now) {
        None => Vec::new(),
        Some(Due::ShareIdle(queue, share)) => {
            vec![Event::ShareForgotten { queue: queue.clone(), share: share.clone() }]
        }
        Some(Due::BackOff(job)) => {
            let children = state.jobs[job].children.back_off_over(now, EVENT_CHILDREN_MAX);
            vec![Event::BackOffEnded { job: *job, children }]
        }
        Some(Due::TimeLimit(line)) => blocked::time_limit(state, line, now),
    }
}
