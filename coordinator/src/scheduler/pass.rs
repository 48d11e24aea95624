//! One look at everything that is ready.

use std::collections::{BTreeMap, BTreeSet};

use windrow_common::ids::{JobId, Name};
use windrow_common::time::Timestamp;

use super::hold::{Hold, environments, hold, is_limited, needs_at_once, startable};
use super::room::{backlog, best_fit, groups};
use super::shares::{Head, Shares};
use super::{Placement, gang};
use crate::core::State;
use crate::core::index::Shape;
use crate::core::quota::Short;

/// One look at everything that is ready, queue after queue.
#[derive(Debug)]
pub struct Pass {
    now: Timestamp,
    /// Queues not begun with, the next one last.
    queues: Vec<Name>,
    turn: Option<Turn>,
    /// Agents kept for jobs that did not fit.
    reserved: BTreeMap<u32, JobId>,
    /// Consumable resources that a job waits for which went before, and how much it needs: those
    /// behind it leave them to gather.
    awaited: BTreeMap<Name, u64>,
}

/// What came of looking at a head.
enum Found {
    Place(Placement),
    /// None of its shape can start now: the share goes on with the next one.
    Nothing,
    /// Its share has no capacity left for it, and those behind it must not take what it waits for.
    ShareWaits,
}

/// The present queue.
#[derive(Debug)]
struct Turn {
    shares: Shares,
    /// Placed by the last call; its share goes on with the state after it.
    placed: Option<Head>,
    /// Shapes that no agent has room for, whosever they are.
    full: BTreeSet<Shape>,
    has_reserved: bool,
}

impl Pass {
    /// Starts over with the first queue. The usage of shares is taken as it is `now`.
    pub fn new(state: &State, now: Timestamp) -> Self {
        let mut queues: Vec<_> = state
            .index
            .ready
            .queues()
            .filter_map(|name| Some((state.queues.get(name)?.priority, name.clone())))
            .collect();
        queues.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| b.1.cmp(&a.1)));
        let queues = queues.into_iter().map(|(_, name)| name).collect();
        // Where others make room for somebody, nobody else moves in.
        let kept = state.preemptions.values();
        let kept = kept.filter_map(|p| Some((state.agents.get(p.agent.as_ref()?)?.number, p.by)));
        Self { now, queues, turn: None, reserved: kept.collect(), awaited: BTreeMap::new() }
    }

    /// Agents kept for jobs that did not fit, as far as the pass has got.
    pub fn kept(&self) -> &BTreeMap<u32, JobId> {
        &self.reserved
    }

    /// Consumable resources that jobs wait to gather, as far as the pass has got, and how much the
    /// first of those jobs needs.
    pub fn awaited(&self) -> &BTreeMap<Name, u64> {
        &self.awaited
    }

    /// The next placement; none when nothing more fits. The one before must have been committed.
    pub fn next(&mut self, state: &State) -> Option<Placement> {
        loop {
            let mut turn = match self.turn.take() {
                Some(turn) => turn,
                None => Turn::new(state, self.queues.pop()?, self.now),
            };
            while let Some(head) = turn.next(state) {
                match self.place(state, &mut turn, &head) {
                    Found::Place(placement) => {
                        turn.placed = Some(head);
                        self.turn = Some(turn);
                        return Some(placement);
                    }
                    Found::Nothing => turn.shares.pass_over(state, head),
                    Found::ShareWaits => {}
                }
            }
        }
    }

    /// Where children of the head go.
    fn place(&mut self, state: &State, turn: &mut Turn, head: &Head) -> Found {
        let id = head.rank.job;
        match hold(state, id, self.now) {
            None => {}
            Some(
                Hold::QuotaShare(Short::Never(_))
                | Hold::NoEnvironment
                | Hold::KeptForOtherShares { .. },
            ) => return Found::Nothing,
            Some(Hold::QuotaShare(_)) => return Found::ShareWaits,
            Some(Hold::Consumable(name, quantity)) => {
                let total = state.consumables.get(&name).map_or(0, |found| found.total);
                if quantity <= total {
                    self.awaited.entry(name).or_insert(quantity);
                }
                return Found::Nothing;
            }
        }
        let job = &state.jobs[&id];
        let (consumables, _) = needs_at_once(state, job);
        if consumables.iter().any(|(name, _)| self.awaited.contains_key(name)) {
            return Found::Nothing;
        }
        let ready = startable(state, job).min(turn.shares.turn_length(state, head));
        // Room kept for this very job is its to take.
        let is_kept = |number: u32| self.reserved.get(&number).is_some_and(|other| *other != id);
        if job.nodes.is_some() {
            let is_full = turn.full.contains(&head.shape);
            let agents = (!is_full).then(|| gang::place(state, job, is_kept)).flatten();
            let agents = agents.map(|agents| {
                agents.into_iter().map(|number| state.agent_name(number).clone()).collect()
            });
            return match agents {
                Some(agents) => Found::Place(Placement::Nodes { job: id, agents }),
                None => {
                    self.block(state, turn, head);
                    Found::Nothing
                }
            };
        }
        let fitting = match turn.full.contains(&head.shape) {
            true => None,
            false => best_fit(state, &job.queue, &head.shape, ready, is_kept),
        };
        let backlog = || match is_limited(state, job) {
            true => None,
            false => backlog(state, job, ready, is_kept),
        };
        match fitting.or_else(backlog) {
            Some((agent, count)) => {
                let agent = state.agent_name(agent).clone();
                Found::Place(Placement::Children { job: id, agent, count })
            }
            None => {
                self.block(state, turn, head);
                Found::Nothing
            }
        }
    }

    /// Nothing has room for the shape; the first one of a queue reserves an agent.
    fn block(&mut self, state: &State, turn: &mut Turn, head: &Head) {
        let shape = &head.shape;
        let is_new = turn.full.insert(shape.clone());
        if turn.has_reserved || !is_new {
            return;
        }
        let job = &state.jobs[&head.rank.job];
        if job.nodes.is_some() {
            let agents = gang::reserve(state, job, |number| self.reserved.contains_key(&number));
            turn.has_reserved = agents.is_some();
            let kept = agents.into_iter().flatten().map(|agent| (agent, head.rank.job));
            self.reserved.extend(kept);
            return;
        }
        // The emptiest agent that could hold it will probably be free first.
        let candidate = environments(state, turn.shares.queue())
            .flat_map(|environment| groups(state, environment, shape))
            .map(|(_, group)| group)
            .filter(|group| group.sizes.with(shape.resources).next().is_some())
            .flat_map(|group| group.free.iter().rev())
            .find(|(_, number)| {
                let agent = &state.agents[state.agent_name(*number)];
                agent.resources.fits(shape.resources) && !self.reserved.contains_key(number)
            });
        if let Some((_, number)) = candidate {
            self.reserved.insert(number, head.rank.job);
            turn.has_reserved = true;
        }
    }
}

impl Turn {
    fn new(state: &State, queue: Name, now: Timestamp) -> Self {
        let shares = Shares::new(state, queue, now);
        Self { shares, placed: None, full: BTreeSet::new(), has_reserved: false }
    }

    fn next(&mut self, state: &State) -> Option<Head> {
        if let Some(placed) = self.placed.take() {
            self.shares.again(state, placed);
        }
        self.shares.next(state)
    }
}
