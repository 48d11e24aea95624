//! Asks the coordinator over NATS.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Client, Request as NatsRequest};
use bytes::Bytes;
use tokio::time::{Instant, sleep};
use tracing::warn;
use windrow_common::api::ApiError;
use windrow_common::streams::HEADER_ERROR;
use windrow_common::subjects::Subjects;

use crate::error::AwsError;
use crate::operations::{Operation, Repeat};

/// How long a missing coordinator is waited for: about what its restart takes.
const NO_RESPONDER_LIMIT: Duration = Duration::from_secs(3);
/// Pause before asking again when there is no coordinator.
const NO_RESPONDER_PAUSE: Duration = Duration::from_millis(100);
/// How long the first answer is waited for before the request is sent again, if it is safe to repeat;
/// longer each time. A coordinator that starts over drops what it was asked.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);
/// What a client is asked to wait, in milliseconds, when there is no coordinator.
const RETRY_AFTER: u32 = 1_000;

/// Whoever leads.
#[derive(Clone, Debug)]
pub(crate) struct Coordinator {
    nats: Client,
    subjects: Subjects,
    timeout: Duration,
}

impl Coordinator {
    /// Of the cluster with these subjects; `timeout` is for one call, with all that it repeats.
    pub(crate) fn new(nats: Client, subjects: Subjects, timeout: Duration) -> Self {
        Self { nats, subjects, timeout }
    }

    /// Answers what the coordinator answers. What is safe to repeat is sent again until an answer comes.
    /// `is_repeatable`: the client may ask again as well.
    ///
    /// # Errors
    /// It refuses; there is none; it does not answer in time.
    pub(crate) async fn call(
        &self,
        operation: Operation,
        payload: Bytes,
        is_repeatable: bool,
    ) -> Result<Bytes, AwsError> {
        let limit = Instant::now() + self.timeout;
        let subject = self.subjects.api(operation.name);
        // Whether one of them may have been taken.
        let (mut was_sent, mut absent_since, mut patience) = (false, None, FIRST_PATIENCE);
        loop {
            let left = limit.saturating_duration_since(Instant::now());
            let wait = if operation.repeat == Repeat::Never { left } else { left.min(patience) };
            let request = NatsRequest::new().payload(payload.clone()).timeout(Some(wait));
            let error = match self.nats.send_request(subject.clone(), request).await {
                Ok(answer) => return read(&answer),
                Err(error) => error,
            };
            let is_over = Instant::now() >= limit;
            match error.kind() {
                // Nobody took it, so it cannot have had an effect: always safe to send again.
                RequestErrorKind::NoResponders => {
                    let since = *absent_since.get_or_insert_with(Instant::now);
                    if is_over || since.elapsed() >= NO_RESPONDER_LIMIT {
                        return Err(if was_sent {
                            lost(operation, is_repeatable)
                        } else {
                            absent()
                        });
                    }
                    sleep(NO_RESPONDER_PAUSE).await;
                }
                RequestErrorKind::TimedOut if !is_over && operation.repeat != Repeat::Never => {
                    (was_sent, absent_since) = (true, None);
                    patience *= 2;
                }
                RequestErrorKind::MaxPayloadExceeded => {
                    return Err(AwsError::client(format!(
                        "{}: the request is larger than NATS takes",
                        operation.name
                    )));
                }
                RequestErrorKind::TimedOut
                | RequestErrorKind::InvalidSubject
                | RequestErrorKind::Other => {
                    warn!(operation = operation.name, %error, "no answer from the coordinator");
                    return Err(lost(operation, is_repeatable));
                }
            }
        }
    }
}

fn read(answer: &async_nats::Message) -> Result<Bytes, AwsError> {
    let is_error = answer.headers.as_ref().is_some_and(|h| h.get(HEADER_ERROR).is_some());
    if !is_error {
        return Ok(answer.payload.clone());
    }
    match serde_json::from_slice::<ApiError>(&answer.payload) {
        Ok(error) => Err(error.into()),
        Err(error) => {
            warn!(%error, "the coordinator's error cannot be read");
            Err(AwsError::server(500, "the coordinator's error cannot be read"))
        }
    }
}

/// Nothing has happened.
fn absent() -> AwsError {
    AwsError::server(503, "no coordinator answers; nothing has been done")
        .retry_after(RETRY_AFTER)
        .hint("see `windrow doctor`")
}

/// Nobody knows what has happened. An SDK sends again what is answered with a status of 500 or more: so
/// a submission that has no key of its client is answered otherwise, or there would be two jobs.
fn lost(operation: Operation, is_repeatable: bool) -> AwsError {
    let name = operation.name;
    if operation.repeat == Repeat::Key && !is_repeatable {
        let message =
            format!("{name}: no answer in time; the job may have been stored, or will be yet");
        return AwsError::client(message).hint(
            "look with ListJobs before submitting again; with a header Idempotency-Key it is safe to do so",
        );
    }
    AwsError::server(
        503,
        format!("{name}: no answer in time; it may have been done, or will be yet"),
    )
    .retry_after(RETRY_AFTER)
}
