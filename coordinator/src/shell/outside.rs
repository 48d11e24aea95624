//! What a coordinator needs of the world around it, and nothing more: so that the code that follows the
//! journal, remembers, takes over, repairs and appends is the same on NATS ([`super::nats`]) and in the
//! simulation, where time and the network are made up.
//!
//! Whoever implements these decides nothing: each call is asked once and answered as it is. Patience,
//! repeating and what an answer means are the callers' matter.

use std::time::Duration;

use bytes::Bytes;
use windrow_common::time::Timestamp;

use super::election::{Record, Seen, Written};
use super::journal::Position;

/// Time.
pub trait Clock: Clone + Send + Sync + 'static {
    /// Since an arbitrary start, by a clock that only rises.
    fn elapsed(&self) -> Duration;
    /// By the wall clock.
    fn wall(&self) -> Timestamp;
    /// Waits.
    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send;
}

/// Waits for something, but not longer than this; `None` when that is over.
pub async fn timeout<T>(
    clock: &impl Clock,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = clock.sleep(limit) => None,
    }
}

/// Which messages a stream has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub first: u64,
    pub last: u64,
}

/// Why an append was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// The server does not store, and would not if asked again soon.
    Refused(String),
    /// It may be stored or not, or can be later.
    Failed(String),
}

/// The journal's stream. Errors are in words, when it cannot be told.
pub trait JournalStream: Clone + Send + Sync + 'static {
    type Clock: Clock;
    type Reader: Reader;

    /// The clock that waiting for it goes by.
    fn clock(&self) -> &Self::Clock;
    /// What it has; `None` when there is no such stream.
    fn extent(&self) -> impl Future<Output = Result<Option<Extent>, String>> + Send;
    /// The message of this number, as it is stored.
    fn message(&self, sequence: u64) -> impl Future<Output = Result<Bytes, String>> + Send;
    /// Reads from this number on.
    fn read_from(&self, first: u64) -> impl Future<Output = Result<Self::Reader, String>> + Send;
    /// Stores a message if the last is this one, and says its number.
    fn append(
        &self,
        payload: Bytes,
        expected_last: u64,
    ) -> impl Future<Output = Result<u64, AppendError>> + Send;
    /// Removes all messages before this number, which may be behind the last; how many.
    fn purge_before(&self, sequence: u64) -> impl Future<Output = Result<u64, String>> + Send;
}

/// Reads messages in order, as they come.
pub trait Reader: Send {
    /// The next message and its number. May be cancelled.
    fn next(&mut self) -> impl Future<Output = Result<(u64, Bytes), String>> + Send;
}

/// Where snapshots are, by name.
pub trait SnapshotBucket: Clone + Send + Sync + 'static {
    /// All names.
    fn names(&self) -> impl Future<Output = Result<Vec<String>, String>> + Send;
    /// What is stored under a name.
    fn get(&self, name: &str) -> impl Future<Output = Result<Bytes, String>> + Send;
    /// Stores it.
    fn put(&self, name: &str, bytes: &[u8]) -> impl Future<Output = Result<(), String>> + Send;
    /// Removes it.
    fn delete(&self, name: &str) -> impl Future<Output = Result<(), String>> + Send;
}

/// Why the key of the election is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// There is no such bucket.
    BucketLost,
    /// It was not answered, or not in a way that says anything.
    Unanswered,
}

/// The key of the election.
pub trait LeaderKey: Clone + Send + Sync + 'static {
    /// What it holds.
    fn look(&self) -> impl Future<Output = Result<Option<Seen>, KeyError>> + Send;
    /// Writes it if it is at this revision; 0: if it holds nothing.
    fn write(
        &self,
        expected: u64,
        record: &Record,
    ) -> impl Future<Output = Result<Written, KeyError>> + Send;
    /// Whether this names a process of this machine that has ended.
    fn is_gone(&self, process: &str) -> bool;
}

/// All of it, on one connection.
pub trait Outside: Clone + Send + Sync + 'static {
    type Clock: Clock;
    type Journal: JournalStream<Clock = Self::Clock>;
    type Snapshots: SnapshotBucket;

    fn clock(&self) -> &Self::Clock;
    fn journal(&self) -> &Self::Journal;
    fn snapshots(&self) -> &Self::Snapshots;
    /// Up to where the stream of events has the records of the journal: those of all messages before this
    /// one, and perhaps some of its own.
    fn told_before(&self) -> impl Future<Output = Result<u64, String>> + Send;
    /// Says that a standby of this name is there and knows the journal up to this position.
    fn announce(&self, name: &str, position: Position) -> impl Future<Output = ()> + Send;
}
