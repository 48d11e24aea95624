//! Agents: register, go unheard, drain.

use std::collections::BTreeMap;
use std::ops::Range;

use rangemap::RangeSet;
use windrow_common::api::ApiError;
use windrow_common::api::disconnect::Reconcile;
use windrow_common::api::jobs::JobStatus;
use windrow_common::api::resources::{AgentStatus, DrainAgent};
use windrow_common::ids::{LeaseId, Name};
use windrow_common::time::Timestamp;
use windrow_common::wire;
use windrow_common::wire::agent::{EndCause, Ended, Held, Register};

use super::reclaim::{Back, reclaim};
use super::report::end_of;
use super::{Answer, Decision, nodes};
use crate::core::State;
use crate::core::alarms::{self, Numbers};
use crate::core::event::{Event, Registered};
use crate::core::limits::{EVENT_CHILDREN_MAX, Limits};
use crate::core::state::{Lease, Phase};

/// Highest term or lease that an agent can have seen: what is counted from there never overflows.
const NUMBER_MAX: u64 = 1 << 62;

/// A new session, unless the registration is an old one, which needs no answer. What the agent does not hold of its leases is given out again; what it holds
/// and is no longer its own is fenced.
pub(super) fn register(
    state: &State,
    limits: &Limits,
    request: &Register,
    now: Timestamp,
) -> Result<Decision, ApiError> {
    if request.version > wire::VERSION {
        return Err(ApiError::invalid(format!(
            "agent `{}` speaks version {} of the protocol, this coordinator {}; update the coordinator first",
            request.agent,
            request.version,
            wire::VERSION
        )));
    }
    if !state.environments.contains_key(&request.compute_environment) {
        return Err(ApiError::not_found(format!(
            "compute environment `{}` does not exist; create it with `windrow ce create {}`",
            request.compute_environment, request.compute_environment
        )));
    }
    if let Some(agent) = state.agents.get(&request.agent)
        && agent.status != AgentStatus::Lost
        && agent.replaced.contains(&request.boot)
    {
        let message = format!(
            "another process on host `{}` registered later as agent `{}` and is heard; give each agent a name of its own",
            agent.host, request.agent
        );
        return Ok(Decision { events: Vec::new(), answer: Answer::Replaced(message) });
    }
    if is_overtaken(state, request) {
        return Ok(Decision::default());
    }
    let (mut events, mut last) = lost_tail(state, request, now)?;
    let (reclaimed, back) = reclaim(state, request);
    events.extend(reclaimed);
    let (held, fenced) = sort_held(state, request, &back);
    if let Some(agent) = state.agents.get(&request.agent) {
        for id in &agent.leases {
            let held = held.get(id).cloned().unwrap_or_default();
            let lease = &state.leases[id];
            events.extend(match &state.jobs[&lease.job].nodes {
                Some(_) => missing_node(state, limits, *id, &held, now, &mut last.lease),
                None => missing(state, limits, *id, &held, now),
            });
        }
    }
    let session = last.session + 1;
    let registered = Registered {
        session,
        boot: request.boot,
        host: request.host.clone(),
        environment: request.compute_environment.clone(),
        resources: request.resources,
        executors: request.executors.clone(),
        architecture: request.architecture.clone(),
        version: request.agent_version.clone(),
        address: request.address.clone(),
        gpus: request.gpus.clone(),
        disconnect: state.environments[&request.compute_environment].disconnect,
        problems: request.problems.clone(),
        number: request.number,
    };
    let agent = request.agent.clone();
    events.push(Event::AgentRegistered { agent, registered: Box::new(registered) });
    Ok(Decision { events, answer: Answer::Registered { session, fenced } })
}

/// Whether this registration has come before, or a later one of the same boot has overtaken it: the agent
/// may hold by now what it did not hold when it sent it, so nothing follows from it.
fn is_overtaken(state: &State, request: &Register) -> bool {
    let last = state.agents.get(&request.agent).filter(|agent| agent.boot == request.boot);
    request.number > 0 && last.is_some_and(|agent| request.number <= agent.registration)
}

/// An agent that has seen higher numbers than the journal knows is evidence of a lost end: numbers go on
/// above them. With the event the last numbers given.
fn lost_tail(
    state: &State,
    request: &Register,
    now: Timestamp,
) -> Result<(Vec<Event>, Numbers), ApiError> {
    let known = Numbers { term: state.term, session: state.last_session, lease: state.last_lease };
    let (agent, term, lease) = (&request.agent, request.term_seen, request.lease_seen);
    if term <= known.term && lease <= known.lease {
        return Ok((Vec::new(), known));
    }
    if term.max(lease.0) > NUMBER_MAX {
        return Err(ApiError::invalid(format!(
            "agent `{agent}` has seen term {term} and {lease}, at most {NUMBER_MAX} can be true"
        ))
        .hint("give the agent another state directory"));
    }
    let text = format!(
        "agent `{agent}` has seen term {term} and {lease}, the journal knows only of term {} and {}: \
         its end was lost, or the agent comes from another cluster of this name",
        known.term, known.lease
    );
    let seen = Numbers { term, lease, session: 0 };
    let recovered = alarms::recover(state, seen, &text, now);
    let last = recovered.above;
    Ok((vec![Event::Recovered(Box::new(recovered))], last))
}

/// What the agent says it holds, by lease, and the part of it that is not its own any more.
/// `back`: what it has back of leases that were given up.
fn sort_held(
    state: &State,
    request: &Register,
    back: &Back,
) -> (BTreeMap<LeaseId, RangeSet<u32>>, Vec<Held>) {
    let mut held = BTreeMap::<LeaseId, RangeSet<u32>>::new();
    let mut fenced = Vec::new();
    for entry in &request.held {
        let own = state.leases.get(&entry.lease).filter(|lease| lease.agent == request.agent);
        let mut gone = RangeSet::new();
        for (first, count) in &entry.children {
            let range = *first..first.saturating_add(*count);
            if range.is_empty() {
                continue;
            }
            gone.insert(range.clone());
            if let Some(back) = back.get(&entry.lease) {
                back.iter().for_each(|has| gone.remove(has.clone()));
            }
            let Some(lease) = own else { continue };
            for ours in lease.children.overlapping(&range) {
                let ours = ours.start.max(range.start)..ours.end.min(range.end);
                gone.remove(ours.clone());
                held.entry(entry.lease).or_default().insert(ours);
            }
        }
        if !gone.is_empty() {
            let children = gone.iter().map(|r| (r.start, r.end - r.start)).collect();
            fenced.push(Held { lease: entry.lease, children, ..Held::default() });
        }
    }
    (held, fenced)
}

/// Children of a lease that its agent does not hold: those not known to run never reached it, as it
/// writes down what it receives before it starts anything; the others are lost.
fn missing(
    state: &State,
    limits: &Limits,
    id: LeaseId,
    held: &RangeSet<u32>,
    now: Timestamp,
) -> Vec<Event> {
    let lease = &state.leases[&id];
    let job = &state.jobs[&lease.job];
    let mut never_started = RangeSet::new();
    let mut lost = Vec::new();
    for child in lease.children.iter().cloned().flatten().filter(|c| !held.contains(c)) {
        match job.children.status(child) {
            JobStatus::Running => lost.push(child),
            JobStatus::Submitted
            | JobStatus::Pending
            | JobStatus::Runnable
            | JobStatus::Starting
            | JobStatus::Succeeded
            | JobStatus::Failed => never_started.insert(child..child + 1),
        }
    }
    // A child that was told to stop and never started has nothing to come back for.
    let (stopped, returned): (Vec<u32>, Vec<u32>) =
        never_started.iter().cloned().flatten().partition(|c| job.stop_reason(*c).is_some());
    lost.extend(stopped);
    let returned: RangeSet<u32> = returned.into_iter().map(|c| c..c + 1).collect();
    let mut events = Vec::new();
    if !returned.is_empty() {
        let children: Vec<Range<u32>> = returned.into_iter().collect();
        events.push(Event::LeaseReturned { lease: id, children });
    }
    events.extend(lose(state, limits, id, &lost, now));
    events
}

/// As [`missing`], for the lease of a node. The others of its job go on: an order that did not reach
/// the agent is given again.
fn missing_node(
    state: &State,
    limits: &Limits,
    id: LeaseId,
    held: &RangeSet<u32>,
    now: Timestamp,
    last_lease: &mut LeaseId,
) -> Vec<Event> {
    let lease = &state.leases[&id];
    let job = &state.jobs[&lease.job];
    let Some(nodes) = &job.nodes else { return Vec::new() };
    let node = lease.children.first().expect("a lease is not empty").start;
    if held.contains(&node) || !nodes.is_ordered(node) {
        return Vec::new();
    }
    let never_began = job.children.status(node) == JobStatus::Starting;
    if never_began && nodes.phase != Phase::Ending && job.rare.stops.is_empty() {
        return vec![nodes::renew(lease.job, id, last_lease)];
    }
    lose(state, limits, id, &[node], now)
}

/// The agent is given up. What it held is given out again by follow-up work, see [`abandon`].
pub(super) fn unheard(state: &State, agent: &Name) -> Vec<Event> {
    let known = state.agents.get(agent).filter(|a| a.status != AgentStatus::Lost);
    known.map(|_| Event::AgentLost { agent: agent.clone() }).into_iter().collect()
}

/// All that an agent still holds is given out again, if it has not come back meanwhile.
pub(super) fn abandon(state: &State, limits: &Limits, agent: &Name, now: Timestamp) -> Vec<Event> {
    let lost = state.agents.get(agent).filter(|a| a.status == AgentStatus::Lost);
    let leases = lost.into_iter().flat_map(|a| a.leases.iter());
    leases
        .flat_map(|id| {
            let lease = &state.leases[id];
            let children: Vec<u32> = lease.children.iter().cloned().flatten().collect();
            let given_up =
                can_have_back(state, lease).then_some(Event::LeaseGivenUp { lease: *id });
            given_up.into_iter().chain(lose(state, limits, *id, &children, now))
        })
        .collect()
}

/// Whether the lease's agent has it back when it returns in time.
fn can_have_back(state: &State, lease: &Lease) -> bool {
    let agent = &state.agents[&lease.agent];
    agent.disconnect.reconcile == Reconcile::KeepOriginal && state.jobs[&lease.job].nodes.is_none()
}

fn lose(
    state: &State,
    limits: &Limits,
    id: LeaseId,
    children: &[u32],
    now: Timestamp,
) -> Vec<Event> {
    let lease = &state.leases[&id];
    let ended = |child: &u32| {
        let child = *child;
        let report = Ended {
            lease: id,
            job: lease.job,
            child,
            started_at: state.jobs[&lease.job].children.get(child).started_at(),
            ended_at: now,
            exit_code: None,
            cause: EndCause::HostLost,
            reason: None,
            log_bytes: 0,
            containers: Vec::new(),
        };
        end_of(state, limits, lease, &report, now)
    };
    let parts = children.chunks(EVENT_CHILDREN_MAX);
    parts
        .map(|part| Event::ChildrenEnded { lease: id, ended: part.iter().map(ended).collect() })
        .collect()
}

pub(super) fn drain(state: &State, request: &DrainAgent) -> Result<Decision, ApiError> {
    let known = request.agent.parse::<Name>().ok().filter(|n| state.agents.contains_key(n));
    let Some(agent) = known else {
        return Err(ApiError::not_found(format!("agent `{}` does not exist", request.agent))
            .hint("list them with `windrow agent list`"));
    };
    match state.agents[&agent].status {
        AgentStatus::Lost => Err(ApiError::conflict(format!("agent `{agent}` is LOST"))
            .hint("it runs nothing; it is UP again when it comes back")),
        AgentStatus::Up if request.drain => {
            Ok(vec![Event::AgentDrained { agent, draining: true }].into())
        }
        AgentStatus::Draining if !request.drain => {
            Ok(vec![Event::AgentDrained { agent, draining: false }].into())
        }
        AgentStatus::Up | AgentStatus::Draining => Ok(Decision::default()),
    }
}
