//! One look at everything that is ready.

use std::collections::{BTreeMap, BTreeSet};

use windrow_common::ids::{JobId, Name};
use windrow_common::time::Timestamp;
use windrow_common::units::Resources;

use super::hold::{Hold, environments, hold, is_limited, needs_at_once, startable_beside};
use super::kept::{Keeper, Kept, Reservation, choose};
use super::room::{able, backlog, best_fit, suits_some_agent};
use super::shares::{Head, Shares};
use super::{Placement, gang};
use crate::core::State;
use crate::core::index::Shape;
use crate::core::quota::{Amounts, Short};
use crate::core::state::Agent;

/// Most shapes without room that a backlog leaves its place to: whoever comes later has many before it
/// in any case.
const BLOCKED_MAX: usize = 16;

/// One look at everything that is ready, queue after queue.
#[derive(Debug)]
pub struct Pass {
    now: Timestamp,
    /// Queues not begun with, the next one last.
    queues: Vec<Name>,
    turn: Option<Turn>,
    /// Agents kept for jobs that did not fit.
    kept: Kept,
    /// Those of them that stay kept after this pass.
    reservations: BTreeMap<Name, Reservation>,
    /// Agents whose room others made for somebody, when the pass began.
    exchanges: Kept,
    /// Consumable resources that a job waits for which went before, and how much it needs: those
    /// behind it leave them to gather.
    awaited: BTreeMap<Name, u64>,
    /// Shapes that found no room, with their queues: the first ones.
    blocked: Vec<(Name, Shape)>,
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
    /// The first head that lacks only room; agents are kept for it.
    reserved: Option<JobId>,
    /// Something was placed since agents are kept. Where shares take turns that may have changed who
    /// is first.
    is_outdated: bool,
    /// Capacity of quota shares that the first job of each takes once it has room.
    waiting: BTreeMap<Option<Name>, Amounts>,
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
        let exchanges = Kept::by_exchanges(state);
        Self {
            now,
            queues,
            turn: None,
            kept: exchanges.clone(),
            reservations: BTreeMap::new(),
            exchanges,
            awaited: BTreeMap::new(),
            blocked: Vec::new(),
        }
    }

    /// Agents kept for jobs that did not fit, as far as the pass has got.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// What is to be [`State::reservations`] when the pass is over.
    pub fn into_reservations(self) -> BTreeMap<Name, Reservation> {
        self.reservations
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
                None => match self.queues.pop() {
                    Some(queue) => Turn::new(state, queue, self.now),
                    // Those who found agents kept have another look.
                    None if self.is_outdated(state) => {
                        *self = Self::new(state, self.now);
                        continue;
                    }
                    None => return None,
                },
            };
            while let Some(head) = turn.next(state) {
                match self.place(state, &mut turn, &head) {
                    Found::Place(placement) => {
                        turn.is_outdated = turn.reserved.is_some() && turn.shares.take_turns();
                        turn.placed = Some(head);
                        self.turn = Some(turn);
                        return Some(placement);
                    }
                    Found::Nothing => turn.shares.pass_over(state, head),
                    Found::ShareWaits => {}
                }
            }
            if let Some(first) = turn.reserved.filter(|_| turn.is_outdated) {
                self.kept.release(first, &self.exchanges);
                self.reservations.remove(turn.shares.queue());
                self.blocked.retain(|(queue, _)| queue != turn.shares.queue());
                self.queues.push(turn.shares.queue().clone());
            }
        }
    }

    /// Whether an agent is kept for a job that does not want it any more: the exchange is over, or
    /// those behind it took what else it needs.
    fn is_outdated(&self, state: &State) -> bool {
        let mut heads = self.kept.jobs().filter(|job| !self.exchanges.jobs().any(|by| by == *job));
        Kept::by_exchanges(state) != self.exchanges || heads.any(|job| hold(state, job).is_some())
    }

    /// Where children of the head go.
    fn place(&mut self, state: &State, turn: &mut Turn, head: &Head) -> Found {
        let id = head.rank.job;
        match hold(state, id) {
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
        let waiting = turn.waiting.get(&head.share).copied().unwrap_or_default();
        let ready = startable_beside(state, id, waiting).min(turn.shares.turn_length(state, head));
        if ready == 0 {
            return Found::Nothing;
        }
        // Another job of its shape may have found nothing only because agents are kept for this one.
        let is_full = turn.full.contains(&head.shape) && !self.kept.has_some_for(state, id);
        let is_kept = |agent: u32| self.kept.is_kept_from(state, agent, id);
        if job.nodes.is_some() {
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
        let wish = (id, &head.shape);
        let room = |agent, free| self.kept.room(state, agent, free, wish, self.now);
        let fitting = match is_full {
            true => None,
            false => best_fit(state, &job.queue, &head.shape, ready, room),
        };
        let is_awaited = |agent: &Agent, need| self.is_awaited(state, agent, need);
        let backlog = || match is_limited(state, job) {
            true => None,
            false => backlog(state, job, ready, is_kept, is_awaited),
        };
        match fitting.or_else(backlog) {
            Some((agent, count)) => {
                self.kept.placed(agent, &head.shape, count, self.now);
                let agent = state.agent_name(agent).clone();
                Found::Place(Placement::Children { job: id, agent, count })
            }
            None => {
                self.block(state, turn, head);
                Found::Nothing
            }
        }
    }

    /// Whether a job that goes before could start on the agent when a child of this need ends there: a
    /// backlog would take its place without anybody being asked, again and again.
    fn is_awaited(&self, state: &State, agent: &Agent, need: Resources) -> bool {
        let room = agent.free().plus(need);
        self.blocked.iter().any(|(queue, shape)| {
            let is_of_queue = || environments(state, queue).any(|e| *e == agent.environment);
            room.fits(shape.resources) && able(agent, shape).is_ok() && is_of_queue()
        })
    }

    /// Nothing has room for the shape; the first one of a queue reserves an agent.
    fn block(&mut self, state: &State, turn: &mut Turn, head: &Head) {
        let shape = &head.shape;
        let id = head.rank.job;
        let job = &state.jobs[&id];
        let is_first = job.rare.quota.is_some() && !turn.waiting.contains_key(&head.share);
        if is_first && suits_some_agent(state, turn.shares.queue(), shape) {
            turn.waiting.insert(head.share.clone(), needs_at_once(state, job).1);
        }
        let is_new = turn.full.insert(shape.clone());
        // Room for one node is no use to a multi-node job.
        if is_new && job.nodes.is_none() && self.blocked.len() < BLOCKED_MAX {
            self.blocked.push((turn.shares.queue().clone(), shape.clone()));
        }
        if turn.reserved.is_some() || !is_new {
            return;
        }
        let keeper = |until| Keeper { job: id, until };
        if job.nodes.is_some() {
            let agents = gang::reserve(state, job, |agent| self.kept.keeper(agent).is_some());
            turn.reserved = agents.is_some().then_some(id);
            for agent in agents.into_iter().flatten() {
                self.kept.keep(agent, keeper(None));
            }
            return;
        }
        let queue = turn.shares.queue();
        let chosen = choose(state, queue, (id, shape), &self.kept, self.now);
        let Some((agent, until)) = chosen else { return };
        turn.reserved = Some(id);
        self.kept.keep(agent, keeper(until));
        if until.is_some() {
            let agent = state.agent_name(agent).clone();
            self.reservations.insert(queue.clone(), Reservation { job: id, agent });
        }
    }
}

impl Turn {
    fn new(state: &State, queue: Name, now: Timestamp) -> Self {
        let shares = Shares::new(state, queue, now);
        Self {
            shares,
            placed: None,
            full: BTreeSet::new(),
            reserved: None,
            is_outdated: false,
            waiting: BTreeMap::new(),
        }
    }

    fn next(&mut self, state: &State) -> Option<Head> {
        if let Some(placed) = self.placed.take() {
            self.shares.again(state, placed);
        }
        self.shares.next(state)
    }
}
