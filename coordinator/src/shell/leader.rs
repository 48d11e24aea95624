//! Brings a coordinator up: streams, state from snapshot and journal, a new term, readers, the loop.
//! When the connection or a stream fails it starts over from here, so that everything is checked
//! again.

use std::time::Duration;

use async_nats::jetstream::{self, object_store::ObjectStore, stream::Stream};
use async_nats::{Client, Event as ConnectionEvent};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use windrow_common::ids::JobId;
use windrow_common::streams::Streams;
use windrow_common::subjects::Subjects;
use windrow_common::time::wall_clock;

use super::event_loop::{EventLoop, Outlet};
use super::event_stream::{EventStream, Told};
use super::history::History;
use super::inputs::{self, Input};
use super::journal::{Error, Journal, Position};
use super::snapshot;
use super::snapshot_task::Snapshots;
use crate::actor::archiving::Keep;
use crate::actor::{Actor, Now, Settings};
use crate::config::Config;
use crate::core::{Command, State, apply, decide};
use crate::view::changes::changes;

/// How long to wait before starting over.
const RETRY_DELAY: Duration = Duration::from_millis(300);

/// Runs a coordinator until `stop`.
///
/// # Errors
/// Another coordinator took over, or the journal is damaged: a person or a supervisor has to act.
pub async fn run(config: &Config, stop: CancellationToken) -> anyhow::Result<()> {
    let mut term_led = 0;
    while !stop.is_cancelled() {
        match lead(config, &stop, &mut term_led).await {
            Ok(()) => return Ok(()),
            Err(e @ Error::Fenced { .. }) => {
                error!(error = %e, "stopping");
                return Err(e.into());
            }
            Err(e @ Error::Damaged(_)) => {
                error!(error = %e, "not starting: state would be lost silently; restore the journal stream or its snapshots");
                return Err(e.into());
            }
            Err(Error::Unavailable(reason)) => {
                warn!(reason, "starting over from the journal");
                tokio::select! {
                    () = tokio::time::sleep(RETRY_DELAY) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
    }
    Ok(())
}

/// One try: from connecting to the first failure.
async fn lead(config: &Config, stop: &CancellationToken, term_led: &mut u64) -> Result<(), Error> {
    // Cancelled when this try ends, by failure or by `stop`.
    let over = stop.child_token();
    let _over_at_end = over.clone().drop_guard();
    let (sender, receiver) = mpsc::channel(inputs::MAILBOX);
    let client = connect(config, sender.clone(), &over).await?;
    let context = jetstream::new(client.clone());
    let subjects = Subjects::new(config.cluster.clone());
    let streams = open(&context, config, &Streams::new(subjects.clone())).await?;
    let mut readers = JoinSet::new();
    let events = publish_events(&mut readers, config, &subjects, &streams, &sender).await?;
    let (mut state, mut journal, from) = recover(&context, &subjects, &streams, &events).await?;
    if state.term > *term_led && *term_led > 0 {
        return Err(Error::Fenced { sequence: journal.position().sequence });
    }
    start_term(&mut state, &mut journal, config).await?;
    *term_led = state.term;
    info!(term = state.term, jobs = state.jobs.len(), agents = state.agents.len(), "leading");
    read_all(&mut readers, &client, &subjects, &streams, &sender).await?;
    let history = History::new(context.clone(), streams.history.clone(), subjects.clone());
    let (batches, to_store) = mpsc::channel(1);
    let storing = history.clone().run(to_store, sender.clone());
    inputs::spawn(&mut readers, "history", sender.clone(), storing);
    let snapshots = Snapshots::new(
        streams.snapshots,
        streams.journal,
        config.snapshot_every,
        from.sequence,
        events.published(),
    );
    let epoch = Instant::now();
    let settings = settings(config, &subjects);
    let now = Now { wall: wall_clock(), monotonic: Duration::ZERO };
    let outlet = Outlet::new(client, context, subjects, streams.outlet, config.heartbeat.0);
    let event_loop = EventLoop {
        actor: Actor::new(state, settings, Box::new(JobId::generate), now),
        epoch,
        journal,
        outlet,
        heartbeat: config.heartbeat.0,
        snapshots,
        events,
        history,
        batches,
        inputs: sender,
    };
    event_loop.run(receiver, over).await
}

fn settings(config: &Config, subjects: &Subjects) -> Settings {
    Settings {
        limits: config.limits.clone(),
        subjects: subjects.clone(),
        heartbeat: config.heartbeat.0,
        lease_ttl: config.lease_ttl.0,
        finished: Keep {
            records: config.finished_in_memory.0,
            jobs: config.finished_jobs,
            keys: config.finished_keys,
            known: config.history_age.0,
        },
    }
}

/// Connects; losing the connection later is an input that makes the loop start over.
async fn connect(
    config: &Config,
    inputs: mpsc::Sender<Input>,
    over: &CancellationToken,
) -> Result<Client, Error> {
    let options = config.nats.options("windrow-coordinator").await.map_err(Error::Unavailable)?;
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

/// The cluster's streams, open.
struct Opened {
    journal: Stream,
    submissions: Stream,
    snapshots: ObjectStore,
    events: Stream,
    history: Stream,
    outlet: super::event_loop::OpenStreams,
}

/// Opens every stream, creating those that are missing.
async fn open(
    context: &jetstream::Context,
    config: &Config,
    names: &Streams,
) -> Result<Opened, Error> {
    let retention = config.retention();
    let ensure = async |stream: jetstream::stream::Config| {
        let name = stream.name.clone();
        let opened = context.get_or_create_stream(stream).await;
        opened.map_err(|e| Error::Unavailable(format!("stream {name}: {e}")))
    };
    let bucket = names.snapshots(&retention);
    let snapshots = match context.get_object_store(&bucket.bucket).await {
        Ok(store) => store,
        Err(_) => context
            .create_object_store(bucket)
            .await
            .map_err(|e| Error::Unavailable(format!("snapshot bucket: {e}")))?,
    };
    ensure(names.logs(&retention)).await?;
    ensure(names.dead_letters(&retention)).await?;
    Ok(Opened {
        journal: ensure(names.journal(&retention)).await?,
        submissions: ensure(names.submissions(&retention)).await?,
        snapshots,
        events: ensure(names.events(&retention)).await?,
        history: ensure(names.history(&retention)).await?,
        outlet: super::event_loop::OpenStreams {
            leases: ensure(names.leases()).await?,
            reports: ensure(names.reports()).await?,
            names: names.clone(),
        },
    })
}

/// Starts the publisher of events, on a connection of its own: many records must not hold up the
/// journal.
async fn publish_events(
    readers: &mut JoinSet<()>,
    config: &Config,
    subjects: &Subjects,
    streams: &Opened,
    sender: &mpsc::Sender<Input>,
) -> Result<EventStream, Error> {
    let client = config.nats.connect("windrow-coordinator events").await;
    let client = client.map_err(Error::Unavailable)?;
    let info = streams.journal.get_info().await;
    let last = info.map_err(|e| Error::Unavailable(format!("journal: {e}")))?.state.last_sequence;
    let kept = (wall_clock(), config.event_age.0);
    let (events, publisher) =
        EventStream::open(client, &streams.events, subjects.clone(), last, kept).await?;
    inputs::spawn(readers, "events", sender.clone(), publisher.run());
    Ok(events)
}

/// The state as the newest snapshot and the journal after it have it.
async fn recover(
    context: &jetstream::Context,
    subjects: &Subjects,
    streams: &Opened,
    events: &EventStream,
) -> Result<(State, Journal, Position), Error> {
    let loaded = snapshot::load(&streams.snapshots).await;
    let loaded = loaded.map_err(|e| Error::Unavailable(e.to_string()))?;
    let (mut state, position) = loaded.unwrap_or_default();
    // Random enough to tell two starts apart, like every id made at the edge.
    let nonce = {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        JobId::generate().hash(&mut hasher);
        hasher.finish()
    };
    let mut journal =
        Journal::new(context.clone(), streams.journal.clone(), subjects.journal(), nonce, position);
    let read = journal.read(async |sequence, entry| {
        let is_missing = events.is_missing(sequence, entry.at);
        let mut told = Vec::new();
        for event in &entry.events {
            apply(&mut state, event);
            let changed = std::mem::take(&mut state.index.changed);
            if is_missing {
                told.extend(changes(&state, &changed));
            }
        }
        // Also when there is nothing to tell: snapshots wait for it.
        events.tell(Told { sequence, at: entry.at, changes: told }).await
    });
    read.await?;
    Ok((state, journal, position))
}

async fn start_term(
    state: &mut State,
    journal: &mut Journal,
    config: &Config,
) -> Result<(), Error> {
    let now = wall_clock();
    let decision = decide(state, &config.limits, &Command::StartTerm, now)
        .expect("a term can always be started");
    for event in &decision.events {
        apply(state, event);
    }
    journal.append(state.term, now, &[decision.events]).await.map(drop)
}

async fn read_all(
    readers: &mut JoinSet<()>,
    client: &Client,
    subjects: &Subjects,
    streams: &Opened,
    sender: &mpsc::Sender<Input>,
) -> Result<(), Error> {
    let names = &streams.outlet.names;
    let failed = |e: &dyn std::fmt::Display| Error::Unavailable(format!("consumer: {e}"));
    // Made anew, so that what a former coordinator had not acknowledged comes at once.
    let config = names.submissions_consumer();
    let durable = config.durable_name.clone().expect("it is durable");
    streams.submissions.delete_consumer(&durable).await.ok();
    let submissions = streams.submissions.create_consumer(config).await.map_err(|e| failed(&e))?;
    let reports = streams.outlet.reports.create_consumer(names.reports_consumer()).await;
    let reports = reports.map_err(|e| failed(&e))?;
    let reader = inputs::read_requests(client.clone(), subjects.clone(), sender.clone());
    inputs::spawn(readers, "requests", sender.clone(), reader);
    let reader = inputs::read_agents(client.clone(), subjects.clone(), sender.clone());
    inputs::spawn(readers, "agents", sender.clone(), reader);
    let reader = inputs::read_submissions(submissions, sender.clone());
    inputs::spawn(readers, "submissions", sender.clone(), reader);
    let reader = inputs::read_reports(reports, sender.clone());
    inputs::spawn(readers, "reports", sender.clone(), reader);
    Ok(())
}
