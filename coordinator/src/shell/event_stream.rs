//! Publishes what happened to jobs: a task beside the loop that turns the changes of each journal message
//! into records and stores them in the event stream, in order, without gap and without repeat.
//!
//! Every publish names the sequence that it expects to follow on, so one that is lost takes those
//! behind it with it, and a former coordinator is refused. Any failure ends the task, which makes the
//! coordinator start over: the stream says up to where it has everything, and the journal has the rest.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use async_nats::jetstream::{self, message::PublishMessage};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};
use windrow_common::api::events::CONTENT_TYPE_BATCH;
use windrow_common::subjects::Subjects;
use windrow_common::time::Timestamp;

use super::journal::Error;
use crate::view::changes::{Change, Message, messages};

/// Journal messages whose changes may wait; beyond that the loop waits.
const MAILBOX: usize = 256;
/// Published messages that may be unconfirmed.
const IN_FLIGHT_MAX: usize = 512;
/// Changes from which on the records are written on a thread of their own, as that takes long.
const CHANGES_BLOCKING: usize = 200;
/// How long a stopping coordinator waits for its last records.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// How many messages that are none of ours are looked behind for the last one that is.
const STRANGERS_MAX: u64 = 100;
const MESSAGE_ID: &str = "Nats-Msg-Id";

/// The changes of one journal message.
#[derive(Debug)]
pub struct Told {
    pub sequence: u64,
    pub at: Timestamp,
    pub changes: Vec<Change>,
}

/// The last message in the event stream: the journal message it follows from, and its number among
/// those of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Mark {
    sequence: u64,
    number: u64,
}

impl Mark {
    fn parse(text: &str) -> Option<Self> {
        let (sequence, number) = text.split_once('.')?;
        Some(Self { sequence: sequence.parse().ok()?, number: number.parse().ok()? })
    }
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.sequence, self.number)
    }
}

/// The loop's end of the publisher.
#[derive(Debug)]
pub struct EventStream {
    sender: mpsc::Sender<Told>,
    published: watch::Receiver<u64>,
    /// Journal messages from this one on have records that are not in the stream.
    missing_from: u64,
    /// Records of earlier journal messages would be removed by age at once.
    missing_since: Timestamp,
}

impl EventStream {
    /// Looks up to where the stream has everything, and makes the publisher, which is then to be run.
    ///
    /// `last` is the journal's last message and `now` the time, with `age` how long records are kept.
    ///
    /// # Errors
    /// The stream cannot be read.
    pub async fn open(
        client: Client,
        stream: &Stream,
        subjects: Subjects,
        last: u64,
        (now, age): (Timestamp, Duration),
    ) -> Result<(Self, Publisher), Error> {
        let (mut mark, stream_sequence) = last_mark(stream).await?;
        if mark.sequence > last {
            warn!(mark = %mark, journal = last, "the event stream is of another journal: its records begin anew");
            mark = Mark::default();
        }
        let (sender, told) = mpsc::channel(MAILBOX);
        let (watched, published) = watch::channel(mark.sequence.saturating_sub(1));
        let missing_since = match age.is_zero() {
            true => Timestamp(0),
            false => Timestamp(now.0.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(0))),
        };
        let publisher = Publisher {
            context: jetstream::new(client),
            subjects,
            told,
            published: watched,
            mark,
            stream_sequence,
            in_flight: VecDeque::new(),
        };
        Ok((Self { sender, published, missing_from: mark.sequence, missing_since }, publisher))
    }

    /// Whether a replay has to tell this journal message's changes.
    pub fn is_missing(&self, sequence: u64, at: Timestamp) -> bool {
        sequence >= self.missing_from && at >= self.missing_since
    }

    /// From which journal message on records are missing.
    pub fn missing_from(&self) -> u64 {
        self.missing_from
    }

    /// Hands on the changes of a journal message that is stored. Waits only when very many are before
    /// it.
    ///
    /// # Errors
    /// The publisher has failed.
    pub async fn tell(&self, told: Told) -> Result<(), Error> {
        let failed = |_| Error::Unavailable("the publisher of events has ended".to_owned());
        self.sender.send(told).await.map_err(failed)
    }

    /// Up to which journal message every record is in the stream: no snapshot may go further.
    pub fn published(&self) -> watch::Receiver<u64> {
        self.published.clone()
    }

    /// Waits for the records of all journal messages up to this one.
    pub async fn drain(&mut self, upto: u64) {
        let done = self.published.wait_for(|published| *published >= upto);
        if !matches!(tokio::time::timeout(DRAIN_LIMIT, done).await, Ok(Ok(_))) {
            info!("the last events are left to the next coordinator");
        }
    }
}

/// Up to where the stream has the records of the journal: those of all messages before this one, and
/// perhaps some of its own.
///
/// # Errors
/// The stream cannot be read.
pub async fn published_before(stream: &Stream) -> Result<u64, Error> {
    Ok(last_mark(stream).await?.0.sequence)
}

/// The task's end.
pub struct Publisher {
    context: jetstream::Context,
    subjects: Subjects,
    told: mpsc::Receiver<Told>,
    published: watch::Sender<u64>,
    /// What the stream had at the start.
    mark: Mark,
    /// The stream's last sequence once everything in flight is stored.
    stream_sequence: u64,
    in_flight: VecDeque<InFlight>,
}

/// A message on its way, or the end of a journal message's.
enum InFlight {
    Message(PublishAckFuture),
    End(u64),
}

impl Publisher {
    /// Publishes until the loop's end is dropped.
    ///
    /// # Errors
    /// A message was not stored, or not as the next one.
    pub async fn run(mut self) -> Result<(), async_nats::Error> {
        loop {
            let next = match self.told.try_recv() {
                Ok(told) => Some(told),
                Err(_) if self.in_flight.is_empty() => match self.told.recv().await {
                    Some(told) => Some(told),
                    None => return Ok(()),
                },
                Err(_) => None,
            };
            match next {
                Some(told) => self.tell(told).await?,
                // Nothing new: see to it that what was sent is stored.
                None => self.confirm_oldest().await?,
            }
        }
    }

    async fn tell(
        &mut self,
        Told { sequence, at, changes }: Told,
    ) -> Result<(), async_nats::Error> {
        let cluster = self.subjects.prefix().clone();
        let messages = if changes.len() < CHANGES_BLOCKING {
            messages(&cluster, sequence, at, changes)
        } else {
            tokio::task::spawn_blocking(move || messages(&cluster, sequence, at, changes)).await?
        };
        for (number, message) in (1..).zip(messages) {
            let mark = Mark { sequence, number };
            if mark > self.mark {
                self.send(mark, message).await?;
            }
        }
        self.in_flight.push_back(InFlight::End(sequence));
        Ok(())
    }

    async fn send(&mut self, mark: Mark, message: Message) -> Result<(), async_nats::Error> {
        while self.in_flight.len() >= IN_FLIGHT_MAX {
            self.confirm_oldest().await?;
        }
        let subject = self.subjects.event(&message.queue, message.job);
        let publish = PublishMessage::build()
            .header("Content-Type", CONTENT_TYPE_BATCH)
            .header(MESSAGE_ID, mark.to_string().as_str())
            .expected_last_sequence(self.stream_sequence)
            .payload(message.payload.into());
        let sent = self.context.send_publish(subject, publish).await?;
        self.stream_sequence += 1;
        self.in_flight.push_back(InFlight::Message(sent));
        Ok(())
    }

    async fn confirm_oldest(&mut self) -> Result<(), async_nats::Error> {
        match self.in_flight.pop_front() {
            Some(InFlight::Message(sent)) => {
                sent.await?;
            }
            Some(InFlight::End(sequence)) => {
                self.published.send_replace(sequence);
            }
            None => {}
        }
        Ok(())
    }
}

/// The mark of the last message of ours, and the stream's last sequence.
async fn last_mark(stream: &Stream) -> Result<(Mark, u64), Error> {
    let unavailable = |e: &dyn std::fmt::Display| Error::Unavailable(format!("event stream: {e}"));
    let state = stream.get_info().await.map_err(|e| unavailable(&e))?.state;
    let oldest = state.first_sequence.max(state.last_sequence.saturating_sub(STRANGERS_MAX)).max(1);
    if state.messages > 0 {
        for sequence in (oldest..=state.last_sequence).rev() {
            let message = match stream.get_raw_message(sequence).await {
                Ok(message) => message,
                // Removed by age meanwhile, or by hand: the one before it then.
                Err(e) if e.kind() == RawMessageErrorKind::NoMessageFound => continue,
                // To go on without it would be to tell everything once more.
                Err(e) => return Err(unavailable(&e)),
            };
            let id = message.headers.get(MESSAGE_ID).map(|id| id.as_str().to_owned());
            if let Some(mark) = id.as_deref().and_then(Mark::parse) {
                return Ok((mark, state.last_sequence));
            }
        }
    }
    Ok((Mark::default(), state.last_sequence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_back_and_ordered_as_numbers() {
        let mark = Mark { sequence: 9, number: 12 };
        assert_eq!(Mark::parse(&mark.to_string()), Some(mark));
        assert!(mark < Mark { sequence: 10, number: 1 });
        assert!(mark > Mark { sequence: 9, number: 2 });
        for strange in ["", "9", "9.", "x.1", "9.1.1"] {
            assert_eq!(Mark::parse(strange), None, "{strange}");
        }
    }
}
