//! Reads the stream of job output.

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use async_nats::jetstream::stream::{DirectGetErrorKind, Info, Stream};
use async_nats::jetstream::{self, Message};
use futures::StreamExt;
use tracing::{debug, warn};
use windrow_common::ids::{JobId, JobRef};
use windrow_common::streams::{HEADER_OFFSET, Retention, Streams};
use windrow_common::subjects::Subjects;

use super::page::{Attempt, Chunk, Times};
use crate::error::AwsError;

/// Chunks asked for at once, each of 128 KiB at most.
const BATCH: usize = 64;
/// The same where only their headers come.
const BATCH_OF_HEADERS: usize = 1_000;
/// How long the server is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time after which the server forgets a reader that was not taken away.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

/// The stream of output of one cluster.
#[derive(Clone, Debug)]
pub(super) struct Source {
    jetstream: jetstream::Context,
    subjects: Subjects,
    stream: String,
}

/// Reads what is there when it is opened, and no more, in order.
pub(super) struct Scan {
    stream: Stream<()>,
    consumer: Consumer<pull::Config>,
    subjects: Subjects,
    batch: usize,
    /// Messages still to come.
    left: u64,
    /// Number of the last message among those sent to us: they have no gaps.
    delivered: u64,
}

impl Source {
    pub(super) fn new(nats: Client, subjects: Subjects) -> Self {
        let stream = Streams::new(subjects.clone()).logs(&Retention::default()).name;
        Self { jetstream: jetstream::new(nats), subjects, stream }
    }

    /// Subject of an attempt's output.
    pub(super) fn subject(&self, of: Attempt) -> String {
        self.subjects.log(JobRef::child(of.job, of.child), of.attempt)
    }

    /// Subjects of the output of a job, or of all.
    pub(super) fn subjects_of(&self, job: Option<JobId>) -> String {
        match job {
            Some(job) => self.subjects.log_of(job.into()),
            None => self.subjects.log_all(),
        }
    }

    /// Reads these subjects.
    pub(super) async fn scan(
        &self,
        subjects: Vec<String>,
        start: DeliverPolicy,
    ) -> Result<Scan, AwsError> {
        self.open(subjects, start, false).await
    }

    /// Reads when each of these subjects had its last message, the oldest first.
    pub(super) async fn scan_last(&self, subject: String) -> Result<Scan, AwsError> {
        self.open(vec![subject], DeliverPolicy::LastPerSubject, true).await
    }

    async fn open(
        &self,
        subjects: Vec<String>,
        start: DeliverPolicy,
        headers_only: bool,
    ) -> Result<Scan, AwsError> {
        let stream = self.stream().await?;
        let config = pull::Config {
            filter_subjects: subjects,
            deliver_policy: start,
            ack_policy: AckPolicy::None,
            headers_only,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: FORGOTTEN_AFTER,
            ..Default::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(|error| broken(&error))?;
        let left = consumer.cached_info().num_pending;
        let batch = if headers_only { BATCH_OF_HEADERS } else { BATCH };
        let subjects = self.subjects.clone();
        Ok(Scan { stream, consumer, subjects, batch, left, delivered: 0 })
    }

    /// When the attempt's output began, in milliseconds since the epoch; none if there is none.
    pub(super) async fn first(&self, of: Attempt) -> Result<Option<i64>, AwsError> {
        let stream = self.stream().await?;
        match stream.direct_get_next_for_subject(self.subject(of), None).await {
            Ok(message) => Ok(Some(milliseconds(message.time))),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(error) => Err(broken(&error)),
        }
    }

    /// The stream's settings and size.
    pub(super) async fn info(&self) -> Result<Info, AwsError> {
        self.stream().await?.get_info().await.map_err(|error| broken(&error))
    }

    async fn stream(&self) -> Result<Stream<()>, AwsError> {
        self.jetstream.get_stream_no_info(&self.stream).await.map_err(|error| broken(&error))
    }
}

impl Scan {
    /// The next chunks; none: that was all.
    pub(super) async fn next(&mut self) -> Result<Vec<Chunk>, AwsError> {
        let mut chunks = Vec::new();
        while self.left > 0 && chunks.is_empty() {
            let fetch = self.consumer.fetch().max_messages(self.batch).expires(PATIENCE);
            let mut messages = fetch.messages().await.map_err(|error| broken(&error))?;
            let before = self.left;
            while let Some(message) = messages.next().await {
                let message = message.map_err(|error| broken(&*error))?;
                chunks.extend(self.take(message)?);
            }
            if self.left == before {
                // What was there has been removed, as it was too old.
                self.left = 0;
            }
        }
        Ok(chunks)
    }

    /// The message as a chunk, if it is one.
    fn take(&mut self, message: Message) -> Result<Option<Chunk>, AwsError> {
        let info = message.info().map_err(|error| broken(&*error))?;
        self.delivered += 1;
        if info.consumer_sequence != self.delivered {
            return Err(broken(&"a message was lost on its way"));
        }
        if self.left == 0 {
            // It came after the scan was opened.
            return Ok(None);
        }
        self.left = (self.left - 1).min(info.pending);
        let (sequence, timestamp) = (info.stream_sequence, milliseconds(info.published));
        let Some((job, child, attempt)) = self.subjects.parse_log(&message.subject) else {
            return Ok(None);
        };
        let offset = message.headers.as_ref().and_then(|headers| headers.get(HEADER_OFFSET));
        let offset = offset.and_then(|value| value.as_str().parse().ok()).unwrap_or(0);
        let of = Attempt { job, child, attempt };
        let data = message.message.payload;
        Ok(Some(Chunk { sequence, timestamp, of, offset, data }))
    }

    /// Whether all was read.
    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }

    /// Takes the reader away; nobody waits for that.
    pub(super) fn close(self) {
        tokio::spawn(async move {
            let name = &self.consumer.cached_info().name;
            if let Err(error) = self.stream.delete_consumer(name).await {
                debug!(%error, "a reader of output is left to the server to forget");
            }
        });
    }
}

/// Where to begin for these times.
pub(super) fn start_at(times: Times) -> DeliverPolicy {
    let nanoseconds = times.start.map(|start| i128::from(start) * 1_000_000);
    let time = nanoseconds.and_then(|at| time::OffsetDateTime::from_unix_timestamp_nanos(at).ok());
    match time {
        Some(start_time) => DeliverPolicy::ByStartTime { start_time },
        None => DeliverPolicy::All,
    }
}

pub(super) fn milliseconds(time: time::OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

fn broken(error: &(impl std::fmt::Display + ?Sized)) -> AwsError {
    warn!(%error, "job output cannot be read");
    AwsError::new(503, "ServiceUnavailableException", "job output cannot be read now")
        .retry_after(1_000)
        .hint("see `windrow doctor`")
}
