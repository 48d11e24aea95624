//! The coordinator's one loop, around the actor. A turn takes what has arrived, lets the actor decide
//! all of it, stores the events in one journal message and only then gives anything out: answers,
//! acknowledgements, orders.

use std::time::Duration;

use async_nats::jetstream::object_store::ObjectStore;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use windrow_common::api::{ApiError, ErrorKind};
use windrow_common::time::{Timestamp, wall_clock};

use super::audit::{self, Remembered};
use super::election::Role;
use super::event_stream::{self, EventStream};
use super::history::History;
use super::inputs::{Input, Unacknowledged};
use super::journal::{self, Journal, Stored};
use super::leadership::Leadership;
use super::memory::{Memory, Pending};
use super::nats::NatsJournal;
use crate::actor::archiving::Batch;
use crate::actor::{self, Actor, Body, Effects, Now, Reply, requests};
use crate::view::changes::Change;

pub(super) mod outputs;

pub use outputs::{OpenStreams, Outlet};

/// Most inputs of one turn.
pub const TURN_INPUTS: usize = 1024;

/// The loop and its parts, from [`super::leader`].
pub struct EventLoop {
    pub actor: Actor,
    /// What the actor's monotonic time counts from.
    pub epoch: Instant,
    pub journal: Journal<NatsJournal>,
    /// Where snapshots are.
    pub bucket: ObjectStore,
    pub outlet: Outlet,
    pub heartbeat: Duration,
    pub snapshots: super::snapshot_task::Snapshots,
    pub events: EventStream,
    pub history: History,
    /// Records for the history.
    pub batches: Sender<Batch>,
    /// The loop's own mailbox.
    pub inputs: Sender<Input>,
    pub leadership: Leadership,
    /// A turn that could not be stored; then the loop ends.
    pub pending: Option<Pending>,
}

impl EventLoop {
    /// Runs until told to stop, or until the journal or a reader fails, or another coordinator leads.
    /// Gives what it remembers, and whatever makes a rebuild necessary.
    pub async fn run(
        mut self,
        inputs: Receiver<Input>,
        stop: CancellationToken,
    ) -> (Memory, Result<(), journal::Error>) {
        let ended = self.take_turns(inputs, stop).await;
        let position = self.journal.position();
        let mut memory = Memory::new(self.actor.into_state(), position, self.pending);
        if *self.events.published().borrow() >= position.sequence {
            memory.all_published();
        }
        (memory, ended)
    }

    async fn take_turns(
        &mut self,
        mut inputs: Receiver<Input>,
        stop: CancellationToken,
    ) -> Result<(), journal::Error> {
        let mut role = self.leadership.watch();
        let mut tick = tokio::time::interval(self.heartbeat);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut arrived = Vec::with_capacity(TURN_INPUTS);
        let mut is_unfinished = true;
        while !stop.is_cancelled() {
            if !is_unfinished {
                tokio::select! {
                    _ = inputs.recv_many(&mut arrived, TURN_INPUTS) => {}
                    _ = tick.tick() => arrived.push(actor::Input::Tick.into()),
                    () = until(self.actor.next_deadline()) => {}
                    _ = role.changed() => {}
                    () = stop.cancelled() => break,
                }
            }
            if *role.borrow_and_update() == Role::Standby {
                let sequence = self.journal.position().sequence + 1;
                return Err(journal::Error::Fenced { sequence });
            }
            while arrived.len() < TURN_INPUTS
                && let Ok(input) = inputs.try_recv()
            {
                arrived.push(input);
            }
            is_unfinished = self.turn(&mut arrived).await?;
        }
        info!("stopping after a finished turn");
        self.events.drain(self.journal.position().sequence).await;
        self.outlet.flush().await;
        Ok(())
    }

    /// One turn with what has arrived; whether another should follow at once.
    async fn turn(&mut self, arrived: &mut Vec<Input>) -> Result<bool, journal::Error> {
        let mut taken = Vec::with_capacity(arrived.len());
        let mut acknowledge = Vec::new();
        for input in arrived.drain(..) {
            match input {
                Input::Actor(input) => taken.push(input),
                Input::Submission(submission, acker) => {
                    acknowledge.push((submission.sequence, acker));
                    taken.push(actor::Input::Submission(submission));
                }
                Input::Loaded(input, acker) => {
                    taken.push(*input);
                    acknowledge.extend(acker);
                }
                Input::ReaderFailed(reason) => return Err(journal::Error::Unavailable(reason)),
            }
        }
        let now = self.now();
        let mut turn = self.actor.turn(taken, now);
        let is_unfinished = turn.is_unfinished;
        if !turn.groups.is_empty() {
            let term = self.actor.state().term;
            let stored = match self.journal.append(term, now.wall, &turn.groups).await {
                Ok(stored) => stored,
                Err(e) => {
                    let groups = std::mem::take(&mut turn.groups);
                    self.pending = Some(Pending { term, at: now.wall, groups });
                    return Err(e);
                }
            };
            self.tell(&stored, now.wall, std::mem::take(&mut turn.changes)).await?;
        }
        self.leadership.set_ready(Some((self.actor.state().term, self.journal.position())));
        self.leadership.make_certain(self.journal.position()).await?;
        let now = self.now();
        let effects = self.actor.stored(turn, now);
        self.give_out(effects, acknowledge).await?;
        let (position, bytes) = (self.journal.position(), self.journal.appended_bytes());
        self.snapshots.after_turn(position.sequence, bytes);
        Ok(is_unfinished)
    }

    fn now(&self) -> Now {
        Now { wall: wall_clock(), monotonic: self.epoch.elapsed() }
    }

    async fn give_out(
        &mut self,
        effects: Effects,
        mut acknowledge: Vec<Unacknowledged>,
    ) -> Result<(), journal::Error> {
        self.outlet.join_all(self.actor.state(), &effects.registered).await?;
        for (subject, payload) in effects.messages {
            self.outlet.send(subject, payload).await;
        }
        for agent in &effects.register {
            self.outlet.ask_to_register(agent).await;
        }
        for letter in effects.dead {
            self.outlet.bury(letter).await?;
        }
        for load in effects.loads {
            let sequence = load.submission();
            let place = acknowledge.iter().position(|(other, _)| Some(*other) == sequence);
            let acker = place.map(|place| acknowledge.swap_remove(place));
            self.outlet.load(&self.history, &self.inputs, load, acker).await;
        }
        for (_, message) in acknowledge {
            if let Err(e) = message.ack().await {
                warn!(error = %e, "a submission was not acknowledged; it will be recognised when it comes again");
            }
        }
        for reply in effects.replies {
            if let Body::Audit = reply.body {
                self.audit(reply).await;
                continue;
            }
            let sequence = self.journal.position().sequence;
            send_answer(&mut self.outlet, &self.history, &self.leadership, sequence, reply).await;
        }
        if let Some(upto) = effects.reports_upto {
            self.outlet.forget_reports(upto);
        }
        if let Some(batch) = effects.to_history {
            // The task takes one at a time, as the actor gives them.
            self.batches.try_send(batch).map_err(|e| {
                journal::Error::Unavailable(format!("the history takes no records: {e}"))
            })?;
        }
        Ok(())
    }

    /// Compares the state as it is now with what the journal says, beside the loop.
    async fn audit(&mut self, Reply { to, encoding, .. }: Reply) {
        let live = Remembered::of(self.actor.state(), self.journal.position());
        let (bucket, journal) = (self.bucket.clone(), self.journal.stream().clone());
        let answer = async move {
            let answer = audit::audit(&bucket, &journal, live).await?;
            Ok(encoding.write(&answer).into())
        };
        self.outlet.answer_later(answer, to, encoding).await;
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

/// Completes an answer with what only the process knows, and sends it.
pub async fn send_answer(
    outlet: &mut Outlet,
    history: &History,
    leadership: &Leadership,
    journal_sequence: u64,
    Reply { to, encoding, body }: Reply,
) {
    let answer = match body {
        Body::Answer(answer) => answer,
        Body::Later(later) => {
            let history = history.clone();
            let answer =
                async move { Ok(requests::write_about(encoding, &history.complete(*later).await)) };
            return outlet.answer_later(answer, to, encoding).await;
        }
        Body::Shelved(question) => {
            let history = history.clone();
            let answer = async move {
                let answer = history.look_up(*question).await?;
                Ok(requests::write_about(encoding, &answer))
            };
            return outlet.answer_later(answer, to, encoding).await;
        }
        Body::Audit => Err(ApiError::new(
            ErrorKind::Unavailable,
            "audit: the journal cannot be written now, so memory is what it says",
        )),
        Body::Cluster(mut statistics) => {
            statistics.journal_sequence = journal_sequence;
            statistics.memory_bytes = resident_bytes();
            statistics.leader = leadership.name().to_owned();
            statistics.standbys = leadership.standbys();
            Ok(encoding.write(&statistics).into())
        }
    };
    outlet.reply(to, encoding, answer).await;
}

/// Waits for a deadline of the core; for ever without one. A jump of the wall clock is noticed with
/// the next heartbeat tick, when the wait begins anew.
async fn until(deadline: Option<Timestamp>) {
    match deadline {
        Some(at) => tokio::time::sleep(at.since(wall_clock())).await,
        None => std::future::pending().await,
    }
}

/// Resident memory of this process; 0 where the system does not tell.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    // Linux pages of the platforms we run on.
    pages.unwrap_or(0) * 4096
}
