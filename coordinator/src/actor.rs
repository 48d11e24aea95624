//! The coordinator as an actor: messages and the time go in, events to store and messages to send come
//! out. It does no I/O, has no clock and no randomness of its own, so a simulation can drive it as the
//! shell does.
//!
//! One turn is two calls. [`Actor::turn`] decides everything that has arrived and what follows from it,
//! and gives the events, which are to be stored in the journal. [`Actor::stored`] is called once they
//! are, and gives what may leave the process because of that: answers, orders, dead letters. If storing
//! fails, nobody was told anything, and the actor is thrown away and made anew from the journal.

pub mod archiving;
pub mod dispatch;
pub mod liveness;
mod messages;
mod questions;
pub mod requests;
mod submissions;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tracing::{debug, warn};
use windrow_common::access::ClusterKeys;
use windrow_common::api::access::CreateAccessKey;
use windrow_common::api::resources::AgentStatus;
use windrow_common::api::{ApiError, Operation};
use windrow_common::codec::{Encoding, to_msgpack};
use windrow_common::ids::{JobId, LeaseId, Name};
use windrow_common::subjects::Subjects;
use windrow_common::time::Timestamp;
use windrow_common::wire::agent::{Beat, Control, RegisterReply};

use self::archiving::{Archiving, Keep};
use self::dispatch::Dispatch;
use self::liveness::Liveness;
pub use self::messages::{
    Answered, Body, DeadLetter, Effects, Input, Joined, Load, Now, Reply, Submission, Turn,
};
use self::requests::{Asked, Told};
use crate::core::event::Event;
use crate::core::limits::Limits;
use crate::core::shelf::PageId;
use crate::core::{Answer, Command, State, apply, decide, next_deadline};
use crate::scheduler::{Pass, preemptions, standing};
use crate::view::changes::changes;

/// Most pieces of follow-up work, and most placements, of one turn: what is left comes in the next,
/// so that answers do not wait behind it.
pub const TURN_STEPS: usize = 4096;
/// How long a lease may be on its way before the agent is asked to register again.
const DELIVERY_MAX: Duration = Duration::from_secs(10);

/// What an actor goes by.
#[derive(Clone, Debug)]
pub struct Settings {
    pub limits: Limits,
    pub subjects: Subjects,
    /// How often agents send a heartbeat.
    pub heartbeat: Duration,
    /// Silence after which an agent counts as lost.
    pub lease_ttl: Duration,
    /// What is kept of finished jobs.
    pub finished: Keep,
    /// Most pieces of follow-up work, and most placements, of one turn.
    pub turn_steps: usize,
    /// What secrets of access keys are made of; absent: none can be made.
    pub cluster_keys: Option<ClusterKeys>,
}

impl Settings {
    /// With the defaults of the configuration.
    pub fn new(subjects: Subjects) -> Self {
        Self {
            limits: Limits::default(),
            subjects,
            heartbeat: Duration::from_secs(2),
            lease_ttl: Duration::from_secs(30),
            finished: Keep::default(),
            turn_steps: TURN_STEPS,
            cluster_keys: None,
        }
    }
}

/// Makes the ids of new jobs.
pub type NewIds = Box<dyn FnMut() -> JobId + Send>;

/// The actor.
pub struct Actor {
    state: State,
    settings: Settings,
    new_id: NewIds,
    dispatch: Dispatch,
    liveness: Liveness,
    /// Agents to be asked to register: their session is from before this coordinator's term.
    unregistered: BTreeSet<Name>,
    /// Leases sent to each agent that it has not said to have seen.
    sent: BTreeMap<Name, Unseen>,
    turn: Turn,
    /// Something has happened since the heads of queues were looked at.
    is_changed: bool,
    archiving: Archiving,
}

/// Leases on their way to an agent.
struct Unseen {
    /// A heartbeat that knows this one is due.
    awaited: LeaseId,
    since: Duration,
    newest: LeaseId,
}

impl Actor {
    /// Around a state whose term has been started. Every agent has a full lease time to be heard, and
    /// is asked to register with the first turn.
    pub fn new(state: State, settings: Settings, new_id: NewIds, now: Now) -> Self {
        let agents: BTreeSet<Name> = live_agents(&state);
        let ttl = settings.lease_ttl;
        let liveness = Liveness::new(ttl, agents.iter().cloned(), now.monotonic);
        let archiving = Archiving::new(settings.finished);
        let turn = Turn { register: agents.clone(), ..Turn::default() };
        Self {
            state,
            settings,
            new_id,
            dispatch: Dispatch::default(),
            liveness,
            unregistered: agents,
            sent: BTreeMap::new(),
            turn,
            is_changed: true,
            archiving,
        }
    }

    /// The state, as all turns so far have it.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The state, when the actor is done with.
    pub fn into_state(self) -> State {
        self.state
    }

    /// When the next turn is due at the latest, if nothing arrives before.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        next_deadline(&self.state)
    }

    /// Decides all of this, what is due by time, follow-up work and placement.
    pub fn turn(&mut self, inputs: impl IntoIterator<Item = Input>, now: Now) -> Turn {
        for input in inputs {
            self.take(input, now, false);
        }
        let is_unfinished = self.follow_up(now.wall);
        Turn { is_unfinished, ..std::mem::take(&mut self.turn) }
    }

    /// The turn's events are stored: what may be given out because of that.
    pub fn stored(&mut self, turn: Turn, now: Now) -> Effects {
        let Turn { groups, replies, registered, dead, mut register, reports_upto, .. } = turn;
        let events: Vec<Event> = groups.into_iter().flatten().collect();
        let mut messages = self.orders(&events, now.monotonic);
        if turn.is_tick {
            messages.extend(self.confirmations());
        }
        messages.extend(turn.heard.into_iter().map(|beat| self.heard(beat)));
        register.extend(agreed_anew(&self.state, &events));
        Effects {
            registered,
            messages,
            register,
            dead,
            replies,
            reports_upto,
            to_history: turn.to_history,
            loads: turn.loads,
        }
    }

    /// Decides a command; if accepted, its events have happened.
    fn decide(&mut self, command: &Command, now: Timestamp) -> Result<Answer, ApiError> {
        let decision = decide(&self.state, &self.settings.limits, command, now)?;
        for event in &decision.events {
            apply(&mut self.state, event);
            let changed = std::mem::take(&mut self.state.index.changed);
            let number = self.turn.events;
            let changes = changes(&self.state, &changed);
            self.turn.changes.extend(changes.into_iter().map(|change| (number, change)));
            self.turn.events += 1;
        }
        if !decision.events.is_empty() {
            self.turn.groups.push(decision.events);
            self.is_changed = true;
        }
        Ok(decision.answer)
    }

    /// Takes an input, whose jobs may have been looked for in the history before.
    fn take(&mut self, input: Input, now: Now, is_loaded: bool) {
        match input {
            Input::Request { operation, payload, encoding, reply } => {
                let asked = self.ask(&operation, &payload, encoding, now);
                let pages = match (&asked, is_loaded) {
                    (Ok(asked), false) => self.pages_for(&asked.jobs(&self.state)),
                    (Ok(_), true) | (Err(_), _) => Vec::new(),
                };
                if pages.is_empty() {
                    self.on_request(asked, encoding, reply, now);
                } else {
                    let then = Input::Request { operation, payload, encoding, reply };
                    self.turn.loads.push(Load { pages, then });
                }
            }
            Input::Submission(submission) => self.on_submission(submission, now.wall, is_loaded),
            Input::Register { request, reply } => {
                let agent = request.agent.clone();
                let before = self.state.agents.get(&agent).map(|a| a.session);
                let outcome = match self.decide(&Command::RegisterAgent(request), now.wall) {
                    Ok(Answer::Registered { session, fenced }) => Ok((session, fenced)),
                    Ok(Answer::Replaced(message)) => Err(RegisterReply::Replaced { message }),
                    // It came twice or late, and nobody waits for an answer.
                    Ok(_) => return,
                    Err(error) => Err(RegisterReply::Refused { message: error.message }),
                };
                if outcome.is_ok() {
                    self.unregistered.remove(&agent);
                    self.sent.remove(&agent);
                    self.liveness.hear(&agent, now.monotonic);
                }
                self.turn.registered.push(Joined { agent, reply, before, outcome });
            }
            Input::Beat { agent, beat } => self.on_beat(&agent, &beat, now),
            Input::Report { sequence, message } => {
                self.turn.reports_upto = Some(sequence);
                let agent = message.agent.clone();
                if let Ok(Answer::MustRegister) = self.decide(&Command::Report(message), now.wall) {
                    self.turn.register.insert(agent);
                }
            }
            Input::Unreadable { subject, payload, reason } => {
                warn!(subject, reason, "unreadable message from an agent");
                let source = "agent";
                self.turn.dead.push(DeadLetter { source, subject, payload, reason });
            }
            Input::Archived(complete) => self.archiving.on_stored(complete),
            Input::PageStored(page, records) => self.archiving.on_page(page, records),
            Input::Loaded { records, then } => {
                for record in records {
                    // It refuses nothing.
                    self.decide(&Command::Load(Box::new(record)), now.wall).ok();
                }
                self.take(*then, now, true);
            }
            Input::Tick => {
                self.look_for_silence(now);
                self.turn.is_tick = true;
            }
        }
    }

    fn ask(
        &mut self,
        operation: &str,
        payload: &[u8],
        encoding: Encoding,
        now: Now,
    ) -> Result<Asked, ApiError> {
        if operation == CreateAccessKey::NAME {
            let keys = self.settings.cluster_keys.as_ref();
            return requests::ask_for_access_key(keys, encoding, payload, (self.new_id)());
        }
        requests::ask(&self.state, operation, encoding, payload, now.wall, &mut self.new_id)
    }

    fn on_request(
        &mut self,
        asked: Result<Asked, ApiError>,
        encoding: Encoding,
        reply: Option<String>,
        now: Now,
    ) {
        let told = match asked {
            Err(refused) => Err(refused),
            Ok(Asked::Told(told)) => Ok(told),
            Ok(Asked::Command(command)) => self
                .decide(&command, now.wall)
                .map(|answer| Told::Now(requests::write_answer(encoding, &answer))),
            Ok(Asked::Question(question)) => self.answer(&question, encoding, now),
        };
        if let Some(to) = reply {
            self.turn.replies.push(Reply { to, encoding, body: told.into() });
        }
    }

    /// Pages of the history that may have those of these jobs that have left the memory.
    fn pages_for(&self, jobs: &BTreeSet<JobId>) -> Vec<(PageId, Vec<JobId>)> {
        let unknown = jobs.iter().copied().filter(|id| !self.state.jobs.contains_key(id));
        self.state.shelf.find(&unknown.collect())
    }

    fn on_beat(&mut self, agent: &Name, beat: &Beat, at: Now) {
        let known = self.state.agents.get(agent);
        let current = known.is_some_and(|known| {
            known.session == beat.session
                && (known.status != AgentStatus::Lost
                    || windrow_common::sabotage::is("lease-extended-after-loss"))
        });
        if !current || self.unregistered.contains(agent) {
            self.turn.register.insert(agent.clone());
            return;
        }
        let stops_itself = known.is_some_and(|a| a.disconnect.stop_after_seconds.is_some());
        let now = at.monotonic;
        self.liveness.hear(agent, now);
        self.note_skew(agent, beat, at.wall);
        if stops_itself {
            self.turn.heard.push((agent.clone(), beat.session, beat.number));
        }
        let Some(unseen) = self.sent.get_mut(agent) else { return };
        if beat.last_lease >= unseen.newest {
            self.sent.remove(agent);
        } else if beat.last_lease >= unseen.awaited {
            (unseen.awaited, unseen.since) = (unseen.newest, now);
        } else if now.saturating_sub(unseen.since) > DELIVERY_MAX {
            let (awaited, seen) = (unseen.awaited, beat.last_lease);
            warn!(%agent, %awaited, %seen, "leases do not reach the agent");
            self.turn.register.insert(agent.clone());
        }
    }

    /// Measures the agent's clock against ours. Nothing is decided by it.
    fn note_skew(&mut self, agent: &Name, beat: &Beat, wall: Timestamp) {
        let on_its_way = beat.round_trip_millis.map_or(0, |millis| u64::from(millis) / 2);
        let skew_millis = liveness::skew_millis(beat.clock, on_its_way, wall);
        if self.liveness.note_skew(agent, skew_millis) {
            warn!(%agent, skew_millis, "the agent's clock differs from ours");
        }
    }

    fn look_for_silence(&mut self, now: Now) {
        let (state, ttl) = (&self.state, self.liveness.ttl());
        let lost_after =
            |agent: &Name| state.agents.get(agent).map_or(ttl, |a| a.disconnect.lost_after(ttl));
        for agent in self.liveness.unheard(now.monotonic, self.settings.heartbeat, lost_after) {
            warn!(%agent, "agent not heard for too long: what it holds is given to others");
            self.liveness.forget(&agent);
            // The command refuses nothing.
            self.decide(&Command::AgentUnheard(agent), now.wall).ok();
        }
    }

    /// What is due by time, follow-up work and placement; whether some is left for the next turn.
    fn follow_up(&mut self, now: Timestamp) -> bool {
        let (most, mut steps) = (self.settings.turn_steps, 0);
        while self.is_due(now) && steps < most {
            self.decide(&Command::Tick, now).ok();
            steps += 1;
        }
        steps = 0;
        while !self.state.work.is_empty() && steps < most {
            self.decide(&Command::Work, now).ok();
            steps += 1;
        }
        self.archive(now);
        let mut pass = Pass::new(&self.state, now);
        steps = 0;
        while steps < most
            && let Some(placement) = pass.next(&self.state)
        {
            debug!(?placement, "placed");
            self.decide(&Command::Place(placement), now).ok();
            steps += 1;
        }
        if steps < most {
            self.decide(&Command::Reserve(pass.into_reservations()), now).ok();
            for wish in preemptions(&self.state) {
                debug!(job = %wish.job, by = %wish.preemption.by, "makes room");
                self.decide(&Command::Preempt(wish), now).ok();
            }
        } else {
            self.decide(&Command::Reserve(standing(&self.state)), now).ok();
        }
        while self.is_changed && steps < most {
            self.is_changed = false;
            self.decide(&Command::WatchQueues, now).ok();
            steps += 1;
        }
        steps == most || !self.state.work.is_empty() || self.is_due(now)
    }

    /// Whether something is due by time alone.
    fn is_due(&self, now: Timestamp) -> bool {
        self.next_deadline().is_some_and(|at| at <= now)
    }

    /// The orders that follow from stored events, as messages: subject and payload.
    fn orders(&mut self, events: &[Event], now: Duration) -> Vec<(String, Vec<u8>)> {
        for event in events {
            if let Event::AgentLost { agent } = event {
                self.liveness.forget(agent);
                self.sent.remove(agent);
            }
        }
        self.dispatch.note_taken(events);
        let mut messages = Vec::new();
        for (agent, orders) in dispatch::orders(&self.state, events) {
            if let Some(newest) = dispatch::last_lease(&orders) {
                let unseen = Unseen { awaited: newest, since: now, newest };
                self.sent.entry(agent.clone()).or_insert(unseen).newest = newest;
            }
            let subjects = &self.settings.subjects;
            messages.extend(self.dispatch.messages(&self.state, subjects, &agent, orders));
        }
        messages
    }

    /// The answer to a heartbeat, for an agent that stops its jobs when it gets none.
    fn heard(&self, (agent, session, number): (Name, u64, u64)) -> (String, Vec<u8>) {
        let heard = Control::Heard { session, term: self.state.term, number };
        (self.settings.subjects.control(&agent), to_msgpack(&heard))
    }

    /// Confirms reports to agents that got no other order to carry it. They keep their reports a
    /// moment longer, and a busy coordinator sends far fewer messages.
    fn confirmations(&mut self) -> Vec<(String, Vec<u8>)> {
        let mut messages = Vec::new();
        for agent in self.dispatch.unconfirmed() {
            let subjects = &self.settings.subjects;
            messages.extend(self.dispatch.messages(&self.state, subjects, &agent, Vec::new()));
        }
        messages
    }
}

/// Agents with which something else is to be agreed for the time when they cannot be heard.
fn agreed_anew(state: &State, events: &[Event]) -> Vec<Name> {
    let mut found = Vec::new();
    for event in events {
        let Event::EnvironmentSet { name, environment } = event else { continue };
        let agents = state.agents.iter().filter(|(_, agent)| {
            agent.environment == *name && agent.disconnect != environment.disconnect
        });
        found.extend(agents.map(|(agent, _)| agent.clone()));
    }
    found
}

/// Agents that are not lost.
fn live_agents(state: &State) -> BTreeSet<Name> {
    let live = state.agents.iter().filter(|(_, agent)| agent.status != AgentStatus::Lost);
    live.map(|(name, _)| name.clone()).collect()
}
