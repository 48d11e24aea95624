//! What the loop gives out, once the journal has the events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::stream::{
    ConsumerError, ConsumerErrorKind, PurgeError, PurgeErrorKind, Stream,
};
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use futures::TryStreamExt;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};
use windrow_common::api::{ApiError, ErrorKind};
use windrow_common::codec::{Encoding, to_msgpack};
use windrow_common::ids::Name;
use windrow_common::streams::{HEADER_ERROR, HEADER_REASON, HEADER_SUBJECT, Streams};
use windrow_common::subjects::{Subjects, lease_shard};
use windrow_common::wire::agent::{Control, RegisterReply, Session};

use crate::actor::{self, Answered, DeadLetter, Joined, Load};
use crate::core::state::State;
use crate::shell::history::History;
use crate::shell::inputs::{Input, Unacknowledged};
use crate::shell::journal;
use crate::shell::streams::remove_consumer;

/// Answers that read the history at the same time; others wait for these.
const READING_MAX: usize = 64;
/// Answers that wait for the history; more are refused, to be asked for again.
const WAITING_MAX: usize = 4096;
/// Sessions that are opened at the same time.
const JOINS_MAX: usize = 32;
/// How long each request for one may go unanswered.
const JOIN_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How often taken reports are removed from their stream.
const FORGET_EVERY: Duration = Duration::from_secs(1);

/// The streams the loop writes to or manages.
#[derive(Clone, Debug)]
pub struct OpenStreams {
    pub names: Streams,
    /// By shard.
    pub leases: Vec<Stream>,
    pub reports: Stream,
}

/// The way out.
pub struct Outlet {
    client: Client,
    context: jetstream::Context,
    subjects: Subjects,
    streams: OpenStreams,
    heartbeat: Duration,
    forgot: Option<Instant>,
    /// Answers that wait for the history.
    waiting: JoinSet<()>,
    /// Their turns.
    turns: Arc<Semaphore>,
}

impl Outlet {
    /// Through this connection.
    pub fn new(
        client: Client,
        context: jetstream::Context,
        subjects: Subjects,
        streams: OpenStreams,
        heartbeat: Duration,
    ) -> Self {
        let turns = Arc::new(Semaphore::new(READING_MAX));
        let waiting = JoinSet::new();
        Self { client, context, subjects, streams, heartbeat, forgot: None, waiting, turns }
    }

    /// Publishes; what is lost here is asked for again by agents and clients.
    pub(super) async fn send(&self, subject: String, payload: Vec<u8>) {
        if let Err(e) = self.client.publish(subject, payload.into()).await {
            warn!(error = %e, "publish failed");
        }
    }

    pub(super) async fn flush(&self) {
        let flushed = tokio::time::timeout(Duration::from_secs(2), self.client.flush());
        if !matches!(flushed.await, Ok(Ok(()))) {
            warn!("the connection was not flushed in time");
        }
    }

    pub(super) async fn ask_to_register(&self, agent: &Name) {
        self.send(self.subjects.control(agent), to_msgpack(&Control::Register)).await;
    }

    pub(super) async fn reply(&self, to: String, encoding: Encoding, answer: Answered) {
        send_reply(&self.client, to, encoding, answer).await;
    }

    /// Answers beside the loop, once what the answer lacks is there.
    pub(super) async fn answer_later(
        &mut self,
        answer: impl Future<Output = Answered> + Send + 'static,
        to: String,
        encoding: Encoding,
    ) {
        if !self.has_room() {
            return self.reply(to, encoding, Err(too_many_wait())).await;
        }
        let (client, turns) = (self.client.clone(), self.turns.clone());
        self.waiting.spawn(async move {
            // Never closed: it waits only for its turn.
            let _turn = turns.acquire_owned().await;
            send_reply(&client, to, encoding, answer.await).await;
        });
    }

    /// Hands an input back to the loop, once the history has given the jobs that it names. A submission
    /// that cannot wait, or whose jobs cannot be read, is left to come again from its stream.
    pub(super) async fn load(
        &mut self,
        history: &History,
        inputs: &Sender<Input>,
        load: Load,
        acker: Option<Unacknowledged>,
    ) {
        let Load { pages, then } = load;
        if !self.has_room() {
            return refuse(&self.client, then, too_many_wait()).await;
        }
        let (client, turns) = (self.client.clone(), self.turns.clone());
        let (history, inputs) = (history.clone(), inputs.clone());
        self.waiting.spawn(async move {
            let _turn = turns.acquire_owned().await;
            match history.records(pages).await {
                Ok(records) => {
                    let loaded = actor::Input::Loaded { records, then: Box::new(then) };
                    // The loop may be gone already.
                    inputs.send(Input::Loaded(Box::new(loaded), acker)).await.ok();
                }
                Err(error) => refuse(&client, then, error).await,
            }
        });
    }

    /// Whether one more answer may wait for the history.
    fn has_room(&mut self) -> bool {
        while self.waiting.try_join_next().is_some() {}
        self.waiting.len() < WAITING_MAX
    }

    /// Stores a dead letter. Waits for it to be stored, as its message is acknowledged after that.
    pub(super) async fn bury(&self, letter: DeadLetter) -> Result<(), journal::Error> {
        let DeadLetter { source, subject, payload, reason } = letter;
        warn!(subject, reason, "dead letter");
        let mut headers = HeaderMap::new();
        // Header values are one line.
        let one_line: String =
            reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect();
        headers.insert(HEADER_REASON, one_line.as_str());
        headers.insert(HEADER_SUBJECT, subject.as_str());
        let to = self.subjects.dead(&source.parse().expect("our own names are names"));
        let failed = |e: &dyn std::fmt::Display| {
            journal::Error::Unavailable(format!("dead letter not stored: {e}"))
        };
        let sent = self.context.publish_with_headers(to, headers, payload).await;
        sent.map_err(|e| failed(&e))?.await.map_err(|e| failed(&e))?;
        Ok(())
    }

    /// Gives new sessions their consumers and answers the agents. Of an agent that has asked more than
    /// once the last one counts. Those that cannot have one now are told to ask again.
    pub(super) async fn join_all(
        &self,
        state: &State,
        joined: &[Joined],
    ) -> Result<(), journal::Error> {
        let last: BTreeMap<&Name, &Joined> = joined.iter().map(|one| (&one.agent, one)).collect();
        let last: Vec<&Joined> = last.into_values().collect();
        let mut are_open = true;
        for some in last.chunks(JOINS_MAX) {
            if are_open {
                let joins = some.iter().map(|joined| self.join(state, joined));
                for is_open in futures::future::join_all(joins).await {
                    are_open &= is_open?;
                }
                continue;
            }
            // The others would wait in vain as well, one after the other.
            for joined in some {
                self.ask_to_register(&joined.agent).await;
            }
        }
        Ok(())
    }

    /// Gives a new session its consumer and answers the agent. What the former session had not
    /// taken is removed first: the core has put it back. Whether NATS took part.
    async fn join(&self, state: &State, joined: &Joined) -> Result<bool, journal::Error> {
        let reply = match &joined.outcome {
            Err(reply) => {
                warn!(agent = %joined.agent, ?reply, "agent refused");
                reply.clone()
            }
            Ok((session, fenced)) => {
                let agent = &state.agents[&joined.agent];
                let environment = &agent.environment;
                let consumer =
                    self.open_session(&joined.agent, environment, *session, joined.before);
                let consumer = match consumer.await {
                    Ok(consumer) => consumer,
                    Err(e) if is_without_leader(&e) => {
                        warn!(agent = %joined.agent, error = %e, "no session yet; the agent is to ask again");
                        self.ask_to_register(&joined.agent).await;
                        return Ok(false);
                    }
                    Err(e) => {
                        let reason = format!("session of agent `{}`: {e}", joined.agent);
                        return Err(journal::Error::Unavailable(reason));
                    }
                };
                info!(agent = %joined.agent, session, resources = %agent.resources, "agent joined");
                RegisterReply::Accepted(Session {
                    session: *session,
                    term: state.term,
                    stream: self.streams.names.lease_stream(&joined.agent),
                    consumer,
                    heartbeat_millis: u64::try_from(self.heartbeat.as_millis()).unwrap_or(u64::MAX),
                    fenced: fenced.clone(),
                    self_fence: agent.disconnect.self_fence(),
                })
            }
        };
        self.send(joined.reply.clone(), to_msgpack(&reply)).await;
        Ok(true)
    }

    async fn open_session(
        &self,
        agent: &Name,
        environment: &Name,
        session: u64,
        before: Option<u64>,
    ) -> Result<String, async_nats::Error> {
        let config = self.streams.names.lease_consumer(environment, agent, session);
        let leases = &self.streams.leases[usize::from(lease_shard(agent))];
        if let Some(before) = before {
            let old = self.streams.names.lease_consumer(environment, agent, before);
            let old = old.durable_name.expect("lease consumers are durable");
            remove_consumer(leases, &old).await;
        }
        soon(async { leases.purge().filter(config.filter_subject.clone()).await }).await?;
        let name = config.durable_name.clone().expect("lease consumers are durable");
        match soon(leases.create_consumer(config.clone())).await {
            Err(e) if is_in_the_way(&e) => {
                soon(remove_sessions(leases, agent)).await?;
                soon(leases.create_consumer(config)).await?;
            }
            created => drop(created?),
        }
        Ok(name)
    }

    /// Removes taken reports from their stream, now and then and beside the loop.
    pub(super) fn forget_reports(&mut self, upto: u64) {
        let now = Instant::now();
        if self.forgot.is_some_and(|at| now.duration_since(at) < FORGET_EVERY) {
            return;
        }
        self.forgot = Some(now);
        let stream = self.streams.reports.clone();
        tokio::spawn(async move {
            if let Err(e) = stream.purge().sequence(upto + 1).await {
                warn!(error = %e, "taken reports were not removed; the next purge tries again");
            }
        });
    }
}

/// Removes every session's consumer of an agent: one is left, and in the way of the next, when a
/// coordinator died, or NATS did not answer, between a session's entry in the journal and here.
async fn remove_sessions(leases: &Stream, agent: &Name) -> Result<(), async_nats::Error> {
    let mut names = leases.consumer_names();
    while let Some(name) = names.try_next().await? {
        let session = name.strip_prefix(agent.as_str()).and_then(|rest| rest.strip_prefix('-'));
        if session.is_some_and(|session| session.parse::<u64>().is_ok()) {
            warn!(%agent, consumer = name, "an old session is in the way and is removed");
            leases.delete_consumer(&name).await?;
        }
    }
    Ok(())
}

fn too_many_wait() -> ApiError {
    let message = format!("{WAITING_MAX} requests wait for the history of finished jobs already");
    ApiError::new(ErrorKind::Unavailable, message).hint("try again in a moment")
}

/// Answers a request with an error. A submission comes again by itself.
async fn refuse(client: &Client, input: actor::Input, error: ApiError) {
    warn!(reason = error.message, "an input that names shelved jobs is not taken");
    if let actor::Input::Request { encoding, reply: Some(to), .. } = input {
        send_reply(client, to, encoding, Err(error)).await;
    }
}

/// NATS did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {JOIN_TIMEOUT:?}")]
struct Unanswered;

/// Waits for an answer of NATS, and not for long: everybody waits meanwhile.
async fn soon<T, E: Into<async_nats::Error>>(
    asked: impl Future<Output = Result<T, E>>,
) -> Result<T, async_nats::Error> {
    match tokio::time::timeout(JOIN_TIMEOUT, asked).await {
        Ok(answered) => answered.map_err(Into::into),
        Err(_) => Err(Unanswered.into()),
    }
}

/// Whether another consumer reads the same orders.
fn is_in_the_way(error: &async_nats::Error) -> bool {
    matches!(error.downcast_ref::<ConsumerError>().map(ConsumerError::kind),
        Some(ConsumerErrorKind::JetStream(answer))
            if answer.error_code() == ErrorCode::CONSUMER_WQ_CONSUMER_NOT_UNIQUE)
}

/// Whether the servers are about to choose who leads the stream: starting over would not help.
fn is_without_leader(error: &async_nats::Error) -> bool {
    if error.is::<Unanswered>() {
        return true;
    }
    let purge = error.downcast_ref::<PurgeError>().map(PurgeError::kind);
    let consumer = error.downcast_ref::<ConsumerError>().map(ConsumerError::kind);
    let answered = match (purge, consumer) {
        (Some(PurgeErrorKind::JetStream(answer)), _) => Some(answer),
        (_, Some(ConsumerErrorKind::JetStream(answer))) => Some(answer),
        _ => None,
    };
    answered.is_some_and(|answer| answer.error_code() == ErrorCode::CLUSTER_NOT_AVAILABLE)
}

async fn send_reply(client: &Client, to: String, encoding: Encoding, answer: Answered) {
    let mut headers = HeaderMap::new();
    headers.insert("Content-Type", encoding.content_type());
    let payload = match answer {
        Ok(bytes) => bytes,
        Err(error) => {
            headers.insert(HEADER_ERROR, error.code.as_str());
            encoding.write(&error).into()
        }
    };
    let (headers, payload) = within_limit(client, headers, payload, encoding);
    if let Err(e) = client.publish_with_headers(to, headers, payload).await {
        warn!(error = %e, "reply failed");
    }
}

/// An answer larger than the server takes becomes an error that says so.
fn within_limit(
    client: &Client,
    mut headers: HeaderMap,
    payload: Bytes,
    encoding: Encoding,
) -> (HeaderMap, Bytes) {
    let max = client.server_info().max_payload;
    if payload.len() + 1024 <= max {
        return (headers, payload);
    }
    let error = windrow_common::api::ApiError::new(
        windrow_common::api::ErrorKind::TooLarge,
        format!("the answer is {} bytes large, NATS takes {max}", payload.len()),
    )
    .hint("ask for fewer jobs, or a smaller page with maxResults");
    headers.insert(HEADER_ERROR, error.code.as_str());
    (headers, encoding.write(&error).into())
}
