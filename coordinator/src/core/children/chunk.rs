//! Records of consecutive children. When the last of them has ended they are packed: by columns, as differences
//! and compressed, some bytes each or less. One that is reopened unpacks them.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use windrow_common::time::Timestamp;
use windrow_common::wire::agent::ContainerEnd;

use super::{Attempt, CHUNK, Child};

/// Fewer records than this are left as they are: compressing them saves little and takes as long.
const PACKED_MIN: usize = 16;

thread_local! {
    /// What was unpacked last, and from which bytes.
    static UNPACKED: RefCell<(Box<[u8]>, Vec<Child>)> = RefCell::default();
}

/// The records of up to [`CHUNK`] children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    Open { records: Vec<Child>, ended: usize },
    Packed(Packed),
}

/// Records that have all ended: how many FAILED, which, and [`Columns`], compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packed(Box<[u8]>);

/// What is recorded of children that have ended, each field of all of them together. Times are differences:
/// of the start to that of the child before, of the end to the start.
#[derive(Default, Serialize, Deserialize)]
struct Columns {
    succeeded: Vec<bool>,
    attempt: Vec<u32>,
    agent: Vec<u32>,
    started: Vec<Option<i64>>,
    ended: Vec<i64>,
    exit_code: Vec<Option<i32>>,
    status_reason: Vec<Option<Arc<str>>>,
    reason: Vec<Option<Arc<str>>>,
    log_bytes: Vec<u64>,
    containers: Vec<Option<Arc<Vec<ContainerEnd>>>>,
}

impl Chunk {
    /// Of so many children that were never tried.
    pub(super) fn untried(count: usize) -> Self {
        Self::Open { records: vec![Child::Untried; count], ended: 0 }
    }

    fn of(records: Vec<Child>) -> Self {
        let ended = records.iter().filter(|record| is_ended(record)).count();
        Self::Open { records, ended }
    }

    /// All of them, in order.
    pub(super) fn records(&self) -> Cow<'_, [Child]> {
        match self {
            Self::Open { records, .. } => Cow::Borrowed(records),
            Self::Packed(packed) => Cow::Owned(packed.records()),
        }
    }

    /// One of them.
    pub(super) fn get(&self, place: usize) -> Cow<'_, Child> {
        match self {
            Self::Open { records, .. } => Cow::Borrowed(&records[place]),
            Self::Packed(packed) => Cow::Owned(packed.record(place)),
        }
    }

    /// Whether one of them SUCCEEDED, if they have all ended and are packed.
    pub(super) fn packed_success(&self, place: usize) -> Option<bool> {
        match self {
            Self::Open { .. } => None,
            Self::Packed(packed) => {
                Some(!packed.failed().any(|failed| usize::from(failed) == place))
            }
        }
    }

    /// Places of those that have FAILED.
    pub(super) fn failures(&self) -> Vec<u32> {
        match self {
            Self::Open { records, .. } => {
                let failed =
                    |record: &Child| matches!(record, Child::Ended { succeeded: false, .. });
                (0..).zip(records).filter(|(_, r)| failed(r)).map(|(place, _)| place).collect()
            }
            Self::Packed(packed) => packed.failed().map(u32::from).collect(),
        }
    }

    /// Another record takes the place of one.
    pub(super) fn put(&mut self, place: usize, record: Child) {
        if let Self::Packed(packed) = self {
            *self = Self::of(packed.records());
        }
        let Self::Open { records, ended } = self else { unreachable!("just made sure") };
        let old = std::mem::replace(&mut records[place], record);
        *ended = *ended + usize::from(is_ended(&records[place])) - usize::from(is_ended(&old));
        if *ended == records.len() && *ended >= PACKED_MIN {
            *self = Self::Packed(Packed::of(records));
        }
    }
}

fn is_ended(record: &Child) -> bool {
    match record {
        Child::Ended { .. } => true,
        Child::Untried
        | Child::Retrying { .. }
        | Child::Starting { .. }
        | Child::Running { .. }
        | Child::Settled { .. } => false,
    }
}

impl Packed {
    /// Records that have all ended.
    fn of(records: &[Child]) -> Self {
        let columns = Columns::of(records);
        let failed = (0..=u8::MAX).zip(&columns.succeeded).filter(|(_, succeeded)| !**succeeded);
        let failed: Vec<u8> = failed.map(|(place, _)| place).collect();
        let count = u16::try_from(failed.len()).expect("a chunk has fewer");
        let mut bytes = count.to_le_bytes().to_vec();
        bytes.extend(failed);
        let mut packer = DeflateEncoder::new(bytes, Compression::default());
        let columns = rmp_serde::to_vec(&columns).expect("numbers and texts can be written");
        packer.write_all(&columns).expect("memory can be written to");
        Self(packer.finish().expect("memory can be written to").into())
    }

    /// None: these are not bytes of packed records.
    fn read(bytes: &[u8]) -> Option<Vec<Child>> {
        let (count, rest) = bytes.split_first_chunk()?;
        let columns = rest.get(usize::from(u16::from_le_bytes(*count))..)?;
        let mut unpacked = Vec::new();
        DeflateDecoder::new(columns).read_to_end(&mut unpacked).ok()?;
        rmp_serde::from_slice::<Columns>(&unpacked).ok()?.records()
    }

    /// One of them. Who reads one reads it often, and then those next to it.
    fn record(&self, place: usize) -> Child {
        UNPACKED.with_borrow_mut(|(of, records)| {
            if *of != self.0 {
                (*of, *records) = (self.0.clone(), self.records());
            }
            records[place].clone()
        })
    }

    fn records(&self) -> Vec<Child> {
        Self::read(&self.0).expect("made by `of`, or read before")
    }

    fn failed(&self) -> impl Iterator<Item = u8> {
        let (count, rest) = self.0.split_first_chunk().expect("made by `of`, or read before");
        rest[..usize::from(u16::from_le_bytes(*count))].iter().copied()
    }
}

impl Columns {
    fn of(records: &[Child]) -> Self {
        let mut columns = Self::default();
        let mut before = 0;
        for record in records {
            let Child::Ended { succeeded, attempt, last } = record else { continue };
            columns.succeeded.push(*succeeded);
            columns.attempt.push(*attempt);
            columns.agent.push(last.agent);
            columns.started.push(last.started_at.map(|at| difference(before, at.0)));
            before = last.started_at.map_or(before, |at| at.0);
            columns.ended.push(difference(before, last.ended_at.0));
            columns.exit_code.push(last.exit_code);
            columns.status_reason.push(last.status_reason.clone());
            columns.reason.push(last.reason.clone());
            columns.log_bytes.push(last.log_bytes);
            columns.containers.push(last.containers.clone());
        }
        columns
    }

    /// None: the columns are not of one length, at most [`CHUNK`].
    fn records(self) -> Option<Vec<Child>> {
        let count = self.succeeded.len();
        let mut attempt = self.attempt.into_iter();
        let mut agent = self.agent.into_iter();
        let mut started = self.started.into_iter();
        let mut ended = self.ended.into_iter();
        let mut exit_code = self.exit_code.into_iter();
        let mut status_reason = self.status_reason.into_iter();
        let mut reason = self.reason.into_iter();
        let mut log_bytes = self.log_bytes.into_iter();
        let mut containers = self.containers.into_iter();
        let mut before = 0u64;
        let mut next = |succeeded| {
            let started_at = started.next()?.map(|by| before.wrapping_add_signed(by));
            before = started_at.unwrap_or(before);
            let last = Attempt {
                agent: agent.next()?,
                started_at: started_at.map(Timestamp),
                ended_at: Timestamp(before.wrapping_add_signed(ended.next()?)),
                exit_code: exit_code.next()?,
                status_reason: status_reason.next()?,
                reason: reason.next()?,
                log_bytes: log_bytes.next()?,
                containers: containers.next()?,
            };
            Some(Child::Ended { succeeded, attempt: attempt.next()?, last })
        };
        if count > CHUNK as usize {
            return None;
        }
        self.succeeded.into_iter().map(&mut next).collect()
    }
}

/// What is to be added to one to get the other.
fn difference(from: u64, to: u64) -> i64 {
    to.wrapping_sub(from).cast_signed()
}

impl Serialize for Chunk {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Open { records, .. } => records.serialize(serializer),
            Self::Packed(packed) => serializer.serialize_bytes(&packed.0),
        }
    }
}

impl<'de> Deserialize<'de> for Chunk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either)
    }
}

/// Records, or bytes of packed ones.
struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = Chunk;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("records of children, or bytes of packed ones")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Chunk, A::Error> {
        let mut records = Vec::with_capacity(all.size_hint().unwrap_or(0).min(CHUNK as usize));
        while let Some(record) = all.next_element()? {
            records.push(record);
        }
        Ok(Chunk::of(records))
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Chunk, E> {
        match Packed::read(bytes) {
            Some(_) => Ok(Chunk::Packed(Packed(bytes.into()))),
            None => Err(E::custom("these are not packed records of children")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ended() -> impl Strategy<Value = Child> {
        let text = || prop::option::of(prop::sample::select(vec!["", "Host EC2", "ended"]));
        let times = (prop::option::of(any::<u64>()), any::<u64>());
        let rest = (any::<u32>(), prop::option::of(any::<i32>()), any::<u64>());
        (any::<bool>(), 1u32..9, times, rest, (text(), text())).prop_map(
            |(succeeded, attempt, times, (agent, exit_code, log_bytes), texts)| {
                let last = Attempt {
                    agent,
                    started_at: times.0.map(Timestamp),
                    ended_at: Timestamp(times.1),
                    exit_code,
                    status_reason: texts.0.map(Arc::from),
                    reason: texts.1.map(Arc::from),
                    log_bytes,
                    containers: None,
                };
                Child::Ended { succeeded, attempt, last }
            },
        )
    }

    fn filled(records: &[Child]) -> Chunk {
        let mut chunk = Chunk::untried(records.len());
        for (place, record) in records.iter().enumerate() {
            assert_eq!(chunk.packed_success(place), None, "some have not ended");
            chunk.put(place, record.clone());
        }
        chunk
    }

    proptest! {
        /// Whatever the records, packed or not, written and read: they are the same.
        #[test]
        fn what_is_packed_is_what_it_was(
            records in prop::collection::vec(ended(), 1..=CHUNK as usize),
            place in any::<prop::sample::Index>(),
        ) {
            let mut chunk = filled(&records);
            prop_assert_eq!(matches!(chunk, Chunk::Packed(_)), records.len() >= PACKED_MIN);
            prop_assert_eq!(&*chunk.records(), &records[..]);
            let bytes = rmp_serde::to_vec(&chunk).unwrap();
            prop_assert_eq!(&rmp_serde::from_slice::<Chunk>(&bytes).unwrap(), &chunk);
            let place = place.index(records.len());
            prop_assert_eq!(&*chunk.get(place), &records[place]);
            if let Some(succeeded) = chunk.packed_success(place) {
                let is = matches!(records[place], Child::Ended { succeeded: true, .. });
                prop_assert_eq!(succeeded, is);
            }
            let packed = chunk.clone();
            chunk.put(place, Child::Untried);
            prop_assert_eq!(chunk.packed_success(place), None);
            chunk.put(place, records[place].clone());
            prop_assert_eq!(chunk, packed);
        }
    }

    #[test]
    fn a_child_like_the_others_takes_less_than_a_byte() {
        let at = |place: u64| 1_700_000_000_000 + place / 3;
        let last = |place: u64| Attempt {
            agent: 3,
            started_at: Some(Timestamp(at(place))),
            ended_at: Timestamp(at(place) + 1 + place % 2),
            exit_code: Some(0),
            status_reason: None,
            reason: None,
            log_bytes: 0,
            containers: None,
        };
        let record = |place| Child::Ended { succeeded: true, attempt: 1, last: last(place) };
        let Chunk::Packed(packed) = filled(&(0..256).map(record).collect::<Vec<_>>()) else {
            panic!("all have ended");
        };
        assert!(packed.0.len() < 256, "{} bytes", packed.0.len());
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let last = Attempt {
            agent: 0,
            started_at: None,
            ended_at: Timestamp(1),
            exit_code: None,
            status_reason: None,
            reason: None,
            log_bytes: 0,
            containers: None,
        };
        let record = Child::Ended { succeeded: false, attempt: 1, last };
        let bytes = rmp_serde::to_vec(&filled(&vec![record; 64])).unwrap();
        assert!(rmp_serde::from_slice::<Chunk>(&bytes).is_ok());
        let short = serde_bytes_of(&bytes[2..bytes.len() - 9]);
        assert!(rmp_serde::from_slice::<Chunk>(&short).is_err());
        assert!(rmp_serde::from_slice::<Chunk>(&serde_bytes_of(&[9])).is_err());
    }

    /// Bytes as MessagePack has them.
    fn serde_bytes_of(bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).unwrap();
        [&[0xc4, length], bytes].concat()
    }
}
