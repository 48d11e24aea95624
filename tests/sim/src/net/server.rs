//! What the server does with what reaches it.

use bytes::Bytes;

use super::{Happening, Message, Net, Node};
use crate::bus::{Ack, ConsumerError, ConsumerSpec, Demands, Info, NotFound, PublishError, Purge};
use crate::names;

/// What a node asks of the server.
#[derive(Clone, Debug)]
pub enum Op {
    /// A plain message to whoever listens, and into the stream that takes its subject.
    Publish {
        subject: String,
        reply: Option<String>,
        payload: Bytes,
    },
    /// A message to be stored.
    Store {
        subject: String,
        payload: Bytes,
        demands: Demands,
        token: u64,
    },
    /// From now on the node gets messages of these subjects.
    Subscribe(String),
    Info {
        stream: String,
        token: u64,
    },
    Get {
        stream: String,
        sequence: u64,
        token: u64,
    },
    /// Messages from this one on; answered when there is one.
    Read {
        stream: String,
        from: u64,
        token: u64,
    },
    /// Makes a consumer anew: in place of `instead_of`, and with its subject emptied if asked for.
    MakeConsumer {
        stream: String,
        spec: ConsumerSpec,
        instead_of: Option<String>,
        purge: bool,
        token: u64,
    },
    /// Deliver what this consumer has, as it comes.
    Pull {
        stream: String,
        consumer: String,
    },
    /// No more of it.
    StopPull {
        stream: String,
        consumer: String,
    },
    Ack {
        stream: String,
        consumer: String,
        sequence: u64,
    },
    Purge {
        stream: String,
        before: u64,
    },
    PutObject {
        name: String,
        bytes: Bytes,
        token: u64,
    },
    GetObject {
        name: String,
        token: u64,
    },
    ListObjects {
        token: u64,
    },
    DeleteObject {
        name: String,
    },
    /// Removes the journal's messages before this number, which may be behind the last.
    PurgeJournal {
        before: u64,
        token: u64,
    },
    /// Key-value: what is there.
    Look {
        key: String,
        token: u64,
    },
    /// Key-value: set what is at this revision.
    Set {
        key: String,
        value: Bytes,
        revision: u64,
        token: u64,
    },
}

/// What the server answers.
#[derive(Clone, Debug)]
pub enum Answer {
    Stored(Result<Ack, PublishError>),
    Info(Info),
    Message(Option<Bytes>),
    Messages(Vec<(u64, Bytes)>),
    Done,
    NotFound,
    Object(Option<Bytes>),
    Names(Vec<String>),
    Value(Option<(u64, Bytes)>),
    /// The new revision, if the old one was right.
    Revision(Option<u64>),
    /// Nothing: the node's own patience has ended.
    TimedOut,
}

/// A read that is answered when there is a message.
pub(super) struct PendingRead {
    node: Node,
    epoch: u32,
    stream: String,
    from: u64,
    token: u64,
}

/// Messages of one read.
const READ_MESSAGES: usize = 256;
/// Messages of one delivery.
const PULL_MESSAGES: usize = 64;

impl Op {
    /// Whether it is for JetStream, which answers.
    pub(super) fn is_request(&self) -> bool {
        !matches!(self, Self::Publish { .. } | Self::Subscribe(_))
    }

    fn token(&self) -> Option<u64> {
        match self {
            Self::Store { token, .. }
            | Self::Info { token, .. }
            | Self::Get { token, .. }
            | Self::Read { token, .. }
            | Self::MakeConsumer { token, .. }
            | Self::PutObject { token, .. }
            | Self::GetObject { token, .. }
            | Self::ListObjects { token }
            | Self::PurgeJournal { token, .. }
            | Self::Look { token, .. }
            | Self::Set { token, .. } => Some(*token),
            Self::Publish { .. }
            | Self::Subscribe(_)
            | Self::Pull { .. }
            | Self::StopPull { .. }
            | Self::Ack { .. }
            | Self::Purge { .. }
            | Self::DeleteObject { .. } => None,
        }
    }
}

impl Net {
    /// Carries out what has reached the server.
    pub fn serve(&mut self, from: Node, op: Op) {
        let token = op.token();
        if token.is_some() && self.random.chance(self.weather.refused) {
            return self.inject("request lost");
        }
        let answer = match op {
            Op::Publish { subject, reply, payload } => {
                return self.publish(&subject, reply, payload);
            }
            Op::Subscribe(pattern) => {
                self.links.entry(from).or_default().subscriptions.push(pattern);
                return;
            }
            Op::Pull { stream, consumer } => return self.pull(from, stream, consumer),
            Op::StopPull { stream, consumer } => {
                if let Some(readers) = self.readers.get_mut(&(stream, consumer)) {
                    readers.retain(|(reader, _)| *reader != from);
                }
                return;
            }
            Op::Ack { .. } if self.random.chance(self.weather.refused) => {
                return self.inject("acknowledgement lost");
            }
            Op::Ack { stream, consumer, sequence } => {
                self.bus.ack(&stream, &consumer, sequence);
                return self.feed(&stream);
            }
            Op::Purge { stream, before } => {
                let purge = Purge { before: Some(before), filter: None };
                // Nobody waits for it, and the next one does what this one did not.
                self.bus.purge(&stream, &purge).ok();
                return;
            }
            Op::DeleteObject { name } => return self.bus.delete_object(names::SNAPSHOTS, &name),
            Op::Store { subject, payload, demands, .. } => {
                Answer::Stored(self.store(&subject, payload, &demands))
            }
            Op::Info { stream, .. } => {
                self.bus.info(&stream).map_or(Answer::NotFound, Answer::Info)
            }
            Op::Get { stream, sequence, .. } => {
                Answer::Message(self.bus.message(&stream, sequence).ok().map(|(_, p)| p))
            }
            Op::Read { stream, from: first, token } => {
                let epoch = self.epoch(from);
                let read = PendingRead { node: from, epoch, stream, from: first, token };
                self.reads.push(read);
                return self.answer_reads();
            }
            Op::MakeConsumer { stream, spec, instead_of, purge, .. } => {
                self.make_consumer(&stream, spec, instead_of, purge)
            }
            Op::PutObject { name, bytes, .. } => self.put_object(&name, bytes),
            Op::GetObject { name, .. } => Answer::Object(self.bus.object(names::SNAPSHOTS, &name)),
            Op::ListObjects { .. } => Answer::Names(self.bus.objects(names::SNAPSHOTS)),
            Op::PurgeJournal { before, .. } => self.purge_journal(before),
            Op::Look { key, .. } => Answer::Value(self.bus.kv_get(names::LEADER, &key)),
            Op::Set { key, value, revision, .. } => {
                Answer::Revision(self.bus.kv_update(names::LEADER, &key, value, revision).ok())
            }
        };
        let Some(token) = token else { return };
        if self.random.chance(self.weather.unanswered) {
            return self.inject("answer lost");
        }
        self.deliver(from, Message::Answer { token, answer });
    }

    fn store(
        &mut self,
        subject: &str,
        payload: Bytes,
        demands: &Demands,
    ) -> Result<Ack, PublishError> {
        let stored = self.bus.publish(subject, payload.clone(), demands, self.now);
        if let Ok(ack) = stored {
            if subject == names::JOURNAL_SUBJECT {
                self.oracle.on_journal(self.now, ack.sequence, &payload);
                self.answer_reads();
            }
            self.feed_subject(subject);
        }
        stored
    }

    fn put_object(&mut self, name: &str, bytes: Bytes) -> Answer {
        self.oracle.on_snapshot(&bytes);
        self.bus.put_object(names::SNAPSHOTS, name, bytes);
        Answer::Done
    }

    fn purge_journal(&mut self, before: u64) -> Answer {
        let Ok(info) = self.bus.info(names::JOURNAL) else { return Answer::NotFound };
        if before > info.last + 1 {
            let name = format!("{:020}", before - 1);
            let snapshot = self.bus.object(names::SNAPSHOTS, &name);
            self.oracle.on_jump(self.now, before - 1, snapshot.as_deref());
            self.inject("journal healed from memory");
        }
        let purge = Purge { before: Some(before), filter: None };
        self.bus.purge(names::JOURNAL, &purge).map_or(Answer::NotFound, |_| Answer::Done)
    }

    /// Answers those who read, if there is something for them.
    fn answer_reads(&mut self) {
        for read in std::mem::take(&mut self.reads) {
            let PendingRead { node, epoch, stream, from, token } = read;
            if !self.is_current(node, epoch) {
                continue;
            }
            match self.bus.read(&stream, from, READ_MESSAGES) {
                Ok(messages) if messages.is_empty() => {
                    self.reads.push(PendingRead { node, epoch, stream, from, token });
                }
                Ok(_) if self.random.chance(self.weather.unanswered) => self.inject("answer lost"),
                Ok(messages) => {
                    let answer = Answer::Messages(messages);
                    self.deliver(node, Message::Answer { token, answer });
                }
                Err(_) => self.deliver(node, Message::Answer { token, answer: Answer::NotFound }),
            }
        }
    }

    fn publish(&mut self, subject: &str, reply: Option<String>, payload: Bytes) {
        // A stream that takes the subject stores it; nobody waits for its answer.
        if self.bus.publish(subject, payload.clone(), &Demands::default(), self.now).is_ok() {
            return self.feed_subject(subject);
        }
        let listens = |link: &&super::Link| {
            link.subscriptions.iter().any(|pattern| crate::bus::is_match(pattern, subject))
        };
        let heard = self.links.iter().filter(|(_, link)| listens(link)).map(|(node, _)| *node);
        let to: Vec<Node> = heard.collect();
        for node in to {
            let message = Message::Plain {
                subject: subject.to_owned(),
                reply: reply.clone(),
                payload: payload.clone(),
            };
            if self.random.chance(self.weather.lost) {
                self.inject("message lost");
                continue;
            }
            if self.random.chance(self.weather.doubled) {
                self.inject("message doubled");
                self.deliver(node, message.clone());
            }
            self.deliver(node, message);
        }
    }

    fn make_consumer(
        &mut self,
        stream: &str,
        spec: ConsumerSpec,
        instead_of: Option<String>,
        purge: bool,
    ) -> Answer {
        if let Some(old) = instead_of {
            // It may have expired by itself.
            self.delete_consumer(stream, &old).ok();
        }
        if purge {
            let purge = Purge { before: None, filter: spec.filter.clone() };
            self.bus.purge(stream, &purge).ok();
        }
        let mut created = self.bus.create_consumer(stream, spec.clone());
        if created == Err(ConsumerError::InTheWay) {
            for old in self.bus.in_the_way(stream, &spec) {
                self.delete_consumer(stream, &old).ok();
            }
            created = self.bus.create_consumer(stream, spec);
        }
        created.map_or(Answer::NotFound, |()| Answer::Done)
    }

    /// Removes a consumer; its readers are told.
    ///
    /// # Errors
    /// It is not there.
    pub fn delete_consumer(&mut self, stream: &str, consumer: &str) -> Result<(), NotFound> {
        let readers = self.readers.remove(&(stream.to_owned(), consumer.to_owned()));
        for (reader, epoch) in readers.into_iter().flatten() {
            if self.is_current(reader, epoch) {
                self.deliver(reader, Message::PullEnded { consumer: consumer.to_owned() });
            }
        }
        self.bus.delete_consumer(stream, consumer)
    }

    fn pull(&mut self, from: Node, stream: String, consumer: String) {
        if self.bus.fetch(&stream, &consumer, 0, self.now).is_err() {
            return self.deliver(from, Message::PullEnded { consumer });
        }
        let epoch = self.epoch(from);
        let readers = self.readers.entry((stream.clone(), consumer)).or_default();
        // A pull of its own before is one of a former connection, or the same.
        readers.retain(|(reader, _)| *reader != from);
        readers.push_back((from, epoch));
        self.feed(&stream);
    }

    fn feed_subject(&mut self, subject: &str) {
        if let Some(stream) = self.bus.stream_of(subject) {
            self.feed(&stream);
        }
    }

    /// Delivers what a stream has to whoever reads it.
    pub fn feed(&mut self, stream: &str) {
        let of_it = self.readers.keys().filter(|(name, _)| name == stream);
        let consumers: Vec<_> = of_it.map(|(_, consumer)| consumer.clone()).collect();
        for consumer in consumers {
            // What is delivered to a reader that cannot hear is pending, as the server believes it sent.
            while let Some(node) = self.next_reader(stream, &consumer) {
                let fetched = self.bus.fetch(stream, &consumer, PULL_MESSAGES, self.now);
                let deliveries = fetched.unwrap_or_default();
                if deliveries.is_empty() {
                    break;
                }
                let message = Message::Delivered { consumer: consumer.clone(), deliveries };
                // Where acknowledgements are awaited, what was delivered may come again.
                let is_awaited = self.bus.redelivery_at(stream, &consumer).is_some();
                if is_awaited && self.random.chance(self.weather.doubled) {
                    self.inject("delivered twice");
                    self.deliver(node, message.clone());
                }
                self.deliver(node, message);
                // Readers of one consumer share its messages.
                let key = (stream.to_owned(), consumer.clone());
                self.readers.entry(key).or_default().rotate_left(1);
            }
            // Without a reader there is nothing to plan: the next one that pulls looks again.
            if self.next_reader(stream, &consumer).is_some()
                && let Some(at) = self.bus.redelivery_at(stream, &consumer)
            {
                self.redeliver_at(stream, &consumer, at);
            }
        }
    }

    /// Whose turn it is.
    fn next_reader(&mut self, stream: &str, consumer: &str) -> Option<Node> {
        let (links, key) = (&self.links, (stream.to_owned(), consumer.to_owned()));
        let readers = self.readers.get_mut(&key)?;
        readers.retain(|(node, epoch)| links.get(node).is_some_and(|link| link.epoch == *epoch));
        readers.front().map(|(node, _)| *node)
    }

    fn redeliver_at(&mut self, stream: &str, consumer: &str, at: u64) {
        let key = (stream.to_owned(), consumer.to_owned());
        if self.redeliveries.get(&key).is_none_or(|planned| *planned <= self.now) {
            self.redeliveries.insert(key, at);
            let (stream, consumer) = (stream.to_owned(), consumer.to_owned());
            self.after(
                (at + 1).saturating_sub(self.now),
                Happening::Redeliver { stream, consumer },
            );
        }
    }

    /// Looks again for messages that were not acknowledged.
    pub fn redeliver(&mut self, stream: &str, consumer: &str) {
        self.redeliveries.remove(&(stream.to_owned(), consumer.to_owned()));
        self.feed(stream);
    }
}
