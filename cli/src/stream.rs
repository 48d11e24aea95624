//! An ordered reader of one of the cluster's streams that survives a restart of the server.

use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use futures::StreamExt;

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

/// Reads the messages of a filter in the order of the stream.
pub(crate) struct StreamReader<'a> {
    client: &'a Client,
    stream: String,
    filter: String,
    /// Where to begin, as long as nothing was read.
    start: DeliverPolicy,
    /// Sequence of the last message read.
    last: u64,
    /// Number of the last message among those that the open consumer has sent: they have no gaps.
    delivered: u64,
    messages: Option<pull::Stream>,
}

impl<'a> StreamReader<'a> {
    pub(crate) fn new(
        client: &'a Client,
        stream: String,
        filter: String,
        start: DeliverPolicy,
    ) -> Self {
        Self { client, stream, filter, start, last: 0, delivered: 0, messages: None }
    }

    /// Opens the stream and says how many messages there are to read now.
    pub(crate) async fn pending(&mut self) -> Result<u64> {
        let consumer = self.consumer().await?;
        let pending = consumer.cached_info().num_pending;
        let messages = consumer.stream().heartbeat(HEARTBEAT).expires(EXPIRES).messages().await;
        self.messages = Some(messages.map_err(|e| self.broken(&e))?);
        self.delivered = 0;
        Ok(pending)
    }

    /// The next message, however long it takes, and how many are in the stream behind it. Cancel-safe:
    /// a message is taken whole or not at all.
    pub(crate) async fn next(&mut self) -> Result<(Message, u64)> {
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
                    if let Some(pending) = self.take(&message) {
                        return Ok((message, pending));
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
        let stream = jetstream.get_stream_no_info(&self.stream).await;
        let stream = stream.map_err(|e| self.broken(&e))?;
        let deliver_policy = match self.last {
            0 => self.start,
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
        let Self { stream, filter, .. } = self;
        Failure::unreachable(format!("read `{filter}` from the stream `{stream}`: {error}"))
            .hint("the stream is created by the coordinator: is one running?")
    }

    /// How many messages are behind this one. None for one behind a gap, which is read again, and for
    /// one that was read before.
    fn take(&mut self, message: &Message) -> Option<u64> {
        let info = message.info().ok()?;
        if info.consumer_sequence != self.delivered + 1 {
            self.messages = None;
            return None;
        }
        self.delivered += 1;
        if info.stream_sequence <= self.last {
            return None;
        }
        self.last = info.stream_sequence;
        Some(info.pending)
    }
}
