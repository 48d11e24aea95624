//! A coordinator that leads: turns of the real actor, each stored before anything of it goes out.

use std::collections::VecDeque;

use bytes::Bytes;
use windrow_common::codec::{Encoding, from_msgpack, to_msgpack};
use windrow_common::ids::{JobId, Name};
use windrow_common::sabotage;
use windrow_common::subjects::AgentSubject;
use windrow_common::time::Timestamp;
use windrow_common::wire::agent::{Control, Held, Register, RegisterReply, Session};
use windrow_coordinator::actor::archiving::Batch;
use windrow_coordinator::actor::{
    Actor, Body, DeadLetter, Effects, Input, Joined, Now, Reply, Submission, Turn,
};
use windrow_coordinator::core::State;
use windrow_coordinator::shell::journal::Position;
use windrow_coordinator::shell::journal::chain::Sealed;
use windrow_coordinator::shell::snapshot;

use super::{HEARTBEAT, Known, Next, REQUEST_TIMEOUT, millis, wall};
use crate::bus::{Ack, ConsumerSpec, Delivery, Demands, PublishError, Start};
use crate::names;
use crate::net::{Answer, Message, Net, Node, Op, Timer};

/// Most inputs of one turn.
const TURN_INPUTS: usize = 1024;

/// What a leader is made of.
pub(super) struct Parts {
    pub(super) node: Node,
    pub(super) life: u32,
    pub(super) snapshot_every: u64,
    pub(super) actor: Actor,
    pub(super) position: Position,
    pub(super) nonce: u64,
    pub(super) snapshot_at: u64,
}

/// A plain message: subject and payload.
type Plain = (String, Vec<u8>);

/// A turn that is being stored.
struct Storing {
    turn: Turn,
    rest: VecDeque<Sealed>,
    /// What is awaited: the answer to the append, or a look at the journal after there was none.
    token: u64,
    /// The last append was refused for the journal's end.
    is_refused: bool,
}

/// Something that may go out, in order.
enum Effect {
    Join(Joined),
    Send(String, Vec<u8>),
    AskToRegister(Name),
    Bury(DeadLetter),
    Acknowledge(u64),
    Reply(Reply),
    ForgetReports(u64),
    Store(Vec<(Timestamp, JobId)>, usize),
}

/// The leader.
pub struct Leader {
    parts: Parts,
    mailbox: VecDeque<Input>,
    /// Submissions of the turn under way, acknowledged with it.
    submissions: Vec<u64>,
    storing: Option<Storing>,
    effects: VecDeque<Effect>,
    /// An effect that waits for the server, and the answer that then goes out.
    awaited: Option<(u64, Option<Plain>)>,
    /// Records on their way to the history.
    archiving: Option<(u64, Vec<(Timestamp, JobId)>)>,
    /// A snapshot on its way, and then the list of those there are.
    saving: Option<u64>,
    is_unfinished: bool,
    deadline: (u64, Option<Timestamp>),
    is_due: bool,
    broken: Option<&'static str>,
}

impl Leader {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            parts,
            mailbox: VecDeque::new(),
            submissions: Vec::new(),
            storing: None,
            effects: VecDeque::new(),
            awaited: None,
            archiving: None,
            saving: None,
            // The first turn asks the agents to register.
            is_unfinished: true,
            deadline: (0, None),
            is_due: false,
            broken: None,
        }
    }

    /// The last message stored.
    pub fn position(&self) -> Position {
        self.parts.position
    }

    /// Its term.
    pub fn term(&self) -> u64 {
        self.parts.actor.state().term
    }

    /// The state, if it is as the journal has it.
    pub fn stored_state(&self) -> Option<(&State, Position)> {
        self.storing.is_none().then(|| (self.parts.actor.state(), self.parts.position))
    }

    /// What it knows, for good: the state, the position it is of, and the last position that is stored
    /// for certain.
    pub(super) fn into_known(self) -> Known {
        let stored = self.parts.position;
        let last = self.storing.as_ref().and_then(|storing| storing.rest.back());
        let position = last.map_or(stored, |sealed| sealed.position);
        Known { state: self.parts.actor.state().clone(), position, stored }
    }

    pub(super) fn on_tick(&mut self) {
        self.mailbox.push_back(Input::Tick);
    }

    pub(super) fn on_deadline(&mut self, number: u64) {
        self.is_due |= number == self.deadline.0;
    }

    /// Something to be taken in the next turn.
    pub(super) fn on_message(&mut self, net: &mut Net, message: Message) -> Next {
        match message {
            Message::Plain { subject, reply, payload } => self.on_plain(&subject, reply, payload),
            Message::Delivered { consumer, deliveries } => {
                for delivery in deliveries {
                    let input = match consumer == "coordinator" {
                        true => submission(delivery),
                        false => report(delivery),
                    };
                    self.mailbox.push_back(input);
                }
            }
            Message::PullEnded { consumer } => {
                net.trace.note(net.now, 21, || format!("{consumer} is not there"));
                return Next::StartOver("a reader ended");
            }
            Message::Connected | Message::Disconnected | Message::Answer { .. } => {}
        }
        Next::Stay
    }

    fn on_plain(&mut self, subject: &str, reply: Option<String>, payload: Bytes) {
        let subjects = names::subjects();
        if let Some(operation) = subjects.parse_api(subject) {
            let (operation, encoding) = (operation.to_owned(), Encoding::MessagePack);
            self.mailbox.push_back(Input::Request { operation, payload, encoding, reply });
            return;
        }
        let Some(from) = subjects.parse_agent(subject) else { return };
        let unreadable = |reason: String| Input::Unreadable {
            subject: subject.to_owned(),
            payload: payload.clone(),
            reason,
        };
        let input = match from {
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
        };
        self.mailbox.push_back(input);
    }

    /// The server has answered.
    pub(super) fn on_answer(
        &mut self,
        net: &mut Net,
        token: u64,
        answer: Answer,
        now: Now,
    ) -> Next {
        if self.storing.as_ref().is_some_and(|storing| storing.token == token) {
            return self.on_append(net, answer, now);
        }
        if let Some((_, then)) = self.awaited.take_if(|(awaited, _)| *awaited == token) {
            return match (answer, then) {
                (Answer::Done | Answer::Stored(Ok(_)), then) => {
                    if let Some((subject, payload)) = then {
                        self.send(net, subject, payload);
                    }
                    Next::Stay
                }
                (_, _) => Next::StartOver("an effect failed"),
            };
        }
        if let Some((_, complete)) = self.archiving.take_if(|(awaited, _)| *awaited == token) {
            return match answer {
                Answer::Stored(Ok(_)) => {
                    self.mailbox.push_back(Input::Archived(complete));
                    Next::Stay
                }
                _ => Next::StartOver("the history failed"),
            };
        }
        if self.saving.take_if(|awaited| *awaited == token).is_some() {
            self.on_saved(net, answer);
        }
        Next::Stay
    }

    /// Goes as far as it can without waiting.
    pub(super) fn go_on(&mut self, net: &mut Net, now: Now, dies_in: &mut Option<u32>) -> Next {
        loop {
            if let Some(why) = self.broken.take() {
                return Next::StartOver(why);
            }
            if let Some(left) = dies_in {
                if *left == 0 {
                    return Next::Die;
                }
                *left -= 1;
            }
            let waits = self.storing.is_some() && !sabotage::is("answered-before-stored");
            if waits || self.awaited.is_some() {
                return Next::Stay;
            }
            match self.effects.pop_front() {
                Some(effect) => self.carry_out(net, effect),
                None if self.storing.is_some() => return Next::Stay,
                None if self.has_work(now) => self.turn(net, now),
                None => {
                    self.arm(net, now);
                    return Next::Stay;
                }
            }
        }
    }

    fn has_work(&self, now: Now) -> bool {
        let due = self.parts.actor.next_deadline();
        let is_due = self.is_due && due.is_some_and(|at| at <= now.wall);
        self.is_unfinished || is_due || !self.mailbox.is_empty()
    }

    fn arm(&mut self, net: &mut Net, now: Now) {
        let due = self.parts.actor.next_deadline();
        self.is_due = false;
        if due != self.deadline.1
            && let Some(at) = due
        {
            self.deadline = (self.deadline.0 + 1, due);
            let delay = millis(at.since(now.wall));
            net.timer(self.parts.node, self.parts.life, delay, Timer::Deadline(self.deadline.0));
        }
    }

    fn turn(&mut self, net: &mut Net, now: Now) {
        // A deadline may be another one after the turn, or be due at once.
        self.deadline.1 = None;
        let count = self.mailbox.len().min(TURN_INPUTS);
        let inputs: Vec<Input> = self.mailbox.drain(..count).collect();
        for input in &inputs {
            if let Input::Submission(submission) = input {
                self.submissions.push(submission.sequence);
            }
        }
        let turn = self.parts.actor.turn(inputs, now);
        self.is_unfinished = turn.is_unfinished;
        if turn.groups.is_empty() {
            return self.give_out(net, turn, now);
        }
        let parts = &self.parts;
        let term = parts.actor.state().term;
        let sealed: VecDeque<Sealed> =
            parts.position.seal(parts.nonce, term, now.wall, &turn.groups).into();
        let count = turn.groups.len();
        for message in &sealed {
            net.oracle.on_decided(message.position, &message.payload);
        }
        net.trace.note(net.now, sealed.len() as u64, || format!("a turn of {count} groups"));
        let token = self.append(net, sealed.front().expect("groups make messages"));
        if sabotage::is("answered-before-stored") {
            let ready = self.parts.actor.stored(turn, now);
            return self.give_early(ready, sealed, token);
        }
        self.storing = Some(Storing { turn, rest: sealed, token, is_refused: false });
    }

    /// A deliberate bug: what a turn decided is given out while it is being stored.
    fn give_early(&mut self, effects: Effects, rest: VecDeque<Sealed>, token: u64) {
        self.queue(effects);
        self.storing = Some(Storing { turn: Turn::default(), rest, token, is_refused: false });
    }

    fn append(&self, net: &mut Net, sealed: &Sealed) -> u64 {
        let Parts { node, life, .. } = self.parts;
        let demands = Demands {
            expected_last: Some(sealed.position.sequence - 1)
                .filter(|_| !sabotage::is("append-not-fenced")),
            ..Demands::default()
        };
        let (subject, payload) = (names::JOURNAL_SUBJECT.to_owned(), sealed.payload.clone());
        net.ask(node, life, REQUEST_TIMEOUT, |token| Op::Store { subject, payload, demands, token })
    }

    /// An append was answered, or not; then the journal is looked at, as only that tells.
    fn on_append(&mut self, net: &mut Net, answer: Answer, now: Now) -> Next {
        let Some(mut storing) = self.storing.take() else { return Next::Stay };
        let Some(sealed) = storing.rest.front().cloned() else { return Next::Stay };
        let Parts { node, life, .. } = self.parts;
        let next = sealed.position.sequence;
        let is_refused = matches!(answer, Answer::Stored(Err(PublishError::WrongLastSequence)));
        match answer {
            Answer::Stored(Ok(Ack { sequence, .. })) if sequence == next => {
                return self.on_stored(net, storing, now);
            }
            Answer::Message(Some(stored)) if stored == sealed.payload => {
                return self.on_stored(net, storing, now);
            }
            Answer::Stored(Ok(_)) | Answer::Message(Some(_)) => {
                // The state is a turn ahead of what is stored.
                self.storing = Some(storing);
                return Next::Fenced;
            }
            // Neither ours nor another's: the journal ends before what was stored.
            Answer::Message(None) if storing.is_refused => {
                self.storing = Some(storing);
                return Next::StartOver("the journal has lost messages");
            }
            Answer::Message(None) => storing.token = self.append(net, &sealed),
            Answer::Stored(Err(PublishError::NoStream)) => return Next::StartOver("no journal"),
            Answer::Stored(Err(_)) | Answer::TimedOut => {
                let stream = names::JOURNAL.to_owned();
                storing.token = net.ask(node, life, REQUEST_TIMEOUT, |token| Op::Get {
                    stream,
                    sequence: next,
                    token,
                });
                storing.is_refused = is_refused;
            }
            _ => return Next::StartOver("the journal answers oddly"),
        }
        self.storing = Some(storing);
        Next::Stay
    }

    fn on_stored(&mut self, net: &mut Net, mut storing: Storing, now: Now) -> Next {
        if let Some(sealed) = storing.rest.pop_front() {
            self.parts.position = sealed.position;
            net.oracle.on_acknowledged(sealed.position.sequence);
        }
        match storing.rest.front() {
            Some(sealed) => {
                storing.token = self.append(net, sealed);
                self.storing = Some(storing);
            }
            None => self.give_out(net, storing.turn, now),
        }
        Next::Stay
    }

    fn give_out(&mut self, net: &mut Net, turn: Turn, now: Now) {
        let effects = self.parts.actor.stored(turn, now);
        self.queue(effects);
        self.save(net);
    }

    fn queue(&mut self, effects: Effects) {
        let queue = &mut self.effects;
        queue.extend(effects.registered.into_iter().map(Effect::Join));
        queue.extend(effects.messages.into_iter().map(|(to, what)| Effect::Send(to, what)));
        queue.extend(effects.register.into_iter().map(Effect::AskToRegister));
        queue.extend(effects.dead.into_iter().map(Effect::Bury));
        queue.extend(self.submissions.drain(..).map(Effect::Acknowledge));
        queue.extend(effects.replies.into_iter().map(Effect::Reply));
        queue.extend(effects.reports_upto.map(Effect::ForgetReports));
        let batch = effects.to_history;
        queue.extend(batch.and_then(|batch| match batch {
            Batch::Pieces(pieces, complete) => Some(Effect::Store(complete, pieces.len())),
            // Fewer jobs finish than stay in memory.
            Batch::Page(..) => None,
        }));
    }

    fn carry_out(&mut self, net: &mut Net, effect: Effect) {
        let Parts { node, life, .. } = self.parts;
        match effect {
            Effect::Join(joined) => self.join(net, joined),
            Effect::Send(subject, payload) => self.send(net, subject, payload),
            Effect::AskToRegister(agent) => {
                let subject = names::subjects().control(&agent);
                self.send(net, subject, to_msgpack(&Control::Register));
            }
            Effect::Bury(letter) => {
                net.oracle.on_dead_letter(letter.payload.clone());
                let subject = format!("sim.dead.{}", letter.source);
                let token = net.ask(node, life, REQUEST_TIMEOUT, |token| Op::Store {
                    subject,
                    payload: letter.payload,
                    demands: Demands::default(),
                    token,
                });
                self.awaited = Some((token, None));
            }
            Effect::Acknowledge(sequence) => {
                let (stream, consumer) = (names::SUBMIT.to_owned(), "coordinator".to_owned());
                net.send(node, Op::Ack { stream, consumer, sequence });
            }
            Effect::Reply(reply) => self.reply(net, reply),
            Effect::ForgetReports(upto) => {
                let stream = names::REPORTS.to_owned();
                net.send(node, Op::Purge { stream, before: upto + 1 });
            }
            Effect::Store(complete, pieces) => {
                let payload = Bytes::from(pieces.to_le_bytes().to_vec());
                let token = net.ask(node, life, REQUEST_TIMEOUT, |token| Op::Store {
                    subject: "sim.history.x".to_owned(),
                    payload,
                    demands: Demands::default(),
                    token,
                });
                self.archiving = Some((token, complete));
            }
        }
    }

    fn send(&self, net: &mut Net, subject: String, payload: Vec<u8>) {
        net.send(self.parts.node, Op::Publish { subject, reply: None, payload: payload.into() });
    }

    /// Answers with a byte before the body: whether it is an error.
    fn reply(&self, net: &mut Net, reply: Reply) {
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
        self.send(net, to, payload);
    }

    /// A new session: a consumer of its own, then the answer.
    fn join(&mut self, net: &mut Net, joined: Joined) {
        let Parts { node, life, .. } = self.parts;
        let Joined { agent, reply, before, outcome } = joined;
        let (session, fenced): (u64, Vec<Held>) = match outcome {
            Ok(accepted) => accepted,
            Err(error) => {
                let message = error.message;
                return self.send(net, reply, to_msgpack(&RegisterReply::Refused { message }));
            }
        };
        let state = self.parts.actor.state();
        let subject = names::subjects().lease(&names::name(names::ENVIRONMENT), &agent);
        let spec = ConsumerSpec {
            name: format!("{agent}-{session}"),
            memory: true,
            filter: Some(subject),
            start: Start::First,
            ack_wait: Some(30_000),
            max_ack_pending: 1024,
        };
        let accepted = RegisterReply::Accepted(Session {
            session,
            term: state.term,
            stream: names::LEASES.to_owned(),
            consumer: spec.name.clone(),
            heartbeat_millis: millis(HEARTBEAT),
            fenced,
            self_fence: state.agents[&agent].disconnect.self_fence(),
        });
        let instead_of = before.map(|before| format!("{agent}-{before}"));
        let stream = names::LEASES.to_owned();
        let token = net.ask(node, life, REQUEST_TIMEOUT, |token| Op::MakeConsumer {
            stream,
            spec,
            instead_of,
            purge: true,
            token,
        });
        self.awaited = Some((token, Some((reply, to_msgpack(&accepted)))));
    }

    /// Stores a snapshot if one is due.
    fn save(&mut self, net: &mut Net) {
        let Parts { node, life, snapshot_every, position, snapshot_at, .. } = self.parts;
        if self.saving.is_some() || position.sequence < snapshot_at + snapshot_every {
            return;
        }
        self.parts.snapshot_at = position.sequence;
        let bytes: Bytes = snapshot::encode(self.parts.actor.state(), position).into();
        net.oracle.on_snapshot(self.parts.actor.state(), position, &bytes);
        let name = format!("{:020}", position.sequence);
        let op = |token| Op::PutObject { name, bytes, token };
        self.saving = Some(net.ask(node, life, REQUEST_TIMEOUT, op));
    }

    fn on_saved(&mut self, net: &mut Net, answer: Answer) {
        let Parts { node, life, .. } = self.parts;
        match answer {
            Answer::Done => {
                let op = |token| Op::ListObjects { token };
                self.saving = Some(net.ask(node, life, REQUEST_TIMEOUT, op));
            }
            Answer::Names(names) => {
                let (old, kept) = names.split_at(names.len().saturating_sub(2));
                for name in old {
                    net.send(node, Op::DeleteObject { name: name.clone() });
                }
                if let Some(before) = kept.first().and_then(|name| name.parse().ok()) {
                    let stream = names::JOURNAL.to_owned();
                    net.send(node, Op::Purge { stream, before });
                }
            }
            // The journal is kept; the next snapshot tries again.
            _ => {}
        }
    }
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
