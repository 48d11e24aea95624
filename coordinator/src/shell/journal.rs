//! The journal: one JetStream stream, one writer.
//!
//! Each message tells the whole history it follows on, see [`chain`]: JetStream that lost its tail or was
//! restored gives old sequence numbers to new messages, and a number alone proves nothing. Appends
//! name the expected last sequence, so a second writer is refused.

pub mod chain;
pub mod follow;

use std::time::Duration;

use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::stream::{InfoError, Stream};
use async_nats::jetstream::{self, ErrorCode, message::PublishMessage};
use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};
use windrow_common::time::Timestamp;

pub use chain::{Chain, Entry, Group, Position, Sealed};

/// How long one append may go unanswered before the tail is looked at.
const APPEND_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an append is tried. The stream choosing a new leader takes about five seconds, in which
/// nothing can be written and nobody else could do better.
const APPEND_LIMIT: Duration = Duration::from_secs(12);
/// Pause between two tries.
const APPEND_PAUSE: Duration = Duration::from_millis(200);
/// How long a question about the stream may go unanswered.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// What looks lost is looked at once more after this time: a replica that has just become the stream's
/// leader may still be catching up.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another coordinator has written, or leads: this one stands by.
    #[error("another coordinator has taken over: journal message {sequence} is not ours")]
    Fenced { sequence: u64 },
    /// The journal no longer has what this coordinator has read or written: its store was put back
    /// to an older copy, or deleted.
    #[error("the journal was put back: {0}")]
    RolledBack(String),
    /// The journal begins behind the position: a snapshot has what was before.
    #[error("journal messages up to {0} were trimmed")]
    Trimmed(u64),
    /// What is stored is not what was written: never go on by itself.
    #[error("journal is damaged: {0}")]
    Damaged(String),
    /// NATS answers and refuses to store: no space, a limit.
    #[error("the journal cannot be written: {0}")]
    Unwritable(String),
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
    stream: Stream,
    subject: String,
    nonce: u64,
    position: Position,
}

impl Journal {
    /// Opens the stream for a writer with this nonce that has read up to `position`.
    pub fn new(
        context: jetstream::Context,
        stream: Stream,
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
        let tail = follow::tail(&self.stream, self.position).await.map_err(follow::cold)?;
        let mut follower = follow::Follower::new(self.stream.clone());
        while self.position.sequence < tail {
            let (entry, position) = follower.next_within(self.position, tail).await?;
            self.position = position;
            take(position.sequence, entry).await?;
        }
        Ok(())
    }

    /// Appends the groups in as few messages as fit, see [`Position::seal`], waiting for each to be
    /// stored, and says which they are.
    ///
    /// # Errors
    /// [`Error::Fenced`] when somebody else wrote, [`Error::RolledBack`] when the stream has lost what it
    /// had, [`Error::Unwritable`] when it cannot be stored, [`Error::Unavailable`] when that cannot be
    /// known. After any, what was decided did not happen: rebuild from the journal.
    pub async fn append(
        &mut self,
        term: u64,
        at: Timestamp,
        groups: &[Group],
    ) -> Result<Vec<Stored>, Error> {
        let mut stored = Vec::new();
        for message in self.position.seal(self.nonce, term, at, groups) {
            self.store(&message).await?;
            self.position = message.position;
            stored.push(Stored { sequence: self.position.sequence, events: message.events });
        }
        Ok(stored)
    }

    async fn store(&self, sealed: &Sealed) -> Result<(), Error> {
        let next = sealed.position.sequence;
        let end = Instant::now() + APPEND_LIMIT;
        loop {
            let message = PublishMessage::build()
                .payload(sealed.payload.clone())
                .expected_last_sequence(self.position.sequence);
            let sent = self.context.send_publish(self.subject.clone(), message);
            let reason = match timeout(APPEND_TIMEOUT, async { sent.await?.await }).await {
                Ok(Ok(ack)) if ack.sequence == next => return Ok(()),
                Ok(Ok(ack)) => return Err(Error::Fenced { sequence: ack.sequence }),
                Ok(Err(e)) => match refusal(&e) {
                    Some(reason) => return Err(Error::Unwritable(reason)),
                    // The answer to an earlier try may have been lost, which is looked at below.
                    None => e.to_string(),
                },
                Err(_) => format!("no answer within {APPEND_TIMEOUT:?}"),
            };
            warn!(reason, sequence = next, "journal append failed, looking at the tail");
            match self.find(next, &sealed.payload).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(Error::Unavailable(reason)) => warn!(reason, "the tail cannot be looked at"),
                Err(e) => return Err(e),
            }
            if Instant::now() > end {
                return Err(Error::Unwritable(format!("{reason}, for {APPEND_LIMIT:?}")));
            }
            sleep(APPEND_PAUSE).await;
        }
    }

    /// Whether the message is stored. Errors: another is in its place, or what was before is gone.
    async fn find(&self, sequence: u64, payload: &Bytes) -> Result<bool, Error> {
        match follow::tail(&self.stream, self.position).await {
            Ok(last) if last < sequence => return Ok(false),
            Ok(_) => {}
            // Another has recovered the journal, and gone on.
            Err(Error::Trimmed(_)) => return Err(Error::Fenced { sequence }),
            Err(e) => return Err(e),
        }
        match raw(&self.stream, sequence).await? == *payload {
            true => Ok(true),
            false => Err(Error::Fenced { sequence }),
        }
    }

    /// Removes messages that a snapshot up to `sequence` makes needless. The last one stays, as its
    /// chain value ties the snapshot to the journal.
    pub async fn trim(stream: &Stream, sequence: u64) {
        match stream.purge().sequence(sequence).await {
            Ok(purged) => info!(messages = purged.purged, "journal trimmed behind the snapshot"),
            Err(e) => warn!(error = %e, "journal trim failed; the next snapshot tries again"),
        }
    }

    /// Lets the stream go on behind `sequence`, without what it holds: a snapshot has all of it.
    ///
    /// # Errors
    /// It does not.
    pub async fn jump(stream: &Stream, sequence: u64) -> Result<(), Error> {
        let purged = timeout(ASK_TIMEOUT, stream.purge().sequence(sequence + 1)).await;
        purged.map_err(unavailable)?.map_err(unavailable)?;
        let last = info(stream).await?.state.last_sequence;
        match last == sequence {
            true => Ok(()),
            false => Err(Error::Unavailable(format!("it goes on at {last} instead of {sequence}"))),
        }
    }

    /// The stream, for trimming beside the loop.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }
}

/// What the server says when it does not want to store; `None` when it may be of passing nature.
fn refusal(error: &PublishError) -> Option<String> {
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

/// The stream as it is now.
async fn info(stream: &Stream) -> Result<jetstream::stream::Info, Error> {
    let answered = timeout(ASK_TIMEOUT, stream.get_info()).await.map_err(unavailable)?;
    answered.map_err(|e: InfoError| {
        let source = std::error::Error::source(&e).map(ToString::to_string).unwrap_or_default();
        match source.contains("stream not found") || e.to_string().contains("stream not found") {
            true => Error::RolledBack("the stream is gone".to_owned()),
            false => unavailable(e),
        }
    })
}

async fn raw(stream: &Stream, sequence: u64) -> Result<Bytes, Error> {
    let read = timeout(ASK_TIMEOUT, stream.get_raw_message(sequence)).await;
    Ok(read.map_err(unavailable)?.map_err(unavailable)?.payload)
}

fn unavailable(e: impl std::fmt::Display) -> Error {
    Error::Unavailable(e.to_string())
}
