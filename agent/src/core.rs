//! What the agent decides: pure, without clock or I/O.
//!
//! The shell feeds it [`Input`]s with the time, and carries out the [`Output`] in the order of its
//! fields: what is to be remembered goes to disk first. Leases start in rising order as their
//! children fit into what is free, smaller ones passing those that do not fit; what waits too long
//! goes back to the coordinator, which alone decides about order and fairness.

pub mod attempts;
mod contact;
pub mod environment;
pub mod held;
mod observed;
mod orders;
pub mod outbox;
pub mod ranges;
#[cfg(test)]
mod stories;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use windrow_common::ids::LeaseId;
use windrow_common::sabotage;
use windrow_common::time::{Moment, Timestamp};
use windrow_common::units::Resources;
use windrow_common::wire::agent::{EndCause, Held as WireHeld, Report, Session};
use windrow_common::wire::container::ContainerSpec;
use windrow_common::wire::lease::{Lease, OrderMessage, TaskSpec};

use crate::executor::{AttemptKey, ExecutorEvent, StopSignal};
use attempts::{Attempt, Attempts, Ending};
use contact::Contact;
use held::{Held, Record};
use outbox::{Item, Outbox};
use ranges::Ranges;

/// What AWS says of a container that its memory limit ended.
pub const OUT_OF_MEMORY: &str = "OutOfMemoryError: Container killed due to memory usage";

/// What the core must know and never changes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What all attempts together may use.
    pub resources: Resources,
    /// The GPUs among it, by id.
    pub gpus: Vec<String>,
    /// Time between SIGTERM and SIGKILL.
    pub stop_timeout: Duration,
    /// How long a child may wait here while others run before it is handed back.
    pub backlog_limit: Duration,
}

/// An event of an executor, and how much output its attempt had written by then.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The event.
    pub event: ExecutorEvent,
    /// Bytes in the attempt's log; counts when the attempt is over.
    pub log_bytes: u64,
}

/// What happens to the agent.
#[derive(Debug)]
pub enum Input {
    /// A registration was accepted.
    Registered(Session),
    /// Another process has this agent's name and all that was leased to it.
    Replaced,
    /// The connection, the consumer or the coordinator's knowledge of the session is gone.
    SessionLost,
    /// A coordinator has heard a heartbeat.
    Heard {
        /// The heartbeat's session.
        session: u64,
        /// The coordinator's term.
        term: u64,
        /// The heartbeat's number.
        number: u64,
    },
    /// Order messages, each with its place in the stream; some perhaps repeated, late, or of earlier
    /// sessions.
    Orders(Vec<(u64, OrderMessage)>),
    /// Executors report.
    Observed(Vec<Observed>),
    /// The agent stops and takes its jobs with it: SIGTERM now, SIGKILL after this time.
    Close(Duration),
    /// A deadline passed.
    Tick,
    /// Whether this host is well enough to start anything.
    Ready(bool),
}

/// An attempt to start.
#[derive(Clone, Debug)]
pub struct StartPlan {
    /// The attempt.
    pub key: AttemptKey,
    /// Its lease.
    pub lease: Arc<Lease>,
    /// What to run.
    pub spec: Arc<TaskSpec>,
    /// The GPUs it gets, by id; absent: this host has none.
    pub gpus: Option<Vec<String>>,
}

/// What the shell is to do, in this order.
#[derive(Debug, Default)]
pub struct Output {
    /// Write these to the journal, before all else.
    pub records: Vec<Record>,
    /// Start these.
    pub starts: Vec<StartPlan>,
    /// Signal these.
    pub stops: Vec<(AttemptKey, StopSignal)>,
    /// Executors need not remember these any more.
    pub forgets: Vec<AttemptKey>,
    /// Register again.
    pub register: bool,
}

/// The agent's state.
#[derive(Debug)]
pub struct Core {
    settings: Settings,
    held: Held,
    attempts: Attempts,
    /// Leases with waiting children, and since when they wait; in both, lower ids came earlier.
    queue: BTreeMap<LeaseId, Duration>,
    outbox: Outbox,
    session: Option<Session>,
    contact: Contact,
    /// No coordinator was reached for so long that nothing may run.
    is_out_of_reach: bool,
    draining: bool,
    /// The place in the stream of the message that last said so, or that it is over.
    drain_place: u64,
    closing: bool,
    is_ready: bool,
    said_goodbye: bool,
    output: Output,
}

impl Core {
    /// Begins with what the journal held.
    pub fn new(settings: Settings, held: Held, now: Moment) -> Self {
        let waiting = held.leases.values().filter(|held| !held.waiting.is_empty());
        let waiting: Vec<_> = waiting.map(|held| held.lease.id).collect();
        let contact = Contact::restored(held.contact);
        let mut core = Self {
            settings,
            held,
            attempts: Attempts::default(),
            queue: BTreeMap::new(),
            outbox: Outbox::default(),
            session: None,
            contact,
            is_out_of_reach: false,
            draining: false,
            drain_place: 0,
            closing: false,
            is_ready: true,
            said_goodbye: false,
            output: Output::default(),
        };
        core.restore_attempts(now);
        for lease in waiting {
            core.enqueue(lease, now);
        }
        core
    }

    /// Compares what the journal says with what executors still know, once, before anything else.
    ///
    /// Gives back the running attempts that no executor knows: the shell reports them as lost.
    pub fn adopt(
        &mut self,
        known: &[(AttemptKey, Option<Timestamp>)],
        now: Moment,
    ) -> Vec<AttemptKey> {
        let mut missing: BTreeSet<_> = self.attempts.iter().map(|(key, _)| *key).collect();
        for &(key, started_at) in known {
            if missing.remove(&key) {
                if let Some(started_at) = started_at {
                    self.on_started(key, started_at, true, now);
                }
            } else if self.held.leases.get(&key.lease).is_some_and(|l| l.is_ended(key.child)) {
                self.output.forgets.push(key);
            } else {
                // Nobody asked for it, so nobody waits for its result. It is forgotten at its end.
                self.output.stops.push((key, StopSignal::Kill));
            }
        }
        self.check_contact(now);
        missing.into_iter().collect()
    }

    /// Takes something in. What follows from it is in [`Core::take_output`].
    pub fn handle(&mut self, input: Input, now: Moment) {
        self.check_contact(now);
        match input {
            Input::Registered(session) => self.on_registered(session),
            Input::Replaced => self.on_replaced(),
            Input::SessionLost => self.lose_session(),
            Input::Heard { session, term, number } => self.on_heard(session, term, number, now),
            Input::Orders(messages) => {
                for (place, message) in messages {
                    self.on_orders(place, message, now);
                }
            }
            Input::Observed(observed) => {
                for one in observed {
                    self.on_observed(one, now);
                }
            }
            Input::Close(grace) => self.on_close(grace, now),
            Input::Tick => {}
            Input::Ready(ready) => {
                self.is_ready = ready;
                if !ready {
                    self.return_waiting(None);
                }
            }
        }
        self.check_contact(now);
        self.on_time(now);
        self.start_what_fits(now);
        if self.closing && !self.said_goodbye && self.attempts.is_empty() {
            self.said_goodbye = true;
            self.outbox.push(Item::Leaving);
        }
    }

    /// What is to be done since the last call.
    pub fn take_output(&mut self) -> Output {
        std::mem::take(&mut self.output)
    }

    /// When to call with [`Input::Tick`] if nothing else happens, by the monotonic clock.
    pub fn next_deadline(&self) -> Option<Duration> {
        let backlog = self.queue.first_key_value().filter(|_| !self.attempts.is_empty());
        let backlog = backlog.map(|(_, since)| since.saturating_add(self.settings.backlog_limit));
        let confirm = self.session.as_ref().and_then(|_| self.outbox.confirm_deadline());
        let timers = [self.attempts.next_timer(), backlog, confirm, self.fence_deadline()];
        timers.into_iter().flatten().min()
    }

    /// The children to name in a registration. From here until it is accepted there is no session.
    pub fn begin_registration(&mut self, now: Moment) -> Vec<WireHeld> {
        self.session = None;
        self.contact.ask(now.monotonic);
        let mut held = self.held.to_wire();
        for one in &mut held {
            let dying = self.attempts.iter().filter(|(key, attempt)| {
                key.lease == one.lease && attempt.ending.is_some_and(Ending::has_no_result)
            });
            let mut lost = Ranges::default();
            lost.insert_all(&one.lost);
            dying.for_each(|(key, _)| lost.insert(key.child));
            one.lost = lost.to_vec();
        }
        held
    }

    /// Highest term and lease that were ever seen here.
    pub fn seen(&self) -> (u64, LeaseId) {
        (self.held.term, self.held.lease_seen)
    }

    /// The session, while there is one.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// The next reports to send in this session: number of the first, and the reports.
    pub fn cut_reports(&mut self, now: Moment) -> Option<(u64, Vec<Report>)> {
        self.session.as_ref()?;
        let (held, attempts) = (&self.held, &self.attempts);
        self.outbox.cut(now.monotonic, |item| find_report(held, attempts, item))
    }

    /// Whether every attempt is over and its result sent.
    pub fn is_idle(&self) -> bool {
        self.attempts.is_empty() && self.outbox.is_sent()
    }

    /// What is remembered: for compaction and for registration.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Children waiting and attempts running, for the heartbeat.
    pub fn counts(&self) -> (u32, u32) {
        let waiting = self.queue.keys().filter_map(|lease| self.held.leases.get(lease));
        let waiting = waiting.map(|held| held.waiting.count()).sum();
        (waiting, u32::try_from(self.attempts.len()).unwrap_or(u32::MAX))
    }

    /// Number of the last report sent.
    pub fn last_report(&self) -> u64 {
        self.outbox.last_number()
    }

    fn record(&mut self, record: Record) {
        self.held.apply(&record);
        if matches!(record, Record::Starting { .. }) && sabotage::is("start-not-written") {
            return;
        }
        self.output.records.push(record);
    }

    fn lose_session(&mut self) {
        self.session = None;
        self.output.register = true;
    }

    fn restore_attempts(&mut self, now: Moment) {
        let mut stopping = Vec::new();
        for held in self.held.leases.values() {
            for (&child, begun) in &held.running {
                let key = AttemptKey { lease: held.lease.id, child };
                let grace = stop_timeout(&self.settings, &held.spec);
                let attempt = Attempt::new(&held.lease, grace, begun.gpus.clone());
                self.attempts.insert(key, attempt);
                if begun.stopping {
                    stopping.push(key);
                }
            }
        }
        for key in stopping {
            self.end(key, EndCause::Stopped, None, None, now);
        }
    }

    /// Ends an attempt, unless it is being ended already: the first cause stands. `grace`: the time it
    /// has, if not its own.
    fn end(
        &mut self,
        key: AttemptKey,
        cause: EndCause,
        reason: Option<&'static str>,
        grace: Option<Duration>,
        now: Moment,
    ) {
        let ends = self.attempts.change(key, |attempt| {
            let kill_at = now.monotonic + grace.unwrap_or(attempt.stop_timeout);
            let first = attempt.ending.is_none();
            attempt.ending.get_or_insert(Ending { cause, reason, kill_at });
            first
        });
        if ends == Some(true) {
            self.output.stops.push((key, StopSignal::Terminate));
        }
    }

    fn on_close(&mut self, grace: Duration, now: Moment) {
        self.closing = true;
        self.return_waiting(None);
        let keys: Vec<_> = self.attempts.iter().map(|(key, _)| *key).collect();
        for key in keys {
            self.end(key, EndCause::HostLost, Some("agent stopped"), Some(grace), now);
        }
    }

    fn on_time(&mut self, now: Moment) {
        while let Some(key) = self.attempts.due(now.monotonic) {
            let again = now.monotonic + self.settings.stop_timeout.max(Duration::from_secs(1));
            let kill = self.attempts.change(key, |attempt| {
                let ending = attempt.ending.as_mut()?;
                ending.kill_at = again;
                Some(())
            });
            if kill == Some(Some(())) {
                self.output.stops.push((key, StopSignal::Kill));
            } else {
                let reason = Some("Job attempt duration exceeded timeout");
                self.end(key, EndCause::TimedOut, reason, None, now);
            }
        }
        if !self.attempts.is_empty() {
            self.return_waiting(Some(now.monotonic));
        }
        let unconfirmed = self.outbox.confirm_deadline().is_some_and(|at| at <= now.monotonic);
        if unconfirmed && self.session.is_some() {
            self.lose_session();
        }
    }

    /// Puts a lease with waiting children in line, unless its children cannot run here.
    fn enqueue(&mut self, lease: LeaseId, now: Moment) {
        let Some(held) = self.held.leases.get(&lease) else { return };
        let possible = self.settings.resources.fits(held.lease.resources);
        if possible && !self.draining && !self.closing && self.is_ready {
            self.queue.insert(lease, now.monotonic);
        } else {
            self.hand_back(lease);
        }
    }

    /// Hands back waiting children: all, or those that waited too long at the given time.
    fn return_waiting(&mut self, too_long_at: Option<Duration>) {
        while let Some((&lease, since)) = self.queue.first_key_value() {
            if too_long_at.is_some_and(|now| *since + self.settings.backlog_limit > now) {
                break;
            }
            self.queue.remove(&lease);
            self.hand_back(lease);
        }
    }

    fn hand_back(&mut self, lease: LeaseId) {
        let Some(held) = self.held.leases.get(&lease) else { return };
        let children = held.waiting.to_vec();
        self.record(Record::Returned { lease, children: children.clone() });
        self.outbox.push(Item::Returned(lease, children));
    }

    fn start_what_fits(&mut self, now: Moment) {
        if self.is_out_of_reach {
            return;
        }
        let used = self.attempts.used();
        let used = if sabotage::is("agent-overcommits") { Resources::default() } else { used };
        let mut free = self.settings.resources.less(used);
        let mut started = Vec::new();
        for &lease in self.queue.keys() {
            // Nothing that needs anything fits any more: do not walk a long queue for nothing.
            if !free.fits(Resources::new(1, 1)) {
                break;
            }
            let Some(held) = self.held.leases.get(&lease) else { continue };
            let need = held.lease.resources;
            let count = free.count_of(need, held.waiting.count());
            if count > 0 {
                free = free.less(need.times(count));
                started.push((lease, held.waiting.lowest(count).to_vec()));
            }
        }
        for (lease, children) in started {
            self.start(lease, children, now);
            self.leave_queue_if_empty(lease);
        }
    }

    fn start(&mut self, lease: LeaseId, children: Vec<(u32, u32)>, now: Moment) {
        let indices = children.iter().flat_map(|&(first, count)| first..first + count);
        let gpus = self.give_gpus(lease, indices.clone());
        let (at, monotonic) = (now.wall, Some(now.monotonic));
        let started = children.clone();
        self.record(Record::Starting { lease, children: started, at, gpus, monotonic });
        let held = &self.held.leases[&lease];
        let has_gpus = !self.settings.gpus.is_empty();
        let grace = stop_timeout(&self.settings, &held.spec);
        for child in indices {
            let key = AttemptKey { lease, child };
            let gpus = held.running.get(&child).map(|begun| begun.gpus.clone()).unwrap_or_default();
            self.attempts.insert(key, Attempt::new(&held.lease, grace, gpus.clone()));
            self.output.starts.push(StartPlan {
                key,
                lease: Arc::clone(&held.lease),
                spec: Arc::clone(&held.spec),
                gpus: has_gpus.then_some(gpus),
            });
        }
    }

    /// Free GPUs for each of the children, which fit.
    fn give_gpus(
        &self,
        lease: LeaseId,
        children: impl Iterator<Item = u32>,
    ) -> Vec<(u32, Vec<String>)> {
        let need = self.held.leases[&lease].lease.resources.gpu as usize;
        if need == 0 {
            return Vec::new();
        }
        let mut free = self.settings.gpus.iter().filter(|id| !self.attempts.uses_gpu(id));
        children.map(|child| (child, free.by_ref().take(need).cloned().collect())).collect()
    }
}

/// Time that an attempt has between SIGTERM and SIGKILL: its containers may stop one after the other.
fn stop_timeout(settings: &Settings, spec: &TaskSpec) -> Duration {
    let own = |seconds: u32| Duration::from_secs(seconds.into());
    let of = |one: &ContainerSpec| one.stop_timeout_seconds.map_or(settings.stop_timeout, own);
    spec.containers.iter().map(of).sum()
}

fn find_report(held: &Held, attempts: &Attempts, item: &Item) -> Option<Report> {
    match item {
        Item::Started(key) => {
            let attempt = attempts.get(*key).filter(|attempt| !attempt.fenced)?;
            let job = held.leases.get(&key.lease)?.lease.job;
            let at = attempt.started_at?;
            Some(Report::Started { lease: key.lease, job, child: key.child, at })
        }
        Item::Ended(key) => {
            held.leases.get(&key.lease)?.ended.get(&key.child).cloned().map(Report::Ended)
        }
        Item::Returned(lease, children) => {
            let job = held.leases.get(lease)?.lease.job;
            Some(Report::Returned { lease: *lease, job, children: children.clone() })
        }
        Item::Leaving => Some(Report::Leaving),
    }
}
