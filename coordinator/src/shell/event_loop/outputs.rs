//! What the loop gives out, once the journal has the events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::{self, stream::Stream};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};
use windrow_common::api::{ApiError, ErrorKind};
use windrow_common::codec::{Encoding, to_msgpack};
use windrow_common::ids::Name;
use windrow_common::streams::{HEADER_ERROR, HEADER_REASON, HEADER_SUBJECT, Streams};
use windrow_common::subjects::Subjects;
use windrow_common::wire::agent::{Control, Held, RegisterReply, Session};

use crate::actor::{self, Answered, DeadLetter, Joined, Load};
use crate::core::state::State;
use crate::shell::history::History;
use crate::shell::inputs::{Input, Unacknowledged};
use crate::shell::journal;
use crate::shell::lease_streams::{LeaseStreams, NewSession};

/// Answers that read the history at the same time; others wait for these.
const READING_MAX: usize = 64;
/// Answers that wait for the history; more are refused, to be asked for again.
const WAITING_MAX: usize = 4096;
/// Sessions that are opened at the same time.
const JOINS_MAX: usize = 32;
/// How often taken reports are removed from their stream.
const FORGET_EVERY: Duration = Duration::from_secs(1);

/// The streams the loop writes to or manages.
#[derive(Clone, Debug)]
pub struct OpenStreams {
    pub names: Streams,
    pub leases: LeaseStreams,
    pub reports: Stream,
}

/// An agent that the core has let in.
struct Accepted<'a> {
    joined: &'a Joined,
    session: u64,
    fenced: &'a [Held],
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
        &mut self,
        state: &State,
        joined: &[Joined],
    ) -> Result<(), journal::Error> {
        let last: BTreeMap<&Name, &Joined> = joined.iter().map(|one| (&one.agent, one)).collect();
        let mut accepted = Vec::new();
        for joined in last.into_values() {
            match &joined.outcome {
                Ok((session, fenced)) => {
                    accepted.push(Accepted { joined, session: *session, fenced });
                }
                Err(reply) => {
                    warn!(agent = %joined.agent, ?reply, "agent refused");
                    self.send(joined.reply.clone(), to_msgpack(reply)).await;
                }
            }
        }
        for some in accepted.chunks(JOINS_MAX) {
            let (resting, asked): (Vec<&Accepted<'_>>, Vec<_>) =
                some.iter().partition(|one| self.streams.leases.rests(&one.joined.agent));
            self.streams.leases.renew(asked.iter().map(|one| &one.joined.agent)).await;
            let open = asked.iter().map(|one| self.open_session(state, one));
            let opened = futures::future::join_all(open).await;
            for (one, is_open) in asked.into_iter().zip(opened) {
                let is_open = is_open?;
                self.streams.leases.note(&one.joined.agent, is_open);
                if !is_open {
                    self.ask_to_register(&one.joined.agent).await;
                }
            }
            for one in resting {
                self.ask_to_register(&one.joined.agent).await;
            }
        }
        Ok(())
    }

    /// Gives a session its consumer and answers the agent; gives false when NATS does not take part now.
    async fn open_session(
        &self,
        state: &State,
        Accepted { joined, session, fenced }: &Accepted<'_>,
    ) -> Result<bool, journal::Error> {
        let Joined { agent: name, reply, before, .. } = joined;
        let agent = &state.agents[name];
        let names = &self.streams.names;
        let reader = |session| names.lease_consumer(&agent.environment, name, session);
        let consumer = durable_name(&reader(*session));
        let new = NewSession {
            agent: name,
            consumer: reader(*session),
            before: before.map(|before| durable_name(&reader(before))),
        };
        if !self.streams.leases.open_session(new).await? {
            return Ok(false);
        }
        info!(agent = %name, session, resources = %agent.resources, "agent joined");
        let answer = RegisterReply::Accepted(Session {
            session: *session,
            term: state.term,
            stream: names.lease_stream(name),
            consumer,
            heartbeat_millis: u64::try_from(self.heartbeat.as_millis()).unwrap_or(u64::MAX),
            fenced: fenced.to_vec(),
            self_fence: agent.disconnect.self_fence(),
        });
        self.send(reply.clone(), to_msgpack(&answer)).await;
        Ok(true)
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

fn durable_name(consumer: &pull::Config) -> String {
    consumer.durable_name.clone().expect("lease consumers are durable")
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
