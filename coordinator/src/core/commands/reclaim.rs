//! An agent comes back after its leases were given up: where its compute environment keeps the
//! original attempts, it has them back, and what was started in their place is taken back.

use std::collections::BTreeMap;

use rangemap::RangeSet;
use windrow_common::api::disconnect::Reconcile;
use windrow_common::api::resources::AgentStatus;
use windrow_common::ids::{JobId, LeaseId, Name};
use windrow_common::wire::agent::{Held, Register};

use crate::core::State;
use crate::core::children::Child;
use crate::core::consumables;
use crate::core::disconnect::GivenUp;
use crate::core::event::{Event, Reclaimed};
use crate::core::state::Job;

/// Children that the agent has back, by lease.
pub(super) type Back = BTreeMap<LeaseId, RangeSet<u32>>;

/// What the registering agent has back, and the events that give it back.
pub(super) fn reclaim(state: &State, request: &Register) -> (Vec<Event>, Back) {
    let mut found = Found::default();
    let lost = state.agents.get(&request.agent).filter(|agent| agent.status == AgentStatus::Lost);
    // One that is not lost has registered since it was, and said then what it holds.
    let Some(_) = lost.filter(|agent| agent.disconnect.reconcile == Reconcile::KeepOriginal) else {
        return (Vec::new(), Back::new());
    };
    for held in &request.held {
        let Some(job) = held.job else { continue };
        let given_up = state.given_up.get(&job).and_then(|leases| leases.get(&held.lease));
        if let Some(given_up) = given_up.filter(|given_up| given_up.agent == request.agent) {
            found.look_at(state, job, held, given_up);
        }
    }
    found.into_events(&request.agent)
}

#[derive(Default)]
struct Found {
    /// Children that go back, with the job.
    back: BTreeMap<LeaseId, (JobId, RangeSet<u32>)>,
    /// Replacements that are taken back: by lease their agent and children.
    revoked: BTreeMap<LeaseId, (Name, RangeSet<u32>)>,
    /// Waiting children among those that go back, by job: for limits on how many may start.
    waiting: BTreeMap<JobId, u32>,
}

impl Found {
    fn look_at(&mut self, state: &State, id: JobId, held: &Held, given_up: &GivenUp) {
        let Some(job) = state.jobs.get(&id).filter(|job| job.nodes.is_none()) else { return };
        let is_lost = |child: u32| {
            held.lost
                .iter()
                .any(|(first, count)| (*first..first.saturating_add(*count)).contains(&child))
        };
        for (first, count) in &held.children {
            let known = given_up.children.range(*first..first.saturating_add(*count));
            for (child, _) in known.filter(|(child, _)| !is_lost(**child)) {
                self.look_at_child(state, id, job, (held.lease, *child), given_up);
            }
        }
    }

    fn look_at_child(
        &mut self,
        state: &State,
        id: JobId,
        job: &Job,
        (lease, child): (LeaseId, u32),
        given_up: &GivenUp,
    ) {
        // A stopped child has ended, or ends with its replacement; one that makes room does so there.
        if job.stop_reason(child).is_some() || state.preemptions.contains_key(&(id, child)) {
            return;
        }
        let next = given_up.attempt + 1;
        match &*job.children.get(child) {
            Child::Retrying { attempt, .. } if *attempt == next => {
                let waiting = self.waiting.entry(id).or_default();
                let needs = &state.specs[&job.spec].spec.consumables;
                let room = consumables::startable(state, needs, *waiting + 1);
                if room <= *waiting || job.parallel_left() <= *waiting {
                    return;
                }
                *waiting += 1;
            }
            Child::Starting { lease: other, attempt, .. }
            | Child::Running { lease: other, attempt, .. }
                if *attempt == next =>
            {
                let agent = &state.leases[other].agent;
                let (_, children) =
                    self.revoked.entry(*other).or_insert_with(|| (agent.clone(), RangeSet::new()));
                children.insert(child..child + 1);
            }
            Child::Untried
            | Child::Retrying { .. }
            | Child::Starting { .. }
            | Child::Running { .. }
            | Child::Ended { .. }
            | Child::Settled { .. } => return,
        }
        let (_, children) = self.back.entry(lease).or_insert_with(|| (id, RangeSet::new()));
        children.insert(child..child + 1);
    }

    fn into_events(self, agent: &Name) -> (Vec<Event>, Back) {
        let mut events = Vec::new();
        for (lease, (agent, children)) in self.revoked {
            let children = children.into_iter().collect();
            events.push(Event::LeaseRevoked { lease, agent, children });
        }
        let mut back = Back::new();
        for (lease, (job, children)) in self.back {
            let (agent, ranges) = (agent.clone(), children.iter().cloned().collect());
            events.push(Event::LeaseReclaimed(Reclaimed { lease, agent, job, children: ranges }));
            back.insert(lease, children);
        }
        (events, back)
    }
}
