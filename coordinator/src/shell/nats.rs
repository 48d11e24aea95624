//! What [`super::outside`] asks for, on NATS and the system's clocks.

use std::pin::pin;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::kv::{CreateErrorKind, Store, UpdateErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::object_store::ObjectStore;
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use futures::StreamExt;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;
use windrow_common::ids::Name;
use windrow_common::subjects::Subjects;
use windrow_common::time::{Timestamp, wall_clock};

use super::election::{Record, Seen, Written};
use super::event_stream;
use super::journal::Position;
use super::leadership::is_gone;
use super::outside::{
    AppendError, Clock, Extent, JournalStream, KeyError, LeaderKey, Outside, Reader, SnapshotBucket,
};

/// The key of the election's record.
const KEY: &str = "leader";

/// The system's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn wall(&self) -> Timestamp {
        wall_clock()
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// The journal's stream.
#[derive(Clone, Debug)]
pub struct NatsJournal {
    clock: SystemClock,
    context: jetstream::Context,
    stream: Stream,
    subject: String,
}

impl NatsJournal {
    /// The stream, which takes this subject.
    pub fn new(context: jetstream::Context, stream: Stream, subject: String) -> Self {
        Self { clock: SystemClock::default(), context, stream, subject }
    }
}

impl JournalStream for NatsJournal {
    type Clock = SystemClock;
    type Reader = Ordered;

    fn clock(&self) -> &SystemClock {
        &self.clock
    }

    async fn extent(&self) -> Result<Option<Extent>, String> {
        match self.stream.get_info().await {
            Ok(info) => {
                let state = info.state;
                Ok(Some(Extent { first: state.first_sequence, last: state.last_sequence }))
            }
            Err(e) => {
                let source = std::error::Error::source(&e).map(ToString::to_string);
                let said = [source.unwrap_or_default(), e.to_string()];
                match said.iter().any(|text| text.contains("stream not found")) {
                    true => Ok(None),
                    false => Err(e.to_string()),
                }
            }
        }
    }

    async fn message(&self, sequence: u64) -> Result<Bytes, String> {
        let read = self.stream.get_raw_message(sequence).await;
        Ok(read.map_err(|e| e.to_string())?.payload)
    }

    async fn read_from(&self, first: u64) -> Result<Ordered, String> {
        let deliver_policy = DeliverPolicy::ByStartSequence { start_sequence: first };
        let config = OrderedConfig { deliver_policy, ..Default::default() };
        let consumer = self.stream.create_consumer(config).await.map_err(|e| e.to_string())?;
        consumer.messages().await.map_err(|e| e.to_string())
    }

    async fn append(&self, payload: Bytes, expected_last: u64) -> Result<u64, AppendError> {
        let message =
            PublishMessage::build().payload(payload).expected_last_sequence(expected_last);
        let sent = self.context.send_publish(self.subject.clone(), message).await;
        let acknowledged = match sent {
            Ok(sent) => sent.await,
            Err(e) => Err(e),
        };
        match acknowledged {
            Ok(ack) => Ok(ack.sequence),
            Err(e) => Err(match refusal(&e) {
                Some(reason) => AppendError::Refused(reason),
                None => AppendError::Failed(e.to_string()),
            }),
        }
    }

    async fn purge_before(&self, sequence: u64) -> Result<u64, String> {
        let purged = self.stream.purge().sequence(sequence).await;
        Ok(purged.map_err(|e| e.to_string())?.purged)
    }
}

/// What the server says when it does not want to store; `None` when it may be of passing nature.
pub(super) fn refusal(error: &PublishError) -> Option<String> {
    let source = std::error::Error::source(error)?.downcast_ref::<jetstream::Error>()?;
    let is_lasting = [
        ErrorCode::STREAM_STORE_FAILED,
        ErrorCode::INSUFFICIENT_RESOURCES,
        ErrorCode::STORAGE_RESOURCES_EXCEEDED,
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
    ]
    .contains(&source.error_code());
    is_lasting.then(|| source.to_string())
}

impl Reader for Ordered {
    async fn next(&mut self) -> Result<(u64, Bytes), String> {
        match StreamExt::next(self).await {
            Some(Ok(message)) => {
                let sequence = message.info().map_err(|e| e.to_string())?.stream_sequence;
                Ok((sequence, message.message.payload))
            }
            Some(Err(e)) => Err(e.to_string()),
            None => Err("the reader has ended".to_owned()),
        }
    }
}

impl SnapshotBucket for ObjectStore {
    async fn names(&self) -> Result<Vec<String>, String> {
        let mut list = pin!(self.list().await.map_err(|e| e.to_string())?);
        let mut names = Vec::new();
        while let Some(object) = list.next().await {
            names.push(object.map_err(|e| e.to_string())?.name);
        }
        Ok(names)
    }

    async fn get(&self, name: &str) -> Result<Bytes, String> {
        let mut object = Self::get(self, name).await.map_err(|e| e.to_string())?;
        let mut bytes = Vec::new();
        object.read_to_end(&mut bytes).await.map_err(|e| e.to_string())?;
        Ok(bytes.into())
    }

    async fn put(&self, name: &str, mut bytes: &[u8]) -> Result<(), String> {
        Self::put(self, name, &mut bytes).await.map(drop).map_err(|e| e.to_string())
    }

    async fn delete(&self, name: &str) -> Result<(), String> {
        Self::delete(self, name).await.map_err(|e| e.to_string())
    }
}

impl LeaderKey for Store {
    async fn look(&self) -> Result<Option<Seen>, KeyError> {
        // Of the stream's leader: a replica might be behind.
        let subject = format!("{}{KEY}", self.prefix);
        match self.stream.get_last_raw_message_by_subject(&subject).await {
            // A deletion is a message without content.
            Ok(message) if message.payload.is_empty() => Ok(None),
            Ok(message) => {
                let record = serde_json::from_slice(&message.payload);
                let record = record.map_err(|_| KeyError::Unanswered)?;
                Ok(Some(Seen { revision: message.sequence, record }))
            }
            Err(e) => match e.kind() {
                RawMessageErrorKind::NoMessageFound => Ok(None),
                RawMessageErrorKind::JetStream(e)
                    if e.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    Err(KeyError::BucketLost)
                }
                RawMessageErrorKind::JetStream(_)
                | RawMessageErrorKind::InvalidSubject
                | RawMessageErrorKind::Other => Err(KeyError::Unanswered),
            },
        }
    }

    async fn write(&self, expected: u64, record: &Record) -> Result<Written, KeyError> {
        let value = serde_json::to_vec(record).expect("a record has a JSON form");
        if expected == 0 {
            // Also where somebody has deleted it, which leaves a message with a number.
            return match self.create(KEY, value.into()).await {
                Ok(revision) => Ok(Written::Stored(revision)),
                Err(e) if e.kind() == CreateErrorKind::AlreadyExists => Ok(Written::Refused),
                Err(_) => Err(KeyError::Unanswered),
            };
        }
        match self.update(KEY, value.into(), expected).await {
            Ok(revision) => Ok(Written::Stored(revision)),
            Err(e) if e.kind() == UpdateErrorKind::WrongLastRevision => Ok(Written::Refused),
            Err(_) => Err(KeyError::Unanswered),
        }
    }

    fn is_gone(&self, process: &str) -> bool {
        is_gone(process)
    }
}

/// All of it, on one connection.
#[derive(Clone)]
pub struct Nats {
    pub client: Client,
    pub subjects: Subjects,
    pub journal: NatsJournal,
    pub snapshots: ObjectStore,
    pub events: Stream,
}

impl Outside for Nats {
    type Clock = SystemClock;
    type Journal = NatsJournal;
    type Snapshots = ObjectStore;

    fn clock(&self) -> &SystemClock {
        self.journal.clock()
    }

    fn journal(&self) -> &NatsJournal {
        &self.journal
    }

    fn snapshots(&self) -> &ObjectStore {
        &self.snapshots
    }

    async fn told_before(&self) -> Result<u64, String> {
        event_stream::published_before(&self.events).await.map_err(|e| e.to_string())
    }

    async fn announce(&self, name: &str, position: Position) {
        let Ok(name) = name.parse::<Name>() else { return };
        let payload = serde_json::to_vec(&position).expect("a position has a JSON form");
        // Heard or not: the next one follows.
        self.client.publish(self.subjects.standby(&name), payload.into()).await.ok();
    }
}
