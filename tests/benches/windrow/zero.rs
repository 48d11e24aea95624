//! Agents that run nothing: the real agent's core and connection, and what they are to start is over at once.
//! What is measured with them is everything but the jobs. All share a thread; each has a connection of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};
use windrow_agent::core::held::Held;
use windrow_agent::core::{Core, Input, Observed, Settings, StartPlan};
use windrow_agent::executor::ExecutorEvent;
use windrow_agent::shell::clock::moment;
use windrow_agent::shell::link::{FromNats, Link};
use windrow_agent::shell::registration::{Identity, Registration};
use windrow_common::codec::{from_msgpack, to_msgpack};
use windrow_common::config::Nats;
use windrow_common::ids::Name;
use windrow_common::subjects::Subjects;
use windrow_common::units::Resources;
use windrow_common::wire;
use windrow_common::wire::agent::{Beat, Executor, RegisterReply, ReportMessage};

/// A worker, or many; they end with this.
pub(crate) struct Zero {
    shared: Arc<Shared>,
    /// When it is dropped, the thread's runtime ends with all that is on it.
    _end: oneshot::Sender<()>,
}

struct Shared {
    /// What it starts after so many does not end.
    holds_after: AtomicU64,
    released: Notify,
    started: AtomicU64,
    /// The highest lease that has come.
    lease: AtomicU64,
    /// With a lease above this one, it holds again.
    holds_above: AtomicU64,
    /// Workers that were given a session, and sessions given.
    joined: AtomicU32,
    sessions: AtomicU32,
}

impl Zero {
    /// Starts an agent of this environment with so many vCPUs.
    ///
    /// # Errors
    /// The address or a name cannot be used.
    pub(crate) fn start(url: &str, environment: &str, vcpus: u32) -> anyhow::Result<Self> {
        Self::start_many(url, environment, vcpus, 1)
    }

    /// Starts so many agents, with so many vCPUs each.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn start_many(
        url: &str,
        environment: &str,
        vcpus: u32,
        count: u32,
    ) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            holds_after: AtomicU64::new(u64::MAX),
            released: Notify::new(),
            started: AtomicU64::new(0),
            lease: AtomicU64::new(0),
            holds_above: AtomicU64::new(u64::MAX),
            joined: AtomicU32::new(0),
            sessions: AtomicU32::new(0),
        });
        let (nats, told) =
            (Nats { url: url.to_owned(), credentials: String::new() }, shared.clone());
        let name = |text: &str| text.parse::<Name>().context("a name of the zero worker");
        let environment = name(environment)?;
        let agents = (0..count).map(|number| name(&format!("zero-{number}")));
        let agents = agents.collect::<anyhow::Result<Vec<_>>>()?;
        let subjects = Subjects::new(name(super::rig::CLUSTER)?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let resources = Resources::new(vcpus * 1000, vcpus * 4096);
        let (end, ended) = oneshot::channel();
        std::thread::spawn(move || {
            runtime.block_on(async {
                for agent in agents {
                    let (sender, inbox) = mpsc::channel(1024);
                    let link = Link::open(&nats, subjects.clone(), agent, sender).await;
                    let link = link.expect("the settings of a local server work");
                    let worker = Worker::new(link, environment.clone(), resources, told.clone());
                    tokio::spawn(worker.run(inbox));
                }
                // Told by a drop.
                ended.await.ok();
            });
        });
        Ok(Self { shared, _end: end })
    }

    /// Workers that were given a session so far, and sessions that they were given in all.
    pub(crate) fn joined(&self) -> (u32, u32) {
        (self.shared.joined.load(Ordering::SeqCst), self.shared.sessions.load(Ordering::SeqCst))
    }

    /// What it starts after so many, in all, goes on for ever.
    pub(crate) fn hold_after(&self, started: u64) {
        self.shared.holds_after.store(started, Ordering::SeqCst);
    }

    /// All that it holds ends, and so does what it starts, at once, until the next lease comes.
    pub(crate) fn release(&self) {
        self.shared.holds_above.store(self.lease(), Ordering::SeqCst);
        self.hold_after(u64::MAX);
        self.shared.released.notify_one();
    }

    /// The highest lease that has come: it rises with each that a coordinator decides on.
    pub(crate) fn lease(&self) -> u64 {
        self.shared.lease.load(Ordering::SeqCst)
    }

    /// Children started so far.
    pub(crate) fn started(&self) -> u64 {
        self.shared.started.load(Ordering::SeqCst)
    }
}

struct Worker {
    core: Core,
    link: Link,
    identity: Identity,
    registration: Registration,
    shared: Arc<Shared>,
    has_joined: bool,
    held: Vec<StartPlan>,
    puller: Option<AbortHandle>,
    reporter: Option<AbortHandle>,
}

impl Worker {
    fn new(link: Link, environment: Name, resources: Resources, shared: Arc<Shared>) -> Self {
        let identity = Identity {
            agent: link.agent.clone(),
            boot: 1,
            compute_environment: environment,
            resources,
            executors: vec![Executor::Process],
            address: None,
            gpus: Vec::new(),
            problems: Vec::new(),
        };
        let settings = Settings {
            resources,
            gpus: Vec::new(),
            stop_timeout: Duration::from_secs(30),
            backlog_limit: Duration::from_secs(30),
        };
        Self {
            core: Core::new(settings, Held::default(), moment()),
            link,
            identity,
            registration: Registration::default(),
            shared,
            has_joined: false,
            held: Vec::new(),
            puller: None,
            reporter: None,
        }
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<FromNats>) {
        let _hints = self.link.listen();
        let mut beats = interval(Duration::from_secs(2));
        beats.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let shared = self.shared.clone();
        loop {
            let due = self.core.next_deadline().unwrap_or(Duration::MAX);
            let wait = due.saturating_sub(moment().monotonic).min(Duration::from_secs(60));
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(message) => self.on_nats(message).await,
                    None => return,
                },
                () = shared.released.notified() => self.end_held(),
                _ = beats.tick() => self.beat().await,
                () = sleep(wait) => self.core.handle(Input::Tick, moment()),
            }
            self.carry_out();
            self.report();
        }
    }

    async fn on_nats(&mut self, message: FromNats) {
        match message {
            FromNats::Connected => self.registration.restart(&self.link),
            FromNats::RegisterWanted => self.registration.want(&self.link),
            FromNats::StillWanted(number) if self.registration.is_current(number) => {
                self.registration.want(&self.link);
            }
            FromNats::RegisterNow(number) if self.registration.is_current(number) => {
                self.leave();
                let now = moment();
                let held = self.core.begin_registration(now);
                let request = self.identity.to_register(number, held, self.core.seen(), now.wall);
                self.registration.ask(&self.link, request);
            }
            FromNats::Registered(number, answer) if self.registration.is_current(number) => {
                match answer {
                    Ok(RegisterReply::Accepted(session)) => {
                        self.registration.on_accepted();
                        self.note_session();
                        self.core.handle(Input::Registered(session.clone()), moment());
                        self.puller = Some(self.link.pull(&session));
                    }
                    Ok(RegisterReply::Refused { .. } | RegisterReply::Replaced { .. }) | Err(_) => {
                        self.registration.again_after(&self.link, Duration::from_millis(100));
                    }
                }
            }
            FromNats::Heard { session, term, number } => {
                self.core.handle(Input::Heard { session, term, number }, moment());
            }
            FromNats::Orders(session, messages) if self.is_session(session) => {
                let read = |m: &async_nats::jetstream::Message| {
                    Some((m.info().ok()?.stream_sequence, from_msgpack(&m.payload).ok()?))
                };
                let orders = messages.iter().filter_map(read).collect();
                self.core.handle(Input::Orders(orders), moment());
                self.note_lease();
                for message in messages {
                    // It comes again, and is then known to be old.
                    message.ack().await.ok();
                }
            }
            FromNats::PullEnded(session) if self.is_session(session) => {
                self.core.handle(Input::SessionLost, moment());
            }
            FromNats::ReportSent(session) if self.is_session(session) => self.reporter = None,
            FromNats::StillWanted(_)
            | FromNats::RegisterNow(_)
            | FromNats::Registered(..)
            | FromNats::Orders(..)
            | FromNats::PullEnded(_)
            | FromNats::ReportSent(_) => {}
        }
    }

    fn note_session(&mut self) {
        self.shared.sessions.fetch_add(1, Ordering::SeqCst);
        if !std::mem::replace(&mut self.has_joined, true) {
            self.shared.joined.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn note_lease(&self) {
        let lease = self.core.held().last_lease.0;
        self.shared.lease.fetch_max(lease, Ordering::SeqCst);
        if lease > self.shared.holds_above.load(Ordering::SeqCst) {
            self.shared.holds_above.store(u64::MAX, Ordering::SeqCst);
            self.shared.holds_after.store(0, Ordering::SeqCst);
        }
    }

    fn carry_out(&mut self) {
        loop {
            let output = self.core.take_output();
            if output.register {
                self.leave();
                self.registration.want(&self.link);
            }
            if output.starts.is_empty() {
                return;
            }
            let count = u64::try_from(output.starts.len()).unwrap_or(u64::MAX);
            let before = self.shared.started.fetch_add(count, Ordering::SeqCst);
            if before >= self.shared.holds_after.load(Ordering::SeqCst) {
                let at = moment().wall;
                let started = |plan: &StartPlan| ExecutorEvent::Started { key: plan.key, at };
                let started = output.starts.iter().map(started).collect();
                self.held.extend(output.starts);
                self.observe(started);
            } else {
                self.end(&output.starts);
            }
        }
    }

    fn end_held(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.end(&held);
    }

    fn end(&mut self, plans: &[StartPlan]) {
        let at = moment().wall;
        let both = plans.iter().flat_map(|plan| {
            let key = plan.key;
            let exited = ExecutorEvent::Exited {
                key,
                at,
                exit_code: 0,
                out_of_memory: false,
                reason: None,
                containers: Vec::new(),
            };
            [ExecutorEvent::Started { key, at }, exited]
        });
        self.observe(both.collect());
    }

    fn observe(&mut self, events: Vec<ExecutorEvent>) {
        let observed = events.into_iter().map(|event| Observed { event, log_bytes: 0 });
        self.core.handle(Input::Observed(observed.collect()), moment());
    }

    fn report(&mut self) {
        let Some(session) = self.core.session().map(|session| session.session) else { return };
        if self.reporter.is_none()
            && let Some((first, reports)) = self.core.cut_reports(moment())
        {
            let (version, agent) = (wire::VERSION, self.link.agent.clone());
            let message = ReportMessage { version, agent, session, first, reports };
            self.reporter = Some(self.link.report(&message));
        }
    }

    async fn beat(&mut self) {
        let now = moment();
        let Some(session) = self.core.session().map(|session| session.session) else { return };
        let (waiting, running) = self.core.counts();
        let (number, _) = self.core.beat(now);
        let beat = Beat {
            version: wire::VERSION,
            session,
            clock: now.wall,
            waiting,
            running,
            last_lease: self.core.held().last_lease,
            last_report: self.core.last_report(),
            load: 0,
            number,
            round_trip_millis: None,
        };
        let subject = self.link.subjects.beat(&self.link.agent);
        // The next one follows soon.
        self.link.client.publish(subject, to_msgpack(&beat).into()).await.ok();
    }

    fn leave(&mut self) {
        for task in [self.puller.take(), self.reporter.take()].into_iter().flatten() {
            task.abort();
        }
    }

    fn is_session(&self, number: u64) -> bool {
        self.core.session().is_some_and(|session| session.session == number)
    }
}
