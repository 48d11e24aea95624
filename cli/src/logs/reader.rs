//! An ordered reader of the log stream that survives a restart of the server.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use bytes::Bytes;
use futures::StreamExt;
use windrow_common::ids::JobRef;
use windrow_common::streams::{HEADER_DROPPED, HEADER_OFFSET};

use crate::client::Client;
use crate::failure::{Failure, Result};

/// How often a server without messages says that it is there. Twice this without a word, and the
/// stream is opened again: much sooner than the library's own ordered reader would.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long one request for messages stays open.
const EXPIRES: Duration = Duration::from_secs(30);
/// Time after which the server forgets a reader that has gone.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Pause before opening the stream again after it broke.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);
/// How often in a row opening may fail before the reader gives up.
const REOPEN_MAX: u32 = 60;

/// Some output of one attempt.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) child: u32,
    pub(super) attempt: u32,
    /// Of the first byte in the attempt's output.
    pub(super) offset: u64,
    /// Bytes left out just before.
    pub(super) dropped: u64,
    pub(super) data: Bytes,
    /// Messages that are in the stream behind this one.
    pub(super) pending: u64,
}

/// Reads the chunks of a job in the order of the stream.
pub(super) struct Reader<'a> {
    client: &'a Client,
    filter: String,
    /// Sequence of the last message read.
    last: u64,
    /// Number of the last message among those that the open consumer has sent: they have no gaps.
    delivered: u64,
    messages: Option<pull::Stream>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(client: &'a Client, job: JobRef) -> Self {
        Self {
            client,
            filter: client.subjects().log_of(job),
            last: 0,
            delivered: 0,
            messages: None,
        }
    }

    /// Opens the stream and says how many messages there are to read now.
    pub(super) async fn pending(&mut self) -> Result<u64> {
        let consumer = self.consumer().await?;
        let pending = consumer.cached_info().num_pending;
        let messages = consumer.stream().heartbeat(HEARTBEAT).expires(EXPIRES).messages().await;
        self.messages = Some(messages.map_err(|e| self.broken(&e))?);
        self.delivered = 0;
        Ok(pending)
    }

    /// The next chunk, however long it takes. Cancel-safe: a message is taken whole or not at all.
    pub(super) async fn next(&mut self) -> Result<Chunk> {
        let mut failed = 0;
        loop {
            let Some(messages) = &mut self.messages else {
                match self.pending().await {
                    Ok(_) => failed = 0,
                    Err(failure) if failed >= REOPEN_MAX => return Err(failure),
                    Err(_) => {
                        failed += 1;
                        tokio::time::sleep(REOPEN_PAUSE).await;
                    }
                }
                continue;
            };
            match messages.next().await {
                Some(Ok(message)) => {
                    if let Some(chunk) = self.read(message) {
                        return Ok(chunk);
                    }
                }
                // The server went away or lost the consumer: open again behind what was read.
                Some(Err(_)) | None => {
                    self.messages = None;
                    tokio::time::sleep(REOPEN_PAUSE).await;
                }
            }
        }
    }

    async fn consumer(&self) -> Result<Consumer<pull::Config>> {
        let jetstream = self.client.jetstream();
        let stream = jetstream
            .get_stream_no_info(self.client.log_stream())
            .await
            .map_err(|e| self.broken(&e))?;
        let deliver_policy = match self.last {
            0 => DeliverPolicy::All,
            last => DeliverPolicy::ByStartSequence { start_sequence: last + 1 },
        };
        let config = pull::Config {
            filter_subject: self.filter.clone(),
            deliver_policy,
            ack_policy: AckPolicy::None,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: FORGOTTEN_AFTER,
            ..Default::default()
        };
        stream.create_consumer(config).await.map_err(|e| self.broken(&e))
    }

    fn broken(&self, error: &dyn std::error::Error) -> Failure {
        Failure::unreachable(format!("read `{}` from the log stream: {error}", self.filter))
            .hint("the log stream is created by the coordinator: is one running?")
    }

    /// None for a message behind a gap, which is read again, and for one that was read before.
    fn read(&mut self, message: async_nats::jetstream::Message) -> Option<Chunk> {
        let info = message.info().ok()?;
        let (sequence, pending) = (info.stream_sequence, info.pending);
        if info.consumer_sequence != self.delivered + 1 {
            self.messages = None;
            return None;
        }
        self.delivered += 1;
        if sequence <= self.last {
            return None;
        }
        self.last = sequence;
        // What is no output of ours still counts as read.
        let parsed = self.client.subjects().parse_log(&message.subject);
        let (child, attempt) = parsed.map_or((0, 0), |(_, child, attempt)| (child, attempt));
        let number = |name: &str| {
            let value = message.headers.as_ref()?.get(name)?;
            value.as_str().parse::<u64>().ok()
        };
        let offset = number(HEADER_OFFSET).unwrap_or(0);
        let dropped = number(HEADER_DROPPED).unwrap_or(0);
        let data = if parsed.is_some() { message.message.payload } else { Bytes::new() };
        Some(Chunk { child, attempt, offset, dropped, data, pending })
    }
}
