//! The agent's one loop: takes what happened, lets the core decide, writes it down, carries it out.
//!
//! One turn takes a batch from one source. Its facts are on disk before orders are acknowledged,
//! attempts started or results sent, so a crash at any point leaves nothing that the next start does
//! not find again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Message;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::Interval;
use tracing::{debug, error, info, warn};
use windrow_common::codec::{from_msgpack, to_msgpack};
use windrow_common::wire;
use windrow_common::wire::agent::{Beat, RegisterReply, ReportMessage, Session};

use super::ballast::Ballast;
use super::clock::moment;
use super::executors::Executors;
use super::health::Health;
use super::inventory;
use super::journal::{self, Journal};
use super::link::{FromNats, Link, back_off, jittered};
use super::log_key::LogKey;
use super::logs::LogCommand;
use super::registration::{Identity, Registration};
use super::start::start_request;
use crate::config::OnStop;
use crate::core::held::Record;
use crate::core::{Core, Input, Observed, StartPlan};
use crate::executor::{AttemptKey, ExecutorEvent, Fence, LogFiles, StartRequest, StopSignal};

/// Longest time that a stopping agent waits for its jobs to end by themselves.
const CLOSE_GRACE_MAX: Duration = Duration::from_secs(10);
/// How long it then tries to get its last reports out. They are on disk in any case.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it tries to get output out; what remains is shipped after the next start.
const LOG_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Events taken in one turn.
const TURN_EVENTS_MAX: usize = 4096;
/// Pause before the journal is tried again.
const JOURNAL_PAUSE: Duration = Duration::from_millis(500);
/// An operator has to act first; agents ask again about as often.
const REFUSED_DELAY: Duration = Duration::from_secs(30);

/// Everything the loop works with; see the fields' types.
pub struct Parts {
    /// Decisions.
    pub core: Core,
    /// Disk.
    pub journal: Journal,
    /// Ways to run.
    pub executors: Executors,
    /// What they report.
    pub events: mpsc::Receiver<Vec<ExecutorEvent>>,
    /// Reports that came up before the loop began.
    pub early: Vec<ExecutorEvent>,
    /// NATS.
    pub link: Link,
    /// What its tasks report.
    pub inbox: mpsc::Receiver<FromNats>,
    /// Output.
    pub logs: mpsc::Sender<LogCommand>,
    /// Log files of running attempts.
    pub log_keys: BTreeMap<AttemptKey, LogKey>,
    /// Where those files are.
    pub log_directory: PathBuf,
    /// Spare ones.
    pub log_files: Arc<LogFiles>,
    /// Where working directories are.
    pub scratch_directory: PathBuf,
    /// What a registration says about this agent.
    pub identity: Identity,
    /// What to do at SIGTERM.
    pub on_stop: OnStop,
    /// Time between SIGTERM and SIGKILL.
    pub stop_timeout: Duration,
    /// How the host is.
    pub health: watch::Receiver<Health>,
    /// Room for the journal.
    pub ballast: Ballast,
}

impl Parts {
    /// Gives executors their orders.
    async fn direct(
        &mut self,
        fence: Option<Option<Fence>>,
        requests: Vec<StartRequest>,
        stops: Vec<(AttemptKey, StopSignal)>,
        forgets: Vec<AttemptKey>,
    ) {
        let Self { executors, events, early, .. } = self;
        let work = async {
            let mut refused = Vec::new();
            if let Some(fence) = fence {
                executors.fence(fence).await;
            }
            if !requests.is_empty() {
                refused = executors.start(requests).await;
            }
            executors.stop(stops).await;
            if !forgets.is_empty() {
                executors.forget(forgets).await;
            }
            refused
        };
        tokio::pin!(work);
        // An executor that waits for us to take its events would wait for ever: take them meanwhile.
        let refused = loop {
            tokio::select! {
                biased;
                refused = &mut work => break refused,
                Some(batch) = events.recv() => early.extend(batch),
            }
        };
        early.extend(refused);
    }
}

/// The loop's own state around its parts.
pub struct EventLoop {
    parts: Parts,
    registration: Registration,
    puller: Option<AbortHandle>,
    reporter: Option<AbortHandle>,
    beats: Interval,
    /// Set once the agent is stopping: when to give up waiting.
    close_at: Option<Duration>,
    /// What executors were told of the time by when all must be over; absent: nothing yet.
    fence: Option<Option<Fence>>,
}

enum Turn {
    Nats(FromNats),
    Executors(Vec<ExecutorEvent>),
    Deadline,
    Beat,
    Signal,
    Health,
}

impl EventLoop {
    /// Around its parts.
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            registration: Registration::default(),
            puller: None,
            reporter: None,
            beats: beats(Duration::from_secs(3600)),
            close_at: None,
            fence: None,
        }
    }

    /// Runs until the agent is told to stop (a message a signal). A second signal ends it at once.
    ///
    /// # Errors
    /// When the journal cannot be written: what cannot be remembered must not be done.
    pub async fn run(mut self, mut signals: mpsc::Receiver<()>) -> Result<(), journal::Error> {
        let hints = self.parts.link.listen();
        self.carry_out(Vec::new()).await?;
        while !self.is_closed() {
            match self.next(&mut signals).await {
                Turn::Nats(message) => self.on_nats(message).await?,
                Turn::Executors(events) => self.on_events(events).await?,
                Turn::Deadline => self.decide(Input::Tick, Vec::new()).await?,
                Turn::Beat => self.beat().await,
                Turn::Health => self.on_health().await?,
                Turn::Signal if self.close_at.is_some() => {
                    warn!("a second signal: leaving at once");
                    return Ok(());
                }
                Turn::Signal if self.parts.on_stop == OnStop::LeaveJobs => {
                    info!("stopping; running jobs are left to the next start");
                    return Ok(());
                }
                Turn::Signal => self.close().await?,
            }
            self.send_reports();
        }
        hints.abort();
        self.flush_logs().await;
        info!("stopped");
        Ok(())
    }

    async fn next(&mut self, signals: &mut mpsc::Receiver<()>) -> Turn {
        if !self.parts.early.is_empty() {
            return Turn::Executors(std::mem::take(&mut self.parts.early));
        }
        let now = moment().monotonic;
        let deadline = [self.parts.core.next_deadline(), self.close_at].into_iter().flatten().min();
        let wait = deadline.map_or(Duration::from_secs(3600), |at| at.saturating_sub(now));
        let in_session = self.parts.core.session().is_some();
        tokio::select! {
            Some(()) = signals.recv() => Turn::Signal,
            Some(message) = self.parts.inbox.recv() => Turn::Nats(message),
            Some(events) = self.parts.events.recv() => Turn::Executors(events),
            _ = self.beats.tick(), if in_session => Turn::Beat,
            Ok(()) = self.parts.health.changed() => Turn::Health,
            () = tokio::time::sleep(wait) => Turn::Deadline,
        }
    }

    async fn on_nats(&mut self, message: FromNats) -> Result<(), journal::Error> {
        match message {
            FromNats::Connected => {
                info!("connected to NATS");
                self.registration.restart(&self.parts.link);
            }
            FromNats::RegisterWanted => self.registration.want(&self.parts.link),
            FromNats::StillWanted(number) if self.registration.is_current(number) => {
                self.registration.want(&self.parts.link);
            }
            FromNats::Heard { session, term, number } => {
                self.decide(Input::Heard { session, term, number }, Vec::new()).await?;
            }
            FromNats::RegisterNow(number) if self.registration.is_current(number) => {
                self.leave_session();
                let now = moment();
                let held = self.parts.core.begin_registration(now);
                let seen = self.parts.core.seen();
                let request = self.parts.identity.to_register(number, held, seen, now.wall);
                self.registration.ask(&self.parts.link, request);
            }
            FromNats::Registered(number, answer) if self.registration.is_current(number) => {
                self.on_registered(answer).await?;
            }
            FromNats::Orders(session, messages) if self.is_session(session) => {
                self.on_orders(messages).await?;
            }
            FromNats::PullEnded(session) if self.is_session(session) => {
                self.decide(Input::SessionLost, Vec::new()).await?;
            }
            FromNats::ReportSent(session) if self.is_session(session) => self.reporter = None,
            FromNats::StillWanted(_)
            | FromNats::RegisterNow(_)
            | FromNats::Registered(..)
            | FromNats::Orders(..)
            | FromNats::PullEnded(_)
            | FromNats::ReportSent(_) => debug!("a message of an earlier session is ignored"),
        }
        Ok(())
    }

    async fn on_registered(
        &mut self,
        answer: Result<RegisterReply, String>,
    ) -> Result<(), journal::Error> {
        match answer {
            Ok(RegisterReply::Accepted(session)) => {
                self.registration.on_accepted();
                self.beats = beats(Duration::from_millis(session.heartbeat_millis.max(100)));
                self.decide(Input::Registered(session.clone()), Vec::new()).await?;
                self.puller = Some(self.parts.link.pull(&session));
            }
            Ok(RegisterReply::Refused { message }) => {
                error!(message, "the coordinator refuses this agent; trying again");
                self.registration.again_after(&self.parts.link, jittered(REFUSED_DELAY));
            }
            Ok(RegisterReply::Replaced { message }) => {
                error!(message, "this agent is not wanted: what it runs is killed; trying again");
                self.decide(Input::Replaced, Vec::new()).await?;
                self.registration.again_after(&self.parts.link, jittered(REFUSED_DELAY));
            }
            Err(error) => {
                let tries = self.registration.tries();
                warn!(error, tries, "no coordinator took the registration; trying again");
                self.registration.again_after(&self.parts.link, back_off(tries));
            }
        }
        Ok(())
    }

    async fn on_orders(&mut self, messages: Vec<Message>) -> Result<(), journal::Error> {
        let mut orders = Vec::with_capacity(messages.len());
        for message in &messages {
            match from_msgpack(&message.payload) {
                Ok(order) => orders.push((place_of(message), order)),
                // Acknowledged too: it will not become readable.
                Err(error) => error!(%error, "an order that cannot be read is ignored"),
            }
        }
        self.decide(Input::Orders(orders), messages).await
    }

    async fn on_events(&mut self, mut events: Vec<ExecutorEvent>) -> Result<(), journal::Error> {
        while events.len() < TURN_EVENTS_MAX
            && let Ok(more) = self.parts.events.try_recv()
        {
            events.extend(more);
        }
        let mut over = Vec::new();
        let mut observed = Vec::with_capacity(events.len());
        for event in events {
            let mut log_bytes = 0;
            if let Some(key) = ended(&event)
                && let Some(log) = self.parts.log_keys.remove(&key)
            {
                let path = self.parts.log_directory.join(log.file_name());
                log_bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
                over.push((log, log_bytes));
            }
            observed.push(Observed { event, log_bytes });
        }
        self.decide(Input::Observed(observed), Vec::new()).await?;
        if !over.is_empty() {
            self.tell_logs(LogCommand::Over(over)).await;
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<(), journal::Error> {
        let grace = self.parts.stop_timeout.min(CLOSE_GRACE_MAX);
        info!(?grace, "stopping; running jobs are stopped and run elsewhere");
        self.close_at = Some(moment().monotonic + grace + FLUSH_TIMEOUT);
        self.decide(Input::Close(grace), Vec::new()).await
    }

    fn is_closed(&mut self) -> bool {
        let Some(close_at) = self.close_at else { return false };
        let now = moment().monotonic;
        if self.parts.core.counts().1 == 0 {
            self.close_at = Some(close_at.min(now + FLUSH_TIMEOUT));
        }
        let is_sent = self.parts.core.is_idle() && self.reporter.is_none();
        if !is_sent && close_at <= now {
            warn!("some reports could not be sent; they are kept for the next start");
        }
        is_sent || close_at <= now
    }

    async fn decide(&mut self, input: Input, orders: Vec<Message>) -> Result<(), journal::Error> {
        self.parts.core.handle(input, moment());
        self.carry_out(orders).await
    }

    /// Carries the core's output out, in its order; `orders` are acknowledged once it is on disk.
    async fn carry_out(&mut self, orders: Vec<Message>) -> Result<(), journal::Error> {
        let output = self.parts.core.take_output();
        if !output.records.is_empty() {
            self.write_down(&output.records).await;
        }
        self.acknowledge(orders).await;
        let requests = self.prepare(&output.starts).await;
        // Before anything starts.
        let fence = Some(self.parts.core.must_end_by()).filter(|fence| self.fence != Some(*fence));
        self.fence = fence.or(self.fence);
        self.parts.direct(fence, requests, output.stops, output.forgets).await;
        if output.register {
            self.leave_session();
            // A connection that comes later begins with a registration anyway.
            if self.parts.link.is_connected() {
                self.registration.want(&self.parts.link);
            }
        }
        if self.parts.journal.is_overgrown()
            && let Err(error) = self.parts.journal.compact(self.parts.core.held())
        {
            warn!(%error, "the journal is not rewritten; it goes on as it is");
        }
        Ok(())
    }

    /// Writes facts to the journal, and waits until that is possible: what cannot be remembered must
    /// not be done, and what runs goes on meanwhile. Heartbeats go on as well.
    async fn write_down(&mut self, records: &[Record]) {
        let mut is_told = false;
        while let Err(error) = self.parts.journal.append(records) {
            if self.parts.ballast.release() {
                warn!(%error, "the journal cannot be written; room kept for it is used");
                continue;
            }
            if !std::mem::replace(&mut is_told, true) {
                error!(error = %chain(&error), "the journal cannot be written; nothing is started or reported until it can");
            }
            tokio::select! {
                _ = self.beats.tick() => self.beat().await,
                () = tokio::time::sleep(JOURNAL_PAUSE) => {}
            }
        }
        if is_told {
            info!("the journal can be written again");
        }
    }

    /// The host became ill or well: the coordinator is to know, and nothing starts on an ill one.
    async fn on_health(&mut self) -> Result<(), journal::Error> {
        let health = self.parts.health.borrow_and_update().clone();
        let is_ready = health.takes_work();
        if is_ready {
            self.parts.ballast.renew();
        }
        self.parts.identity.executors = health.executors;
        self.parts.identity.problems = health.problems;
        self.decide(Input::Ready(is_ready), Vec::new()).await?;
        self.registration.want(&self.parts.link);
        Ok(())
    }

    async fn acknowledge(&self, orders: Vec<Message>) {
        for message in orders {
            if !self.parts.link.is_connected() {
                // They come again, and are then known to be old.
                break;
            }
            if let Err(error) = message.ack().await {
                debug!(%error, "acknowledge an order");
            }
        }
    }

    async fn prepare(&mut self, starts: &[StartPlan]) -> Vec<StartRequest> {
        if starts.is_empty() {
            return Vec::new();
        }
        let mut requests = Vec::with_capacity(starts.len());
        let mut logs = Vec::with_capacity(starts.len());
        for plan in starts {
            let log = LogKey::of(&plan.lease, plan.key.child, &plan.spec);
            let log_file = self.parts.log_directory.join(log.file_name());
            self.parts.log_files.prepare(&log_file);
            requests.push(start_request(plan, log_file, &self.parts.scratch_directory));
            self.parts.log_keys.insert(plan.key, log);
            logs.push(log);
        }
        self.tell_logs(LogCommand::Watch(logs)).await;
        requests
    }

    fn send_reports(&mut self) {
        if self.reporter.is_some() {
            return;
        }
        let Some(&Session { session, .. }) = self.parts.core.session() else { return };
        if let Some((first, reports)) = self.parts.core.cut_reports(moment()) {
            let agent = self.parts.link.agent.clone();
            let version = wire::VERSION;
            let message = ReportMessage { version, agent, session, first, reports };
            self.reporter = Some(self.parts.link.report(&message));
        }
    }

    async fn beat(&mut self) {
        let now = moment();
        let Parts { core, link, .. } = &mut self.parts;
        let Some(session) = core.session().filter(|_| link.is_connected()) else { return };
        let session = session.session;
        let (waiting, running) = core.counts();
        let (number, round_trip) = core.beat(now);
        let beat = Beat {
            version: wire::VERSION,
            session,
            clock: now.wall,
            waiting,
            running,
            last_lease: core.held().last_lease,
            last_report: core.last_report(),
            load: inventory::load(),
            number,
            round_trip_millis: round_trip.and_then(|time| u32::try_from(time.as_millis()).ok()),
        };
        let subject = link.subjects.beat(&link.agent);
        if let Err(error) = link.client.publish(subject, to_msgpack(&beat).into()).await {
            debug!(%error, "send a heartbeat");
        }
    }

    fn leave_session(&mut self) {
        for task in [self.puller.take(), self.reporter.take()].into_iter().flatten() {
            task.abort();
        }
    }

    fn is_session(&self, number: u64) -> bool {
        self.parts.core.session().is_some_and(|session| session.session == number)
    }

    async fn tell_logs(&self, command: LogCommand) {
        if self.parts.logs.send(command).await.is_err() {
            error!("the log shipper is gone; output stays on disk until the next start");
        }
    }

    async fn flush_logs(&self) {
        let (reply, done) = oneshot::channel();
        self.tell_logs(LogCommand::Flush(reply)).await;
        if tokio::time::timeout(LOG_FLUSH_TIMEOUT, done).await.is_err() {
            warn!("some output could not be shipped; it is kept for the next start");
        }
    }
}

/// An error and what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn beats(period: Duration) -> Interval {
    let mut beats = tokio::time::interval(period);
    beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    beats
}

/// The attempt that is over by this event.
fn ended(event: &ExecutorEvent) -> Option<AttemptKey> {
    match event {
        ExecutorEvent::Started { .. } => None,
        ExecutorEvent::StartFailed { key, .. }
        | ExecutorEvent::Exited { key, .. }
        | ExecutorEvent::Lost { key, .. } => Some(*key),
    }
}

/// The message's place in its stream.
fn place_of(message: &Message) -> u64 {
    message.info().map_or(0, |info| info.stream_sequence)
}
