//! Agents' reports: what starts, ends and comes back. Each report counts once (its number in the
//! session), and only when it names the child's present lease.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use windrow_common::ids::{JobId, LeaseId};
use windrow_common::sabotage;
use windrow_common::time::Timestamp;
use windrow_common::wire::agent::{EndCause, Ended, Report, ReportMessage};

use super::{Answer, Decision, nodes};
use crate::core::State;
use crate::core::children::Attempt;
use crate::core::event::{ChildEnd, Event, Then};
use crate::core::limits::{HOST_LOSSES_MAX, Limits};
use crate::core::reasons;
use crate::core::retry::Retry;
use crate::core::state::{Agent, Lease, Phase};

pub(super) fn report(
    state: &State,
    limits: &Limits,
    message: &ReportMessage,
    now: Timestamp,
) -> Decision {
    let known = state.agents.get(&message.agent);
    let is_current =
        |agent: &&Agent| agent.session == message.session || sabotage::is("session-not-checked");
    let Some(agent) = known.filter(is_current) else {
        // An older session's reports were sent again in the newer one.
        let newer = known.is_some_and(|agent| agent.session > message.session);
        let answer = if newer { Answer::Done } else { Answer::MustRegister };
        return Decision { events: Vec::new(), answer };
    };
    if message.first > agent.confirmed_reports + 1 {
        // Some were lost on the way: registering makes the agent send them again.
        return Decision { events: Vec::new(), answer: Answer::MustRegister };
    }
    let confirmed = if sabotage::is("reports-taken-twice") { 0 } else { agent.confirmed_reports };
    let seen = usize::try_from((confirmed + 1).saturating_sub(message.first)).unwrap_or(usize::MAX);
    let Some(new) = message.reports.get(seen..).filter(|new| !new.is_empty()) else {
        return Decision::default();
    };
    let mut taking = Taking {
        state,
        limits,
        now,
        agent,
        events: Vec::new(),
        settled: BTreeSet::new(),
        fenced: 0,
        released: BTreeSet::new(),
        last_lease: state.last_lease,
    };
    let mut leaving = false;
    for report in new {
        match report {
            Report::Started { lease, job, child, at } => taking.start(*lease, *job, *child, *at),
            Report::Ended(ended) => taking.end(ended),
            Report::Returned { lease, job, children } => taking.give_back(*lease, *job, children),
            Report::Leaving => leaving = true,
        }
    }
    let Taking { mut events, fenced, .. } = taking;
    if fenced > 0 {
        events.push(Event::ResultsFenced { count: fenced });
    }
    let upto = message.first + message.reports.len() as u64 - 1;
    events.push(Event::ReportsTaken { agent: message.agent.clone(), upto });
    if leaving {
        events.push(Event::AgentLost { agent: message.agent.clone() });
    }
    events.into()
}

/// One message being taken.
struct Taking<'a> {
    state: &'a State,
    limits: &'a Limits,
    now: Timestamp,
    agent: &'a Agent,
    events: Vec<Event>,
    /// Children this message has settled already.
    settled: BTreeSet<(LeaseId, u32)>,
    fenced: u64,
    /// Multi-node jobs whose main node was reported to run.
    released: BTreeSet<JobId>,
    /// The last lease given, also by this message.
    last_lease: LeaseId,
}

impl<'a> Taking<'a> {
    /// The lease, if the child is still its own.
    fn lease(&mut self, id: LeaseId, job: JobId, child: u32) -> Option<&'a Lease> {
        let lease = self.state.leases.get(&id).filter(|lease| {
            lease.job == job
                && (self.agent.leases.contains(&id) || sabotage::is("lease-of-another-agent"))
                && (lease.children.contains(&child) || sabotage::is("fencing-off-by-one"))
                && !self.settled.contains(&(id, child))
        });
        self.fenced += u64::from(lease.is_none());
        lease
    }

    fn start(&mut self, id: LeaseId, job: JobId, child: u32, at: Timestamp) {
        if self.lease(id, job, child).is_none() {
            return;
        }
        match self.events.last_mut() {
            Some(Event::ChildrenStarted { lease, started }) if *lease == id => {
                started.push((child, at));
            }
            Some(_) | None => {
                self.events.push(Event::ChildrenStarted { lease: id, started: vec![(child, at)] });
            }
        }
        self.release_nodes(job, child);
    }

    /// The others are started once the main node runs.
    fn release_nodes(&mut self, id: JobId, node: u32) {
        let job = &self.state.jobs[&id];
        let Some(nodes) = &job.nodes else { return };
        let is_first = node == nodes.main && nodes.phase == Phase::Starting;
        if is_first && nodes.count() > 1 && self.released.insert(id) {
            self.events.push(nodes::release(job, id, &mut self.last_lease));
        }
    }

    fn end(&mut self, report: &Ended) {
        let Some(lease) = self.lease(report.lease, report.job, report.child) else { return };
        self.settled.insert((report.lease, report.child));
        let end = end_of(self.state, self.limits, lease, report, self.now);
        match self.events.last_mut() {
            Some(Event::ChildrenEnded { lease, ended }) if *lease == report.lease => {
                ended.push(end);
            }
            Some(_) | None => {
                self.events.push(Event::ChildrenEnded { lease: report.lease, ended: vec![end] });
            }
        }
    }

    fn give_back(&mut self, id: LeaseId, job: JobId, children: &[(u32, u32)]) {
        let mut returned: Vec<Range<u32>> = Vec::new();
        for child in children.iter().flat_map(|(first, count)| *first..first.saturating_add(*count))
        {
            let Some(lease) = self.lease(id, job, child) else { continue };
            self.settled.insert((id, child));
            let whole = &self.state.jobs[&job];
            if let Some(nodes) = &whole.nodes
                && nodes::can_return(whole, nodes, child)
                && !self.released.contains(&job)
            {
                self.events.push(Event::NodesReturned { job });
            } else if whole.nodes.is_some() || whole.stop_reason(child).is_some() {
                let report = never_started(id, job, child, self.now);
                let ended = vec![end_of(self.state, self.limits, lease, &report, self.now)];
                self.events.push(Event::ChildrenEnded { lease: id, ended });
            } else {
                match returned.last_mut() {
                    Some(last) if last.end == child => last.end += 1,
                    Some(_) | None => returned.push(child..child + 1),
                }
            }
        }
        if !returned.is_empty() {
            self.events.push(Event::LeaseReturned { lease: id, children: returned });
        }
    }
}

pub(super) fn never_started(lease: LeaseId, job: JobId, child: u32, ended_at: Timestamp) -> Ended {
    Ended {
        lease,
        job,
        child,
        started_at: None,
        ended_at,
        exit_code: None,
        cause: EndCause::Stopped,
        reason: None,
        log_bytes: 0,
        containers: Vec::new(),
    }
}

/// What the end of an attempt means for its child.
pub(super) fn end_of(
    state: &State,
    limits: &Limits,
    lease: &Lease,
    report: &Ended,
    now: Timestamp,
) -> ChildEnd {
    let job = &state.jobs[&lease.job];
    if let Some(nodes) = &job.nodes {
        return nodes::end_of(state, nodes, lease, report);
    }
    let retry = &state.specs[&job.spec].spec.retry;
    let (number, charged) = job.children.get(report.child).live().unwrap_or((1, 0));
    let mut status_reason = match report.cause {
        EndCause::Exited | EndCause::OutOfMemory => None,
        EndCause::StartFailed => Some(reasons::START_FAILED.into()),
        EndCause::TimedOut => Some(reasons::TIMED_OUT.into()),
        EndCause::Stopped | EndCause::HostLost => Some(reasons::host_lost(&lease.agent).into()),
    };
    let reason = reason_of(report);
    // A preempted attempt is neither charged nor a loss.
    let preempted = job.rare.preempted.get(&report.child).copied().unwrap_or(0);
    let failure = Failure {
        number: number - preempted,
        charged,
        before: job.children.attempts_before(report.child),
        exit_code: report.exit_code,
        reason: reason.as_deref().unwrap_or(""),
        status_reason: status_reason.as_deref().unwrap_or(reasons::ENDED),
    };
    let mut then = match report.cause {
        EndCause::Exited if report.exit_code == Some(0) => Then::Succeeded,
        EndCause::Exited | EndCause::OutOfMemory | EndCause::StartFailed => {
            next_try(retry, &failure)
        }
        EndCause::TimedOut => Then::Failed,
        EndCause::Stopped | EndCause::HostLost => host_loss(limits, retry, &failure),
    };
    let preemption = state.preemptions.get(&(lease.job, report.child));
    if let Some(preemption) = preemption.filter(|_| report.cause == EndCause::Stopped) {
        let most = job.rare.quota.and_then(|quota| quota.preemptions_max);
        let is_allowed = most.is_none_or(|most| preempted < most);
        then = if is_allowed { Then::Preempted } else { Then::Failed };
        status_reason = Some(reasons::preempted(preemption).into());
    }
    if let Some(given) = job.stop_reason(report.child)
        && then != Then::Succeeded
    {
        then = Then::Failed;
        status_reason = Some(given.clone());
    }
    let not_before = not_before(retry, then, charged, now);
    let attempt = attempt_of(state, lease, report, status_reason);
    ChildEnd { child: report.child, then, attempt, not_before }
}

/// The record of an attempt that ended.
pub(super) fn attempt_of(
    state: &State,
    lease: &Lease,
    report: &Ended,
    status_reason: Option<Arc<str>>,
) -> Attempt {
    Attempt {
        agent: state.agents[&lease.agent].number,
        started_at: report.started_at,
        ended_at: report.ended_at,
        exit_code: report.exit_code,
        status_reason,
        reason: reason_of(report),
        log_bytes: report.log_bytes,
        containers: (!report.containers.is_empty()).then(|| Arc::new(report.containers.clone())),
    }
}

/// An attempt that did not succeed.
pub(super) struct Failure<'a> {
    /// Its number, not counting preempted ones.
    pub(super) number: u32,
    /// Attempts charged before it.
    pub(super) charged: u32,
    /// Attempts before the job was last reopened.
    pub(super) before: u32,
    pub(super) exit_code: Option<i32>,
    pub(super) reason: &'a str,
    pub(super) status_reason: &'a str,
}

/// What the retry strategy says of a failure that is charged.
pub(super) fn next_try(retry: &Retry, failure: &Failure<'_>) -> Then {
    let last = if sabotage::is("retry-lost") { 2 } else { 1 };
    let left = failure.charged + last < retry.attempts_max;
    if left && is_allowed(retry, failure) { Then::Retry } else { Then::Failed }
}

/// What follows from the loss of a host.
pub(super) fn host_loss(limits: &Limits, retry: &Retry, failure: &Failure<'_>) -> Then {
    if limits.charge_host_losses {
        return next_try(retry, failure);
    }
    let losses = failure.number - 1 - failure.charged - failure.before;
    let left = losses < HOST_LOSSES_MAX;
    if left && is_allowed(retry, failure) { Then::RetryUncharged } else { Then::Failed }
}

fn is_allowed(retry: &Retry, failure: &Failure<'_>) -> bool {
    retry.allows(failure.exit_code, failure.reason, failure.status_reason)
}

/// When the next attempt may start, if there is one and it has to wait.
pub(super) fn not_before(
    retry: &Retry,
    then: Then,
    charged: u32,
    now: Timestamp,
) -> Option<Timestamp> {
    let backoff = retry.backoff.filter(|_| then == Then::Retry)?;
    Some(now.plus(backoff.after(charged + 1)))
}

/// The container's reason, as long as AWS allows it.
fn reason_of(report: &Ended) -> Option<Arc<str>> {
    if report.cause == EndCause::OutOfMemory {
        return Some(reasons::OUT_OF_MEMORY.into());
    }
    report.reason.as_ref().map(|r| r.chars().take(255).collect::<String>().into())
}
