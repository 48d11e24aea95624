//! One consumer of a stream.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::stream::{Message, matches};

/// Where a consumer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the first message that is there.
    First,
    /// With this one.
    At(u64),
}

/// Settings of a consumer.
#[derive(Clone, Debug)]
pub struct ConsumerSpec {
    pub name: String,
    /// Gone with the server's process.
    pub memory: bool,
    /// The subjects it reads; absent: all.
    pub filter: Option<String>,
    pub start: Start,
    /// Messages are delivered again when they are not acknowledged within this time, in milliseconds;
    /// absent: they need no acknowledgement.
    pub ack_wait: Option<u64>,
    /// Most messages delivered and not acknowledged.
    pub max_ack_pending: usize,
}

/// A message on its way to a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub sequence: u64,
    pub subject: String,
    pub payload: Bytes,
    /// How often it was delivered, with this time.
    pub delivered: u32,
    pub message_id: Option<String>,
    /// When it was published, in milliseconds.
    pub at: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Consumer {
    spec: ConsumerSpec,
    next: u64,
    /// Delivered and not acknowledged: when it was, and how often.
    pending: BTreeMap<u64, (u64, u32)>,
}

impl Consumer {
    pub(super) fn new(spec: ConsumerSpec, first: u64) -> Self {
        let next = match spec.start {
            Start::First => first,
            Start::At(sequence) => sequence,
        };
        Self { spec, next, pending: BTreeMap::new() }
    }

    /// Whether both read some of the same subjects.
    pub(super) fn overlaps(&self, other: &ConsumerSpec) -> bool {
        let all = || ">".to_owned();
        let (one, two) = (self.spec.filter.clone(), other.filter.clone());
        overlap(&one.unwrap_or_else(all), &two.unwrap_or_else(all))
    }

    pub(super) fn is_memory(&self) -> bool {
        self.spec.memory
    }

    pub(super) fn redelivery_at(&self) -> Option<u64> {
        let wait = self.spec.ack_wait?;
        self.pending.values().map(|(at, _)| at + wait).min()
    }

    pub(super) fn fetch(
        &mut self,
        messages: &BTreeMap<u64, Message>,
        most: usize,
        now: u64,
    ) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        if let Some(wait) = self.spec.ack_wait {
            self.pending.retain(|sequence, _| messages.contains_key(sequence));
            let due = self.pending.iter_mut().filter(|(_, (at, _))| *at + wait <= now);
            for (sequence, (at, times)) in due.take(most) {
                (*at, *times) = (now, *times + 1);
                deliveries.push(delivery(*sequence, &messages[sequence], *times));
            }
        }
        let wanted = |message: &Message| {
            self.spec.filter.as_ref().is_none_or(|filter| matches(filter, &message.subject))
        };
        for (sequence, message) in messages.range(self.next..) {
            let is_full =
                self.spec.ack_wait.is_some() && self.pending.len() >= self.spec.max_ack_pending;
            if deliveries.len() >= most || is_full {
                break;
            }
            self.next = sequence + 1;
            if wanted(message) {
                if self.spec.ack_wait.is_some() {
                    self.pending.insert(*sequence, (now, 1));
                }
                deliveries.push(delivery(*sequence, message, 1));
            }
        }
        deliveries
    }

    pub(super) fn ack(&mut self, sequence: u64) -> bool {
        self.pending.remove(&sequence).is_some()
    }

    /// A store that was put back has an older state of its consumers too.
    pub(super) fn lose_after(&mut self, last: u64) {
        self.next = self.next.min(last + 1);
        self.pending.retain(|sequence, _| *sequence <= last);
    }
}

fn delivery(sequence: u64, message: &Message, delivered: u32) -> Delivery {
    Delivery {
        sequence,
        subject: message.subject.clone(),
        payload: message.payload.clone(),
        delivered,
        message_id: message.message_id.clone(),
        at: message.at,
    }
}

/// Whether a subject can be one of both patterns.
fn overlap(one: &str, two: &str) -> bool {
    let (mut one, mut two) = (one.split('.'), two.split('.'));
    loop {
        match (one.next(), two.next()) {
            (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
            (Some(_) | None, Some(_) | None) => return false,
        }
    }
}
