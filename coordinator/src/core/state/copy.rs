//! A copy for trying out what a command would do.

use super::State;

impl State {
    /// A copy without jobs and without what only their history needs. Jobs of interest are put back,
    /// at least those that have leases, and then [`State::reindex`] completes it.
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
            ..Self::default()
        }
    }
}
