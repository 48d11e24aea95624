//! One stream.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::consumer::{Consumer, Delivery};
use super::{Demands, NotFound, Purge};

/// Settings of a stream.
#[derive(Clone, Debug)]
pub struct StreamSpec {
    pub name: String,
    /// What it takes, with the wildcards of NATS.
    pub subjects: Vec<String>,
    /// Gone with the server's process.
    pub memory: bool,
    /// A message goes once it is acknowledged.
    pub work_queue: bool,
    /// Most bytes of payload and subject; more are refused.
    pub max_bytes: Option<u64>,
    /// Most messages of one subject; older ones go.
    pub max_per_subject: Option<u64>,
    /// How long message ids are remembered, in milliseconds.
    pub duplicate_window: u64,
    /// Number of its first message.
    pub first_sequence: u64,
}

impl StreamSpec {
    /// A stream on files without limits.
    pub fn file(name: &str, subject: &str) -> Self {
        Self {
            name: name.to_owned(),
            subjects: vec![subject.to_owned()],
            memory: false,
            work_queue: false,
            max_bytes: None,
            max_per_subject: None,
            duplicate_window: 120_000,
            first_sequence: 1,
        }
    }

    /// A stream in memory without limits.
    pub fn memory(name: &str, subject: &str) -> Self {
        Self { memory: true, ..Self::file(name, subject) }
    }

    /// A work queue.
    #[must_use]
    pub fn work_queue(self) -> Self {
        Self { work_queue: true, ..self }
    }
}

/// A message was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    pub sequence: u64,
    /// A message of the same id was there before; this is its number.
    pub duplicate: bool,
}

/// Why a message was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// No stream takes the subject.
    NoStream,
    /// The stream's last message is another one.
    WrongLastSequence,
    /// The stream is full.
    Full,
}

/// What a stream says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    pub first: u64,
    pub last: u64,
    pub messages: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) subject: String,
    pub(super) payload: Bytes,
    pub(super) message_id: Option<String>,
    pub(super) at: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) spec: StreamSpec,
    pub(super) messages: BTreeMap<u64, Message>,
    pub(super) consumers: BTreeMap<String, Consumer>,
    last: u64,
    /// Message ids, with number and time.
    ids: BTreeMap<String, (u64, u64)>,
}

impl Stream {
    pub(super) fn new(spec: StreamSpec) -> Self {
        let last = spec.first_sequence.max(1) - 1;
        let (messages, consumers, ids) = Default::default();
        Self { spec, messages, consumers, last, ids }
    }

    pub(super) fn takes(&self, subject: &str) -> bool {
        self.spec.subjects.iter().any(|pattern| matches(pattern, subject))
    }

    pub(super) fn publish(
        &mut self,
        subject: &str,
        payload: Bytes,
        demands: &Demands,
        now: u64,
    ) -> Result<Ack, PublishError> {
        let window = self.spec.duplicate_window;
        self.ids.retain(|_, (_, at)| now < *at + window);
        if demands.expected_last.is_some_and(|expected| expected != self.last) {
            return Err(PublishError::WrongLastSequence);
        }
        let known = demands.message_id.as_ref().and_then(|id| self.ids.get(id));
        if let Some((sequence, _)) = known {
            return Ok(Ack { sequence: *sequence, duplicate: true });
        }
        if self.spec.max_bytes.is_some_and(|most| self.bytes() + size(subject, &payload) > most) {
            return Err(PublishError::Full);
        }
        self.last += 1;
        if let Some(id) = &demands.message_id {
            self.ids.insert(id.clone(), (self.last, now));
        }
        let message_id = demands.message_id.clone();
        let message = Message { subject: subject.to_owned(), payload, message_id, at: now };
        self.messages.insert(self.last, message);
        self.limit_subject(subject);
        Ok(Ack { sequence: self.last, duplicate: false })
    }

    fn limit_subject(&mut self, subject: &str) {
        let Some(most) = self.spec.max_per_subject else { return };
        let same = self.messages.iter().filter(|(_, message)| message.subject == subject);
        let same: Vec<u64> = same.map(|(sequence, _)| *sequence).collect();
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        for old in &same[..same.len().saturating_sub(most)] {
            self.messages.remove(old);
        }
    }

    fn bytes(&self) -> u64 {
        self.messages.values().map(|message| size(&message.subject, &message.payload)).sum()
    }

    pub(super) fn info(&self) -> Info {
        let first = self.messages.first_key_value().map_or(self.last + 1, |(first, _)| *first);
        let messages = u64::try_from(self.messages.len()).expect("a count");
        Info { first, last: self.last, messages }
    }

    pub(super) fn purge(&mut self, purge: &Purge) -> u64 {
        let before = self.messages.len();
        self.messages.retain(|sequence, message| {
            purge.before.is_some_and(|limit| *sequence >= limit)
                || purge.filter.as_ref().is_some_and(|filter| !matches(filter, &message.subject))
        });
        // Up to a number behind the last one: it goes on from there.
        if let (Some(before), None) = (purge.before, &purge.filter) {
            self.last = self.last.max(before.saturating_sub(1));
        }
        u64::try_from(before - self.messages.len()).expect("a count")
    }

    pub(super) fn fetch(
        &mut self,
        consumer: &str,
        most: usize,
        now: u64,
    ) -> Result<Vec<Delivery>, NotFound> {
        let consumer = self.consumers.get_mut(consumer).ok_or(NotFound)?;
        Ok(consumer.fetch(&self.messages, most, now))
    }

    pub(super) fn ack(&mut self, consumer: &str, sequence: u64) {
        let Some(consumer) = self.consumers.get_mut(consumer) else { return };
        if consumer.ack(sequence) && self.spec.work_queue {
            self.messages.remove(&sequence);
        }
    }

    pub(super) fn restart(&mut self) {
        self.consumers.retain(|_, consumer| !consumer.is_memory());
        // A server that starts takes the ids from the messages that it still has.
        let kept: BTreeMap<u64, Option<String>> =
            self.messages.iter().map(|(s, m)| (*s, m.message_id.clone())).collect();
        self.ids.retain(|id, (sequence, _)| {
            kept.get(sequence).is_some_and(|kept| kept.as_ref() == Some(id))
        });
    }

    pub(super) fn lose_tail(&mut self, count: u64) {
        self.last = self.last.saturating_sub(count);
        self.messages.retain(|sequence, _| *sequence <= self.last);
        self.ids.retain(|_, (sequence, _)| *sequence <= self.last);
        for consumer in self.consumers.values_mut() {
            consumer.lose_after(self.last);
        }
    }
}

fn size(subject: &str, payload: &Bytes) -> u64 {
    u64::try_from(subject.len() + payload.len()).expect("a size")
}

/// Whether a subject is one of a pattern's.
pub(super) fn matches(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(expected), Some(token)) if expected == token => {}
            (Some(_) | None, Some(_) | None) => return false,
        }
    }
}
