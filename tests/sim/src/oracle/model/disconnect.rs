//! Leases of agents that cannot be heard: given up, and perhaps had back.

use std::ops::Range;

use windrow_agent::executor::AttemptKey;
use windrow_common::api::jobs::JobStatus;
use windrow_common::ids::LeaseId;
use windrow_coordinator::core::event::Reclaimed;

use super::{Model, err};

impl Model {
    /// The agent can have back what it holds of it.
    pub(super) fn give_up(&mut self, lease: LeaseId) -> Result<(), String> {
        let given = self.given(lease)?.clone();
        for index in given.children {
            let child = self.child(given.job, index)?;
            if child.lease == Some(lease) {
                let status = child.status;
                self.given_up.insert(AttemptKey { lease, child: index }, status);
            }
        }
        Ok(())
    }

    /// Replacements are taken back: their children wait again, as if they had never been leased.
    pub(super) fn revoke(
        &mut self,
        lease: LeaseId,
        children: &[Range<u32>],
        now: u64,
    ) -> Result<(), String> {
        let job = self.given(lease)?.job;
        for index in children.iter().cloned().flatten() {
            self.unwanted.entry(AttemptKey { lease, child: index }).or_insert(now);
            let child = self.held(job, index, lease)?;
            (child.status, child.lease) = (JobStatus::Runnable, None);
            child.attempts -= 1;
        }
        Ok(())
    }

    /// An agent has back what was given up, where nothing else has come of it.
    pub(super) fn reclaim(&mut self, reclaimed: &Reclaimed) -> Result<(), String> {
        let Reclaimed { lease, job, children, .. } = reclaimed;
        let attempt = self.given(*lease)?.attempt;
        for index in children.iter().cloned().flatten() {
            let key = AttemptKey { lease: *lease, child: index };
            let Some(status) = self.given_up.remove(&key) else {
                return err(format!("I4: {key:?} is had back and was not given up"));
            };
            if self.job(*job)?.stopped.contains(&index) {
                return err(format!("I10: {key:?} of {job} was stopped and is had back"));
            }
            let child = self.child(*job, index)?;
            if child.status != JobStatus::Runnable || child.attempts != attempt {
                return err(format!("I4: {key:?} of {job} is had back by {child:?}"));
            }
            (child.status, child.lease) = (status, Some(*lease));
            self.unwanted.remove(&key);
        }
        Ok(())
    }
}
