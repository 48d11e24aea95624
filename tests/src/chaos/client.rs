//! A client as a user's program would be: it repeats what may be repeated until it is answered, and
//! remembers when it asked and when it knew.

use std::time::{Duration, Instant};

use async_nats::client::Request;
use async_nats::jetstream;
use futures::StreamExt;
use tokio::runtime::Runtime;
use windrow_common::api::{ApiError, ErrorKind, Operation};
use windrow_common::config::Nats;
use windrow_common::streams::{HEADER_ERROR, Retention, Streams};
use windrow_common::subjects::Subjects;

use super::history::Message;

/// How long one request may take; answers come in milliseconds, or the next try finds who answers.
const REQUEST_LIMIT: Duration = Duration::from_secs(3);
/// Pause between tries.
const AGAIN: Duration = Duration::from_millis(100);

/// A connection to a cluster. Several threads may use it.
pub struct Client {
    runtime: Runtime,
    nats: async_nats::Client,
    subjects: Subjects,
}

/// Why there is no answer to one request.
#[derive(Debug)]
pub enum Unanswered {
    /// It is refused.
    Refused(ApiError),
    /// It may or may not have had its effect.
    Unknown(String),
}

impl Client {
    /// Connects, in the background if need be.
    ///
    /// # Panics
    /// When the settings cannot work.
    pub fn new(urls: &str, cluster: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let nats = Nats { url: urls.to_owned(), credentials: String::new() };
        let connected = runtime.block_on(async {
            let options = nats.options("windrow chaos").await?.retry_on_initial_connect();
            nats.connect_with(options).await
        });
        let subjects = Subjects::new(cluster.parse().expect("a cluster's name"));
        Self { nats: connected.expect("settings of a connection"), runtime, subjects }
    }

    /// Asks once.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub fn ask_once<O: Operation>(&self, request: &O) -> Result<O::Response, Unanswered> {
        let payload = serde_json::to_vec(request).expect("API types have a JSON form");
        let request = Request::new().payload(payload.into()).timeout(Some(REQUEST_LIMIT));
        let subject = self.subjects.api(O::NAME);
        let answer = self.runtime.block_on(self.nats.send_request(subject, request));
        let answer = answer.map_err(|error| Unanswered::Unknown(error.to_string()))?;
        if answer.headers.is_some_and(|headers| headers.get(HEADER_ERROR).is_some()) {
            let error = serde_json::from_slice(&answer.payload).expect("an API error");
            return Err(Unanswered::Refused(error));
        }
        Ok(serde_json::from_slice(&answer.payload).expect("an API answer"))
    }

    /// Asks what may be asked again, until there is an answer.
    ///
    /// # Errors
    /// The answer is a refusal, and not for the time being.
    ///
    /// # Panics
    /// Without an answer within `seconds`.
    pub fn ask<O: Operation>(&self, request: &O, seconds: u64) -> Result<O::Response, ApiError> {
        let start = Instant::now();
        loop {
            let why = match self.ask_once(request) {
                Ok(answer) => return Ok(answer),
                Err(Unanswered::Refused(error)) if error.kind == ErrorKind::Unavailable => {
                    error.message
                }
                Err(Unanswered::Refused(error)) => return Err(error),
                Err(Unanswered::Unknown(why)) => why,
            };
            let waited = start.elapsed();
            assert!(
                waited < Duration::from_secs(seconds),
                "{}: no answer in {seconds} s: {why}",
                O::NAME
            );
            std::thread::sleep(AGAIN);
        }
    }

    /// As [`Self::ask`], of what is never refused.
    ///
    /// # Panics
    /// When it is.
    pub fn call<O: Operation>(&self, request: &O) -> O::Response {
        self.ask(request, 90).unwrap_or_else(|error| panic!("{}: {error}", O::NAME))
    }

    /// Every message of the event stream, oldest first.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn events(&self) -> Vec<Message> {
        let _in_runtime = self.runtime.enter();
        let context = jetstream::new(self.nats.clone());
        let name = Streams::new(self.subjects.clone()).events(&Retention::default()).name;
        self.runtime.block_on(async {
            let stream = context.get_stream(name).await.expect("the event stream");
            let mut left = stream.cached_info().state.messages;
            let config = jetstream::consumer::pull::OrderedConfig::default();
            let consumer = stream.create_consumer(config).await.expect("a reader of events");
            let mut messages = consumer.messages().await.expect("messages of the event stream");
            let mut read = Vec::new();
            while left > 0 {
                let next = tokio::time::timeout(Duration::from_secs(30), messages.next()).await;
                let message = next.expect("events in time").expect("events").expect("an event");
                let id = message.headers.as_ref().and_then(|h| h.get("Nats-Msg-Id"));
                let id = id.map(ToString::to_string).unwrap_or_default();
                read.push(Message { id, payload: message.payload.to_vec() });
                left -= 1;
            }
            read
        })
    }

    /// Makes the stream with an agent's orders anew, on one server alone.
    ///
    /// # Panics
    /// When NATS refuses.
    pub fn put_orders_on(&self, agent: &str, server: &str) {
        let _in_runtime = self.runtime.enter();
        let context = jetstream::new(self.nats.clone());
        let agent = agent.parse().expect("an agent's name");
        let name = Streams::new(self.subjects.clone()).lease_stream(&agent);
        self.runtime.block_on(async {
            let mut config =
                context.get_stream(&name).await.expect("its stream").cached_info().config.clone();
            config.num_replicas = 1;
            let tags = vec![server.to_owned()];
            config.placement = Some(jetstream::stream::Placement { cluster: None, tags });
            context.delete_stream(&name).await.expect("its stream is removed");
            context.create_stream(config).await.expect("its stream is made");
        });
    }
}
