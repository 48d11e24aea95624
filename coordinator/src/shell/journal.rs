//! The journal: one JetStream stream, one writer.
//!
//! Each message tells the whole history it follows on, see [`chain`]: JetStream that lost its tail or was
//! restored gives old sequence numbers to new messages, and a number alone proves nothing. Appends
//! name the expected last sequence, so a second writer is refused.

pub mod chain;
pub mod follow;

use std::time::Duration;

use bytes::Bytes;
use tracing::{info, warn};
use windrow_common::time::Timestamp;

use super::leadership::Leadership;
use super::outside::{AppendError, Clock, Extent, JournalStream, timeout};

pub use chain::{Chain, Entry, Group, Position, Sealed};

/// How long one append may go unanswered before the tail is looked at.
const APPEND_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an append is tried. The stream choosing a new leader takes about five seconds, in which
/// nothing can be written and nobody else could do better.
const APPEND_LIMIT: Duration = Duration::from_secs(12);
/// Pause between two tries.
const APPEND_PAUSE: Duration = Duration::from_millis(200);
/// How long a question about the stream may go unanswered before it is asked again: shorter than any
/// lease, as a standby that waits for a lost answer says nothing, and is passed over.
const ASK_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How long it is asked.
const ASK_LIMIT: Duration = Duration::from_secs(5);
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
pub struct Journal<J: JournalStream> {
    stream: J,
    nonce: u64,
    /// Whoever does not lead any more stores nothing.
    leadership: Option<Leadership<J::Clock>>,
    position: Position,
    appended_bytes: u64,
}

impl<J: JournalStream> Journal<J> {
    /// Opens the stream for a writer with this nonce that has read up to `position`.
    pub fn new(stream: J, nonce: u64, position: Position) -> Self {
        Self { stream, nonce, leadership: None, position, appended_bytes: 0 }
    }

    /// The same, for as long as it is certain that this process leads. The expected last sequence alone
    /// does not do: a store that was put back to just before a message takes it, although another has
    /// led meanwhile, written there and acted upon it.
    #[must_use]
    pub fn led_by(self, leadership: Leadership<J::Clock>) -> Self {
        Self { leadership: Some(leadership), ..self }
    }

    /// How much this writer has appended.
    pub fn appended_bytes(&self) -> u64 {
        self.appended_bytes
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
            self.appended_bytes += message.payload.len() as u64;
            stored.push(Stored { sequence: self.position.sequence, events: message.events });
        }
        Ok(stored)
    }

    async fn store(&self, sealed: &Sealed) -> Result<(), Error> {
        let next = sealed.position.sequence;
        let clock = self.stream.clock();
        let end = clock.elapsed() + APPEND_LIMIT;
        loop {
            if let Some(leadership) = &self.leadership {
                leadership.make_certain(self.position).await?;
            }
            let sent = self.stream.append(sealed.payload.clone(), self.position.sequence);
            let reason = match timeout(clock, APPEND_TIMEOUT, sent).await {
                Some(Ok(sequence)) if sequence == next => return Ok(()),
                Some(Ok(sequence)) => return Err(Error::Fenced { sequence }),
                Some(Err(AppendError::Refused(reason))) => return Err(Error::Unwritable(reason)),
                // The answer to an earlier try may have been lost, which is looked at below.
                Some(Err(AppendError::Failed(reason))) => reason,
                None => format!("no answer within {APPEND_TIMEOUT:?}"),
            };
            warn!(reason, sequence = next, "journal append failed, looking at the tail");
            match self.find(next, &sealed.payload).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(Error::Unavailable(reason)) => warn!(reason, "the tail cannot be looked at"),
                Err(e) => return Err(e),
            }
            if clock.elapsed() > end {
                return Err(Error::Unwritable(format!("{reason}, for {APPEND_LIMIT:?}")));
            }
            clock.sleep(APPEND_PAUSE).await;
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

    /// The stream, for what goes on beside the loop.
    pub fn stream(&self) -> &J {
        &self.stream
    }
}

/// Removes messages that a snapshot up to `sequence` makes needless. The last one stays, as its
/// chain value ties the snapshot to the journal.
pub async fn trim(stream: &impl JournalStream, sequence: u64) {
    match stream.purge_before(sequence).await {
        Ok(messages) => info!(messages, "journal trimmed behind the snapshot"),
        Err(e) => warn!(error = e, "journal trim failed; the next snapshot tries again"),
    }
}

/// Lets the stream go on behind `sequence`, without what it holds: a snapshot has all of it.
///
/// # Errors
/// It does not.
pub async fn jump(stream: &impl JournalStream, sequence: u64) -> Result<(), Error> {
    answered(stream, || stream.purge_before(sequence + 1)).await?;
    let last = extent(stream).await?.last;
    match last == sequence {
        true => Ok(()),
        false => Err(Error::Unavailable(format!("it goes on at {last} instead of {sequence}"))),
    }
}

/// The stream as it is now.
async fn extent(stream: &impl JournalStream) -> Result<Extent, Error> {
    let extent = answered(stream, || stream.extent()).await?;
    extent.ok_or_else(|| Error::RolledBack("the stream is gone".to_owned()))
}

async fn raw(stream: &impl JournalStream, sequence: u64) -> Result<Bytes, Error> {
    answered(stream, || stream.message(sequence)).await
}

/// The answer to a question about the stream, which may be asked again.
async fn answered<T, A>(stream: &impl JournalStream, ask: impl Fn() -> A) -> Result<T, Error>
where
    A: Future<Output = Result<T, String>>,
{
    let clock = stream.clock();
    let end = clock.elapsed() + ASK_LIMIT;
    while clock.elapsed() < end {
        let within = ASK_TIMEOUT.min(end - clock.elapsed());
        if let Some(answer) = timeout(clock, within, ask()).await {
            return answer.map_err(Error::Unavailable);
        }
    }
    Err(Error::Unavailable(format!("no answer within {ASK_LIMIT:?}")))
}
