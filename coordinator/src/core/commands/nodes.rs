//! Multi-node jobs: what the end of one node means for the others.
//!
//! The main node's end is the job's. When it has ended, when a node is lost with its host, or when
//! the job is to stop, the attempt is over: what has not begun is settled, what runs is stopped. Only
//! when every node is settled is it decided what follows, for all of them at once; so there is never
//! a node of an older attempt beside one of a newer.

use std::sync::Arc;

use windrow_common::ids::{JobId, LeaseId};
use windrow_common::time::Timestamp;
use windrow_common::wire::agent::{EndCause, Ended};

use super::report::{Failure, attempt_of, host_loss, next_try, not_before};
use crate::core::State;
use crate::core::children::{Child, NodeEnd};
use crate::core::event::{ChildEnd, Event, Then};
use crate::core::limits::Limits;
use crate::core::reasons;
use crate::core::state::{Job, Lease, Nodes, Phase};

/// The end of a node's part in its attempt.
pub(super) fn end_of(state: &State, nodes: &Nodes, lease: &Lease, report: &Ended) -> ChildEnd {
    let job = &state.jobs[&lease.job];
    let is_over = nodes.phase == Phase::Ending || !job.rare.stops.is_empty();
    let preemption = state.preemptions.get(&(lease.job, report.child));
    let (end, status_reason) = match report.cause {
        EndCause::Exited if report.exit_code == Some(0) => (NodeEnd::Succeeded, None),
        EndCause::Exited | EndCause::OutOfMemory => (NodeEnd::Failed, None),
        EndCause::StartFailed => (NodeEnd::Failed, Some(reasons::START_FAILED.into())),
        EndCause::TimedOut => (NodeEnd::TimedOut, Some(reasons::TIMED_OUT.into())),
        EndCause::Stopped if preemption.is_some() => {
            (NodeEnd::Preempted, preemption.map(|preemption| reasons::preempted(preemption).into()))
        }
        EndCause::Stopped if is_over => (NodeEnd::Stopped, Some(reasons::NODE_STOPPED.into())),
        EndCause::Stopped | EndCause::HostLost => {
            (NodeEnd::Lost, Some(reasons::host_lost(&lease.agent).into()))
        }
    };
    let attempt = attempt_of(state, lease, report, status_reason);
    ChildEnd { child: report.child, then: Then::Node(end), attempt, not_before: None }
}

/// The orders of all nodes but the main one go out: it runs. Their leases get new numbers, as agents
/// take leases in rising order only.
pub(super) fn release(job: &Job, id: JobId, last_lease: &mut LeaseId) -> Event {
    let main = job.main_child();
    let all = 0..job.children.size();
    let others = job.children.leased_in(std::slice::from_ref(&all));
    let others = others.into_iter().filter(|(_, node)| *node != main);
    let leases = others.map(|(lease, _)| (lease, next(last_lease))).collect();
    Event::NodesRenewed { job: id, leases }
}

/// The lease did not reach its agent: it is given again under a new number.
pub(super) fn renew(job: JobId, lease: LeaseId, last_lease: &mut LeaseId) -> Event {
    Event::NodesRenewed { job, leases: vec![(lease, next(last_lease))] }
}

fn next(last_lease: &mut LeaseId) -> LeaseId {
    last_lease.0 += 1;
    *last_lease
}

/// Whether nothing of the attempt has begun but the main node's order, so that handing it back takes
/// back the whole attempt.
pub(super) fn can_return(job: &Job, nodes: &Nodes, node: u32) -> bool {
    node == nodes.main
        && nodes.phase == Phase::Starting
        && job.rare.stops.is_empty()
        && (0..job.children.size()).all(|node| job.children.get(node).lease().is_some())
}

/// Follow-up work after a node ended or the job was told to stop.
pub(super) fn look_after(state: &State, limits: &Limits, id: JobId, now: Timestamp) -> Vec<Event> {
    let Some(job) = state.jobs.get(&id) else { return Vec::new() };
    let Some(nodes) = job.nodes.as_ref().filter(|nodes| nodes.phase != Phase::Idle) else {
        return Vec::new();
    };
    let all = 0..job.children.size();
    let live = job.children.leased_in(std::slice::from_ref(&all));
    if live.is_empty() {
        return vec![ended(state, limits, id, job, now)];
    }
    let is_preempted = live.iter().any(|(_, node)| state.preemptions.contains_key(&(id, *node)));
    if nodes.phase == Phase::Ending || !(is_preempted || is_over(job, nodes)) {
        return Vec::new();
    }
    let not_begun = live.iter().filter(|(_, node)| !nodes.is_ordered(*node));
    let mut events: Vec<Event> =
        not_begun.map(|(lease, node)| never_started(state, *lease, *node, now)).collect();
    if events.len() < live.len() {
        events.push(Event::NodesStopped { job: id });
    }
    events
}

/// Whether the attempt's outcome is clear although nodes are left.
fn is_over(job: &Job, nodes: &Nodes) -> bool {
    let lost =
        |node| matches!(job.children.settled(node), Some(NodeEnd::Lost | NodeEnd::Preempted));
    !job.rare.stops.is_empty()
        || job.children.settled(nodes.main).is_some()
        || (0..job.children.size()).any(lost)
}

/// A node whose order was never given out.
fn never_started(state: &State, id: LeaseId, node: u32, now: Timestamp) -> Event {
    let lease = &state.leases[&id];
    let report = super::report::never_started(id, lease.job, node, now);
    let (end, reason) = match state.preemptions.get(&(lease.job, node)) {
        Some(preemption) => (NodeEnd::Preempted, reasons::preempted(preemption).into()),
        None => (NodeEnd::Stopped, reasons::NODE_STOPPED.into()),
    };
    let attempt = attempt_of(state, lease, &report, Some(reason));
    let then = Then::Node(end);
    Event::ChildrenEnded {
        lease: id,
        ended: vec![ChildEnd { child: node, then, attempt, not_before: None }],
    }
}

/// Every node is settled: what follows for the job.
fn ended(state: &State, limits: &Limits, id: JobId, job: &Job, now: Timestamp) -> Event {
    let main = job.main_child();
    let record = job.children.get(main);
    let Child::Settled { attempt, charged, end, last } = &*record else {
        unreachable!("a node that is not leased while an attempt lasts is settled");
    };
    let retry = &state.specs[&job.spec].spec.retry;
    let preempted = job.rare.preempted.get(&main).copied().unwrap_or(0);
    let shown = last.status_reason.as_deref().unwrap_or(reasons::ENDED);
    let failure = Failure {
        number: *attempt - preempted,
        charged: *charged,
        before: 0,
        exit_code: last.exit_code,
        reason: last.reason.as_deref().unwrap_or(""),
        status_reason: shown,
    };
    let preemption = reason_of(job, NodeEnd::Preempted);
    let (mut then, mut status_reason) = match (end, reason_of(job, NodeEnd::Lost)) {
        (NodeEnd::Succeeded, _) => (Then::Succeeded, None),
        (NodeEnd::TimedOut, _) => (Then::Failed, None),
        // A main node fails when it loses its peers: that is the host's fault, too.
        (_, Some(reason)) => {
            let failure = Failure { exit_code: None, status_reason: &reason, ..failure };
            (host_loss(limits, retry, &failure), Some(reason.clone()))
        }
        (_, None) if preemption.is_some() => {
            let most = job.rare.quota.and_then(|quota| quota.preemptions_max);
            let is_allowed = most.is_none_or(|most| preempted < most);
            (if is_allowed { Then::Preempted } else { Then::Failed }, preemption)
        }
        (NodeEnd::Failed, None) => (next_try(retry, &failure), None),
        (NodeEnd::Stopped | NodeEnd::Lost | NodeEnd::Preempted, None) => (Then::Failed, None),
    };
    if let Some(given) = job.stop_reason(main)
        && then != Then::Succeeded
    {
        then = Then::Failed;
        status_reason = Some(given.clone());
    }
    Event::NodesEnded {
        job: id,
        then,
        status_reason,
        at: last.ended_at,
        not_before: not_before(retry, then, *charged, now),
    }
}

/// The status reason of the first node whose part in the attempt ended like this.
fn reason_of(job: &Job, how: NodeEnd) -> Option<Arc<str>> {
    (0..job.children.size()).find_map(|node| match &*job.children.get(node) {
        Child::Settled { end, last, .. } if *end == how => last.status_reason.clone(),
        Child::Settled { .. }
        | Child::Untried
        | Child::Retrying { .. }
        | Child::Starting { .. }
        | Child::Running { .. }
        | Child::Ended { .. } => None,
    })
}
