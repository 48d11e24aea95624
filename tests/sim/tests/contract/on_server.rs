//! The operations on a real server.

use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;

use async_nats::jetstream::consumer::pull::MessagesErrorKind as Gone;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{
    Config, ConsumerErrorKind, DiscardPolicy, RetentionPolicy, StorageType, Stream,
};
use async_nats::jetstream::{self, ErrorCode, kv, object_store};
use futures::stream::Peekable;
use futures::{StreamExt, TryStreamExt};
use tokio::io::AsyncReadExt;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use windrow_sim::bus::{Ack, ConsumerSpec, Demands, Info, PublishError, Purge, Start, StreamSpec};
use windrow_tests::nats;

use crate::{Got, Nats, Pulled, Refused};

/// How long something may take that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long it may take to deliver what is there.
const NOW: Duration = Duration::from_millis(150);

/// A server of a test's own, with a connection.
pub(crate) struct Server {
    runtime: Runtime,
    server: nats::Server,
    connection: Connection,
    pulls: Vec<Pin<Box<Peekable<pull::Stream>>>>,
    subscriptions: Vec<async_nats::Subscriber>,
}

struct Connection {
    client: async_nats::Client,
    context: jetstream::Context,
    keys: kv::Store,
    objects: object_store::ObjectStore,
    /// What was fetched last, by stream, consumer and number.
    fetched: HashMap<(String, String, u64), jetstream::Message>,
}

impl Connection {
    async fn open(url: &str) -> Self {
        let client = async_nats::connect(url).await.unwrap();
        let context = jetstream::new(client.clone());
        let keys = kv::Config {
            bucket: "K".to_owned(),
            storage: StorageType::Memory,
            ..kv::Config::default()
        };
        let objects = object_store::Config { bucket: "O".to_owned(), ..Default::default() };
        let keys = context.create_key_value(keys).await.unwrap();
        let objects = context.create_object_store(objects).await.unwrap();
        Self { client, context, keys, objects, fetched: HashMap::new() }
    }

    async fn stream(&self, name: &str) -> Option<Stream> {
        self.context.get_stream(name).await.ok()
    }

    async fn consumer(&self, stream: &str, consumer: &str) -> Option<PullConsumer> {
        self.stream(stream).await?.get_consumer(consumer).await.ok()
    }
}

impl Server {
    pub(crate) fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let server = nats::Server::start();
        let connection = runtime.block_on(Connection::open(&server.url()));
        let (pulls, subscriptions) = Default::default();
        Self { runtime, server, connection, pulls, subscriptions }
    }

    fn start_again(&mut self, change: impl FnOnce(&nats::Store)) {
        self.server.restart(change);
        self.connection = self.runtime.block_on(Connection::open(&self.server.url()));
    }
}

fn config(spec: StreamSpec) -> Config {
    Config {
        name: spec.name,
        subjects: spec.subjects,
        storage: if spec.memory { StorageType::Memory } else { StorageType::File },
        retention: match spec.work_queue {
            true => RetentionPolicy::WorkQueue,
            false => RetentionPolicy::Limits,
        },
        discard: match spec.max_bytes {
            Some(_) => DiscardPolicy::New,
            None => DiscardPolicy::Old,
        },
        max_bytes: spec.max_bytes.map_or(-1, |most| i64::try_from(most).unwrap()),
        max_messages_per_subject: spec
            .max_per_subject
            .map_or(-1, |most| i64::try_from(most).unwrap()),
        duplicate_window: Duration::from_millis(spec.duplicate_window),
        first_sequence: (spec.first_sequence > 1).then_some(spec.first_sequence),
        allow_direct: true,
        ..Config::default()
    }
}

fn reader(spec: ConsumerSpec) -> pull::Config {
    pull::Config {
        durable_name: Some(spec.name),
        memory_storage: spec.memory,
        filter_subject: spec.filter.unwrap_or_default(),
        deliver_policy: match spec.start {
            Start::First => DeliverPolicy::All,
            Start::At(start_sequence) => DeliverPolicy::ByStartSequence { start_sequence },
        },
        ack_policy: if spec.ack_wait.is_some() { AckPolicy::Explicit } else { AckPolicy::None },
        ack_wait: Duration::from_millis(spec.ack_wait.unwrap_or_default()),
        max_ack_pending: match spec.ack_wait {
            Some(_) => i64::try_from(spec.max_ack_pending).unwrap(),
            None => 0,
        },
        ..pull::Config::default()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn got(message: &jetstream::Message) -> Got {
    let info = message.info().unwrap();
    let id = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id"));
    Got {
        sequence: info.stream_sequence,
        subject: message.subject.to_string(),
        payload: text(&message.payload),
        delivered: u32::try_from(info.delivered).unwrap(),
        message_id: id.map(|id| id.as_str().to_owned()),
    }
}

impl Nats for Server {
    fn create_stream(&mut self, spec: StreamSpec) {
        let made = self.connection.context.get_or_create_stream(config(spec));
        self.runtime.block_on(made).unwrap();
    }

    fn delete_stream(&mut self, stream: &str) -> bool {
        self.runtime.block_on(self.connection.context.delete_stream(stream)).is_ok()
    }

    fn publish(
        &mut self,
        subject: &str,
        payload: &str,
        demands: &Demands,
    ) -> Result<Ack, PublishError> {
        let mut message = PublishMessage::build().payload(payload.to_owned().into());
        if let Some(last) = demands.expected_last {
            message = message.expected_last_sequence(last);
        }
        if let Some(id) = &demands.message_id {
            message = message.message_id(id);
        }
        let sent = async {
            let sent = self.connection.context.send_publish(subject.to_owned(), message).await;
            sent?.await
        };
        match self.runtime.block_on(sent) {
            Ok(ack) => Ok(Ack { sequence: ack.sequence, duplicate: ack.duplicate }),
            Err(error) => match error.kind() {
                PublishErrorKind::StreamNotFound => Err(PublishError::NoStream),
                PublishErrorKind::WrongLastSequence => Err(PublishError::WrongLastSequence),
                _ if error.to_string().contains("maximum bytes") => Err(PublishError::Full),
                kind => panic!("{kind:?}: {error}"),
            },
        }
    }

    fn info(&mut self, stream: &str) -> Option<Info> {
        self.runtime.block_on(async {
            let mut stream = self.connection.stream(stream).await?;
            let state = &stream.info().await.unwrap().state;
            let (first, last) = (state.first_sequence, state.last_sequence);
            Some(Info { first, last, messages: state.messages })
        })
    }

    fn message(&mut self, stream: &str, sequence: u64) -> Option<(String, String)> {
        self.runtime.block_on(async {
            let stream = self.connection.stream(stream).await.unwrap();
            let message = stream.get_raw_message(sequence).await.ok()?;
            Some((message.subject.to_string(), text(&message.payload)))
        })
    }

    fn read(&mut self, stream: &str, from: u64) -> Vec<(u64, String)> {
        let read = async {
            let mut stream = self.connection.stream(stream).await.unwrap();
            let mut last = stream.info().await.unwrap().state.last_sequence;
            // The last that is there.
            while last >= from && stream.get_raw_message(last).await.is_err() {
                last -= 1;
            }
            let config = pull::OrderedConfig {
                deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from },
                ..pull::OrderedConfig::default()
            };
            let mut messages =
                stream.create_consumer(config).await.unwrap().messages().await.unwrap();
            let mut read = Vec::new();
            while from <= last && read.last().is_none_or(|(sequence, _)| *sequence < last) {
                let message = messages.next().await.unwrap().unwrap();
                let sequence = message.info().unwrap().stream_sequence;
                read.push((sequence, text(&message.payload)));
            }
            read
        };
        self.runtime.block_on(async { timeout(PATIENCE, read).await.unwrap() })
    }

    fn purge(&mut self, stream: &str, purge: &Purge) -> Option<u64> {
        self.runtime.block_on(async {
            let stream = self.connection.stream(stream).await?;
            let purged = match (purge.before, &purge.filter) {
                (Some(before), None) => stream.purge().sequence(before).await,
                (Some(before), Some(filter)) => {
                    stream.purge().sequence(before).filter(filter).await
                }
                (None, Some(filter)) => stream.purge().filter(filter).await,
                (None, None) => stream.purge().await,
            };
            Some(purged.unwrap().purged)
        })
    }

    fn create_consumer(&mut self, stream: &str, spec: ConsumerSpec) -> Result<(), Refused> {
        self.runtime.block_on(async {
            let stream = self.connection.stream(stream).await.ok_or(Refused::NoStream)?;
            let made = stream.create_consumer(reader(spec)).await;
            made.map(drop).map_err(|error| {
                let ConsumerErrorKind::JetStream(e) = error.kind() else { panic!("{error}") };
                let in_the_way = [
                    ErrorCode::CONSUMER_WQ_MULTIPLE_UNFILTERED,
                    ErrorCode::CONSUMER_WQ_CONSUMER_NOT_UNIQUE,
                ];
                assert!(in_the_way.contains(&e.error_code()), "{e}");
                Refused::InTheWay
            })
        })
    }

    fn delete_consumer(&mut self, stream: &str, consumer: &str) -> bool {
        self.runtime.block_on(async {
            let stream = self.connection.stream(stream).await.unwrap();
            stream.delete_consumer(consumer).await.is_ok()
        })
    }

    fn fetch(&mut self, stream: &str, consumer: &str, most: usize) -> Option<Vec<Got>> {
        let fetched: Vec<jetstream::Message> = self.runtime.block_on(async {
            let consumer = self.connection.consumer(stream, consumer).await?;
            // A pull that does not wait is never answered where the limit of what is unacknowledged
            // is reached.
            let messages = consumer.batch().max_messages(most).expires(NOW).messages();
            let messages = messages.await.unwrap();
            Some(messages.try_collect().await.unwrap())
        })?;
        let all = fetched.iter().map(got).collect();
        for message in fetched {
            let sequence = message.info().unwrap().stream_sequence;
            let key = (stream.to_owned(), consumer.to_owned(), sequence);
            // The first delivery's acknowledgement must do.
            self.connection.fetched.entry(key).or_insert(message);
        }
        Some(all)
    }

    fn ack(&mut self, stream: &str, consumer: &str, sequence: u64) {
        let key = (stream.to_owned(), consumer.to_owned(), sequence);
        self.runtime.block_on(self.connection.fetched[&key].double_ack()).unwrap();
    }

    fn pull(&mut self, stream: &str, consumer: &str) -> usize {
        let pull = self.runtime.block_on(async {
            let mut consumer = self.connection.consumer(stream, consumer).await.unwrap();
            let before = consumer.info().await.unwrap().num_waiting;
            let pull = consumer.stream().max_messages_per_batch(20).messages().await.unwrap();
            let mut pull = Box::pin(pull.peekable());
            // It is sent when first looked at, and stands once it waits at the server or has brought
            // something.
            let stands = async {
                while timeout(Duration::from_millis(5), pull.as_mut().peek()).await.is_err()
                    && consumer.info().await.unwrap().num_waiting <= before
                {}
            };
            timeout(PATIENCE, stands).await.unwrap();
            pull
        });
        self.pulls.push(pull);
        self.pulls.len() - 1
    }

    fn pulled(&mut self, pull: usize) -> Pulled {
        let next = async { timeout(PATIENCE, self.pulls[pull].next()).await.unwrap() };
        match self.runtime.block_on(next) {
            Some(Ok(message)) => Pulled::Message(got(&message)),
            Some(Err(error)) => {
                // The second, when the next pull came to nobody.
                let gone = [Gone::ConsumerDeleted, Gone::NoResponders];
                assert!(gone.contains(&error.kind()), "{error}");
                Pulled::Ended
            }
            None => Pulled::Ended,
        }
    }

    fn kv_get(&mut self, key: &str) -> Option<(u64, String)> {
        let entry = self.runtime.block_on(self.connection.keys.entry(key)).unwrap()?;
        let is_put = entry.operation == kv::Operation::Put;
        is_put.then(|| (entry.revision, text(&entry.value)))
    }

    fn kv_update(&mut self, key: &str, value: &str, revision: u64) -> Option<u64> {
        let (keys, value) = (&self.connection.keys, value.to_owned().into());
        self.runtime.block_on(async {
            if revision == 0 {
                return match keys.create(key, value).await {
                    Ok(revision) => Some(revision),
                    Err(e) if e.kind() == kv::CreateErrorKind::AlreadyExists => None,
                    Err(e) => panic!("{e}"),
                };
            }
            match keys.update(key, value, revision).await {
                Ok(revision) => Some(revision),
                Err(e) if e.kind() == kv::UpdateErrorKind::WrongLastRevision => None,
                Err(e) => panic!("{e}"),
            }
        })
    }

    fn kv_delete(&mut self, key: &str) {
        self.runtime.block_on(self.connection.keys.delete(key)).unwrap();
    }

    fn put_object(&mut self, name: &str, mut bytes: &[u8]) {
        self.runtime.block_on(self.connection.objects.put(name, &mut bytes)).unwrap();
    }

    fn object(&mut self, name: &str) -> Option<Vec<u8>> {
        self.runtime.block_on(async {
            let mut object = self.connection.objects.get(name).await.ok()?;
            let mut bytes = Vec::new();
            object.read_to_end(&mut bytes).await.unwrap();
            Some(bytes)
        })
    }

    fn objects(&mut self) -> Vec<String> {
        self.runtime.block_on(async {
            let list = self.connection.objects.list().await.unwrap();
            let all: Vec<_> = list.try_collect().await.unwrap();
            all.into_iter().map(|object| object.name).collect()
        })
    }

    fn delete_object(&mut self, name: &str) {
        self.runtime.block_on(self.connection.objects.delete(name)).unwrap();
    }

    fn subscribe(&mut self, pattern: &str) -> usize {
        let subscription = self.runtime.block_on(async {
            let client = &self.connection.client;
            let subscription = client.subscribe(pattern.to_owned()).await.unwrap();
            client.flush().await.unwrap();
            subscription
        });
        self.subscriptions.push(subscription);
        self.subscriptions.len() - 1
    }

    fn send(&mut self, subject: &str, payload: &str) {
        let (subject, payload) = (subject.to_owned(), payload.to_owned().into());
        self.runtime.block_on(self.connection.client.publish(subject, payload)).unwrap();
    }

    fn heard(&mut self, subscription: usize) -> (String, String) {
        let next = async { timeout(PATIENCE, self.subscriptions[subscription].next()).await };
        let message = self.runtime.block_on(next).unwrap().unwrap();
        (message.subject.to_string(), text(&message.payload))
    }

    fn restart(&mut self) {
        self.start_again(|_| ());
    }

    fn save(&mut self) {
        self.start_again(nats::Store::save);
    }

    fn put_back(&mut self) {
        self.start_again(nats::Store::put_back);
    }

    fn wait(&mut self) {
        self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(25)).await });
    }
}
