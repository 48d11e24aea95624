//! The judge: knows what clients were told, what really ran, and what the journal says, and checks that
//! they agree. Its own model of jobs ([`model`]) shares no code with the product's state.
//!
//! The numbers I1 to I16 are those of the invariants in ARCHITECTURE.md.

mod clients;
pub mod model;
mod truth;

use std::collections::BTreeMap;

use bytes::Bytes;
use windrow_agent::core::StartPlan;
use windrow_agent::executor::AttemptKey;
use windrow_common::ids::{JobId, LeaseId, Name};
use windrow_coordinator::core::alarms::Numbers;
use windrow_coordinator::core::limits::Limits;
use windrow_coordinator::core::{Command, State, apply, decide, invariants};
use windrow_coordinator::shell::journal::Position;
use windrow_coordinator::shell::snapshot;

use clients::Clients;
use model::Model;
use truth::Truth;

/// Journal messages between two checks of the whole state.
const CHECK_EVERY: u64 = 16;

/// The judge.
#[derive(Default)]
pub struct Oracle {
    failure: Option<String>,
    pub model: Model,
    truth: Truth,
    pub clients: Clients,
    /// What the product's `apply` makes of the journal.
    state: State,
    position: Position,
    /// Messages that were stored after the base, by number; later ones replace those that were lost.
    messages: BTreeMap<u64, (u64, Bytes)>,
    /// From where the journal can be replayed: its beginning, or where it went on from a snapshot.
    base: Base,
    /// What snapshots are compared with, as they come some time after the messages they are of.
    behind: (State, Position),
    /// The last message that a coordinator knew to be stored: what follows from it may be known outside.
    acknowledged: u64,
    /// Messages that were decided, by chain value.
    decided: BTreeMap<[u8; 32], Bytes>,
}

/// A place in the journal, and what it was there.
#[derive(Clone, Default)]
struct Base {
    state: State,
    position: Position,
    model: Model,
}

impl Oracle {
    /// What is wrong, if something is.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Something is wrong; the first one counts.
    pub fn fail(&mut self, what: String) {
        self.failure.get_or_insert(what);
    }

    fn check(&mut self, result: Result<(), String>) {
        if let Err(what) = result {
            self.fail(what);
        }
    }

    /// A journal message is stored.
    pub fn on_journal(&mut self, now: u64, sequence: u64, payload: &Bytes) {
        if sequence <= self.position.sequence {
            if sequence <= self.acknowledged {
                let known = self.acknowledged;
                return self.fail(format!(
                    "I1: message {sequence} is replaced, and up to {known} was acted upon"
                ));
            }
            self.rewind(sequence - 1);
        }
        self.messages.insert(sequence, (now, payload.clone()));
        let result = self.take(now, sequence, payload);
        self.check(result);
        if sequence.is_multiple_of(CHECK_EVERY) {
            self.check_state();
        }
    }

    fn take(&mut self, now: u64, sequence: u64, payload: &Bytes) -> Result<(), String> {
        let checked = self.position.check(sequence, payload);
        let (entry, position) = checked.map_err(|e| format!("I16: journal: {e}"))?;
        self.position = position;
        for event in &entry.events {
            apply(&mut self.state, event);
            self.state.index.changed.clear();
            self.model.take(event, now, &self.truth)?;
        }
        Ok(())
    }

    /// The journal was put back to this message; what came after is forgotten.
    fn rewind(&mut self, upto: u64) {
        if upto < self.base.position.sequence {
            let at = self.base.position.sequence;
            return self
                .fail(format!("I1: the journal is put back to {upto}, and was healed at {at}"));
        }
        self.messages.split_off(&(upto + 1));
        let Base { state, position, model } = self.base.clone();
        (self.state, self.position, self.model) = (state, position, model);
        self.behind = (self.state.clone(), self.position);
        let messages = self.messages.clone();
        for (sequence, (at, payload)) in &messages {
            if let Err(what) = self.take(*at, *sequence, payload) {
                self.fail(format!("after a rewind: {what}"));
            }
        }
    }

    /// A coordinator knows that this message is stored.
    pub fn on_acknowledged(&mut self, sequence: u64) {
        self.acknowledged = self.acknowledged.max(sequence);
    }

    /// A leader has decided this, and will store it as this message.
    pub fn on_decided(&mut self, position: Position, payload: &Bytes) {
        self.decided.insert(position.chain, payload.clone());
    }

    /// A journal that had lost messages goes on behind this one, from this snapshot: it must be what some
    /// history gave that has everything that was acted upon, and the fact of the recovery.
    pub fn on_jump(&mut self, now: u64, sequence: u64, snapshot: Option<&[u8]>) {
        let decoded = snapshot.map(snapshot::decode);
        let Some(Ok((state, position))) = decoded else {
            return self.fail(format!("I1: the journal goes on at {sequence} without a snapshot"));
        };
        if position.sequence != sequence {
            return self.fail(format!("I16: snapshot {sequence} is of {}", position.sequence));
        }
        // What was decided and not stored, and nobody was told of, may have happened.
        while let Some(payload) = self.decided_next() {
            let next = self.position.sequence + 1;
            self.messages.insert(next, (now, payload.clone()));
            let result = self.take(now, next, &payload);
            self.check(result);
        }
        while !self.is_recovered_to(&state) {
            let upto = self.position.sequence;
            if upto <= self.acknowledged.max(self.base.position.sequence) {
                let known = self.acknowledged;
                return self.fail(format!(
                    "I1: healed with another state than any that has all up to {known}, which was acted upon"
                ));
            }
            self.rewind(upto - 1);
        }
        self.state = state;
        self.position = position;
        self.messages.clear();
        let (state, model) = (self.state.clone(), self.model.clone());
        self.behind = (state.clone(), position);
        self.base = Base { state, position, model };
    }

    /// A message that was decided to follow on the last one.
    fn decided_next(&self) -> Option<Bytes> {
        let next = self.position.sequence + 1;
        let follows = |payload: &&Bytes| self.position.check(next, payload).is_ok();
        self.decided.values().find(follows).cloned()
    }

    /// Whether this is the present state after a recovery with the same alarms, or after several: a
    /// coordinator may die before the journal goes on, or not hear that it does.
    fn is_recovered_to(&self, state: &State) -> bool {
        let last = |count: usize| {
            let alarms = &state.alarms[state.alarms.len() - count..];
            let recovered = alarms.iter().try_fold(self.state.clone(), |mut recovered, alarm| {
                let (seen, text) = (Numbers::default(), alarm.text.clone());
                let command = Command::Recover { seen, text };
                let decision = decide(&recovered, &Limits::default(), &command, alarm.at).ok()?;
                decision.events.iter().for_each(|event| apply(&mut recovered, event));
                recovered.index.changed.clear();
                Some(recovered)
            });
            recovered.is_some_and(|recovered| recovered == *state)
        };
        (1..=state.alarms.len()).any(last)
    }

    /// A snapshot is stored. It may be one of a history that was lost, which is nobody's matter.
    pub fn on_snapshot(&mut self, bytes: &[u8]) {
        let (read, at) = match snapshot::decode(bytes) {
            Ok(decoded) => decoded,
            Err(e) => return self.fail(format!("I16: a snapshot is unreadable: {e}")),
        };
        let is_of = |(_, payload): &(u64, Bytes)| at.is_of(payload);
        if at.sequence <= self.behind.1.sequence
            || !self.messages.get(&at.sequence).is_some_and(is_of)
        {
            return;
        }
        let (state, position) = &mut self.behind;
        for (sequence, (_, payload)) in self.messages.range(position.sequence + 1..=at.sequence) {
            let Ok((entry, next)) = position.check(*sequence, payload) else { return };
            *position = next;
            entry.events.iter().for_each(|event| apply(state, event));
            state.index.changed.clear();
        }
        if read != *state {
            let what = difference(&read, state);
            self.fail(format!("I16: a snapshot gives another state: {what}"));
        }
    }

    /// A leader is looked at while all it knows is stored.
    pub fn compare(&mut self, state: &State, position: Position) {
        if position == self.position && *state != self.state {
            self.fail(format!(
                "I16: a replay gives another state: {}",
                difference(state, &self.state)
            ));
        }
    }

    fn check_state(&mut self) {
        let result = invariants::check(&self.state);
        self.check(result);
        let result = self.model.compare(&self.state);
        self.check(result);
    }

    /// An executor is told to run an attempt.
    pub fn on_attempt(
        &mut self,
        now: u64,
        host: (u8, &Name),
        plan: &StartPlan,
        capacity: (u64, u64),
    ) {
        let result = self.truth.start(now, host, plan, capacity, &self.model);
        self.check(result);
    }

    /// An attempt is over: it ended with this code, or died with its host.
    pub fn on_attempt_over(&mut self, now: u64, host: u8, key: AttemptKey, code: Option<i32>) {
        if let Some(0 | 1) = code {
            let result = self.model.may_run_on(key, now);
            self.check(result);
        }
        self.truth.end(host, key, code);
    }

    /// An agent forgets children of a lease: what ended by itself must be in the journal by then.
    pub fn on_forgotten(&mut self, lease: LeaseId, children: &[(u32, u32)]) {
        let result = self.truth.may_forget(lease, children, &self.model);
        self.check(result);
    }

    /// Faults are over since `calm_at`: what nobody wants to run must have been stopped after a while.
    pub fn judge_calm(&mut self, now: u64, calm_at: u64) {
        let result = self.truth.judge_calm(now, calm_at, &self.model);
        self.check(result);
    }

    /// An agent that runs, when all is over: the coordinator has it, in the same session.
    pub fn judge_agent(&mut self, agent: &Name, session: Option<u64>) {
        let known = self.model.session(agent);
        if known.is_none() || known != session {
            self.fail(format!("I15: {agent} is in session {session:?}, by the journal {known:?}"));
        }
    }

    /// A message goes to the dead letters.
    pub fn on_dead_letter(&mut self, payload: Bytes) {
        self.clients.dead.insert(payload.to_vec());
    }

    /// A machine is copied: what it runs may run twice, under one lease.
    pub fn on_clone(&mut self) {
        self.truth.has_clones = true;
    }

    /// A host's disk is lost.
    pub fn on_disk_lost(&mut self, host: u8) {
        self.truth.on_host_lost(host);
    }

    /// A submission was answered.
    pub fn submitted(&mut self, key: &str, is_other: bool, job: JobId) -> Result<(), String> {
        self.clients.submitted(key, is_other, job, &self.model)
    }

    /// Whether everything that was accepted has ended and nothing runs any more.
    pub fn is_over(&self) -> bool {
        self.model.all_ended() && self.truth.running() == 0
    }

    /// The present term.
    pub fn term(&self) -> u64 {
        self.state.term
    }

    /// What is not over, for people.
    pub fn unfinished(&self) -> String {
        format!("{}; {} attempts run", self.model.unfinished(), self.truth.running())
    }

    /// Results accepted so far.
    pub fn results(&self) -> u64 {
        self.model.results
    }

    /// Attempts that really ran.
    pub fn attempts(&self) -> u64 {
        self.truth.attempts()
    }

    /// Everything is over: what clients were told is so.
    pub fn judge_end(&mut self) {
        self.check_state();
        let result = self.clients.judge(&self.model);
        self.check(result);
        let result = self.truth.judge(&self.model);
        self.check(result);
        if !self.state.leases.is_empty() {
            self.fail("I12: a lease is left when all is over".to_owned());
        }
    }
}

/// Where two states begin to differ, for people.
fn difference(one: &State, other: &State) -> String {
    let (one, other) = (format!("{one:?}"), format!("{other:?}"));
    let same = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    let from = same.saturating_sub(120);
    let part = |text: &str| text.get(from..text.len().min(same + 80)).unwrap_or("").to_owned();
    format!("`{}` and `{}`", part(&one), part(&other))
}
