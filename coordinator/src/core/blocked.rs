//! Blocked queues: which job at the head of a queue cannot start as things are, since when and why, and
//! when the queue's `jobStateTimeLimitActions` do something about it.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use windrow_common::api::resources::JobStateTimeLimitAction;
use windrow_common::ids::{JobId, Name};
use windrow_common::time::Timestamp;

use super::State;
use super::deadlines::Due;
use super::index::{Changed, Index};

/// Jobs that go one after the other: a queue and a share of it. A queue without shares has one, named by
/// none.
pub type Line = (Name, Option<Name>);

/// The head of a line that cannot start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// Ready, and of this line.
    pub job: JobId,
    /// Its status reason when it was found.
    pub reason: Arc<str>,
    /// When it was found.
    pub at: Timestamp,
}

impl Blocked {
    /// What its status reason begins with.
    pub fn code(&self) -> &str {
        code(&self.reason)
    }
}

/// The code that a status reason begins with.
pub fn code(reason: &str) -> &str {
    reason.split_once(" - ").map_or(reason, |(code, _)| code)
}

/// What the queue has to be done with this head.
pub(super) fn action<'a>(
    state: &'a State,
    (queue, _): &Line,
    blocked: &Blocked,
) -> Option<&'a JobStateTimeLimitAction> {
    let queue = state.queues.get(queue)?;
    queue.time_limits.iter().find(|action| action.reason == blocked.code())
}

/// The head of a line is blocked.
pub(super) fn block(state: &mut State, line: &Line, blocked: Blocked) {
    state.index.changed.push(Changed {
        job: blocked.job,
        children: Vec::new(),
        whole: None,
        blocked: Some(blocked.reason.clone()),
    });
    state.blocked.insert(line.clone(), blocked);
    set_deadline(state, line);
}

/// It no longer is.
pub(super) fn unblock(state: &mut State, line: &Line) {
    state.blocked.remove(line);
    set_deadline(state, line);
}

/// A job that has changed blocks nothing unless it is ready.
pub(super) fn look_after(state: &mut State, id: JobId) {
    if state.blocked.is_empty() || state.rank(id).is_some() {
        return;
    }
    let job = &state.jobs[&id];
    let line = (job.queue.clone(), job.share.clone());
    if state.blocked.get(&line).is_some_and(|blocked| blocked.job == id) {
        unblock(state, &line);
    }
}

/// A queue has other actions.
pub(super) fn set_deadlines(state: &mut State, queue: &Name) {
    let from = (queue.clone(), None);
    let lines = state.blocked.range(from..).map(|(line, _)| line);
    let lines: Vec<Line> = lines.take_while(|line| line.0 == *queue).cloned().collect();
    lines.iter().for_each(|line| set_deadline(state, line));
}

fn set_deadline(state: &mut State, line: &Line) {
    let at = state.blocked.get(line).and_then(|blocked| deadline(state, line, blocked));
    state.index.deadlines.set(Due::TimeLimit(line.clone()), at);
}

/// Enters all of them, after a snapshot was read.
pub(super) fn rebuild(state: &State, index: &mut Index) {
    for (line, blocked) in &state.blocked {
        index.deadlines.set(Due::TimeLimit(line.clone()), deadline(state, line, blocked));
    }
}

fn deadline(state: &State, line: &Line, blocked: &Blocked) -> Option<Timestamp> {
    let action = action(state, line, blocked)?;
    Some(blocked.at.plus(Duration::from_secs(u64::from(action.max_time_seconds))))
}
