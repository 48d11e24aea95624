//! Reading the journal: to its end, or along with whoever writes it. Every message is checked.

use std::time::Duration;

use bytes::Bytes;

use super::{Entry, Error, Position, SECOND_LOOK, answered, extent, raw};
use crate::shell::outside::{Clock, Extent, JournalStream, Reader, timeout};

/// How long a read may bring nothing before it counts as failed.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The stream's last sequence, having made sure that what is up to the position is the history that was
/// read: the numbers alone prove nothing.
///
/// # Errors
/// [`Error::RolledBack`] when it is not, [`Error::Trimmed`] when messages after it are gone.
pub async fn tail(stream: &impl JournalStream, position: Position) -> Result<u64, Error> {
    match look(stream, position).await {
        Err(Error::RolledBack(_)) => {
            stream.clock().sleep(SECOND_LOOK).await;
            look(stream, position).await
        }
        known => known,
    }
}

/// The stream's last sequence, whatever history it is of.
///
/// # Errors
/// It cannot be asked.
pub async fn last(stream: &impl JournalStream) -> Result<u64, Error> {
    Ok(extent(stream).await?.last)
}

async fn look(stream: &impl JournalStream, position: Position) -> Result<u64, Error> {
    let (Extent { first, last }, known) = (extent(stream).await?, position.sequence);
    if last < known {
        let what = format!(
            "its last message is {last}, the snapshot goes up to {known}: messages {} to {known} are gone",
            last + 1
        );
        return Err(Error::RolledBack(what));
    }
    if last > known && first > known + 1 {
        return Err(Error::Trimmed(first - 1));
    }
    if known > 0 && known >= first && !position.is_of(&raw(stream, known).await?) {
        return Err(Error::RolledBack(format!(
            "message {known} is not the one the snapshot was made of: the store was put back to an older copy"
        )));
    }
    Ok(last)
}

/// What these mean to somebody who remembers nothing but a snapshot: nothing can be repaired.
pub fn cold(error: Error) -> Error {
    match error {
        Error::RolledBack(what) => Error::Damaged(what),
        Error::Trimmed(upto) => {
            Error::Damaged(format!("messages up to {upto} are gone and no snapshot has them"))
        }
        other @ (Error::Fenced { .. }
        | Error::Damaged(_)
        | Error::Unwritable(_)
        | Error::Unavailable(_)) => other,
    }
}

/// Reads messages in order. Silence is no proof that there are none: whoever follows asks
/// [`Follower::look_behind`] now and then.
pub struct Follower<J: JournalStream> {
    stream: J,
    messages: Option<J::Reader>,
    /// Something came since it was looked behind the silence.
    has_come: bool,
}

impl<J: JournalStream> Follower<J> {
    /// Reads from this stream.
    pub fn new(stream: J) -> Self {
        Self { stream, messages: None, has_come: false }
    }

    /// The message after the position, whenever it comes. May be cancelled.
    ///
    /// # Errors
    /// It is not the next one, or the stream cannot be read.
    pub async fn next(&mut self, position: Position) -> Result<(Entry, Position), Error> {
        loop {
            let (sequence, payload) = self.next_message(position).await?;
            self.has_come = true;
            // When a consumer fails before its first message, the client library makes it anew from the
            // stream's beginning, not from where it was to begin.
            if sequence <= position.sequence {
                self.messages = None;
                continue;
            }
            let checked = position.check(sequence, &payload);
            return checked.map_err(|e| Error::Damaged(e.to_string()));
        }
    }

    async fn next_message(&mut self, position: Position) -> Result<(u64, Bytes), Error> {
        if self.messages.is_none() {
            let reader = || self.stream.read_from(position.sequence + 1);
            self.messages = Some(answered(&self.stream, reader).await?);
        }
        let messages = self.messages.as_mut().expect("made above");
        let next = messages.next().await;
        if next.is_err() {
            self.messages = None;
        }
        next.map_err(Error::Unavailable)
    }

    /// The same for a message that is known to be there, as the stream's last is `last`.
    ///
    /// # Errors
    /// As above, and it does not come in time.
    pub async fn next_within(
        &mut self,
        position: Position,
        last: u64,
    ) -> Result<(Entry, Position), Error> {
        let clock = self.stream.clock().clone();
        match timeout(&clock, READ_TIMEOUT, self.next(position)).await {
            Some(next) => next,
            None => Err(Error::Unavailable(format!(
                "message {} of {last} did not arrive within {READ_TIMEOUT:?}",
                position.sequence + 1
            ))),
        }
    }

    /// If nothing came since the last call: makes sure that there is nothing, and that what was read is
    /// still there. A reader that was silent without reason is made anew.
    ///
    /// # Errors
    /// As [`tail`].
    pub async fn look_behind(&mut self, position: Position) -> Result<(), Error> {
        if !std::mem::take(&mut self.has_come)
            && tail(&self.stream, position).await? > position.sequence
        {
            self.messages = None;
        }
        Ok(())
    }
}
