//! A copy for trying out what a command would do.

use std::collections::{BTreeMap, VecDeque};

use rangemap::RangeSet;

use super::State;
use crate::core::index::Index;
use crate::core::services::Services;
use crate::core::shelf::Shelf;

impl State {
    /// A copy without jobs and without what only their history needs. Jobs of interest are put back,
    /// at least those that have leases and those that agents are kept for, and then [`State::reindex`] completes it.
    pub fn without_jobs(&self) -> Self {
        Self {
            term: self.term,
            last_lease: self.last_lease,
            last_session: self.last_session,
            last_order: self.last_order,
            queues: self.queues.clone(),
            environments: self.environments.clone(),
            definitions: self.definitions.clone(),
            specs: self.specs.clone(),
            agents: self.agents.clone(),
            agent_numbers: self.agent_numbers.clone(),
            leases: self.leases.clone(),
            consumables: self.consumables.clone(),
            policies: self.policies.clone(),
            clock: self.clock,
            usage: self.usage.clone(),
            quota_shares: self.quota_shares.clone(),
            preemptions: self.preemptions.clone(),
            reservations: self.reservations.clone(),
            alarms: Vec::new(),
            submitted_until: self.submitted_until,
            // No default for the rest: whoever adds to the state says here which kind it is.
            jobs: BTreeMap::new(),
            idempotency: BTreeMap::new(),
            submissions: RangeSet::new(),
            work: VecDeque::new(),
            fenced_results: 0,
            blocked: BTreeMap::new(),
            given_up: BTreeMap::new(),
            shelf: Shelf::default(),
            last_alarm: 0,
            access_keys: BTreeMap::new(),
            services: Services::default(),
            index: Index::default(),
        }
    }
}
