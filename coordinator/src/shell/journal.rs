//! The journal: one JetStream stream, one writer.
//!
//! Each message tells the whole history it follows on, see [`chain`]: JetStream that lost its tail or was
//! restored gives old sequence numbers to new messages, and a number alone proves nothing. Appends
//! name the expected last sequence, so a second writer is refused.

pub mod chain;

use std::time::Duration;

use async_nats::jetstream::{self, context::PublishErrorKind, message::PublishMessage};
use bytes::Bytes;
use futures::StreamExt;
use tracing::{info, warn};
use windrow_common::time::Timestamp;

pub use chain::{Chain, Entry, Group, Position};

/// How long one append may go unanswered before the tail is looked at.
const APPEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a read may bring nothing before it counts as failed.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another coordinator has written. This one must stop at once.
    #[error("another coordinator has taken over: journal message {sequence} is not ours")]
    Fenced { sequence: u64 },
    /// What is stored is not what was written: never go on by itself.
    #[error("journal is damaged: {0}")]
    Damaged(String),
    /// NATS did not do what was asked; rebuild and try again.
    #[error("journal: {0}")]
    Unavailable(String),
}

/// A message that was stored: its sequence, and how many events it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    pub sequence: u64,
    pub events: usize,
}

/// The journal, open for appending.
#[derive(Debug)]
pub struct Journal {
    context: jetstream::Context,
    stream: jetstream::stream::Stream,
    subject: String,
    nonce: u64,
    position: Position,
}

impl Journal {
    /// Opens the stream for a writer with this nonce that has read up to `position`.
    pub fn new(
        context: jetstream::Context,
        stream: jetstream::stream::Stream,
        subject: String,
        nonce: u64,
        position: Position,
    ) -> Self {
        Self { context, stream, subject, nonce, position }
    }

    /// The last message read or written.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Reads every message after the position, checking each against the chain, and hands on its
    /// sequence and entry.
    ///
    /// # Errors
    /// [`Error::Damaged`] when messages are missing, unreadable or not chained, and what `take` gives.
    pub async fn read(
        &mut self,
        mut take: impl AsyncFnMut(u64, Entry) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let info = self.stream.get_info().await.map_err(unavailable)?;
        let last = info.state.last_sequence;
        let known = self.position.sequence;
        if last < known {
            return Err(Error::Damaged(format!(
                "its last message is {last}, the snapshot goes up to {known}: messages {} to {known} are gone",
                last + 1
            )));
        }
        self.verify_position(info.state.first_sequence).await?;
        if last == known {
            return Ok(());
        }
        if info.state.first_sequence > known + 1 {
            return Err(Error::Damaged(format!(
                "messages {} to {} are gone and no snapshot has them",
                known + 1,
                info.state.first_sequence - 1
            )));
        }
        let mut messages = self.messages_from(known + 1).await?;
        while self.position.sequence < last {
            let next = tokio::time::timeout(READ_TIMEOUT, messages.next()).await;
            let message = match next {
                Ok(Some(message)) => message.map_err(unavailable)?,
                Ok(None) | Err(_) => {
                    return Err(Error::Unavailable(format!(
                        "message {} of {last} did not arrive within {READ_TIMEOUT:?}",
                        self.position.sequence + 1
                    )));
                }
            };
            let sequence = message.info().map_err(unavailable)?.stream_sequence;
            take(sequence, self.check(sequence, &message.payload)?).await?;
        }
        Ok(())
    }

    /// The message at the position must be the one the snapshot was made of: a store that was put
    /// back has given its number to another.
    async fn verify_position(&self, first: u64) -> Result<(), Error> {
        let sequence = self.position.sequence;
        if sequence == 0 || sequence < first {
            return Ok(());
        }
        let message = self.stream.get_raw_message(sequence).await.map_err(unavailable)?;
        match self.position.is_of(&message.payload) {
            true => Ok(()),
            false => Err(Error::Damaged(format!(
                "message {sequence} is not the one the snapshot was made of: the store was put back to an older copy"
            ))),
        }
    }

    async fn messages_from(
        &self,
        sequence: u64,
    ) -> Result<jetstream::consumer::pull::Ordered, Error> {
        let config = jetstream::consumer::pull::OrderedConfig {
            deliver_policy: jetstream::consumer::DeliverPolicy::ByStartSequence {
                start_sequence: sequence,
            },
            ..Default::default()
        };
        let consumer = self.stream.create_consumer(config).await.map_err(unavailable)?;
        consumer.messages().await.map_err(unavailable)
    }

    /// Takes the message as the next one.
    fn check(&mut self, sequence: u64, payload: &[u8]) -> Result<Entry, Error> {
        let checked = self.position.check(sequence, payload);
        let (entry, position) = checked.map_err(|e| Error::Damaged(e.to_string()))?;
        self.position = position;
        Ok(entry)
    }

    /// Appends the groups in as few messages as fit, see [`Position::seal`], waiting for each to be
    /// stored, and says which they are.
    ///
    /// # Errors
    /// [`Error::Fenced`] when somebody else wrote; [`Error::Unavailable`] when storing cannot be
    /// confirmed. After either, what was decided did not happen: rebuild from the journal.
    pub async fn append(
        &mut self,
        term: u64,
        at: Timestamp,
        groups: &[Group],
    ) -> Result<Vec<Stored>, Error> {
        let mut stored = Vec::new();
        for message in self.position.seal(self.nonce, term, at, groups) {
            self.store(message.payload, message.position.chain).await?;
            stored.push(Stored { sequence: self.position.sequence, events: message.events });
        }
        Ok(stored)
    }

    async fn store(&mut self, payload: Bytes, chain: Chain) -> Result<(), Error> {
        let next = self.position.sequence + 1;
        loop {
            let message = PublishMessage::build()
                .payload(payload.clone())
                .expected_last_sequence(self.position.sequence);
            let sent = self.context.send_publish(self.subject.clone(), message);
            let acknowledged = tokio::time::timeout(APPEND_TIMEOUT, async { sent.await?.await });
            match acknowledged.await {
                Ok(Ok(ack)) if ack.sequence == next => break,
                Ok(Ok(ack)) => return Err(Error::Fenced { sequence: ack.sequence }),
                Ok(Err(e)) if e.kind() == PublishErrorKind::WrongLastSequence => {
                    // The answer to an earlier try may have been lost.
                    match self.is_stored(next, &payload).await? {
                        true => break,
                        false => return Err(Error::Fenced { sequence: next }),
                    }
                }
                Ok(Err(e)) => {
                    warn!(error = %e, sequence = next, "journal append failed, looking at the tail");
                    if self.is_stored(next, &payload).await? {
                        break;
                    }
                }
                Err(_) => {
                    warn!(sequence = next, "journal append unanswered, looking at the tail");
                    if self.is_stored(next, &payload).await? {
                        break;
                    }
                }
            }
        }
        self.position = Position { sequence: next, chain };
        Ok(())
    }

    /// Whether the message is ours; not there yet is no.
    async fn is_stored(&self, sequence: u64, payload: &Bytes) -> Result<bool, Error> {
        let info = self.stream.get_info().await.map_err(unavailable)?;
        if info.state.last_sequence < sequence {
            return Ok(false);
        }
        let stored = self.stream.get_raw_message(sequence).await.map_err(unavailable)?;
        match stored.payload == *payload {
            true => Ok(true),
            false => Err(Error::Fenced { sequence }),
        }
    }

    /// Removes messages that a snapshot up to `sequence` makes needless. The last one stays, as its
    /// chain value ties the snapshot to the journal.
    pub async fn trim(stream: &jetstream::stream::Stream, sequence: u64) {
        match stream.purge().sequence(sequence).await {
            Ok(purged) => info!(messages = purged.purged, "journal trimmed behind the snapshot"),
            Err(e) => warn!(error = %e, "journal trim failed; the next snapshot tries again"),
        }
    }

    /// The stream, for trimming beside the loop.
    pub fn stream(&self) -> &jetstream::stream::Stream {
        &self.stream
    }
}

fn unavailable(e: impl std::fmt::Display) -> Error {
    Error::Unavailable(e.to_string())
}
