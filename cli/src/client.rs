//! The connection to a cluster: API requests and their errors as the user should see them.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::{Client as Nats, StatusCode};
use futures::StreamExt;
use tokio::time::{Instant, sleep, timeout_at};
use windrow_common::api::{ApiError, Operation};
use windrow_common::ids::JobId;
use windrow_common::streams::{HEADER_ERROR, REQUEST_BYTES_MAX, Retention, Streams};
use windrow_common::subjects::Subjects;

use crate::failure::{Exit, Failure, Result};

/// Time a server has to take our connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Time one request has by default.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a missing coordinator is waited for: about what its restart takes.
const NO_RESPONDER_LIMIT: Duration = Duration::from_secs(3);
/// Pause before asking again when there is no coordinator.
const NO_RESPONDER_PAUSE: Duration = Duration::from_millis(100);
/// How many times the time of one request is waited when it is safe to repeat.
const TRIES: u32 = 3;
/// How long the first answer is waited for before the request is sent again, if it is safe to repeat;
/// longer each time.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);

/// A cluster, connected.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    nats: Nats,
    url: String,
    subjects: Subjects,
    request_timeout: Duration,
}

/// Whether a request may be sent again when it is not known what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat<'a> {
    Safe,
    /// Safe, also for the user, under this idempotency key.
    WithKey(&'a str),
    Never,
}

impl Client {
    /// Connects. Errors: no server answers at `url`, or it refuses us (exit code 7).
    pub(crate) async fn connect(
        url: &str,
        subjects: Subjects,
        request_timeout: Option<Duration>,
    ) -> Result<Self> {
        let options = async_nats::ConnectOptions::new()
            .name("windrow cli")
            .connection_timeout(CONNECT_TIMEOUT)
            // Longer than our own limits, so that these decide.
            .request_timeout(None)
            .reconnect_delay_callback(|attempts| {
                Duration::from_millis((20 << attempts.min(6)).min(1_000))
            });
        let urls: Vec<&str> = url.split(',').map(str::trim).collect();
        let nats = options.connect(urls.as_slice()).await.map_err(|error| {
            Failure::unreachable(format!("connect to NATS at `{url}`: {error}"))
                .hint("start a cluster with `windrow up`, or give `--nats-url`")
        })?;
        let request_timeout = request_timeout.unwrap_or(REQUEST_TIMEOUT);
        Ok(Self { nats, url: url.to_owned(), subjects, request_timeout })
    }

    pub(crate) fn subjects(&self) -> &Subjects {
        &self.subjects
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What the server said about itself.
    pub(crate) fn server_info(&self) -> async_nats::ServerInfo {
        self.nats.server_info()
    }

    pub(crate) fn jetstream(&self) -> jetstream::Context {
        jetstream::new(self.nats.clone())
    }

    /// Name of the stream of job output.
    pub(crate) fn log_stream(&self) -> String {
        Streams::new(self.subjects.clone()).logs(&Retention::default()).name
    }

    /// Name of the stream of events.
    pub(crate) fn event_stream(&self) -> String {
        Streams::new(self.subjects.clone()).events(&Retention::default()).name
    }

    /// Name of the stream of what could not be accepted.
    pub(crate) fn dead_letter_stream(&self) -> String {
        Streams::new(self.subjects.clone()).dead_letters(&Retention::default()).name
    }

    /// Subscribes to the state changes of a job.
    pub(crate) async fn events_of(&self, job: JobId) -> Result<async_nats::Subscriber> {
        let subject = self.subjects.event_of(job);
        self.nats.subscribe(subject.clone()).await.map_err(|error| {
            Failure::unreachable(format!("subscribe to `{subject}` at `{}`: {error}", self.url))
        })
    }

    /// Waits until the server has taken what was sent so far, such as subscriptions.
    pub(crate) async fn flush(&self) -> Result<()> {
        let flushed = timeout_at(Instant::now() + self.request_timeout, self.nats.flush()).await;
        match flushed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                Err(Failure::unreachable(format!("flush to NATS at `{}`: no answer", self.url)))
            }
        }
    }

    /// Asks for something that may be asked twice.
    pub(crate) async fn call<O: Operation>(&self, request: &O) -> Result<O::Response> {
        self.send(request, Repeat::Safe).await
    }

    /// Asks for something that happens once for each key, however often it is asked for.
    pub(crate) async fn call_with_key<O: Operation>(
        &self,
        request: &O,
        key: &str,
    ) -> Result<O::Response> {
        self.send(request, Repeat::WithKey(key)).await
    }

    /// Asks for something that must not happen twice.
    pub(crate) async fn call_once<O: Operation>(&self, request: &O) -> Result<O::Response> {
        self.send(request, Repeat::Never).await
    }

    async fn send<O: Operation>(&self, request: &O, repeat: Repeat<'_>) -> Result<O::Response> {
        let payload = serde_json::to_vec(request).expect("API types have a JSON form");
        if payload.len() > REQUEST_BYTES_MAX {
            return Err(Failure::error(format!(
                "{}: a request holds at most `{REQUEST_BYTES_MAX}` bytes, got `{}`",
                O::NAME,
                payload.len()
            ))
            .hint("pass large data by file, not in the command or environment"));
        }
        let subject = self.subjects.api(O::NAME);
        let answer = self.deliver(subject, payload, O::NAME, repeat).await?;
        read_answer::<O>(&answer)
    }

    /// Sends until an answer comes or the limits are reached. What is safe to repeat is sent again soon,
    /// as a coordinator that starts over drops what it was asked; the answer to any of them counts.
    async fn deliver(
        &self,
        subject: String,
        payload: Vec<u8>,
        operation: &str,
        repeat: Repeat<'_>,
    ) -> Result<async_nats::Message> {
        let (payload, inbox) = (bytes::Bytes::from(payload), self.nats.new_inbox());
        let lost = |error: String| self.no_answer(operation, repeat, &error);
        let mut answers =
            self.nats.subscribe(inbox.clone()).await.map_err(|error| lost(error.to_string()))?;
        let limit = match repeat {
            Repeat::Never => Instant::now() + self.request_timeout,
            Repeat::Safe | Repeat::WithKey(_) => Instant::now() + self.request_timeout * TRIES,
        };
        let (mut patience, mut absent_since) = (FIRST_PATIENCE, None);
        loop {
            let sent =
                self.nats.publish_with_reply(subject.clone(), inbox.clone(), payload.clone());
            sent.await.map_err(|error| lost(error.to_string()))?;
            let until = match repeat {
                Repeat::Never => limit,
                Repeat::Safe | Repeat::WithKey(_) => limit.min(Instant::now() + patience),
            };
            match timeout_at(until, answers.next()).await {
                // Nobody took it, so it cannot have had an effect: always safe to send again.
                Ok(Some(answer)) if answer.status == Some(StatusCode::NO_RESPONDERS) => {
                    let since = *absent_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= NO_RESPONDER_LIMIT.min(self.request_timeout) {
                        return Err(self.no_coordinator(operation));
                    }
                    sleep(NO_RESPONDER_PAUSE).await;
                }
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => return Err(lost("the connection was closed".to_owned())),
                Err(_) if Instant::now() >= limit => {
                    return Err(lost("timed out".to_owned()));
                }
                Err(_) => (patience, absent_since) = (patience * 2, None),
            }
        }
    }

    fn no_coordinator(&self, operation: &str) -> Failure {
        let cluster = self.subjects.prefix();
        Failure::unreachable(format!(
            "{operation}: no coordinator of cluster `{cluster}` answers at `{}`",
            self.url
        ))
        .hint("start one with `windrow up`, or give `--cluster` or `--nats-url`")
    }

    fn no_answer(&self, operation: &str, repeat: Repeat<'_>, error: &str) -> Failure {
        let failure = Failure::new(
            Exit::Unreachable,
            format!("{operation}: no answer from `{}`, outcome unknown: {error}", self.url),
        );
        match repeat {
            Repeat::Safe => failure.hint("safe to repeat"),
            Repeat::WithKey(key) => {
                failure.hint(format!("safe to repeat with `--idempotency-key {key}`"))
            }
            Repeat::Never => {
                failure.not_retryable().hint("look whether it took effect before you repeat it")
            }
        }
    }
}

fn read_answer<O: Operation>(answer: &async_nats::Message) -> Result<O::Response> {
    let is_error = answer.headers.as_ref().is_some_and(|h| h.get(HEADER_ERROR).is_some());
    let unreadable = |error: serde_json::Error| {
        Failure::error(format!("{}: the answer cannot be read: {error}", O::NAME))
            .hint("use the version of `windrow` that the coordinator has")
    };
    if is_error {
        let error: ApiError = serde_json::from_slice(&answer.payload).map_err(unreadable)?;
        return Err(error.into());
    }
    serde_json::from_slice(&answer.payload).map_err(unreadable)
}
