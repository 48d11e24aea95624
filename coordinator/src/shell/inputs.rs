//! What arrives: one closed enum, filled by reader tasks into one bounded mailbox. A full mailbox stops
//! the readers, and so the streams hold what is more.

use std::time::Duration;

use async_nats::jetstream::{self, consumer::pull, message::Acker};
use async_nats::{Client, HeaderMap};
use futures::StreamExt;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinSet;
use windrow_common::codec::{self, Encoding};
use windrow_common::streams::HEADER_REPLY_TO;
use windrow_common::subjects::{AgentSubject, Subjects};
use windrow_common::time::Timestamp;
use windrow_common::wire::agent::Register;

use super::journal::Position;
use super::leadership::Leadership;
use crate::actor::{self, Submission};

/// Inputs waiting to be taken; beyond that readers wait.
pub const MAILBOX: usize = 8192;
/// How long a pull request stays open; with idle heartbeats well below it, so that a silent consumer
/// is noticed.
const PULL_EXPIRES: Duration = Duration::from_secs(30);

/// A submission's place in its stream, and what acknowledges it.
pub type Unacknowledged = (u64, Acker);

/// One input.
pub enum Input {
    /// For the actor.
    Actor(actor::Input),
    /// A message of the submission stream, and what acknowledges it.
    Submission(Box<Submission>, Acker),
    /// An input that waited for the history, and what acknowledges it if it is a submission.
    Loaded(Box<actor::Input>, Option<Unacknowledged>),
    /// A reader ended: the connection or a stream is not as it should be.
    ReaderFailed(String),
}

impl From<actor::Input> for Input {
    fn from(input: actor::Input) -> Self {
        Self::Actor(input)
    }
}

/// Reads API requests.
pub async fn read_requests(
    client: Client,
    subjects: Subjects,
    inputs: Sender<Input>,
) -> Result<(), async_nats::Error> {
    let mut messages = client.subscribe(subjects.api_all()).await?;
    while let Some(message) = messages.next().await {
        let Some(operation) = subjects.parse_api(&message.subject) else { continue };
        let input = actor::Input::Request {
            operation: operation.to_owned(),
            encoding: encoding(message.headers.as_ref()),
            payload: message.payload,
            reply: message.reply.map(|to| to.to_string()),
        };
        inputs.send(input.into()).await?;
    }
    Err("subscription ended".into())
}

/// Reads which coordinators stand by, and what each knows.
pub async fn read_standbys(
    client: Client,
    subjects: Subjects,
    leadership: Leadership,
) -> Result<(), async_nats::Error> {
    let mut messages = client.subscribe(subjects.standby_all()).await?;
    while let Some(message) = messages.next().await {
        let Some(name) = subjects.parse_standby(&message.subject) else { continue };
        leadership.note_standby(name.to_owned(), known(&message.payload));
    }
    Err("subscription ended".into())
}

/// Up to which journal message a standby knows, by what it says.
pub fn known(sign_of_life: &[u8]) -> u64 {
    serde_json::from_slice::<Position>(sign_of_life).map_or(0, |position| position.sequence)
}

/// The encoding a message names.
fn encoding(headers: Option<&HeaderMap>) -> Encoding {
    let value = headers.and_then(|h| h.get("Content-Type")).map(|v| v.as_str());
    Encoding::from_content_type(value)
}

/// Reads registrations and heartbeats.
pub async fn read_agents(
    client: Client,
    subjects: Subjects,
    inputs: Sender<Input>,
) -> Result<(), async_nats::Error> {
    let (register, beat) = subjects.agents_all();
    let (register, beat) = (client.subscribe(register).await?, client.subscribe(beat).await?);
    let mut messages = futures::stream::select(register, beat);
    while let Some(message) = messages.next().await {
        let Some(from) = subjects.parse_agent(&message.subject) else { continue };
        inputs.send(agent_input(from, message).into()).await?;
    }
    Err("subscription ended".into())
}

fn agent_input(from: AgentSubject, message: async_nats::Message) -> actor::Input {
    let unreadable = |reason: String| actor::Input::Unreadable {
        subject: message.subject.to_string(),
        payload: message.payload.clone(),
        reason,
    };
    match from {
        AgentSubject::Register(agent) => match codec::from_msgpack::<Register>(&message.payload) {
            Ok(request) if request.agent != agent => {
                unreadable(format!("agent `{}` on the subject of `{agent}`", request.agent))
            }
            Ok(request) => match message.reply.clone() {
                Some(reply) => {
                    actor::Input::Register { request: Box::new(request), reply: reply.to_string() }
                }
                None => unreadable("registration without a reply subject".to_owned()),
            },
            Err(e) => unreadable(e.to_string()),
        },
        AgentSubject::Beat(agent) => match codec::from_msgpack(&message.payload) {
            Ok(beat) => actor::Input::Beat { agent, beat },
            Err(e) => unreadable(e.to_string()),
        },
    }
}

/// Reads submissions; they are acknowledged once journalled.
pub async fn read_submissions(
    consumer: jetstream::consumer::Consumer<pull::Config>,
    inputs: Sender<Input>,
) -> Result<(), async_nats::Error> {
    let mut messages = pull_all(&consumer).await?;
    while let Some(message) = messages.next().await {
        let message = message?;
        let info = message.info()?;
        let (sequence, published) = (info.stream_sequence, info.published);
        let published = u64::try_from(published.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
        let (message, acker) = message.split();
        let headers = message.headers.as_ref();
        let header = |name: &str| Some(headers?.get(name)?.as_str().to_owned());
        let submission = Submission {
            sequence,
            published: Timestamp(published),
            encoding: encoding(headers),
            message_id: header("Nats-Msg-Id"),
            reply_to: header(HEADER_REPLY_TO),
            subject: message.subject.to_string(),
            payload: message.payload,
        };
        inputs.send(Input::Submission(Box::new(submission), acker)).await?;
    }
    Err("consumer ended".into())
}

/// Reads agents' reports.
pub async fn read_reports(
    consumer: jetstream::consumer::Consumer<pull::Config>,
    inputs: Sender<Input>,
) -> Result<(), async_nats::Error> {
    let mut messages = pull_all(&consumer).await?;
    while let Some(message) = messages.next().await {
        let message = message?;
        let sequence = message.info()?.stream_sequence;
        let input = match codec::from_msgpack(&message.payload) {
            Ok(report) => actor::Input::Report { sequence, message: report },
            Err(e) => actor::Input::Unreadable {
                subject: message.subject.to_string(),
                payload: message.payload.clone(),
                reason: e.to_string(),
            },
        };
        inputs.send(input.into()).await?;
    }
    Err("consumer ended".into())
}

async fn pull_all(
    consumer: &jetstream::consumer::Consumer<pull::Config>,
) -> Result<pull::Stream, async_nats::Error> {
    let stream = consumer
        .stream()
        .max_messages_per_batch(512)
        .expires(PULL_EXPIRES)
        .heartbeat(Duration::from_secs(5))
        .messages()
        .await?;
    Ok(stream)
}

/// Runs a reader; its end is an input too.
pub fn spawn(
    tasks: &mut JoinSet<()>,
    name: &'static str,
    inputs: Sender<Input>,
    reader: impl Future<Output = Result<(), async_nats::Error>> + Send + 'static,
) {
    tasks.spawn(async move {
        let reason = match reader.await {
            Ok(()) => format!("{name}: ended"),
            Err(e) => format!("{name}: {e}"),
        };
        // The loop may be gone already.
        inputs.send(Input::ReaderFailed(reason)).await.ok();
    });
}
