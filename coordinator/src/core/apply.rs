//! What an event does to the state. Total: no error, no clock, no I/O.

mod disconnect;
mod nodes;
mod shelf;

use std::collections::BTreeSet;
use std::ops::Range;

use rangemap::RangeSet;
use windrow_common::api::jobs::JobStatus;
use windrow_common::api::resources::AgentStatus;
use windrow_common::ids::{JobId, LeaseId, Name};
use windrow_common::sabotage;

use super::alarms;
use super::blocked::{self, Blocked};
use super::children::{Children, len};
use super::consumables::{self, Fate};
use super::event::{ChildEnd, Event, Granted, Registered, Submitted, Then};
use super::index::{Changed, Unended};
use super::quota;
use super::services;
use super::shelf::PageId;
use super::state::{Agent, Awaited, Job, Lease, Leased, Queue, Rare, Spec, State, Work, shared};
use super::usage;

/// Longest memory of the run time average: each new attempt weighs at least one part in this.
const RUN_TIME_WEIGHT: u64 = 16;

/// It happened.
#[expect(clippy::too_many_lines, reason = "one arm for each event")]
pub fn apply(state: &mut State, event: &Event) {
    match event {
        Event::TermStarted { term } => {
            state.term = *term;
            if sabotage::is("work-lost-at-restart") {
                state.work.clear();
            }
        }
        Event::QueueSet { name, queue } => set_queue(state, name, queue.clone()),
        Event::QueueDeleting { name } => {
            if let Some(queue) = state.queues.get_mut(name) {
                queue.is_deleting = true;
                state.work.push_back(Work::EmptyQueue(name.clone(), None));
            }
        }
        Event::QueueEmptied { name, upto } => state.work.push_back(match upto {
            Some(_) => Work::EmptyQueue(name.clone(), *upto),
            None => Work::RemoveQueue(name.clone()),
        }),
        Event::QueueDeleted { name } => {
            state.queues.remove(name);
            state.quota_shares.remove(name);
            usage::forget_queue(state, name);
        }
        Event::EnvironmentSet { name, environment } => {
            state.environments.insert(name.clone(), environment.clone());
        }
        Event::EnvironmentDeleted { name } => drop(state.environments.remove(name)),
        Event::RevisionRegistered { name, revision, content } => {
            let definition = state.definitions.entry(name.clone()).or_default();
            definition.revisions.insert(*revision, (**content).clone());
        }
        Event::RevisionDeregistered { name, revision } => {
            let definition = state.definitions.get_mut(name);
            if let Some(found) = definition.and_then(|d| d.revisions.get_mut(revision)) {
                found.active = false;
            }
        }
        Event::SpecAdded { digest, spec } => {
            state.specs.insert(*digest, Spec { spec: spec.clone(), run_micros: None });
        }
        Event::SubmissionTaken { sequence, published } => {
            state.submissions.insert(*sequence..*sequence + 1);
            state.submitted_until = state.submitted_until.max(*published);
        }
        Event::Recovered(recovered) => alarms::apply(state, recovered),
        Event::AlarmAcknowledged { alarm, acknowledged } => {
            alarms::apply_acknowledged(state, *alarm, acknowledged);
        }
        Event::ResultsFenced { count } => state.fenced_results += count,
        Event::WorkDone => drop(state.work.pop_front()),
        Event::JobSubmitted { job, submitted } => submit(state, *job, submitted),
        Event::JobAdmitted { job } => change(state, *job, Children::admit),
        Event::ChildrenReleased { job, children, at } => {
            change(state, *job, |all| all.release(children));
            state.jobs.get_mut(job).expect("decided on a known job").released_at = Some(*at);
        }
        Event::ChildrenFailed { job, children, ended } => {
            change(state, *job, |all| all.fail_idle(children, ended));
            settled(state, *job, children.clone(), ended.at);
        }
        Event::JobCancelled { job, children, reason, whole } => {
            let job = state.jobs.get_mut(job).expect("decided on a known job");
            job.is_cancelled |= whole;
            job.rare.cancelled.extend(children.iter().cloned());
            job.rare.end_reason =
                job.rare.end_reason.take().or_else(|| whole.then(|| reason.clone()));
        }
        Event::StopRequested { job: id, children, reason, whole } => {
            let job = state.jobs.get_mut(id).expect("decided on a known job");
            job.is_terminated |= whole;
            job.rare.stops.push((children.clone(), reason.clone()));
            job.rare.end_reason =
                job.rare.end_reason.take().or_else(|| whole.then(|| reason.clone()));
            nodes::look_after(state, *id);
        }
        Event::ChildrenReopened { job, children, key, at: _ } => {
            if let Some((key, digest)) = key {
                state.idempotency.insert(key.clone(), (*job, *digest));
                state.jobs.get_mut(job).expect("decided on a known job").keys.push(key.clone());
            }
            reopen(state, *job, children);
        }
        Event::BackOffEnded { job, children } => {
            change(state, *job, |all| all.end_back_off(children));
        }
        Event::LeaseGranted(granted) => grant(state, granted),
        Event::ChildrenStarted { lease, started } => {
            let job = state.leases[lease].job;
            change(state, job, |all| started.iter().for_each(|(child, at)| all.start(*child, *at)));
        }
        Event::ChildrenEnded { lease, ended } => end(state, *lease, ended),
        Event::LeaseReturned { lease, children } => {
            let job = state.leases[lease].job;
            change(state, job, |all| {
                children.iter().cloned().flatten().for_each(|c| all.give_back(c))
            });
            settle_lease(state, *lease, children, Fate::Unused);
        }
        Event::AgentRegistered { agent, registered } => register(state, agent, registered),
        Event::AgentLost { agent } => {
            change_agent(state, agent, |a| a.status = AgentStatus::Lost);
            if !sabotage::is("lost-agent-keeps-leases") {
                state.work.push_back(Work::Abandon(agent.clone()));
            }
        }
        Event::AgentDrained { agent, draining } => {
            let status = if *draining { AgentStatus::Draining } else { AgentStatus::Up };
            change_agent(state, agent, |a| a.status = status);
        }
        Event::TagsSet { resource, tags } => resource.set(state, tags),
        Event::JobsArchived { jobs } => archive(state, jobs),
        Event::JobsForgotten { jobs } => drop(forget(state, jobs)),
        Event::JobsShelved { page, term, jobs } => {
            let id = PageId { number: *page, term: *term };
            shelf::shelve(state, id, jobs);
        }
        Event::JobLoaded(record) => shelf::load(state, record),
        Event::PagesForgotten { upto } => state.shelf.forget_pages(*upto),
        Event::KeysForgotten { blocks } => state.shelf.forget_keys(*blocks),
        Event::ReportsTaken { agent, upto } => {
            change_agent(state, agent, |a| a.confirmed_reports = *upto);
        }
        Event::ConsumableCreated { name, consumable } => {
            state.consumables.insert(name.clone(), (**consumable).clone());
        }
        Event::ConsumableChanged { name, total, token } => {
            if let Some(consumable) = state.consumables.get_mut(name) {
                consumable.change(*total, token.as_ref());
            }
        }
        Event::ConsumableDeleted { name } => drop(state.consumables.remove(name)),
        Event::TimePassed { at } => state.clock = *at,
        Event::HeadReserved { queue, reservation: Some(kept) } => {
            state.reservations.insert(queue.clone(), kept.clone());
        }
        Event::HeadReserved { queue, reservation: None } => {
            state.reservations.remove(queue);
        }
        Event::ShareForgotten { queue, share } => usage::forget(state, queue, share),
        Event::PolicySet { name, policy } => {
            usage::settle(state);
            state.policies.insert(name.clone(), (**policy).clone());
        }
        Event::PolicyDeleted { name } => drop(state.policies.remove(name)),
        Event::NodesGranted(granted) => nodes::grant(state, granted),
        Event::NodesRenewed { job, leases } => nodes::renew(state, *job, leases),
        Event::NodesStopped { job } => nodes::stop(state, *job),
        Event::NodesEnded { job, then, status_reason, at, not_before } => {
            nodes::end(state, *job, *then, status_reason.as_ref(), *at, *not_before);
        }
        Event::NodesReturned { job } => nodes::give_back(state, *job),
        Event::JobUpdated { job, max_parallel, priority } => {
            update(state, *job, *max_parallel, *priority);
        }
        Event::QuotaShareSet { queue, name, share } => {
            let shares = state.quota_shares.entry(queue.clone()).or_default();
            shares.insert(name.clone(), (**share).clone());
        }
        Event::QuotaShareDeleted { queue, name } => quota::delete(state, queue, name),
        Event::ChildrenPreempted(preempted) => {
            for child in preempted.children.iter().cloned().flatten() {
                state.preemptions.insert((preempted.job, child), preempted.preemption.clone());
            }
            nodes::look_after(state, preempted.job);
        }
        Event::QueueBlocked { line, job, reason, at } => {
            let blocked = Blocked { job: *job, reason: reason.clone(), at: *at };
            blocked::block(state, line, blocked);
        }
        Event::QueueUnblocked { line } => blocked::unblock(state, line),
        Event::LeaseGivenUp { lease } => disconnect::give_up(state, *lease),
        Event::LeaseRevoked { lease, agent: _, children } => {
            disconnect::revoke(state, *lease, children);
        }
        Event::LeaseReclaimed(reclaimed) => disconnect::reclaim(state, reclaimed),
        Event::AccessKeyCreated { id, key } => {
            state.access_keys.insert(id.clone(), (**key).clone());
        }
        Event::AccessKeyRevoked { id } => drop(state.access_keys.remove(id)),
        Event::Service(event) => services::apply(state, event),
    }
}

fn set_queue(state: &mut State, name: &Name, mut queue: Queue) {
    queue.active_jobs = state.queues.get(name).map_or(0, |old| old.active_jobs);
    usage::settle(state);
    state.queues.insert(name.clone(), queue);
    blocked::set_deadlines(state, name);
}

fn submit(state: &mut State, id: JobId, submitted: &Submitted) {
    state.last_order += 1;
    if let Some((key, digest)) = &submitted.key {
        state.idempotency.insert(key.clone(), (id, *digest));
    }
    let nodes = submitted.nodes.as_ref().map(|nodes| nodes.count());
    let size = nodes.or(submitted.array_size).unwrap_or(1);
    let mut children = Children::new(size);
    let before = submitted.rerun_of.filter(|_| submitted.only_failed);
    if let Some(before) = before.and_then(|id| state.jobs.get(&id)) {
        children.carry(&before.children);
    }
    let rare = Rare {
        max_parallel: submitted.max_parallel,
        quota: submitted.quota,
        rerun_of: submitted.rerun_of,
        parameters: submitted.parameters.clone(),
        ..Rare::default()
    };
    let mut job = Job {
        name: submitted.name.clone(),
        queue: shared(&state.queues, &submitted.queue),
        definition: (shared(&state.definitions, &submitted.definition.0), submitted.definition.1),
        spec: submitted.spec,
        order: state.last_order,
        created_at: submitted.at,
        array_size: submitted.array_size,
        depends_on: submitted.depends_on.clone().into(),
        tags: submitted.tags.clone().into(),
        is_cancelled: false,
        is_terminated: false,
        stopped_at: None,
        children,
        propagate_tags: submitted.propagate_tags,
        share: submitted.share.clone(),
        priority: submitted.priority,
        nodes: submitted.nodes.clone(),
        keys: submitted.key.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>().into(),
        released_at: None,
        was_shelved: false,
        rare: rare.into(),
        standing: None,
    };
    if let Some(queue) = state.queues.get_mut(&job.queue) {
        queue.active_jobs += 1;
    }
    let carried = job.children.take_moved();
    state.jobs.insert(id, Box::new(job));
    usage::begin(state, id);
    let whole = Some(JobStatus::Submitted);
    state.index.changed.push(Changed { job: id, children: carried, whole, blocked: None });
    let mut index = std::mem::take(&mut state.index);
    index.wait_for(id, &submitted.depends_on);
    index.orders.enter(id, &state.jobs[&id]);
    index.listing.enter(&state.jobs[&id], JobStatus::Submitted);
    index.consume(state, id);
    index.finished.enter(id, &state.jobs[&id]);
    index.quota.enter(id, &state.jobs[&id]);
    index.unended.recount(Default::default(), Unended::of(&state.jobs[&id].children));
    state.index = index;
    state.work.push_back(Work::Admit(id));
}

/// The history has these jobs' records.
fn archive(state: &mut State, jobs: &[JobId]) {
    for id in jobs {
        let job = state.jobs.get_mut(id).expect("decided on a known job");
        job.children.archive();
        let at = job.stopped_at.expect("decided on a finished job");
        state.index.finished.archive(*id, at);
    }
}

/// Jobs, and the keys that led to them.
type Forgotten = (Vec<(JobId, Box<Job>)>, Vec<(String, (JobId, u64))>);

/// These jobs are gone, with their keys, and with their specs when nobody else has them.
fn forget(state: &mut State, jobs: &[JobId]) -> Forgotten {
    let mut forgotten = Forgotten::default();
    for id in jobs {
        let job = state.jobs.remove(id).expect("decided on a known job");
        forgotten.1.extend(job.keys.iter().filter_map(|key| state.idempotency.remove_entry(key)));
        let mut index = std::mem::take(&mut state.index);
        for unused in index.forget(state, *id, &job) {
            state.specs.remove(&unused);
        }
        state.index = index;
        forgotten.0.push((*id, job));
    }
    forgotten
}

fn update(state: &mut State, id: JobId, max_parallel: Option<u32>, priority: Option<u32>) {
    let job = state.jobs.get_mut(&id).expect("decided on a known job");
    job.priority = priority.unwrap_or(job.priority);
    if let Some(limit) = max_parallel {
        job.rare.max_parallel = (limit > 0).then_some(limit);
    }
    change(state, id, |_| ());
}

/// Changes children of a job and puts everything derived from them right.
fn change(state: &mut State, id: JobId, with: impl FnOnce(&mut Children)) {
    let job = state.jobs.get_mut(&id).expect("decided on a known job");
    let (before, waited) = (job.status(), job.children.waits());
    let counted = Unended::of(&job.children);
    with(&mut job.children);
    state.index.unended.recount(counted, Unended::of(&job.children));
    let (after, waits) = (job.status(), job.children.waits());
    if before != after {
        state.index.listing.move_job(job, before, after);
    }
    if before.is_terminal()
        && !after.is_terminal()
        && let Some(at) = job.stopped_at.take()
    {
        state.index.finished.reopen(id, job, at);
    }
    let children = job.children.take_moved();
    let whole = (before != after).then_some(after);
    if whole.is_some() || !children.is_empty() {
        state.index.changed.push(Changed { job: id, children, whole, blocked: None });
    }
    match (waited, waits) {
        (false, true) => state.index.wait_for(id, &job.depends_on),
        (true, false) => state.index.wait_no_more(id, &job.depends_on),
        (true, true) | (false, false) => {}
    }
    state.index.place_job(&state.specs, id, job);
    blocked::look_after(state, id);
}

/// After children ended: tells dependents, and closes the job when they were the last.
fn settled(
    state: &mut State,
    id: JobId,
    children: Vec<Range<u32>>,
    at: windrow_common::time::Timestamp,
) {
    let job = state.jobs.get_mut(&id).expect("decided on a known job");
    let ended = job.children.all_ended();
    if ended && job.stopped_at.is_none() {
        // An agent's clock may be far behind, and how long the job is known goes by this.
        let at = at.max(job.created_at);
        job.stopped_at = Some(at);
        state.index.finished.end(id, job, at);
        if let Some(queue) = state.queues.get_mut(&job.queue) {
            queue.active_jobs = queue.active_jobs.saturating_sub(1);
            if queue.is_deleting && queue.active_jobs == 0 {
                state.work.push_back(Work::RemoveQueue(job.queue.clone()));
            }
        }
        quota::leave(state, id);
        usage::end(state, id);
        disconnect::forget(state, id);
    }
    let Some(dependents) = state.index.dependents.get(&id).cloned() else { return };
    if sabotage::is("dependents-never-released") {
        return;
    }
    for dependent in dependents {
        let Some(waiting) = state.jobs.get(&dependent) else { continue };
        let touched = touched_by(waiting, id, dependent, &children, ended);
        if !touched.is_empty() {
            state.work.push_back(Work::Evaluate(dependent, touched));
        }
    }
}

/// FAILED children wait for their dependencies again; what was asked for before their end is past.
fn reopen(state: &mut State, id: JobId, children: &[Range<u32>]) {
    let job = state.jobs.get_mut(&id).expect("decided on a known job");
    let reopened: RangeSet<u32> = children.iter().cloned().collect();
    job.rare.cut(|rare| {
        for (stopped, _) in &mut rare.stops {
            let mut rest: RangeSet<u32> = stopped.iter().cloned().collect();
            children.iter().for_each(|range| rest.remove(range.clone()));
            *stopped = rest.into_iter().collect();
        }
        rare.stops.retain(|(stopped, _)| !stopped.is_empty());
        reopened.iter().for_each(|range| rare.cancelled.remove(range.clone()));
        // Its budget of preemptions is fresh too, and losses are counted from here.
        rare.preempted.retain(|child, _| !reopened.contains(child));
        rare.end_reason = None;
    });
    (job.is_cancelled, job.is_terminated) = (false, false);
    if job.stopped_at.is_some() {
        if let Some(queue) = state.queues.get_mut(&job.queue) {
            queue.active_jobs += 1;
        }
        usage::begin(state, id);
    }
    disconnect::forget(state, id);
    change(state, id, |all| all.reopen(children));
    state.index.quota.enter(id, &state.jobs[&id]);
    state.work.push_back(Work::Evaluate(id, children.to_vec()));
}

/// Children of `waiting` that may get on because `children` of `id` ended.
fn touched_by(
    waiting: &Job,
    id: JobId,
    dependent: JobId,
    children: &[Range<u32>],
    ended: bool,
) -> Vec<Range<u32>> {
    let size = waiting.children.size();
    let mut touched = RangeSet::new();
    for dependency in waiting.depends_on.iter().filter(|d| d.job(dependent) == id) {
        match &dependency.on {
            Awaited::Job(_) if ended => touched.insert(0..size),
            Awaited::Job(_) => {}
            Awaited::Child(_, child) => {
                if children.iter().any(|r| r.contains(child)) {
                    touched.insert(0..size);
                }
            }
            Awaited::NToN(_) => touched.extend(children.iter().cloned()),
            Awaited::Sequential => {
                let next = children.iter().map(|r| r.start + 1..(r.end + 1).min(size));
                touched.extend(next.filter(|r| !r.is_empty()));
            }
        }
    }
    touched.into_iter().collect()
}

fn grant(state: &mut State, granted: &Granted) {
    let job = &state.jobs[&granted.job];
    let (digest, resources) = (job.spec, state.specs[&job.spec].spec.resources);
    let lease = Lease {
        agent: granted.agent.clone(),
        job: granted.job,
        children: std::iter::once(granted.children.clone()).collect(),
        resources,
        spec: digest,
        granted_at: granted.at,
        slots: 0,
    };
    hold(state, granted.lease, lease);
    change(state, granted.job, |all| all.lease(granted.children.clone(), granted.lease));
}

/// A new lease takes its agent's resources.
fn hold(state: &mut State, id: LeaseId, mut lease: Lease) {
    let count: u32 = lease.children.iter().map(len).sum();
    lease.slots = state.agents[&lease.agent].free().count_of(lease.resources, u32::MAX);
    usage::change(state, lease.job, 0, usage::weight(&lease));
    let (resources, digest) = (lease.resources, lease.spec);
    change_agent(state, &lease.agent, |agent| {
        agent.leases.insert(id);
        agent.leased.add(resources, count);
    });
    let spec = state.specs[&digest].spec.clone();
    consumables::take(state, &spec.consumables, count);
    state.index.quota.take(&state.jobs[&lease.job], resources, count);
    state.index.hold(&state.agents[&lease.agent], &lease, i64::from(count));
    state.last_lease = id;
    state.leases.insert(id, lease);
}

fn end(state: &mut State, id: LeaseId, ended: &[ChildEnd]) {
    let job = state.leases[&id].job;
    let children: RangeSet<u32> = ended.iter().map(|e| e.child..e.child + 1).collect();
    let children: Vec<Range<u32>> = children.into_iter().collect();
    learn(state, id, ended);
    change(state, job, |all| {
        for end in ended {
            let attempt = end.attempt.clone();
            match end.then {
                Then::Succeeded => all.end(end.child, attempt, true),
                Then::Failed => all.end(end.child, attempt, false),
                Then::Retry => all.retry(end.child, attempt, true, end.not_before),
                Then::Preempted => all.retry(end.child, attempt, false, end.not_before),
                Then::RetryUncharged => all.retry(end.child, attempt, false, end.not_before),
                Then::Node(how) => all.settle(end.child, attempt, how),
            }
        }
    });
    for end in ended.iter().filter(|end| end.then == Then::Preempted) {
        let job = state.jobs.get_mut(&job).expect("decided on a known job");
        *job.rare.preempted.entry(end.child).or_default() += 1;
    }
    let run_micros = |end: &ChildEnd| {
        let run = end.attempt.ended_at.since(end.attempt.started_at?).as_micros();
        Some(u64::try_from(run).unwrap_or(u64::MAX))
    };
    usage::ran(state, id, &ended.iter().filter_map(run_micros).collect::<Vec<_>>());
    settle_lease(state, id, &children, Fate::Used);
    nodes::look_after(state, job);
    if let Some(last) = ended.iter().map(|e| e.attempt.ended_at).max() {
        settled(state, job, children, last);
    }
}

/// Takes the run times into the spec's average.
fn learn(state: &mut State, id: LeaseId, ended: &[ChildEnd]) {
    let run_times = ended
        .iter()
        .filter(|e| matches!(e.then, Then::Succeeded | Then::Failed | Then::Retry))
        .filter_map(|e| Some(e.attempt.ended_at.since(e.attempt.started_at?).as_micros().max(250)));
    let (count, sum) = run_times.fold((0u64, 0u64), |(count, sum), micros| {
        (count + 1, sum.saturating_add(u64::try_from(micros).unwrap_or(u64::MAX)))
    });
    let Some(average) = sum.checked_div(count) else { return };
    let digest = state.leases[&id].spec;
    if let Some(spec) = state.specs.get_mut(&digest) {
        let weight = count.min(RUN_TIME_WEIGHT / 2);
        spec.run_micros = Some(match spec.run_micros {
            None => average,
            Some(old) => (old / RUN_TIME_WEIGHT)
                .saturating_mul(RUN_TIME_WEIGHT - weight)
                .saturating_add((average / RUN_TIME_WEIGHT).saturating_mul(weight)),
        });
    }
}

/// These children are no longer the lease's; the last ones end it.
fn settle_lease(state: &mut State, id: LeaseId, children: &[Range<u32>], fate: Fate) {
    let lease = state.leases.get_mut(&id).expect("decided on a live lease");
    let weighed = usage::weight(lease);
    let mut count = 0;
    for range in children {
        lease.children.remove(range.clone());
        count += len(range);
    }
    let (job, weighs) = (lease.job, usage::weight(lease));
    let (need, digest, name) = (lease.resources, lease.spec, lease.agent.clone());
    state.index.hold(&state.agents[&name], lease, -i64::from(count));
    let over = lease.children.is_empty();
    if over {
        state.leases.remove(&id);
    }
    change_agent(state, &name, |agent| {
        agent.leased.remove(need, count);
        if sabotage::is("capacity-released-twice") && agent.leased.children >= count {
            agent.leased.remove(need, count);
        }
        if over {
            agent.leases.remove(&id);
        }
    });
    let spec = state.specs[&digest].spec.clone();
    consumables::give_back(state, &spec.consumables, count, fate);
    quota::release(state, job, children, need, count);
    usage::change(state, job, weighed, weighs);
}

fn register(state: &mut State, name: &Name, registered: &Registered) {
    state.last_session = registered.session;
    let number = match state.agents.get(name) {
        Some(agent) => agent.number,
        None => {
            state.agent_numbers.push(name.clone());
            u32::try_from(state.agent_numbers.len() - 1).expect("fewer than 2^32 agents")
        }
    };
    let old = state.agents.remove(name);
    let status = match old.as_ref().map(|a| a.status) {
        Some(AgentStatus::Draining) => AgentStatus::Draining,
        Some(AgentStatus::Up | AgentStatus::Lost) | None => AgentStatus::Up,
    };
    let replaced = old.as_ref().map(|old| old.replaced_by(registered.boot)).unwrap_or_default();
    let (leases, leased) =
        old.map_or((BTreeSet::new(), Leased::default()), |a| (a.leases, a.leased));
    let agent = Agent {
        number,
        session: registered.session,
        boot: registered.boot,
        host: registered.host.clone(),
        environment: registered.environment.clone(),
        resources: registered.resources,
        executors: registered.executors.iter().copied().collect(),
        architecture: registered.architecture.clone(),
        version: registered.version.clone(),
        status,
        confirmed_reports: 0,
        leases,
        leased,
        address: registered.address.clone(),
        gpus: registered.gpus.clone(),
        disconnect: registered.disconnect,
        problems: registered.problems.clone(),
        replaced,
        registration: registered.number,
    };
    // Loads are relative to the agent's size, which may have changed.
    for lease in agent.leases.iter().filter_map(|id| state.leases.get(id)) {
        state.index.hold(&agent, lease, 0);
    }
    state.agents.insert(name.clone(), agent);
    change_agent(state, name, |_| ());
}

/// Changes an agent and puts it where it now belongs.
fn change_agent(state: &mut State, name: &Name, with: impl FnOnce(&mut Agent)) {
    let agent = state.agents.get_mut(name).expect("decided on a known agent");
    with(agent);
    state.index.agents.put(agent);
}
