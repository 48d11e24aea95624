//! A coordinator that follows the journal, and what it does to take over: read the rest, heal a journal
//! that lost what this process remembers, store a term, open the streams it reads.

use bytes::Bytes;
use windrow_common::ids::JobId;
use windrow_common::sabotage;
use windrow_coordinator::actor::{Actor, Now};
use windrow_coordinator::core::limits::Limits;
use windrow_coordinator::core::{Command, State, apply, decide};
use windrow_coordinator::shell::journal::Position;
use windrow_coordinator::shell::snapshot;

use super::leading::Parts;
use super::{Known, Next, REQUEST_TIMEOUT, settings};
use crate::bus::{ConsumerSpec, Demands, Start};
use crate::names;
use crate::net::{Answer, Net, Node, Op, Timer};

/// How often a standby looks whether the journal has grown.
const LOOK_EVERY: u64 = 250;

/// What is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A connection.
    Nothing,
    /// It has read what there is.
    Idle,
    Names,
    Snapshot,
    Info,
    /// The message at the position.
    Base,
    Entries,
    /// What it remembers is stored as a snapshot, as the journal has lost it.
    Saved,
    /// The journal was made anew behind it.
    Made,
    /// The message that starts the term.
    Term,
    Submissions,
    Reports,
}

/// One that follows.
pub(super) struct Follower {
    node: Node,
    life: u32,
    snapshot_every: u64,
    nonce: u64,
    step: Step,
    token: u64,
    wake: u64,
    /// Snapshots not looked at yet, oldest first.
    names: Vec<String>,
    state: State,
    position: Position,
    /// The state was read from the server in this process, up to the position.
    remembers: bool,
    snapshot_at: u64,
    last: u64,
    /// It is to lead once it has read everything.
    takes_over: bool,
    /// The state is one turn ahead of this position, and it is not known whether that was stored.
    unsure: Option<Position>,
    starting: Option<Position>,
}

impl Follower {
    pub(super) fn new(node: Node, life: u32, snapshot_every: u64, nonce: u64) -> Self {
        Self {
            node,
            life,
            snapshot_every,
            nonce,
            step: Step::Nothing,
            token: 0,
            wake: 0,
            names: Vec::new(),
            state: State::default(),
            position: Position::default(),
            remembers: false,
            snapshot_at: 0,
            last: 0,
            takes_over: false,
            unsure: None,
            starting: None,
        }
    }

    pub(super) fn node(&self) -> Node {
        self.node
    }

    pub(super) fn life(&self) -> u32 {
        self.life
    }

    /// Whether it waits for nothing.
    pub(super) fn is_idle(&self) -> bool {
        self.step == Step::Idle
    }

    /// What it could take over with.
    pub(super) fn ready(&self) -> Option<(u64, Position)> {
        (self.remembers && self.step != Step::Nothing).then_some((self.state.term, self.position))
    }

    /// The connection is there: whatever is known is compared with what is stored.
    pub(super) fn on_connected(&mut self, net: &mut Net) {
        self.takes_over = false;
        if self.remembers {
            self.look(net);
        } else {
            (self.state, self.position, self.unsure) = Default::default();
            self.ask(net, Step::Names, |token| Op::ListObjects { token });
        }
    }

    /// No connection.
    pub(super) fn pause(&mut self, net: &mut Net) {
        self.step = Step::Nothing;
        self.token = net.token();
    }

    /// What a former leader knew.
    pub(super) fn take_back(&mut self, known: Known) {
        self.remembers = true;
        self.unsure = (known.position != known.stored).then_some(known.stored);
        (self.state, self.position) = (known.state, known.position);
    }

    pub(super) fn on_wake(&mut self, net: &mut Net, number: u64) {
        if self.step == Step::Idle && number == self.wake {
            self.look(net);
        }
    }

    /// The election is won.
    pub(super) fn take_over(&mut self, net: &mut Net, _now: Now) -> Next {
        self.takes_over = true;
        self.look(net)
    }

    fn ask(&mut self, net: &mut Net, step: Step, op: impl FnOnce(u64) -> Op) -> Next {
        self.step = step;
        self.token = net.ask(self.node, self.life, REQUEST_TIMEOUT, op);
        Next::Stay
    }

    fn look(&mut self, net: &mut Net) -> Next {
        let stream = names::JOURNAL.to_owned();
        self.ask(net, Step::Info, |token| Op::Info { stream, token })
    }

    pub(super) fn on_answer(
        &mut self,
        net: &mut Net,
        token: u64,
        answer: Answer,
        now: Now,
    ) -> Next {
        if token != self.token {
            return Next::Stay;
        }
        match (self.step, answer) {
            (Step::Names, Answer::Names(names)) => {
                self.names = names;
                self.next_snapshot(net)
            }
            (Step::Snapshot, Answer::Object(bytes)) => {
                match bytes.as_deref().and_then(|bytes| snapshot::decode(bytes).ok()) {
                    Some((state, position)) => {
                        (self.state, self.position) = (state, position);
                        self.snapshot_at = position.sequence;
                        self.look(net)
                    }
                    None => self.next_snapshot(net),
                }
            }
            (Step::Info, Answer::Info(info)) => self.compare(net, info.first, info.last, now),
            (Step::Base, Answer::Message(message)) => {
                let is = |at: &Position| message.as_ref().is_some_and(|m| at.is_of(m));
                match self.unsure {
                    None if is(&self.position) => self.read_on(net, now),
                    Some(_) if is(&self.position) => {
                        self.unsure = None;
                        self.read_on(net, now)
                    }
                    // The turn was not stored, or another's message was: nobody was told of it.
                    Some(stored) if self.last > stored.sequence || is(&stored) => {
                        (self.remembers, self.unsure) = (false, None);
                        Next::StartOver("the last turn was not stored")
                    }
                    Some(_) | None => {
                        self.lost(net, "the message read last is another one".to_owned())
                    }
                }
            }
            (Step::Entries, Answer::Messages(messages)) => self.take(net, &messages, now),
            (Step::Saved, Answer::Done) => {
                let first = self.position.sequence + 1;
                self.ask(net, Step::Made, |token| Op::RemakeJournal { first, token })
            }
            (Step::Made, Answer::Done) => {
                net.inject("journal healed from memory");
                net.oracle.on_healed(net.now, &self.state, self.position);
                (self.unsure, self.last) = (None, self.position.sequence);
                self.start_term(net, now)
            }
            (Step::Term, Answer::Stored(Ok(ack))) => {
                let stored = self.starting.take().filter(|at| at.sequence == ack.sequence);
                let Some(position) = stored else { return Next::Fenced };
                self.position = position;
                self.read_submissions(net)
            }
            // Somebody else wrote, or an earlier try was stored: the state is ahead of what is known.
            (Step::Term, _) => {
                self.remembers = false;
                Next::StartOver("the term was not stored")
            }
            (Step::Submissions, Answer::Done) => self.read_reports(net),
            (Step::Reports, Answer::Done) => Next::Lead,
            (_, _) => Next::StartOver("a request was not answered"),
        }
    }

    fn next_snapshot(&mut self, net: &mut Net) -> Next {
        match self.names.pop() {
            Some(name) => self.ask(net, Step::Snapshot, |token| Op::GetObject { name, token }),
            None => self.look(net),
        }
    }

    fn compare(&mut self, net: &mut Net, first: u64, last: u64, now: Now) -> Next {
        let mut known = self.position.sequence;
        self.last = last;
        if let Some(stored) = self.unsure.filter(|stored| last == stored.sequence) {
            known = stored.sequence;
        }
        if last < known {
            return self.lost(net, format!("the journal ends at {last}, known is {known}"));
        }
        if known > 0 && known >= first {
            let stream = names::JOURNAL.to_owned();
            return self.ask(net, Step::Base, |token| Op::Get { stream, sequence: known, token });
        }
        if last > known && first > known + 1 {
            if self.remembers {
                // It was trimmed meanwhile, behind a snapshot that has more.
                self.remembers = false;
                return Next::StartOver("the journal was trimmed");
            }
            return Next::Damaged(format!("messages {} to {} are gone", known + 1, first - 1));
        }
        self.read_on(net, now)
    }

    /// The journal is not what was read. Who remembers more heals it, once it leads.
    fn lost(&mut self, net: &mut Net, what: String) -> Next {
        if !self.remembers {
            return Next::Damaged(what);
        }
        net.trace.note(net.now, 17, || format!("{:?} ALARM, remembers: {what}", self.node));
        if !self.takes_over {
            return self.idle(net);
        }
        net.inject("journal found shorter than remembered");
        let name = format!("{:020}", self.position.sequence);
        let bytes: Bytes = snapshot::encode(&self.state, self.position).into();
        self.snapshot_at = self.position.sequence;
        self.ask(net, Step::Saved, |token| Op::PutObject { name, bytes, token })
    }

    fn idle(&mut self, net: &mut Net) -> Next {
        self.step = Step::Idle;
        self.wake += 1;
        net.timer(self.node, self.life, LOOK_EVERY, Timer::Wake(self.wake));
        Next::Stay
    }

    fn read_on(&mut self, net: &mut Net, now: Now) -> Next {
        if self.position.sequence < self.last {
            let (stream, from) = (names::JOURNAL.to_owned(), self.position.sequence + 1);
            return self.ask(net, Step::Entries, |token| Op::Read { stream, from, token });
        }
        self.remembers = true;
        if self.takes_over { self.start_term(net, now) } else { self.idle(net) }
    }

    fn take(&mut self, net: &mut Net, messages: &[(u64, Bytes)], now: Now) -> Next {
        let before = self.position.sequence;
        for (sequence, payload) in messages {
            match self.position.check(*sequence, payload) {
                Ok((mut entry, position)) => {
                    if sequence % 29 == 0 && sabotage::is("standby-skips-a-message") {
                        entry.events.clear();
                    }
                    for event in &entry.events {
                        apply(&mut self.state, event);
                        self.state.index.changed.clear();
                    }
                    self.position = position;
                }
                Err(why) => return Next::Damaged(why.to_string()),
            }
        }
        if before == self.position.sequence {
            return Next::StartOver("the journal ends early");
        }
        self.read_on(net, now)
    }

    fn start_term(&mut self, net: &mut Net, now: Now) -> Next {
        let decision = decide(&self.state, &Limits::default(), &Command::StartTerm, now.wall)
            .expect("a term can always be started");
        for event in &decision.events {
            apply(&mut self.state, event);
        }
        self.state.index.changed.clear();
        let term = self.state.term;
        net.trace.note(net.now, term, || format!("{:?} starts term {term}", self.node));
        let sealed = self.position.seal(self.nonce, term, now.wall, &[decision.events]);
        let sealed = sealed.into_iter().next().expect("a group makes a message");
        let expected_last = Some(self.position.sequence);
        self.starting = Some(sealed.position);
        let (subject, payload) = (names::JOURNAL_SUBJECT.to_owned(), sealed.payload);
        let demands = Demands { expected_last, ..Demands::default() };
        self.ask(net, Step::Term, |token| Op::Store { subject, payload, demands, token })
    }

    fn read_submissions(&mut self, net: &mut Net) -> Next {
        let spec = ConsumerSpec {
            name: "coordinator".to_owned(),
            memory: false,
            filter: None,
            start: Start::First,
            ack_wait: Some(30_000),
            max_ack_pending: 4096,
        };
        // Anew, so that what a former coordinator had not acknowledged comes at once.
        let (stream, instead_of) = (names::SUBMIT.to_owned(), Some(spec.name.clone()));
        self.ask(net, Step::Submissions, |token| Op::MakeConsumer {
            stream,
            instead_of,
            spec,
            purge: false,
            token,
        })
    }

    fn read_reports(&mut self, net: &mut Net) -> Next {
        let spec = ConsumerSpec {
            name: self.reports_consumer(),
            memory: true,
            filter: None,
            start: Start::First,
            ack_wait: None,
            max_ack_pending: usize::MAX,
        };
        let (stream, instead_of) = (names::REPORTS.to_owned(), None);
        self.ask(net, Step::Reports, |token| Op::MakeConsumer {
            stream,
            instead_of,
            spec,
            purge: false,
            token,
        })
    }

    fn reports_consumer(&self) -> String {
        format!("reports-{:x}-{}", self.nonce, self.state.term)
    }

    /// Subscribes, and gives what a leader is made of.
    pub(super) fn hand_over(&mut self, net: &mut Net, now: Now) -> Parts {
        let subjects = names::subjects();
        let (register, beat) = subjects.agents_all();
        for pattern in [subjects.api_all(), register, beat] {
            net.send(self.node, Op::Subscribe(pattern));
        }
        let readers =
            [(names::SUBMIT, "coordinator".to_owned()), (names::REPORTS, self.reports_consumer())];
        for (stream, consumer) in readers {
            net.send(self.node, Op::Pull { stream: stream.to_owned(), consumer });
        }
        let state = std::mem::take(&mut self.state);
        let (high, mut number) = (u128::from(self.nonce ^ state.term), 0u128);
        let new_id = Box::new(move || {
            number += 1;
            JobId::from_u128((high << 64) | number)
        });
        (self.step, self.remembers) = (Step::Nothing, false);
        Parts {
            node: self.node,
            life: self.life,
            snapshot_every: self.snapshot_every,
            actor: Actor::new(state, settings(), new_id, now),
            position: self.position,
            nonce: self.nonce,
            snapshot_at: self.snapshot_at,
        }
    }
}
