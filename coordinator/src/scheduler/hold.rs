//! What keeps a ready job back although there may be room for it: one place for all of it, asked
//! before a job is placed and when somebody wants to know why it waits.

use windrow_common::api::resources::ResourceState;
use windrow_common::ids::{JobId, Name};
use windrow_common::time::Timestamp;

use crate::core::State;

/// Why a ready job is passed over. Equal for all jobs of one share with equal shapes: what concerns
/// one job alone makes it not ready instead (`core/index/ready.rs`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// No compute environment of its queue is ENABLED.
    NoEnvironment,
}

/// Whether the job is kept back now; `now` matters where usage decays.
pub fn hold(state: &State, id: JobId, _now: Timestamp) -> Option<Hold> {
    let job = &state.jobs[&id];
    if environments(state, &job.queue).next().is_none() {
        return Some(Hold::NoEnvironment);
    }
    None
}

/// The ENABLED compute environments of a queue, in the order in which they are tried.
pub fn environments<'a>(state: &'a State, queue: &Name) -> impl Iterator<Item = &'a Name> {
    let enabled = |name: &&Name| {
        state.environments.get(*name).is_some_and(|e| e.state == ResourceState::Enabled)
    };
    let queue = state.queues.get(queue);
    queue.into_iter().flat_map(|q| q.environments.iter().map(|(_, name)| name)).filter(enabled)
}
