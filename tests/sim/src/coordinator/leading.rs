//! A coordinator that leads: turns of the real actor, each stored by the product's journal before anything
//! of it goes out. How inputs come and effects go is a model of the shell's loop.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use windrow_common::codec::{Encoding, from_msgpack, to_msgpack};
use windrow_common::sabotage;
use windrow_common::subjects::AgentSubject;
use windrow_common::time::Timestamp;
use windrow_common::wire::agent::{Control, Held, Register, RegisterReply, Session};
use windrow_coordinator::actor::archiving::Batch;
use windrow_coordinator::actor::{Actor, Body, Effects, Input, Joined, Now, Reply, Submission};
use windrow_coordinator::core::State;
use windrow_coordinator::shell::election::Role;
use windrow_coordinator::shell::journal::{Error, Journal, Position};
use windrow_coordinator::shell::leadership::Leadership;
use windrow_coordinator::shell::memory::{Memory, Pending};
use windrow_coordinator::shell::outside::Clock;
use windrow_coordinator::shell::snapshot_task;

use super::port::{Port, Want};
use super::{HEARTBEAT, millis, wall};
use crate::bus::{ConsumerSpec, Delivery, Demands, Start};
use crate::names;
use crate::net::{Answer, Message, Op};

/// Most inputs of one turn.
const TURN_INPUTS: usize = 1024;

/// The actor of whoever leads, to be looked at from outside.
#[derive(Clone, Default)]
pub struct Leading(Arc<Mutex<Option<Led>>>);

struct Led {
    actor: Actor,
    position: Position,
    is_storing: bool,
}

impl Leading {
    fn led(&self) -> MutexGuard<'_, Option<Led>> {
        self.0.lock().expect("one thread uses it")
    }

    pub(super) fn begin(&self, actor: Actor, position: Position) {
        *self.led() = Some(Led { actor, position, is_storing: false });
    }

    pub(super) fn end(&self) {
        self.led().take();
    }

    fn with<T>(&self, work: impl FnOnce(&mut Led) -> T) -> T {
        work(self.led().as_mut().expect("it leads"))
    }

    /// Whether it leads, as far as it knows.
    pub fn is_on(&self) -> bool {
        self.led().is_some()
    }

    /// Pieces of work that its turns so far have left.
    pub fn work_left(&self) -> usize {
        self.led().as_ref().map_or(0, |led| led.actor.state().work.len())
    }

    /// Looks at the state, if it is as the journal has it.
    pub fn look(&self, at: impl FnOnce(&State, Position)) {
        if let Some(led) = self.led().as_ref().filter(|led| !led.is_storing) {
            at(led.actor.state(), led.position);
        }
    }
}

/// What it takes to lead.
pub(super) struct Lead {
    port: Port,
    leadership: Leadership<Port>,
    leading: Leading,
    journal: Journal<Port>,
    snapshot_every: u64,
    snapshot_at: u64,
    /// A turn that could not be stored.
    pending: Option<Pending>,
    /// Inputs that were made beside the loop.
    made: Arc<Mutex<Vec<Input>>>,
}

impl Lead {
    pub(super) fn new(
        port: Port,
        leadership: Leadership<Port>,
        leading: Leading,
        journal: Journal<Port>,
        snapshot_every: u64,
    ) -> Self {
        let snapshot_at = journal.position().sequence;
        let (pending, made) = Default::default();
        Self { port, leadership, leading, journal, snapshot_every, snapshot_at, pending, made }
    }

    /// Leads until something fails; what it remembers then.
    pub(super) async fn run(mut self) -> (Memory, Result<(), Error>) {
        let ended = self.take_turns().await;
        let position = self.journal.position();
        let actor = self.leading.led().take().expect("it leads").actor;
        (Memory::new(actor.into_state(), position, self.pending), ended)
    }

    async fn take_turns(&mut self) -> Result<(), Error> {
        let port = self.port.clone();
        let mut role = self.leadership.watch();
        let mut tick = pin!(port.sleep(HEARTBEAT));
        // The first turn asks the agents to register.
        let mut is_unfinished = true;
        let mut arrived = Vec::new();
        loop {
            if !is_unfinished {
                let due = self.leading.with(|led| led.actor.next_deadline());
                let made = self.made.clone();
                tokio::select! {
                    biased;
                    _ = port.lost() => {}
                    _ = role.changed() => {}
                    () = port.has_message() => {}
                    () = until_any(&made) => {}
                    () = &mut tick => {
                        tick.set(port.sleep(HEARTBEAT));
                        arrived.push(Input::Tick);
                    }
                    () = until(&port, due) => {}
                }
            }
            if *role.borrow_and_update() == Role::Standby {
                return Err(Error::Fenced { sequence: self.journal.position().sequence + 1 });
            }
            if port.is_lost() {
                return Err(Error::Unavailable("the connection to NATS was lost".to_owned()));
            }
            arrived.append(&mut self.made.lock().expect("one thread uses it"));
            while arrived.len() < TURN_INPUTS
                && let Some(message) = port.next_message()
            {
                take(message, &mut arrived)?;
            }
            is_unfinished = self.turn(std::mem::take(&mut arrived)).await?;
        }
    }

    fn now(&self) -> Now {
        Now { wall: self.port.wall(), monotonic: self.port.elapsed() }
    }

    async fn turn(&mut self, inputs: Vec<Input>) -> Result<bool, Error> {
        let submissions: Vec<u64> = inputs
            .iter()
            .filter_map(|input| match input {
                Input::Submission(submission) => Some(submission.sequence),
                _ => None,
            })
            .collect();
        let now = self.now();
        let mut turn = self.leading.with(|led| led.actor.turn(inputs, now));
        let is_unfinished = turn.is_unfinished;
        let groups = turn.groups.clone();
        if sabotage::is("answered-before-stored") {
            let early = std::mem::take(&mut turn);
            let effects = self.leading.with(|led| led.actor.stored(early, now));
            self.give_out(effects, submissions.clone()).await?;
        }
        if !groups.is_empty() {
            self.store(groups, now).await?;
        }
        let (term, position) = self.leading.with(|led| (led.actor.state().term, led.position));
        self.leadership.set_ready(Some((term, position)));
        self.leadership.make_certain(position).await?;
        let now = self.now();
        let effects = self.leading.with(|led| led.actor.stored(turn, now));
        self.give_out(effects, submissions).await?;
        self.save();
        Ok(is_unfinished)
    }

    async fn store(
        &mut self,
        groups: Vec<windrow_coordinator::shell::journal::Group>,
        now: Now,
    ) -> Result<(), Error> {
        let term = self.leading.with(|led| {
            led.is_storing = true;
            led.actor.state().term
        });
        let nonce = self.leadership.nonce();
        for message in self.journal.position().seal(nonce, term, now.wall, &groups) {
            self.port.want(Want::Decided(message.position, message.payload));
        }
        self.port.note(groups.len() as u64, format!("a turn of {} groups", groups.len()));
        match self.journal.append(term, now.wall, &groups).await {
            Ok(stored) => {
                for message in stored {
                    self.port.want(Want::Acknowledged(message.sequence));
                }
            }
            Err(e) => {
                self.pending = Some(Pending { term, at: now.wall, groups });
                return Err(e);
            }
        }
        let position = self.journal.position();
        self.leading.with(|led| (led.is_storing, led.position) = (false, position));
        // What the stream of events has a record of.
        let payload = Bytes::copy_from_slice(&position.sequence.to_le_bytes());
        let subject = names::EVENTS_SUBJECT.to_owned();
        self.port.send(Op::Publish { subject, reply: None, payload });
        Ok(())
    }

    async fn give_out(&mut self, effects: Effects, submissions: Vec<u64>) -> Result<(), Error> {
        // Of an agent that has asked more than once the last one counts.
        let registered = effects.registered.into_iter();
        let last: BTreeMap<_, _> = registered.map(|one| (one.agent.clone(), one)).collect();
        for joined in last.into_values() {
            self.join(joined).await?;
        }
        for (subject, payload) in effects.messages {
            self.publish(subject, payload);
        }
        for agent in effects.register {
            self.publish(names::subjects().control(&agent), to_msgpack(&Control::Register));
        }
        for letter in effects.dead {
            self.port.want(Want::DeadLetter(letter.payload.clone()));
            self.keep(format!("sim.dead.{}", letter.source), letter.payload).await?;
        }
        for sequence in submissions {
            let (stream, consumer) = (names::SUBMIT.to_owned(), "coordinator".to_owned());
            self.port.send(Op::Ack { stream, consumer, sequence });
        }
        for reply in effects.replies {
            self.reply(reply);
        }
        if let Some(upto) = effects.reports_upto {
            let stream = names::REPORTS.to_owned();
            self.port.send(Op::Purge { stream, before: upto + 1 });
        }
        // Fewer jobs finish than stay in memory, so there are no pages.
        if let Some(Batch::Pieces(pieces, complete)) = effects.to_history {
            let payload = Bytes::from(pieces.len().to_le_bytes().to_vec());
            let (port, made) = (self.port.clone(), self.made.clone());
            self.port.spawn(async move {
                let subject = "sim.history.x".to_owned();
                let demands = Demands::default();
                let op = |token| Op::Store { subject, payload, demands, token };
                if let Answer::Stored(Ok(_)) = port.ask_as_a_client(op).await {
                    made.lock().expect("one thread uses it").push(Input::Archived(complete));
                }
            });
        }
        Ok(())
    }

    /// Stores something and waits for it.
    async fn keep(&self, subject: String, payload: Bytes) -> Result<(), Error> {
        let demands = Demands::default();
        let op = |token| Op::Store { subject, payload, demands, token };
        match self.port.ask_as_a_client(op).await {
            Answer::Stored(Ok(_)) => Ok(()),
            other => Err(Error::Unavailable(format!("not kept: {other:?}"))),
        }
    }

    fn publish(&self, subject: String, payload: Vec<u8>) {
        self.port.send(Op::Publish { subject, reply: None, payload: payload.into() });
    }

    /// Answers with a byte before the body: whether it is an error.
    fn reply(&self, reply: Reply) {
        let Reply { to, body, encoding } = reply;
        let (is_error, bytes) = match body {
            Body::Answer(Ok(bytes)) => (0, bytes.to_vec()),
            Body::Answer(Err(error)) => (1, encoding.write(&error)),
            // As if the history had nothing: only what the state has is of interest here.
            Body::Later(later) => {
                let about = later.finish(Vec::new());
                let bytes = windrow_coordinator::actor::requests::write_about(encoding, &about);
                (2, bytes.to_vec())
            }
            // No client asks for an audit, and nothing has left the memory.
            Body::Audit | Body::Shelved(_) => (1, Vec::new()),
            Body::Cluster(statistics) => (0, encoding.write(&statistics)),
        };
        let mut payload = vec![is_error];
        payload.extend(bytes);
        self.publish(to, payload);
    }

    /// A new session: a consumer of its own, then the answer.
    async fn join(&self, joined: Joined) -> Result<(), Error> {
        let Joined { agent, reply, before, outcome } = joined;
        let (session, fenced): (u64, Vec<Held>) = match outcome {
            Ok(accepted) => accepted,
            Err(without_session) => {
                self.publish(reply, to_msgpack(&without_session));
                return Ok(());
            }
        };
        let subject = names::subjects().lease(&names::name(names::ENVIRONMENT), &agent);
        let spec = ConsumerSpec {
            name: format!("{agent}-{session}"),
            memory: true,
            filter: Some(subject),
            start: Start::First,
            ack_wait: Some(30_000),
            max_ack_pending: 1024,
        };
        let accepted = self.leading.with(|led| {
            let state = led.actor.state();
            RegisterReply::Accepted(Session {
                session,
                term: state.term,
                stream: names::LEASES.to_owned(),
                consumer: spec.name.clone(),
                heartbeat_millis: millis(HEARTBEAT),
                fenced,
                self_fence: state.agents[&agent].disconnect.self_fence(),
            })
        });
        let instead_of = before.map(|before| format!("{agent}-{before}"));
        let stream = names::LEASES.to_owned();
        let made = self.port.ask_as_a_client(|token| Op::MakeConsumer {
            stream,
            spec,
            instead_of,
            purge: true,
            token,
        });
        match made.await {
            Answer::Done => {
                self.publish(reply, to_msgpack(&accepted));
                Ok(())
            }
            other => Err(Error::Unavailable(format!("session of `{agent}`: {other:?}"))),
        }
    }

    /// Makes a snapshot beside the loop, if one is due.
    fn save(&mut self) {
        let at = self.journal.position().sequence;
        if at >= self.snapshot_at + self.snapshot_every {
            self.snapshot_at = at;
            let port = self.port.clone();
            self.port.spawn(async move {
                snapshot_task::take(&port, at).await;
            });
        }
    }
}

async fn until(port: &Port, deadline: Option<Timestamp>) {
    match deadline {
        Some(at) => port.sleep(at.since(port.wall()).max(Duration::from_millis(1))).await,
        None => std::future::pending().await,
    }
}

async fn until_any(made: &Mutex<Vec<Input>>) {
    std::future::poll_fn(|_| match made.lock().expect("one thread uses it").is_empty() {
        true => std::task::Poll::Pending,
        false => std::task::Poll::Ready(()),
    })
    .await;
}

fn take(message: Message, arrived: &mut Vec<Input>) -> Result<(), Error> {
    match message {
        Message::Plain { subject, reply, payload } => {
            arrived.extend(plain(&subject, reply, payload));
        }
        Message::Delivered { consumer, deliveries } => {
            let is_submission = consumer == "coordinator";
            let read =
                |delivery| if is_submission { submission(delivery) } else { report(delivery) };
            arrived.extend(deliveries.into_iter().map(read));
        }
        Message::PullEnded { consumer } => {
            return Err(Error::Unavailable(format!("the reader of {consumer} has ended")));
        }
        Message::Connected | Message::Disconnected | Message::Answer { .. } => {}
    }
    Ok(())
}

fn plain(subject: &str, reply: Option<String>, payload: Bytes) -> Option<Input> {
    let subjects = names::subjects();
    if let Some(operation) = subjects.parse_api(subject) {
        let (operation, encoding) = (operation.to_owned(), Encoding::MessagePack);
        return Some(Input::Request { operation, payload, encoding, reply });
    }
    let unreadable = |reason: String| Input::Unreadable {
        subject: subject.to_owned(),
        payload: payload.clone(),
        reason,
    };
    Some(match subjects.parse_agent(subject)? {
        AgentSubject::Register(agent) => match from_msgpack::<Register>(&payload) {
            Ok(request) if request.agent == agent => match reply {
                Some(reply) => Input::Register { request: Box::new(request), reply },
                None => unreadable("registration without a reply subject".to_owned()),
            },
            Ok(request) => unreadable(format!("agent `{}` here", request.agent)),
            Err(e) => unreadable(e.to_string()),
        },
        AgentSubject::Beat(agent) => match from_msgpack(&payload) {
            Ok(beat) => Input::Beat { agent, beat },
            Err(e) => unreadable(e.to_string()),
        },
    })
}

fn submission(delivery: Delivery) -> Input {
    Input::Submission(Box::new(Submission {
        sequence: delivery.sequence,
        published: wall(delivery.at, 0),
        subject: delivery.subject,
        payload: delivery.payload,
        encoding: Encoding::MessagePack,
        message_id: delivery.message_id,
        reply_to: None,
    }))
}

fn report(delivery: Delivery) -> Input {
    match from_msgpack(&delivery.payload) {
        Ok(message) => Input::Report { sequence: delivery.sequence, message },
        Err(e) => Input::Unreadable {
            subject: delivery.subject,
            payload: delivery.payload,
            reason: e.to_string(),
        },
    }
}
