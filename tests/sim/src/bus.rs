//! A model of a NATS server with JetStream, as far as Windrow uses it. One that is held to the real
//! server: `tests/contract` has properties that both must have.
//!
//! It knows no network. What is called happens at once; delays, losses and partitions are made by
//! [`crate::net`] around it.

mod consumer;
mod stream;

use std::collections::BTreeMap;

use bytes::Bytes;

pub use consumer::{ConsumerSpec, Delivery, Start};
pub use stream::{Ack, Info, PublishError, StreamSpec};

use consumer::Consumer;
use stream::Stream;

/// Whether a subject is one of a pattern's.
pub fn is_match(pattern: &str, subject: &str) -> bool {
    stream::matches(pattern, subject)
}

/// What a publisher demands.
#[derive(Clone, Debug, Default)]
pub struct Demands {
    /// The stream's last message must be this one.
    pub expected_last: Option<u64>,
    /// A message of this id is stored once within the stream's duplicate window.
    pub message_id: Option<String>,
}

/// What a purge removes.
#[derive(Clone, Debug, Default)]
pub struct Purge {
    /// Messages before this one only.
    pub before: Option<u64>,
    /// Messages of these subjects only.
    pub filter: Option<String>,
}

/// Why a key's value was not set: it is at another revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongRevision;

/// Something that was asked of a stream or consumer that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotFound;

/// Why a consumer was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumerError {
    NoStream,
    /// Another consumer of the work queue reads some of the same subjects.
    InTheWay,
}

/// The server.
#[derive(Clone, Debug, Default)]
pub struct Bus {
    streams: BTreeMap<String, Stream>,
    buckets: BTreeMap<String, Bucket>,
    objects: BTreeMap<String, BTreeMap<String, Bytes>>,
}

/// A key-value bucket in memory.
#[derive(Clone, Debug, Default)]
struct Bucket {
    values: BTreeMap<String, (u64, Option<Bytes>)>,
    revision: u64,
}

impl Bus {
    /// Makes a stream unless it is there.
    pub fn create_stream(&mut self, spec: StreamSpec) {
        self.streams.entry(spec.name.clone()).or_insert_with(|| Stream::new(spec));
    }

    /// Removes a stream with its consumers.
    pub fn delete_stream(&mut self, name: &str) -> Result<(), NotFound> {
        self.streams.remove(name).map(drop).ok_or(NotFound)
    }

    /// Stores a message in the stream that takes its subject.
    pub fn publish(
        &mut self,
        subject: &str,
        payload: Bytes,
        demands: &Demands,
        now: u64,
    ) -> Result<Ack, PublishError> {
        let stream = self.streams.values_mut().find(|stream| stream.takes(subject));
        stream.ok_or(PublishError::NoStream)?.publish(subject, payload, demands, now)
    }

    /// The stream that takes a subject.
    pub fn stream_of(&self, subject: &str) -> Option<String> {
        let found = self.streams.iter().find(|(_, stream)| stream.takes(subject));
        found.map(|(name, _)| name.clone())
    }

    /// What a stream says of itself.
    pub fn info(&self, stream: &str) -> Result<Info, NotFound> {
        self.streams.get(stream).map(Stream::info).ok_or(NotFound)
    }

    /// A stream's message.
    pub fn message(&self, stream: &str, sequence: u64) -> Result<(String, Bytes), NotFound> {
        let stream = self.streams.get(stream).ok_or(NotFound)?;
        let message = stream.messages.get(&sequence).ok_or(NotFound)?;
        Ok((message.subject.clone(), message.payload.clone()))
    }

    /// Messages from `from` on, at most `most`: an ordered reader.
    pub fn read(
        &self,
        stream: &str,
        from: u64,
        most: usize,
    ) -> Result<Vec<(u64, Bytes)>, NotFound> {
        let stream = self.streams.get(stream).ok_or(NotFound)?;
        let messages = stream.messages.range(from..).take(most);
        Ok(messages.map(|(sequence, message)| (*sequence, message.payload.clone())).collect())
    }

    /// Removes messages; how many.
    pub fn purge(&mut self, stream: &str, purge: &Purge) -> Result<u64, NotFound> {
        Ok(self.streams.get_mut(stream).ok_or(NotFound)?.purge(purge))
    }

    /// Makes a consumer unless it is there.
    pub fn create_consumer(
        &mut self,
        stream: &str,
        spec: ConsumerSpec,
    ) -> Result<(), ConsumerError> {
        let stream = self.streams.get_mut(stream).ok_or(ConsumerError::NoStream)?;
        if stream.consumers.contains_key(&spec.name) {
            return Ok(());
        }
        if stream.spec.work_queue && stream.consumers.values().any(|other| other.overlaps(&spec)) {
            return Err(ConsumerError::InTheWay);
        }
        let first = stream.info().first;
        stream.consumers.insert(spec.name.clone(), Consumer::new(spec, first));
        Ok(())
    }

    /// Consumers of a stream that read some of the subjects that this one would.
    pub fn in_the_way(&self, stream: &str, spec: &ConsumerSpec) -> Vec<String> {
        let Some(stream) = self.streams.get(stream) else { return Vec::new() };
        let others = stream.consumers.iter().filter(|(_, other)| other.overlaps(spec));
        others.map(|(name, _)| name.clone()).collect()
    }

    /// Removes a consumer.
    pub fn delete_consumer(&mut self, stream: &str, consumer: &str) -> Result<(), NotFound> {
        let stream = self.streams.get_mut(stream).ok_or(NotFound)?;
        stream.consumers.remove(consumer).map(drop).ok_or(NotFound)
    }

    /// What the consumer has to deliver now, at most so many messages.
    pub fn fetch(
        &mut self,
        stream: &str,
        consumer: &str,
        most: usize,
        now: u64,
    ) -> Result<Vec<Delivery>, NotFound> {
        self.streams.get_mut(stream).ok_or(NotFound)?.fetch(consumer, most, now)
    }

    /// When a message that was delivered is due to be delivered again.
    pub fn redelivery_at(&self, stream: &str, consumer: &str) -> Option<u64> {
        self.streams.get(stream)?.consumers.get(consumer)?.redelivery_at()
    }

    /// Acknowledges a delivered message; one that is not awaited changes nothing.
    pub fn ack(&mut self, stream: &str, consumer: &str, sequence: u64) {
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.ack(consumer, sequence);
        }
    }

    /// A key's value and revision.
    pub fn kv_get(&self, bucket: &str, key: &str) -> Option<(u64, Bytes)> {
        let (revision, value) = self.buckets.get(bucket)?.values.get(key)?;
        Some((*revision, value.clone()?))
    }

    /// Sets a key that is at this revision; 0: that has no value.
    pub fn kv_update(
        &mut self,
        bucket: &str,
        key: &str,
        value: Bytes,
        revision: u64,
    ) -> Result<u64, WrongRevision> {
        let bucket = self.buckets.entry(bucket.to_owned()).or_default();
        let at = match bucket.values.get(key) {
            Some((at, Some(_))) => *at,
            // A deleted key can be created, or updated at the revision of its deletion.
            Some((at, None)) if revision == *at => revision,
            Some((_, None)) | None => 0,
        };
        if at != revision {
            return Err(WrongRevision);
        }
        bucket.revision += 1;
        bucket.values.insert(key.to_owned(), (bucket.revision, Some(value)));
        Ok(bucket.revision)
    }

    /// Deletes a key.
    pub fn kv_delete(&mut self, bucket: &str, key: &str) {
        let bucket = self.buckets.entry(bucket.to_owned()).or_default();
        bucket.revision += 1;
        bucket.values.insert(key.to_owned(), (bucket.revision, None));
    }

    /// Stores an object.
    pub fn put_object(&mut self, bucket: &str, name: &str, bytes: Bytes) {
        self.objects.entry(bucket.to_owned()).or_default().insert(name.to_owned(), bytes);
    }

    /// An object.
    pub fn object(&self, bucket: &str, name: &str) -> Option<Bytes> {
        self.objects.get(bucket)?.get(name).cloned()
    }

    /// Names of all objects, in order.
    pub fn objects(&self, bucket: &str) -> Vec<String> {
        self.objects.get(bucket).map(|all| all.keys().cloned().collect()).unwrap_or_default()
    }

    /// Removes an object.
    pub fn delete_object(&mut self, bucket: &str, name: &str) {
        if let Some(objects) = self.objects.get_mut(bucket) {
            objects.remove(name);
        }
    }

    /// The server is killed and started again: what was in memory is gone.
    pub fn restart(&mut self) {
        self.streams.retain(|_, stream| !stream.spec.memory);
        self.buckets.clear();
        for stream in self.streams.values_mut() {
            stream.restart();
        }
    }

    /// A file stream loses its last messages, as a store that is put back does; their numbers are given
    /// again.
    pub fn lose_tail(&mut self, stream: &str, count: u64) {
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.lose_tail(count);
        }
    }
}
