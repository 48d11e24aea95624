//! Brings a coordinator up: it connects, stands by until the lease is its own, reads the rest of the
//! journal, begins a term and runs the loop. When the connection or a stream fails, or another takes
//! over, it starts over from here, so that everything is checked again. What it has read so far it
//! keeps, see [`Memory`].

use std::time::Duration;

use async_nats::jetstream;
use async_nats::{Client, Event as ConnectionEvent};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use windrow_common::access::ClusterKeys;
use windrow_common::ids::JobId;
use windrow_common::streams::Streams;
use windrow_common::subjects::Subjects;
use windrow_common::time::wall_clock;

use super::event_loop::{EventLoop, Outlet};
use super::event_stream::{EventStream, Told};
use super::history::History;
use super::inputs::{self, Input};
use super::journal::{Error, Journal};
use super::leadership::Leadership;
use super::memory::Memory;
use super::nats::{Nats, NatsJournal};
use super::phases::Phases;
use super::read_only::ReadOnly;
use super::snapshot_task::Snapshots;
use super::streams::{Opened, insist, open, remove_consumer};
use crate::actor::archiving::Keep;
use crate::actor::{Actor, Now, Settings, TURN_STEPS};
use crate::config::Config;

/// How long to wait before starting over.
const RETRY_DELAY: Duration = Duration::from_millis(300);

/// A connection without answer to two of these is given up. All agents wait for it, so it asks more often
/// than theirs.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// One coordinator: leading or standing by.
pub struct Coordinator<'a> {
    pub(super) config: &'a Config,
    pub(super) stop: CancellationToken,
    pub(super) phases: Phases,
    /// What secrets of access keys are made of.
    pub(super) cluster_keys: Option<ClusterKeys>,
}

/// A connection and what is open on it.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) context: jetstream::Context,
    pub(super) subjects: Subjects,
    pub(super) streams: Opened,
    pub(super) nats: Nats,
    /// Ended with the session.
    pub(super) tasks: JoinSet<()>,
    pub(super) sender: mpsc::Sender<Input>,
    pub(super) inputs: mpsc::Receiver<Input>,
    pub(super) over: CancellationToken,
}

/// Runs a coordinator until `stop`. With `recover` it goes on without what the journal has lost.
///
/// # Errors
/// The journal is damaged, or the cluster key cannot be read: a person has to act.
pub async fn run(config: &Config, recover: bool, stop: CancellationToken) -> anyhow::Result<()> {
    let leadership = Leadership::of_process(config.leader_lease.0);
    let phases = Phases::new(leadership, config.limits.clone(), recover);
    let cluster_keys = config.cluster_keys().map_err(anyhow::Error::msg)?;
    let mut coordinator = Coordinator { config, stop: stop.clone(), phases, cluster_keys };
    while !stop.is_cancelled() {
        match coordinator.serve().await {
            Ok(()) => return Ok(()),
            Err(e @ Error::Damaged(_)) => {
                error!(error = %e, "ALARM: not starting, as state would be lost silently; restore the journal stream or its snapshots, or go on without what is missing by --recover");
                return Err(e.into());
            }
            Err(e @ Error::Fenced { .. }) => info!(reason = %e, "standing by"),
            Err(
                e @ (Error::RolledBack(_)
                | Error::Trimmed(_)
                | Error::Unwritable(_)
                | Error::Unavailable(_)),
            ) => warn!(reason = %e, "starting over"),
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY_DELAY) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(())
}

impl Coordinator<'_> {
    /// One try: from connecting to the first failure.
    async fn serve(&mut self) -> Result<(), Error> {
        // Cancelled when this try ends, by failure or by `stop`.
        let over = self.stop.child_token();
        let _over_at_end = over.clone().drop_guard();
        let (sender, inputs) = mpsc::channel(inputs::MAILBOX);
        let client = connect(self.config, sender.clone(), &over).await?;
        let context = jetstream::new(client.clone());
        let subjects = Subjects::new(self.config.cluster.clone());
        let streams = open(&context, self.config, &Streams::new(subjects.clone())).await?;
        let journal = streams.journal.clone();
        let nats = Nats {
            client: client.clone(),
            subjects: subjects.clone(),
            journal: NatsJournal::new(context.clone(), journal, subjects.journal()),
            snapshots: streams.snapshots.clone(),
            events: streams.events.clone(),
        };
        let tasks = JoinSet::new();
        let mut session =
            Session { client, context, subjects, streams, nats, tasks, sender, inputs, over };
        let bucket = session.streams.leader.clone();
        session.tasks.spawn(self.phases.leadership.clone().run(bucket.clone()));
        let (client, subjects) = (session.client.clone(), session.subjects.clone());
        let reader = inputs::read_standbys(client, subjects, self.phases.leadership.clone());
        inputs::spawn(&mut session.tasks, "standbys", session.sender.clone(), reader);
        let failed = until_failed(&mut session.inputs);
        if !self.phases.stand_by(&session.nats, failed, &self.stop).await? {
            return Ok(());
        }
        let led = self.lead(session).await;
        if self.stop.is_cancelled() {
            self.phases.leadership.release(&bucket).await;
        }
        led
    }

    /// Takes over: reads the rest, begins a term, runs the loop.
    async fn lead(&mut self, mut session: Session) -> Result<(), Error> {
        let was_repaired = self.phases.read_the_rest(&session.nats).await?;
        let history = History::new(
            session.context.clone(),
            session.streams.history.clone(),
            session.subjects.clone(),
        );
        let mut outlet = Outlet::new(
            session.client.clone(),
            session.context.clone(),
            session.subjects.clone(),
            session.streams.outlet.clone(),
            self.config.heartbeat.0,
        );
        let journal = self.start_term(&mut session, &mut outlet, &history).await?;
        // After that, as a disk that is full takes no events either.
        let events = self.publish_events(&mut session, was_repaired).await?;
        read_all(&mut session).await?;
        // Not before: what can still fail must not forget it.
        let memory = self.phases.memory.take().expect("the rest was read into it");
        let (state, position) = (memory.state, memory.position);
        info!(term = state.term, jobs = state.jobs.len(), agents = state.agents.len(), "leading");
        let (batches, to_store) = mpsc::channel(1);
        let storing = history.clone().run(to_store, session.sender.clone());
        inputs::spawn(&mut session.tasks, "history", session.sender.clone(), storing);
        let snapshots = Snapshots::new(
            session.nats.clone(),
            self.config.snapshot_every,
            position.sequence,
            events.published(),
        );
        let event_loop = EventLoop {
            actor: Actor::new(state, self.settings(&session), Box::new(JobId::generate), begin()),
            epoch: Instant::now(),
            journal,
            bucket: session.streams.snapshots.clone(),
            outlet,
            heartbeat: self.config.heartbeat.0,
            snapshots,
            events,
            history,
            batches,
            inputs: session.sender.clone(),
            leadership: self.phases.leadership.clone(),
            pending: None,
        };
        let (memory, ended) = event_loop.run(session.inputs, session.over.clone()).await;
        self.phases.memory = Some(memory);
        session.tasks.shutdown().await;
        ended
    }

    pub(super) fn settings(&self, session: &Session) -> Settings {
        Settings {
            limits: self.config.limits.clone(),
            subjects: session.subjects.clone(),
            heartbeat: self.config.heartbeat.0,
            lease_ttl: self.config.lease_ttl.0,
            finished: Keep {
                records: self.config.finished_in_memory.0,
                jobs: self.config.finished_jobs,
                keys: self.config.finished_keys,
                known: self.config.history_age.0,
            },
            turn_steps: TURN_STEPS,
            cluster_keys: self.cluster_keys.clone(),
        }
    }

    /// Starts the publisher of events, on a connection of its own, as many records must not hold up the
    /// journal; and gives it what the last leader had not published.
    async fn publish_events(
        &mut self,
        session: &mut Session,
        was_repaired: bool,
    ) -> Result<EventStream, Error> {
        let nats = &self.config.nats;
        let options = nats.options("windrow-coordinator events").await;
        // In the background: a server that is away must not hold up the first turn.
        let options = options.map_err(Error::Unavailable)?.retry_on_initial_connect();
        let client = nats.connect_with(options).await.map_err(Error::Unavailable)?;
        let memory = self.phases.memory.as_mut().expect("the rest was read into it");
        let streams = &session.streams;
        let (last, kept) = (memory.position.sequence, (wall_clock(), self.config.event_age.0));
        let subjects = session.subjects.clone();
        let opened = EventStream::open(client, &streams.events, subjects, last, kept).await;
        let (events, publisher) = opened?;
        inputs::spawn(&mut session.tasks, "events", session.sender.clone(), publisher.run());
        let from = events.missing_from().max(1);
        if !was_repaired && !memory.knows_from(from) {
            info!(from, "reading the journal again for events that were not published");
            let (bucket, journal) = (&session.nats.snapshots, &session.nats.journal);
            *memory = Memory::load(bucket, journal, Some(from), false).await?;
        }
        if !memory.knows_from(from) {
            warn!(from, "events of journal messages before the snapshot are not told again");
        }
        for told in memory.take_recent() {
            let is_missing = events.is_missing(told.sequence, told.at);
            // Also when there is nothing to tell: snapshots wait for it.
            let changes = if is_missing { told.changes } else { Vec::new() };
            events.tell(Told { changes, ..told }).await?;
        }
        Ok(events)
    }

    /// Begins a term in the journal. While it cannot be written, questions are answered.
    async fn start_term(
        &mut self,
        session: &mut Session,
        outlet: &mut Outlet,
        history: &History,
    ) -> Result<Journal<NatsJournal>, Error> {
        let mut starting = self.phases.starting(&session.nats);
        match starting.write().await {
            Err(Error::Unwritable(reason)) => {
                error!(reason, "ALARM: the journal cannot be written; only questions are answered");
                let memory = self.phases.memory.as_mut().expect("the rest was read into it");
                let state = std::mem::take(&mut memory.state);
                let settings = self.settings(session);
                let actor = Actor::new(state, settings, Box::new(JobId::generate), begin());
                let leadership = &self.phases.leadership;
                let (stop, epoch) = (&self.stop, Instant::now());
                let mut waits = ReadOnly { actor, outlet, history, leadership, stop, epoch };
                let written = waits.run(session, &mut starting, reason).await;
                let state = waits.actor.into_state();
                self.phases.memory.as_mut().expect("it was there above").state = state;
                written?;
            }
            written => written?,
        }
        self.phases.started(&session.nats, starting).await
    }
}

/// Takes inputs until one tells that the connection is lost, or a reader has failed.
async fn until_failed(inputs: &mut mpsc::Receiver<Input>) -> String {
    loop {
        match inputs.recv().await {
            Some(Input::ReaderFailed(reason)) => return reason,
            Some(Input::Actor(_) | Input::Submission(..) | Input::Loaded(..)) => {}
            None => return "the mailbox is closed".to_owned(),
        }
    }
}

fn begin() -> Now {
    Now { wall: wall_clock(), monotonic: Duration::ZERO }
}

/// Connects; losing the connection later is an input that makes the loop start over.
async fn connect(
    config: &Config,
    inputs: mpsc::Sender<Input>,
    over: &CancellationToken,
) -> Result<Client, Error> {
    let options = config.nats.options("windrow-coordinator").await.map_err(Error::Unavailable)?;
    let options = options.ping_interval(PING_INTERVAL);
    let over = over.clone();
    let options = options.event_callback(move |event| {
        let (inputs, over) = (inputs.clone(), over.clone());
        async move {
            if matches!(event, ConnectionEvent::Disconnected) && !over.is_cancelled() {
                let reason = "the connection to NATS was lost".to_owned();
                inputs.send(Input::ReaderFailed(reason)).await.ok();
            }
        }
    });
    config.nats.connect_with(options).await.map_err(Error::Unavailable)
}

async fn read_all(session: &mut Session) -> Result<(), Error> {
    let Session { client, subjects, streams, tasks, sender, .. } = session;
    let names = &streams.outlet.names;
    // First, as what comes by these waits for nobody.
    let reader = inputs::read_requests(client.clone(), subjects.clone(), sender.clone());
    inputs::spawn(tasks, "requests", sender.clone(), reader);
    let reader = inputs::read_agents(client.clone(), subjects.clone(), sender.clone());
    inputs::spawn(tasks, "agents", sender.clone(), reader);
    // Made anew, so that what a former coordinator had not acknowledged comes at once.
    let config = names.submissions_consumer();
    let durable = config.durable_name.clone().expect("it is durable");
    remove_consumer(&streams.submissions, &durable).await;
    let submissions = insist("consumer of submissions", async || {
        streams.submissions.create_consumer(config.clone()).await
    });
    let submissions = submissions.await?;
    let reports = insist("consumer of reports", async || {
        streams.outlet.reports.create_consumer(names.reports_consumer()).await
    });
    let reports = reports.await?;
    let reader = inputs::read_submissions(submissions, sender.clone());
    inputs::spawn(tasks, "submissions", sender.clone(), reader);
    let reader = inputs::read_reports(reports, sender.clone());
    inputs::spawn(tasks, "reports", sender.clone(), reader);
    Ok(())
}
