//! The coordinator's one loop. A turn takes what has arrived, decides all of it, stores the events
//! in one journal message and only then gives anything out: answers, acknowledgements, orders.
//!
//! Events are applied to the state as they are decided, so that the next decision of the same turn
//! sees them. Should storing them fail, nobody was told anything, and the state is thrown away and
//! rebuilt from the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::{Client, Subject};
use bytes::Bytes;
use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use windrow_common::api::ApiError;
use windrow_common::codec::Encoding;
use windrow_common::ids::{LeaseId, Name};
use windrow_common::subjects::Subjects;
use windrow_common::time::{Timestamp, wall_clock};
use windrow_common::wire::agent::{Beat, Held};
use windrow_common::wire::lease::Order;

use super::dispatch::{self, Dispatch};
use super::event_stream::{self, EventStream};
use super::history::History;
use super::inputs::Input;
use super::journal::{self, Group, Journal, Stored};
use super::liveness::Liveness;
use super::requests::{self, Asked, Told};
use crate::core::event::Event;
use crate::core::limits::Limits;
use crate::core::{Answer, Command, State, apply, decide, next_deadline};
use crate::scheduler::{Pass, preemptions};
use crate::view::changes::{Change, changes};

mod archive;
pub(super) mod outputs;
mod questions;
mod submissions;

pub use archive::Archiving;
pub use outputs::{OpenStreams, Outlet};

/// Most inputs of one turn.
const TURN_INPUTS: usize = 1024;
/// Most pieces of follow-up work, and most placements, of one turn: what is left comes in the next,
/// so that answers do not wait behind it.
const TURN_STEPS: usize = 4096;
/// How long a lease may be on its way before the agent is asked to register again.
const DELIVERY_MAX: Duration = Duration::from_secs(10);

/// The loop's parts.
pub struct EventLoop {
    state: State,
    limits: Limits,
    journal: Journal,
    outlet: Outlet,
    dispatch: Dispatch,
    liveness: Liveness,
    /// Agents to be asked to register: their session is from before this coordinator's term.
    unregistered: BTreeSet<Name>,
    /// Leases sent to each agent that it has not said to have seen.
    sent: BTreeMap<Name, Unseen>,
    heartbeat: Duration,
    turn: Turn,
    /// Something has happened since the heads of queues were looked at.
    is_changed: bool,
    snapshots: super::snapshot_task::Snapshots,
    events: EventStream,
    archiving: Archiving,
    history: History,
}

/// Leases on their way to an agent.
struct Unseen {
    /// A heartbeat that knows this one is due.
    awaited: LeaseId,
    since: Instant,
    newest: LeaseId,
}

/// What one turn will do once its events are stored.
#[derive(Default)]
struct Turn {
    groups: Vec<Group>,
    /// Number of events in the groups.
    events: usize,
    /// What they changed, each with the number of its event.
    changes: Vec<(usize, Change)>,
    replies: Vec<Reply>,
    acknowledge: Vec<jetstream::Message>,
    dead: Vec<DeadLetter>,
    registered: Vec<Joined>,
    /// Agents to be told to register.
    register: BTreeSet<Name>,
    /// Last report taken from the report stream.
    reports_upto: Option<u64>,
}

/// An answer to a request.
struct Reply {
    to: Subject,
    encoding: Encoding,
    result: Result<Bytes, ApiError>,
}

/// A message that could not be accepted.
struct DeadLetter {
    source: &'static str,
    subject: String,
    payload: Bytes,
    reason: String,
}

/// An agent that joined in this turn.
struct Joined {
    agent: Name,
    reply: Subject,
    before: Option<u64>,
    outcome: Result<(u64, Vec<Held>), ApiError>,
}

/// Everything the loop is made of, from [`super::leader`].
pub struct Parts {
    pub state: State,
    pub limits: Limits,
    pub journal: Journal,
    pub client: Client,
    pub context: jetstream::Context,
    pub subjects: Subjects,
    pub streams: outputs::OpenStreams,
    pub heartbeat: Duration,
    pub lease_ttl: Duration,
    pub snapshots: super::snapshot_task::Snapshots,
    pub events: EventStream,
    pub archiving: Archiving,
    pub history: History,
}

impl EventLoop {
    /// Ready to run. Every agent has a full lease time to be heard.
    pub fn new(parts: Parts) -> Self {
        let agents: Vec<Name> = live_agents(&parts.state);
        let liveness = Liveness::new(parts.lease_ttl, agents.iter().cloned(), Instant::now());
        let cluster = parts.subjects.prefix().clone();
        Self {
            outlet: Outlet::new(
                parts.client,
                parts.context,
                parts.subjects,
                parts.streams,
                parts.heartbeat,
                cluster,
            ),
            state: parts.state,
            limits: parts.limits,
            journal: parts.journal,
            dispatch: Dispatch::default(),
            liveness,
            unregistered: agents.into_iter().collect(),
            sent: BTreeMap::new(),
            heartbeat: parts.heartbeat,
            turn: Turn::default(),
            is_changed: true,
            snapshots: parts.snapshots,
            events: parts.events,
            archiving: parts.archiving,
            history: parts.history,
        }
    }

    /// Runs until told to stop, or until the journal or a reader fails.
    ///
    /// # Errors
    /// Whatever makes a rebuild necessary.
    pub async fn run(
        mut self,
        mut inputs: Receiver<Input>,
        stop: CancellationToken,
    ) -> Result<(), journal::Error> {
        for agent in self.unregistered.clone() {
            self.outlet.ask_to_register(&agent).await;
        }
        let mut tick = tokio::time::interval(self.heartbeat);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut taken = Vec::with_capacity(TURN_INPUTS);
        let mut unfinished = true;
        while !stop.is_cancelled() {
            if !unfinished {
                tokio::select! {
                    _ = inputs.recv_many(&mut taken, TURN_INPUTS) => {}
                    _ = tick.tick() => {
                        self.look_for_silence();
                        self.confirm_reports().await;
                    }
                    () = until(next_deadline(&self.state)) => {}
                    () = stop.cancelled() => break,
                }
            }
            while taken.len() < TURN_INPUTS
                && let Ok(input) = inputs.try_recv()
            {
                taken.push(input);
            }
            let now = wall_clock();
            for input in taken.drain(..) {
                self.take(input, now)?;
            }
            unfinished = self.follow_up(now);
            self.finish_turn(now).await?;
        }
        info!("stopping after a finished turn");
        self.events.drain(self.journal.position().sequence).await;
        self.outlet.flush().await;
        Ok(())
    }

    /// Decides a command; if accepted, its events have happened.
    fn decide(&mut self, command: &Command, now: Timestamp) -> Result<Answer, ApiError> {
        let decision = decide(&self.state, &self.limits, command, now)?;
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

    fn take(&mut self, input: Input, now: Timestamp) -> Result<(), journal::Error> {
        match input {
            Input::Request { operation, payload, encoding, reply } => {
                self.on_request(&operation, &payload, encoding, reply, now);
            }
            Input::Submission(message) => self.on_submission(*message, now),
            Input::Register { request, reply } => {
                let agent = request.agent.clone();
                let before = self.state.agents.get(&agent).map(|a| a.session);
                let outcome = match self.decide(&Command::RegisterAgent(request), now) {
                    Ok(Answer::Registered { session, fenced }) => Ok((session, fenced)),
                    Ok(_) => unreachable!("registering is answered with a session"),
                    Err(error) => Err(error),
                };
                if outcome.is_ok() {
                    self.unregistered.remove(&agent);
                    self.sent.remove(&agent);
                    self.liveness.hear(&agent, Instant::now());
                }
                self.turn.registered.push(Joined { agent, reply, before, outcome });
            }
            Input::Beat { agent, beat } => self.on_beat(&agent, &beat),
            Input::Report { sequence, message } => {
                self.turn.reports_upto = Some(sequence);
                let agent = message.agent.clone();
                if let Ok(Answer::MustRegister) = self.decide(&Command::Report(message), now) {
                    self.turn.register.insert(agent);
                }
            }
            Input::Unreadable { subject, payload, reason } => {
                warn!(subject, reason, "unreadable message from an agent");
                let source = "agent";
                self.turn.dead.push(DeadLetter { source, subject, payload, reason });
            }
            Input::Archived(complete) => self.archiving.on_stored(complete),
            Input::ReaderFailed(reason) => return Err(journal::Error::Unavailable(reason)),
        }
        Ok(())
    }

    fn on_request(
        &mut self,
        operation: &str,
        payload: &[u8],
        encoding: Encoding,
        reply: Option<Subject>,
        now: Timestamp,
    ) {
        let told = match requests::ask(&self.state, operation, encoding, payload, now) {
            Err(refused) => Err(refused),
            Ok(Asked::Told(told)) => Ok(told),
            Ok(Asked::Command(command)) => self
                .decide(&command, now)
                .map(|answer| Told::Now(requests::write_answer(encoding, &answer))),
            Ok(Asked::Question(question)) => self.answer(&question, encoding, now),
        };
        let result = match told {
            Ok(Told::Later(later)) => {
                return self.outlet.answer_later(&self.history, *later, reply, encoding);
            }
            Ok(Told::Now(bytes)) => Ok(bytes),
            Err(refused) => Err(refused),
        };
        if let Some(to) = reply {
            self.turn.replies.push(Reply { to, encoding, result });
        }
    }

    fn on_beat(&mut self, agent: &Name, beat: &Beat) {
        let known = self.state.agents.get(agent);
        let current = known.is_some_and(|known| {
            known.session == beat.session
                && known.status != windrow_common::api::resources::AgentStatus::Lost
        });
        if !current || self.unregistered.contains(agent) {
            self.turn.register.insert(agent.clone());
            return;
        }
        let now = Instant::now();
        self.liveness.hear(agent, now);
        let Some(unseen) = self.sent.get_mut(agent) else { return };
        if beat.last_lease >= unseen.newest {
            self.sent.remove(agent);
        } else if beat.last_lease >= unseen.awaited {
            (unseen.awaited, unseen.since) = (unseen.newest, now);
        } else if now.duration_since(unseen.since) > DELIVERY_MAX {
            let (awaited, seen) = (unseen.awaited, beat.last_lease);
            warn!(%agent, %awaited, %seen, "leases do not reach the agent");
            self.turn.register.insert(agent.clone());
        }
    }

    fn look_for_silence(&mut self) {
        for agent in self.liveness.unheard(Instant::now(), self.heartbeat) {
            warn!(%agent, "agent not heard for the lease time: what it holds is given to others");
            self.liveness.forget(&agent);
            // The command refuses nothing.
            self.decide(&Command::AgentUnheard(agent), wall_clock()).ok();
        }
    }

    /// What is due by time, follow-up work and placement; whether some is left for the next turn.
    fn follow_up(&mut self, now: Timestamp) -> bool {
        let mut steps = 0;
        while self.is_due(now) && steps < TURN_STEPS {
            self.decide(&Command::Tick, now).ok();
            steps += 1;
        }
        steps = 0;
        while !self.state.work.is_empty() && steps < TURN_STEPS {
            self.decide(&Command::Work, now).ok();
            steps += 1;
        }
        self.archive(now);
        let mut pass = Pass::new(&self.state, now);
        steps = 0;
        while steps < TURN_STEPS
            && let Some(placement) = pass.next(&self.state)
        {
            debug!(?placement, "placed");
            self.decide(&Command::Place(placement), now).ok();
            steps += 1;
        }
        if steps < TURN_STEPS {
            self.decide(&Command::Reserve(pass.into_reservations()), now).ok();
            for wish in preemptions(&self.state) {
                debug!(job = %wish.job, by = %wish.preemption.by, "makes room");
                self.decide(&Command::Preempt(wish), now).ok();
            }
        }
        while self.is_changed && steps < TURN_STEPS {
            self.is_changed = false;
            self.decide(&Command::WatchQueues, now).ok();
            steps += 1;
        }
        steps == TURN_STEPS || !self.state.work.is_empty() || self.is_due(now)
    }

    /// Whether something is due by time alone.
    fn is_due(&self, now: Timestamp) -> bool {
        next_deadline(&self.state).is_some_and(|at| at <= now)
    }

    /// Stores the turn's events, then gives out what follows from them.
    async fn finish_turn(&mut self, now: Timestamp) -> Result<(), journal::Error> {
        let turn = std::mem::take(&mut self.turn);
        if !turn.groups.is_empty() {
            let stored = self.journal.append(self.state.term, now, &turn.groups).await?;
            self.tell(&stored, now, turn.changes).await?;
        }
        for joined in &turn.registered {
            self.outlet.join(&self.state, joined).await?;
        }
        let events: Vec<Event> = turn.groups.into_iter().flatten().collect();
        self.give_orders(&events).await;
        for agent in &turn.register {
            self.outlet.ask_to_register(agent).await;
        }
        for letter in turn.dead {
            self.outlet.bury(letter).await?;
        }
        for message in turn.acknowledge {
            if let Err(e) = message.ack().await {
                warn!(error = %e, "a submission was not acknowledged; it will be recognised when it comes again");
            }
        }
        for reply in turn.replies {
            self.outlet.reply(reply).await;
        }
        if let Some(upto) = turn.reports_upto {
            self.outlet.forget_reports(upto);
        }
        self.snapshots.after_turn(&self.state, self.journal.position());
        Ok(())
    }

    async fn give_orders(&mut self, events: &[Event]) {
        let now = Instant::now();
        for event in events {
            if let Event::AgentLost { agent } = event {
                self.liveness.forget(agent);
                self.sent.remove(agent);
            }
        }
        self.dispatch.note_taken(events);
        for (agent, orders) in dispatch::orders(&self.state, events) {
            if let Some(newest) = dispatch::last_lease(&orders) {
                let unseen = Unseen { awaited: newest, since: now, newest };
                self.sent.entry(agent.clone()).or_insert(unseen).newest = newest;
            }
            self.order(&agent, orders).await;
        }
    }

    /// Confirms reports to agents that got no other order to carry it. They keep their reports a
    /// moment longer, and a busy coordinator sends far fewer messages.
    async fn confirm_reports(&mut self) {
        for agent in self.dispatch.unconfirmed() {
            self.order(&agent, Vec::new()).await;
        }
    }

    async fn order(&mut self, agent: &Name, orders: Vec<Order>) {
        let subjects = &self.outlet.subjects;
        for (subject, payload) in self.dispatch.messages(&self.state, subjects, agent, orders) {
            self.outlet.send(subject, payload).await;
        }
    }

    /// Hands on what changed, by the journal messages it is stored in.
    async fn tell(
        &self,
        stored: &[Stored],
        at: Timestamp,
        changes: Vec<(usize, Change)>,
    ) -> Result<(), journal::Error> {
        let mut changes = changes.into_iter().peekable();
        let mut upto = 0;
        for Stored { sequence, events } in stored {
            upto += events;
            let of_it = std::iter::from_fn(|| changes.next_if(|(event, _)| *event < upto));
            let changes = of_it.map(|(_, change)| change).collect();
            self.events.tell(event_stream::Told { sequence: *sequence, at, changes }).await?;
        }
        Ok(())
    }
}

/// Waits for a deadline of the core; for ever without one. A jump of the wall clock is noticed with
/// the next heartbeat tick, when the wait begins anew.
async fn until(deadline: Option<Timestamp>) {
    match deadline {
        Some(at) => tokio::time::sleep(at.since(wall_clock())).await,
        None => std::future::pending().await,
    }
}

/// Agents that are not lost.
fn live_agents(state: &State) -> Vec<Name> {
    let lost = windrow_common::api::resources::AgentStatus::Lost;
    let live = state.agents.iter().filter(|(_, agent)| agent.status != lost);
    live.map(|(name, _)| name.clone()).collect()
}

/// Resident memory of this process; 0 where the system does not tell.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    // Linux pages of the platforms we run on.
    pages.unwrap_or(0) * 4096
}
