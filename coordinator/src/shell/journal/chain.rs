//! The form of a journal message, and how each is tied to all before it. Pure: the stream is in the
//! module above.
//!
//! A message is the 32-byte chain value and the entry in MessagePack. The chain value is the SHA-256
//! of the chain value before it and the entry, so a message tells the whole history it follows on.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use windrow_common::streams::MESSAGE_BYTES_MAX;
use windrow_common::time::Timestamp;

use crate::core::event::Event;

/// Version of [`Entry`]; a reader refuses higher ones.
pub const VERSION: u16 = 1;

/// The value that chains a message to all before it.
pub type Chain = [u8; 32];

/// Entries decided together that must be stored together.
pub type Group = Vec<Event>;

/// One journal message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub version: u16,
    /// The writer's term.
    pub term: u64,
    /// Chosen by each writer at its start.
    pub nonce: u64,
    pub at: Timestamp,
    pub events: Vec<Event>,
}

/// A position in the journal: the last message taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub sequence: u64,
    pub chain: Chain,
}

/// What is wrong with a message, in words that go after `message N`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message {sequence} {what}")]
pub struct Broken {
    pub sequence: u64,
    pub what: String,
}

/// A message ready to be stored as the one after the position it was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    pub payload: Bytes,
    /// Where the journal is with it.
    pub position: Position,
    /// How many events it holds.
    pub events: usize,
}

impl Position {
    /// Whether this message is the one at the position.
    pub fn is_of(&self, payload: &[u8]) -> bool {
        payload.starts_with(&self.chain)
    }

    /// Takes the message as the next one.
    ///
    /// # Errors
    /// It is not the next one, does not follow on the one before it, or cannot be read.
    pub fn check(&self, sequence: u64, payload: &[u8]) -> Result<(Entry, Self), Broken> {
        let broken = |what: String| Broken { sequence, what };
        if sequence != self.sequence + 1 {
            return Err(broken(format!("follows on message {}", self.sequence)));
        }
        let (chain, body) =
            payload.split_first_chunk::<32>().ok_or_else(|| broken("is too short".to_owned()))?;
        if *chain != next_chain(&self.chain, body) {
            return Err(broken("does not follow on the one before it".to_owned()));
        }
        let entry: Entry =
            rmp_serde::from_slice(body).map_err(|e| broken(format!("is unreadable: {e}")))?;
        if entry.version > VERSION {
            return Err(broken(format!(
                "has version {}, this program reads up to {VERSION}: use a newer one",
                entry.version
            )));
        }
        Ok((entry, Self { sequence, chain: *chain }))
    }

    /// Makes the groups into as few messages as fit, to be stored one after the other from here on. A
    /// group is split only when it alone is too large for a message: groups that must not be split are
    /// kept small by the limits on requests.
    pub fn seal(&self, nonce: u64, term: u64, at: Timestamp, groups: &[Group]) -> Vec<Sealed> {
        let mut sealed = Vec::new();
        let mut position = *self;
        position.seal_onto(&mut sealed, (nonce, term, at), groups);
        sealed
    }

    fn seal_onto(&mut self, sealed: &mut Vec<Sealed>, by: (u64, u64, Timestamp), groups: &[Group]) {
        let (nonce, term, at) = by;
        let events = groups.iter().flatten().cloned().collect();
        let entry = Entry { version: VERSION, term, nonce, at, events };
        let body = rmp_serde::to_vec(&entry).expect("events have a MessagePack form");
        if body.len() > MESSAGE_BYTES_MAX {
            if groups.len() > 1 {
                let (first, second) = groups.split_at(groups.len() / 2);
                self.seal_onto(sealed, by, first);
                return self.seal_onto(sealed, by, second);
            }
            if entry.events.len() > 1 {
                let (first, second) = entry.events.split_at(entry.events.len() / 2);
                return self.seal_onto(sealed, by, &[first.to_vec(), second.to_vec()]);
            }
        }
        let chain = next_chain(&self.chain, &body);
        let mut payload = Vec::with_capacity(32 + body.len());
        payload.extend_from_slice(&chain);
        payload.extend_from_slice(&body);
        *self = Self { sequence: self.sequence + 1, chain };
        let events = entry.events.len();
        sealed.push(Sealed { payload: payload.into(), position: *self, events });
    }
}

fn next_chain(before: &Chain, body: &[u8]) -> Chain {
    Sha256::new().chain_update(before).chain_update(body).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(term: u64) -> Group {
        vec![Event::TermStarted { term }]
    }

    fn seal(from: Position, groups: &[Group]) -> Vec<Sealed> {
        from.seal(7, 1, Timestamp(5), groups)
    }

    #[test]
    fn what_is_sealed_is_read_back_in_order_and_only_there() {
        let start = Position::default();
        let first = &seal(start, &[term(1), term(2)])[0];
        let second = &seal(first.position, &[term(3)])[0];
        let (entry, position) = start.check(1, &first.payload).unwrap();
        assert_eq!((entry.events.len(), position), (2, first.position));
        assert!(position.is_of(&first.payload) && !position.is_of(&second.payload));
        assert_eq!(position.check(2, &second.payload).unwrap().1, second.position);

        let told = |result: Result<(Entry, Position), Broken>| result.unwrap_err().to_string();
        let skipped = told(start.check(2, &second.payload));
        assert!(skipped.contains("message 2 follows on message 0"), "{skipped}");
        let replaced = told(start.check(1, &second.payload));
        assert!(replaced.contains("does not follow on"), "{replaced}");
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let sealed = &seal(Position::default(), &[term(1)])[0];
        for bit in 0..sealed.payload.len() * 8 {
            let mut flipped = sealed.payload.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Position::default().check(1, &flipped).is_err(), "bit {bit}");
        }
        for length in 0..sealed.payload.len() {
            assert!(Position::default().check(1, &sealed.payload[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn what_does_not_fit_one_message_becomes_several_in_order() {
        let long = 1 << 60;
        let events: Group = (long..long + 60_000).map(|term| Event::TermStarted { term }).collect();
        let groups: Vec<Group> = vec![events.clone(), term(1), events];
        let sealed = seal(Position::default(), &groups);
        assert!(sealed.len() > 2);
        let mut position = Position::default();
        let mut read = Vec::new();
        for (sequence, message) in (1..).zip(&sealed) {
            assert!(message.payload.len() <= MESSAGE_BYTES_MAX + 32);
            let (entry, next) = position.check(sequence, &message.payload).unwrap();
            assert_eq!((next, entry.events.len()), (message.position, message.events));
            read.extend(entry.events);
            position = next;
        }
        assert_eq!(read, groups.concat());
    }
}
