//! What is due by time alone. Derived from the state, so that a restart finds it again; the loop
//! keeps one timer for the earliest entry and then asks for [`super::Command::Tick`].

use std::collections::{BTreeMap, BTreeSet};

use windrow_common::ids::{JobId, Name};
use windrow_common::time::Timestamp;

use super::State;
use super::blocked::Line;

/// Something that happens when its time has come. What exactly is decided then, see
/// `commands/tick.rs`; every tick must move or remove the entry it was for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// The first child of this job that backs off may run again.
    BackOff(JobId),
    /// A share of this queue had no jobs for its window and stops being active.
    ShareIdle(Name, Name),
    /// The head of this line has been blocked for as long as its queue has it.
    TimeLimit(Line),
}

/// All of it, in the order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Deadlines {
    by_time: BTreeSet<(Timestamp, Due)>,
    times: BTreeMap<Due, Timestamp>,
}

impl Deadlines {
    /// Something is due at this time, or no longer.
    pub(super) fn set(&mut self, due: Due, at: Option<Timestamp>) {
        if self.times.get(&due).copied() == at {
            return;
        }
        if let Some(old) = self.times.remove(&due) {
            self.by_time.remove(&(old, due.clone()));
        }
        if let Some(at) = at {
            self.by_time.insert((at, due.clone()));
            self.times.insert(due, at);
        }
    }

    /// The first thing that is due at `now`.
    pub(super) fn first_due(&self, now: Timestamp) -> Option<&Due> {
        self.by_time.first().filter(|(at, _)| *at <= now).map(|(_, due)| due)
    }
}

/// When to look again if nothing arrives.
pub fn next_deadline(state: &State) -> Option<Timestamp> {
    state.index.deadlines.by_time.first().map(|(at, _)| *at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_a_moved_one_leaves_nothing_behind() {
        let mut state = State::default();
        let job = |n| Due::BackOff(JobId::from_u128(n));
        assert_eq!(next_deadline(&state), None);
        state.index.deadlines.set(job(1), Some(Timestamp(30)));
        state.index.deadlines.set(job(2), Some(Timestamp(20)));
        assert_eq!(next_deadline(&state), Some(Timestamp(20)));
        assert_eq!(state.index.deadlines.first_due(Timestamp(19)), None);
        assert_eq!(state.index.deadlines.first_due(Timestamp(20)), Some(&job(2)));
        state.index.deadlines.set(job(2), Some(Timestamp(40)));
        assert_eq!(next_deadline(&state), Some(Timestamp(30)));
        state.index.deadlines.set(job(1), None);
        state.index.deadlines.set(job(2), None);
        assert_eq!(state.index.deadlines, Deadlines::default());
    }
}
