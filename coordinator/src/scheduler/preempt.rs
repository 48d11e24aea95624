//! Whom to stop so that another job can start: only in queues of quota shares, and only what helps.
//!
//! Asked when a pass has placed what it could. The first job of each share that still waits, and
//! that could ever start, may take the place of
//!
//! - jobs of shares that use more than their own capacity, if the job stays within its own share's;
//! - jobs of lower scheduling priority in its own share, if the share allows it.
//!
//! Lower priorities go first, then those leased last. Nothing is stopped unless the job can start
//! once all of the chosen are gone; of several agents the one where the fewest have to go is taken,
//! and its room is kept until then. A share has one such exchange at a time. A job that was stopped
//! comes back behind whoever it made room for, so that two jobs never stop each other in turns: it
//! borrows, or its priority is lower. Multi-node jobs are neither stopped nor made room for, nor is
//! anybody of their share behind them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use rangemap::RangeSet;
use windrow_common::ids::{JobId, LeaseId, Name};
use windrow_common::units::Resources;

use super::hold::environments;
use super::room::{fit, suit};
use super::shares::first_in_line;
use crate::core::State;
use crate::core::event::Preempted;
use crate::core::index::Shape;
use crate::core::quota::{Amounts, Books, Preemption, Short, amounts, share_of};
use crate::core::state::{Agent, Lease};

/// A leased child that may have to go.
#[derive(Clone, Debug)]
struct Candidate {
    share: Name,
    is_own_share: bool,
    lease: LeaseId,
    job: JobId,
    child: u32,
    agent: Name,
    need: Resources,
    priority: u32,
}

/// The job that waits.
struct Waiting<'a> {
    id: JobId,
    share: &'a Name,
    shape: &'a Shape,
    need: Amounts,
}

/// Who has to go now, for all shares; empty when nobody has to or it would not help.
pub fn preemptions(state: &State) -> Vec<Preempted> {
    let mut all = Vec::new();
    for (queue, shares) in &state.quota_shares {
        if state.index.ready.shares(queue).is_none() {
            continue;
        }
        for share in shares.keys() {
            all = for_share(state, queue, share);
            if !all.is_empty() {
                return all;
            }
        }
    }
    all
}

fn for_share(state: &State, queue: &Name, share: &Name) -> Vec<Preempted> {
    let is_for_it = |p: &Preemption| {
        p.share == *share && state.jobs.get(&p.by).is_some_and(|job| job.queue == *queue)
    };
    if state.preemptions.values().any(is_for_it) {
        return Vec::new();
    }
    let Some(books) = Books::of(state, queue) else { return Vec::new() };
    let Some((id, shape)) = first_waiting(state, queue, share) else {
        return Vec::new();
    };
    let need = amounts(shape.resources);
    let waiting = Waiting { id, share, shape, need };
    let books = without_leaving(state, queue, books);
    let candidates = candidates(state, queue, &waiting, &books);
    if candidates.is_empty() {
        return Vec::new();
    }
    match choose(state, queue, &waiting, &books, &candidates) {
        Some((agent, chosen)) => orders(&waiting, agent, &chosen),
        None => Vec::new(),
    }
}

/// The first job of the share that lacks only room or quota, and could ever have it.
fn first_waiting<'a>(state: &'a State, queue: &Name, share: &Name) -> Option<(JobId, &'a Shape)> {
    let ready = state.index.ready.share(queue, Some(share))?;
    let (head, _) = ready.head(Bound::Unbounded)?;
    let first = first_in_line(state, queue, share, head)?;
    // Behind a multi-node job nobody is let in either: what was stopped would only come back.
    let (rank, shape) = ready.head(Bound::Included(first))?;
    state.jobs[&rank.job].nodes.is_none().then_some((rank.job, shape))
}

/// The books as they will be when those being stopped already are gone.
pub(super) fn without_leaving<'a>(state: &State, queue: &Name, mut books: Books<'a>) -> Books<'a> {
    for (id, child) in state.preemptions.keys() {
        let job = &state.jobs[id];
        let lease = job.children.get(*child).lease().and_then(|lease| state.leases.get(&lease));
        if let (Some(share), Some(lease)) = (share_of(job), lease)
            && job.queue == *queue
        {
            books.remove(share, amounts(lease.resources));
        }
    }
    books
}

/// Those who may have to go, in the order in which they would.
fn candidates(
    state: &State,
    queue: &Name,
    waiting: &Waiting<'_>,
    books: &Books<'_>,
) -> Vec<Candidate> {
    let takes_back = books.is_own(waiting.share, waiting.need);
    let own = &state.quota_shares[queue][waiting.share];
    let priority = state.jobs[&waiting.id].priority;
    let mut found = Vec::new();
    for (id, lease) in &state.leases {
        let job = &state.jobs[&lease.job];
        let is_of_queue = job.queue == *queue && job.nodes.is_none();
        let Some(share) = share_of(job).filter(|_| is_of_queue) else { continue };
        let is_own_share = share == waiting.share;
        let may_go = match is_own_share {
            true => own.in_share_preemption && job.priority < priority,
            false => takes_back && books.is_borrowing(share),
        };
        if may_go {
            found.extend(of_lease(state, *id, lease, share, is_own_share));
        }
    }
    found.sort_by_key(|c| (c.is_own_share, c.priority, Reverse(c.lease), Reverse(c.child)));
    found
}

fn of_lease(
    state: &State,
    id: LeaseId,
    lease: &Lease,
    share: &Name,
    is_own_share: bool,
) -> Vec<Candidate> {
    let job = &state.jobs[&lease.job];
    let stays = |child: &u32| {
        !state.preemptions.contains_key(&(lease.job, *child)) && job.stop_reason(*child).is_none()
    };
    let candidate = |child| Candidate {
        share: share.clone(),
        is_own_share,
        lease: id,
        job: lease.job,
        child,
        agent: lease.agent.clone(),
        need: lease.resources,
        priority: job.priority,
    };
    lease.children.iter().cloned().flatten().filter(stays).map(candidate).collect()
}

/// The smallest choice after which the job can start, and the agent to be kept for it.
fn choose(
    state: &State,
    queue: &Name,
    waiting: &Waiting<'_>,
    books: &Books<'_>,
    candidates: &[Candidate],
) -> Option<(Option<Name>, Vec<Candidate>)> {
    let able: Vec<(&Name, &Agent)> = agents_for(state, queue, waiting.shape);
    if able.iter().any(|(_, agent)| fit(agent, waiting.shape).is_ok()) {
        // There is room: only the books stand in the way.
        let chosen = balance(waiting, books, candidates, Vec::new())?;
        return (!chosen.is_empty()).then_some((None, chosen));
    }
    let mut by_agent = BTreeMap::<&Name, Vec<&Candidate>>::new();
    for candidate in candidates {
        by_agent.entry(&candidate.agent).or_default().push(candidate);
    }
    let mut best: Option<(Option<Name>, Vec<Candidate>)> = None;
    for (name, agent) in able {
        let Some(here) = by_agent.get(name) else { continue };
        let Some(chosen) = make_room(agent, waiting, books, here) else { continue };
        let Some(chosen) = balance(waiting, books, candidates, chosen) else { continue };
        if best.as_ref().is_none_or(|(_, best)| chosen.len() < best.len()) {
            best = Some((Some(name.clone()), chosen));
        }
    }
    best
}

/// Agents that could run the shape and are not kept for somebody else.
fn agents_for<'a>(state: &'a State, queue: &Name, shape: &Shape) -> Vec<(&'a Name, &'a Agent)> {
    let kept: BTreeSet<&Name> =
        state.preemptions.values().filter_map(|p| p.agent.as_ref()).collect();
    let allowed: BTreeSet<&Name> = environments(state, queue).collect();
    let is_able = |(name, agent): &(&Name, &Agent)| {
        allowed.contains(&agent.environment) && !kept.contains(name) && suit(agent, shape).is_ok()
    };
    state.agents.iter().filter(is_able).collect()
}

/// Enough of those on an agent that the job fits it: the fewest of the first that do.
fn make_room(
    agent: &Agent,
    waiting: &Waiting<'_>,
    books: &Books<'_>,
    here: &[&Candidate],
) -> Option<Vec<Candidate>> {
    let need = waiting.shape.resources;
    let mut books = books.clone();
    let mut free = agent.free();
    let mut chosen: Vec<Candidate> = Vec::new();
    for candidate in here {
        if free.fits(need) {
            break;
        }
        if candidate.is_own_share || books.is_borrowing(&candidate.share) {
            books.remove(&candidate.share, amounts(candidate.need));
            free = free.plus(candidate.need);
            chosen.push((*candidate).clone());
        }
    }
    if !free.fits(need) {
        return None;
    }
    // A large one chosen later can make small ones chosen before superfluous.
    let mut kept = Vec::new();
    for candidate in chosen {
        let without = free.less(candidate.need);
        if without.fits(need) {
            free = without;
        } else {
            kept.push(candidate);
        }
    }
    Some(kept)
}

/// Adds to `chosen` until the books allow the job to start.
fn balance(
    waiting: &Waiting<'_>,
    books: &Books<'_>,
    candidates: &[Candidate],
    mut chosen: Vec<Candidate>,
) -> Option<Vec<Candidate>> {
    let mut books = books.clone();
    let mut taken: BTreeSet<(JobId, u32)> = chosen.iter().map(|c| (c.job, c.child)).collect();
    for candidate in &chosen {
        books.remove(&candidate.share, amounts(candidate.need));
    }
    while let Err(short) = books.check(waiting.share, waiting.need) {
        let helps = |c: &&Candidate| {
            let helps = match short {
                Short::Never(_) => false,
                Short::Full(unit) => c.is_own_share && amounts(c.need)[unit as usize] > 0,
                Short::NothingLent(unit) | Short::LentOut(unit) => {
                    let frees = amounts(c.need)[unit as usize] > 0;
                    frees && (c.is_own_share || books.borrowed(&c.share, unit) > 0)
                }
            };
            helps && !taken.contains(&(c.job, c.child))
        };
        let next = candidates.iter().find(helps)?;
        taken.insert((next.job, next.child));
        books.remove(&next.share, amounts(next.need));
        chosen.push(next.clone());
    }
    Some(chosen)
}

fn orders(waiting: &Waiting<'_>, agent: Option<Name>, chosen: &[Candidate]) -> Vec<Preempted> {
    let mut by_job = BTreeMap::<JobId, RangeSet<u32>>::new();
    for candidate in chosen {
        by_job.entry(candidate.job).or_default().insert(candidate.child..candidate.child + 1);
    }
    let preemption = Preemption { by: waiting.id, share: waiting.share.clone(), agent };
    let order = |(job, children): (JobId, RangeSet<u32>)| Preempted {
        job,
        children: children.into_iter().collect(),
        preemption: preemption.clone(),
    };
    by_job.into_iter().map(order).collect()
}
