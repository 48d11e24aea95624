//! What happens to the nodes of multi-node jobs.

use std::sync::Arc;

use windrow_common::ids::{JobId, LeaseId};
use windrow_common::time::Timestamp;

use super::{change, change_agent, hold, settle_lease, settled};
use crate::core::State;
use crate::core::consumables::Fate;
use crate::core::event::{NodesGranted, Then};
use crate::core::state::{Lease, Phase, Work};

pub(super) fn grant(state: &mut State, granted: &NodesGranted) {
    for (node, agent) in (0..).zip(&granted.agents) {
        let spec = state.jobs[&granted.job].spec_of(node);
        let lease = Lease {
            agent: state.agent_name(*agent).clone(),
            job: granted.job,
            children: std::iter::once(node..node + 1).collect(),
            resources: state.specs[&spec].spec.resources,
            spec,
            granted_at: granted.at,
            slots: 0,
        };
        hold(state, LeaseId(granted.first_lease.0 + u64::from(node)), lease);
    }
    set_phase(state, granted.job, Phase::Starting);
    change(state, granted.job, |all| {
        for node in 0..all.size() {
            all.lease(node..node + 1, LeaseId(granted.first_lease.0 + u64::from(node)));
        }
    });
}

/// When nodes other than the main one are among them, the main node runs.
pub(super) fn renew(state: &mut State, job: JobId, leases: &[(LeaseId, LeaseId)]) {
    let main = state.jobs[&job].main_child();
    let mut others = false;
    for (old, new) in leases {
        let lease = state.leases.remove(old).expect("decided on a live lease");
        let node = lease.children.first().expect("a lease is not empty").start;
        others |= node != main;
        change_agent(state, &lease.agent, |agent| {
            agent.leases.remove(old);
            agent.leases.insert(*new);
        });
        state.leases.insert(*new, lease);
        change(state, job, |all| all.renew(node, *new));
        state.last_lease = state.last_lease.max(*new);
    }
    if others {
        set_phase(state, job, Phase::Running);
    }
}

pub(super) fn stop(state: &mut State, job: JobId) {
    set_phase(state, job, Phase::Ending);
}

/// What a node's end or a wish to stop means for the others is decided as follow-up work.
pub(super) fn look_after(state: &mut State, job: JobId) {
    if state.jobs[&job].nodes.is_some() {
        state.work.push_back(Work::Nodes(job));
    }
}

pub(super) fn end(
    state: &mut State,
    id: JobId,
    then: Then,
    status_reason: Option<&Arc<str>>,
    at: Timestamp,
    not_before: Option<Timestamp>,
) {
    let main = state.jobs[&id].main_child();
    if then == Then::Preempted {
        let job = state.jobs.get_mut(&id).expect("decided on a known job");
        *job.rare.preempted.entry(main).or_default() += 1;
    }
    set_phase(state, id, Phase::Idle);
    change(state, id, |all| {
        if let Some(reason) = status_reason {
            all.set_settled_reason(main, reason);
        }
        match then {
            Then::Retry => all.retry_settled(true, not_before),
            Then::RetryUncharged | Then::Preempted => all.retry_settled(false, not_before),
            Then::Succeeded => all.end_settled(true),
            Then::Failed | Then::Node(_) => all.end_settled(false),
        }
    });
    let all = 0..state.jobs[&id].children.size();
    settled(state, id, vec![all], at);
}

pub(super) fn give_back(state: &mut State, id: JobId) {
    let all = 0..state.jobs[&id].children.size();
    let leased = state.jobs[&id].children.leased_in(std::slice::from_ref(&all));
    change(state, id, |all| leased.iter().for_each(|(_, node)| all.give_back(*node)));
    for (lease, node) in leased {
        settle_lease(state, lease, std::slice::from_ref(&(node..node + 1)), Fate::Unused);
    }
    set_phase(state, id, Phase::Idle);
}

fn set_phase(state: &mut State, id: JobId, phase: Phase) {
    match phase {
        Phase::Starting => state.index.starting.insert(id),
        Phase::Idle | Phase::Running | Phase::Ending => state.index.starting.remove(&id),
    };
    let job = state.jobs.get_mut(&id).expect("decided on a known job");
    job.nodes.as_mut().expect("decided on a multi-node job").phase = phase;
}
