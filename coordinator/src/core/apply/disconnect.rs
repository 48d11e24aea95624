//! What is given up of an agent that cannot be heard, and what it has back.

use std::collections::BTreeMap;
use std::ops::Range;

use windrow_common::ids::{JobId, LeaseId};

use super::{change, hold, settle_lease};
use crate::core::State;
use crate::core::consumables::Fate;
use crate::core::disconnect::{Before, GivenUp};
use crate::core::event::Reclaimed;
use crate::core::state::Lease;

/// Keeps what is needed to give the lease back. Its children are still leased.
pub(super) fn give_up(state: &mut State, id: LeaseId) {
    let lease = &state.leases[&id];
    let children = &state.jobs[&lease.job].children;
    let mut attempt = 0;
    let mut kept = BTreeMap::new();
    for child in lease.children.iter().cloned().flatten() {
        let record = children.get(child);
        let (number, charged) = record.live().expect("a lease's children are leased");
        attempt = number;
        kept.insert(child, Before { charged, started_at: record.started_at() });
    }
    let given_up = GivenUp { agent: lease.agent.clone(), attempt, children: kept };
    state.given_up.entry(lease.job).or_default().insert(id, given_up);
}

/// Nothing of the job can be had back any more: it has ended, or began anew.
pub(super) fn forget(state: &mut State, job: JobId) {
    state.given_up.remove(&job);
}

/// Children of a lease wait again in the same attempt, whether they run or not.
pub(super) fn revoke(state: &mut State, id: LeaseId, children: &[Range<u32>]) {
    let job = state.leases[&id].job;
    change(state, job, |all| children.iter().cloned().flatten().for_each(|c| all.give_back(c)));
    settle_lease(state, id, children, Fate::Unused);
}

/// Children that wait for the attempt after the one that was given up are in that one again.
pub(super) fn reclaim(state: &mut State, reclaimed: &Reclaimed) {
    let Reclaimed { lease: id, agent, job, children } = reclaimed;
    let leases = state.given_up.get_mut(job).expect("decided on a lease that was given up");
    let given_up = leases.remove(id).expect("decided on a lease that was given up");
    if leases.is_empty() {
        state.given_up.remove(job);
    }
    let digest = state.jobs[job].spec;
    let lease = Lease {
        agent: agent.clone(),
        job: *job,
        children: children.iter().cloned().collect(),
        resources: state.specs[&digest].spec.resources,
        spec: digest,
        granted_at: None,
        slots: 0,
    };
    // It is an old one: the next new one follows on the newest.
    let newest = state.last_lease;
    hold(state, *id, lease);
    state.last_lease = newest;
    change(state, *job, |all| {
        for child in children.iter().cloned().flatten() {
            if let Some(before) = given_up.children.get(&child) {
                all.reclaim(child, *id, (given_up.attempt, before.charged), before.started_at);
            }
        }
    });
}
