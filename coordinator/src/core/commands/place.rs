//! Placement: the scheduler's wish becomes a lease. The only place that commits resources.

use windrow_common::api::resources::AgentStatus;
use windrow_common::ids::LeaseId;

use crate::core::State;
use crate::core::event::{Event, Granted};
use crate::scheduler::Placement;

pub(super) fn place(state: &State, placement: &Placement) -> Vec<Event> {
    let agent = state.agents.get(&placement.agent);
    let takes_work = agent.is_some_and(|agent| agent.status == AgentStatus::Up);
    let next =
        state.jobs.get(&placement.job).and_then(|job| job.children.next_runnable(placement.count));
    let Some((children, attempt)) = next.filter(|_| takes_work) else { return Vec::new() };
    vec![Event::LeaseGranted(Granted {
        lease: LeaseId(state.last_lease.0 + 1),
        agent: placement.agent.clone(),
        job: placement.job,
        children,
        attempt,
    })]
}
