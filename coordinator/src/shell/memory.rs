//! What a coordinator has read of the journal: the state, and the changes that may not have been published
//! yet. A standby keeps it warm; it outlives the connection, so that whoever holds it can tell when the
//! journal has lost something, and put it back.

use std::collections::VecDeque;

use windrow_common::sabotage;
use windrow_common::time::Timestamp;

use super::event_stream::Told;
use super::journal::{Entry, Error, Group, Position, follow};
use super::outside::{JournalStream, SnapshotBucket};
use super::snapshot;
use crate::core::{State, apply};
use crate::view::changes::changes;

/// Changes of this many journal messages before the end are kept when it is read from a snapshot: the
/// leader is never further ahead of what it has published.
const RECENT_MESSAGES: u64 = 1024;
/// Most changes kept; when more are not published, a successor reads the journal once more.
const RECENT_CHANGES_MAX: usize = 200_000;

/// The state at a position.
#[derive(Debug, Default)]
pub struct Memory {
    pub state: State,
    pub position: Position,
    /// A turn that the state has and the journal perhaps not.
    pub pending: Option<Pending>,
    /// What the journal has lost, as was found.
    pub lost: Option<String>,
    /// Whether there is a snapshot to begin from.
    pub has_snapshot: bool,
    /// The snapshot is of somebody who remembered what the journal had lost, see
    /// [`snapshot::encode_repair`].
    is_repair: bool,
    /// Changes of the journal messages after `known_from`.
    recent: VecDeque<Told>,
    recent_changes: usize,
    known_from: u64,
}

/// A turn whose events could not be stored. Nobody was told anything of it.
#[derive(Debug)]
pub struct Pending {
    pub term: u64,
    pub at: Timestamp,
    pub groups: Vec<Group>,
}

impl Memory {
    /// A state of which no changes are known.
    pub fn new(state: State, position: Position, pending: Option<Pending>) -> Self {
        let known_from = position.sequence;
        Self { state, position, pending, known_from, has_snapshot: true, ..Self::default() }
    }

    /// The newest readable snapshot; the beginning if there is none.
    ///
    /// # Errors
    /// The bucket cannot be read.
    pub async fn of_snapshot(bucket: &impl SnapshotBucket) -> Result<Self, Error> {
        let loaded = snapshot::load(bucket).await;
        let loaded = loaded.map_err(|e| Error::Unavailable(e.to_string()))?;
        let has_snapshot = loaded.is_some();
        let is_repair = loaded.as_ref().is_some_and(|loaded| loaded.is_repair);
        let (state, position) =
            loaded.map(|loaded| (loaded.state, loaded.position)).unwrap_or_default();
        Ok(Self { has_snapshot, is_repair, ..Self::new(state, position, None) })
    }

    /// Reads the newest readable snapshot and the journal after it. Changes are kept from the journal
    /// message `tell_from` on, and of the last messages anyway. With `recover`, what is missing is noted
    /// in `lost` and the rest is taken.
    ///
    /// # Errors
    /// Something is missing, or cannot be read.
    pub async fn load(
        bucket: &impl SnapshotBucket,
        stream: &impl JournalStream,
        tell_from: Option<u64>,
        recover: bool,
    ) -> Result<Self, Error> {
        let mut memory = Self::of_snapshot(bucket).await?;
        let read = memory.read_to_end(stream, tell_from).await;
        if let (Err(Error::RolledBack(what)), true) = (&read, memory.is_repair) {
            memory.lost = Some(format!("a repair was begun and not finished: {what}"));
            return Ok(memory);
        }
        match read.map_err(follow::cold) {
            Err(Error::Damaged(what)) if recover => memory.lost = Some(what),
            read => read?,
        }
        Ok(memory)
    }

    /// The state as it was right after the journal message `upto`, from the newest snapshot before it.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub async fn replay(
        bucket: &impl SnapshotBucket,
        stream: &impl JournalStream,
        upto: u64,
    ) -> Result<Self, Error> {
        let mut memory = Self::of_snapshot(bucket).await?;
        memory.read_upto(stream, upto).await.map_err(follow::cold)?;
        Ok(memory)
    }

    /// Reads on to the journal's end.
    ///
    /// # Errors
    /// As [`follow::tail`] and [`follow::Follower::next`].
    pub async fn read_to_end(
        &mut self,
        stream: &impl JournalStream,
        tell_from: Option<u64>,
    ) -> Result<(), Error> {
        let last = follow::tail(stream, self.position).await?;
        let tell_from = tell_from.unwrap_or(u64::MAX).min(last.saturating_sub(RECENT_MESSAGES));
        self.read(stream, last, tell_from).await
    }

    /// Reads on to this message, and keeps no changes.
    ///
    /// # Errors
    /// As [`Self::read_to_end`]; [`Error::Unavailable`] when it is not there yet.
    pub async fn read_upto(&mut self, stream: &impl JournalStream, upto: u64) -> Result<(), Error> {
        follow::tail(stream, self.position).await?;
        self.read(stream, upto, u64::MAX).await
    }

    async fn read(
        &mut self,
        stream: &impl JournalStream,
        upto: u64,
        tell_from: u64,
    ) -> Result<(), Error> {
        let mut follower = follow::Follower::new(stream.clone());
        while self.position.sequence < upto {
            let (entry, position) = follower.next_within(self.position, upto).await?;
            let is_recent = position.sequence >= tell_from;
            self.take(&entry, position, is_recent);
        }
        Ok(())
    }

    /// Takes the next message.
    pub fn take(&mut self, entry: &Entry, position: Position, is_recent: bool) {
        let mut told = Vec::new();
        let is_skipped =
            position.sequence.is_multiple_of(29) && sabotage::is("standby-skips-a-message");
        for event in entry.events.iter().filter(|_| !is_skipped) {
            apply(&mut self.state, event);
            let changed = std::mem::take(&mut self.state.index.changed);
            if is_recent {
                told.extend(changes(&self.state, &changed));
            }
        }
        self.position = position;
        if !is_recent {
            self.known_from = position.sequence;
            return;
        }
        if told.is_empty() {
            return;
        }
        self.recent_changes += told.len();
        self.recent.push_back(Told { sequence: position.sequence, at: entry.at, changes: told });
        while self.recent_changes > RECENT_CHANGES_MAX {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.recent.pop_front() {
            self.recent_changes -= oldest.changes.len();
            self.known_from = oldest.sequence;
        }
    }

    /// All changes of journal messages before this one are published.
    pub fn published_before(&mut self, sequence: u64) {
        while self.recent.front().is_some_and(|told| told.sequence < sequence) {
            self.forget_oldest();
        }
    }

    /// All changes up to the position are published.
    pub fn all_published(&mut self) {
        self.known_from = 0;
    }

    /// Whether the changes of this message and all after it are here.
    pub fn knows_from(&self, sequence: u64) -> bool {
        sequence > self.known_from || self.position.sequence < sequence
    }

    /// The changes that are here, to be told by whoever leads.
    pub fn take_recent(&mut self) -> VecDeque<Told> {
        self.recent_changes = 0;
        self.known_from = self.position.sequence;
        std::mem::take(&mut self.recent)
    }
}
