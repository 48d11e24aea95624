//! Which coordinator leads: a lease in one key of a KV bucket. Pure: what was read and written and the
//! monotonic time come in, what to read or write next comes out; `leadership` does it.
//!
//! The leader renews its record every third of the lease. A standby takes over when the record's
//! revision has not changed for a whole lease by its own clock, or at once when the record says that it
//! was released. Nothing depends on clocks for being right: appends to the journal are fenced by the
//! expected last sequence, and orders carry the term. The lease only keeps coordinators from
//! getting in each other's way.
//!
//! ```text
//!            on_written(Stored)                on_seen(another's record)
//! STANDBY -----------------------> LEADER -----------------------------> STANDBY
//!            on_seen(our record)               released
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};
use windrow_common::sabotage;

use super::journal::Position;

/// What the key holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Names the holder to people.
    pub holder: String,
    /// Chosen by the holder at its start; tells it from every other process.
    pub nonce: u64,
    /// The holder's term, as far as it knew at the renewal.
    pub term: u64,
    /// Number of the renewal.
    pub renewed: u64,
    /// The last journal message that the holder knew at the renewal.
    pub position: Position,
    /// The holder has left in order: nobody needs to wait for the lease.
    pub released: bool,
    /// The holder's process, for a successor on the same machine; empty when the system does not tell.
    #[serde(default)]
    pub process: String,
}

/// The record with the revision it was read at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub revision: u64,
    pub record: Record,
}

/// What a coordinator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Standby,
    Leader,
}

/// What is to be done next. One at a time: its outcome comes back before the next is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read the key, then [`Election::on_seen`] or [`Election::on_unanswered`].
    Look,
    /// Write the record if the key's revision is still this one (0: it has none), then
    /// [`Election::on_written`] or [`Election::on_unanswered`].
    Write { expected: u64, record: Record },
    /// Nothing before this time.
    Wait { until: Duration },
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// With this revision.
    Stored(u64),
    /// The key had another revision.
    Refused,
}

/// Who this is.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub holder: String,
    pub nonce: u64,
    pub process: String,
}

/// One coordinator's part in the election. Times are since an arbitrary start, by a clock that only
/// rises.
#[derive(Debug)]
pub struct Election {
    me: Candidate,
    lease: Duration,
    role: Role,
    /// What this coordinator could take over with: without it, it only looks on.
    ready: Option<(u64, Position)>,
    renewed: u64,
    known: Known,
    /// When the key was last asked for and answered, or written.
    confirmed: Option<Duration>,
    /// When the record was last written: a look renews nothing.
    written: Duration,
    /// A look that must come first, as what is known may be out of date.
    is_in_doubt: bool,
    /// Not to ask again before, after no answer came.
    not_before: Duration,
    /// The record's revision whose holder is known to have ended.
    gone: Option<u64>,
    /// It leads, and is to leave it to another.
    gives_way: bool,
}

/// What is known of the key.
#[derive(Debug)]
enum Known {
    /// It was not looked at yet.
    Nothing,
    /// It has no record, since this time; whether it had one before.
    Absent { since: Duration, had_one: bool },
    /// It has this one, unchanged since this time as far as was looked.
    Seen { seen: Seen, since: Duration },
}

impl Election {
    /// A standby that has not looked yet.
    pub fn new(me: Candidate, lease: Duration) -> Self {
        Self {
            me,
            lease,
            role: Role::Standby,
            ready: None,
            renewed: 0,
            known: Known::Nothing,
            confirmed: None,
            written: Duration::ZERO,
            is_in_doubt: true,
            not_before: Duration::ZERO,
            gone: None,
            gives_way: false,
        }
    }

    /// What it is now.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether it leads for certain: the key had its record less than a lease ago. A leader that stood
    /// still, or is cut off, is not certain, and gives nothing out until it is again.
    pub fn is_certain(&self, now: Duration) -> bool {
        // What fences an append hides that this guard is missing, so they go together.
        let lease = match sabotage::is("append-not-fenced") {
            true => Duration::from_secs(3600),
            false => self.lease,
        };
        self.role == Role::Leader && self.confirmed.is_some_and(|at| now < at + lease)
    }

    /// How far it has got: its term and position. `None`: it is in no condition to lead, and would not
    /// take over.
    pub fn set_ready(&mut self, ready: Option<(u64, Position)>) {
        self.ready = ready;
    }

    /// The record of the leader, if there is one and it was not released.
    pub fn leader(&self) -> Option<&Record> {
        match &self.known {
            Known::Seen { seen, .. } if !self.is_free(seen) => Some(&seen.record),
            Known::Seen { .. } | Known::Nothing | Known::Absent { .. } => None,
        }
    }

    /// What to do now.
    pub fn next(&mut self, now: Duration) -> Action {
        if now < self.not_before {
            return Action::Wait { until: self.not_before };
        }
        if self.is_in_doubt {
            return Action::Look;
        }
        let confirmed = self.confirmed.unwrap_or_default();
        match self.role {
            Role::Leader if self.gives_way => self.write(true),
            Role::Leader if now >= self.written + self.lease / 3 => self.write(false),
            Role::Leader => Action::Wait { until: self.written + self.lease / 3 },
            Role::Standby if self.ready.is_some() && now >= self.free_at() => self.write(false),
            Role::Standby if now >= confirmed + self.look_every() => Action::Look,
            Role::Standby => Action::Wait { until: confirmed + self.look_every() },
        }
    }

    /// Leaves in order: the record to write, if it leads.
    pub fn release(&mut self) -> Option<Action> {
        (self.role == Role::Leader).then(|| self.write(true))
    }

    /// How often a standby looks: often enough that a release is taken up in a fraction of a second.
    fn look_every(&self) -> Duration {
        (self.lease / 12).min(Duration::from_millis(250))
    }

    /// From when on a standby may take the key.
    fn free_at(&self) -> Duration {
        match &self.known {
            Known::Nothing => Duration::MAX,
            // The bucket is in memory. When NATS starts again, the former leader goes first, and whoever
            // remembers more than the journal has can be heard.
            Known::Absent { since, had_one } => match *had_one || self.has_read_something() {
                true => *since + self.lease,
                false => *since,
            },
            Known::Seen { seen, .. } if self.is_free(seen) => Duration::ZERO,
            Known::Seen { since, .. } => *since + self.lease,
        }
    }

    /// Whether nobody needs to wait for the end of this record's lease.
    fn is_free(&self, seen: &Seen) -> bool {
        seen.record.released || self.gone == Some(seen.revision)
    }

    fn has_read_something(&self) -> bool {
        self.ready.is_some_and(|(_, position)| position.sequence > 0)
    }

    /// Gives the key back, and leaves it to another.
    pub fn give_way(&mut self) {
        self.gives_way = self.role == Role::Leader;
        self.ready = None;
    }

    fn write(&mut self, released: bool) -> Action {
        self.renewed += 1;
        let expected = match &self.known {
            Known::Nothing | Known::Absent { .. } => 0,
            Known::Seen { seen, .. } => seen.revision,
        };
        let (term, position) = self.ready.unwrap_or_default();
        let record = Record {
            holder: self.me.holder.clone(),
            nonce: self.me.nonce,
            term,
            renewed: self.renewed,
            position,
            released,
            process: self.me.process.clone(),
        };
        Action::Write { expected, record }
    }

    /// The key was read; the question was sent at `asked` and the answer came at `now`.
    pub fn on_seen(&mut self, asked: Duration, now: Duration, seen: Option<Seen>) {
        let gap = self.confirmed.map_or(Duration::ZERO, |last| now.saturating_sub(last));
        self.is_in_doubt = false;
        let had_one = match &self.known {
            Known::Nothing => false,
            Known::Absent { had_one, .. } => *had_one,
            Known::Seen { .. } => true,
        };
        self.known = match (seen, std::mem::replace(&mut self.known, Known::Nothing)) {
            (None, Known::Absent { since, had_one }) => Known::Absent { since, had_one },
            (None, Known::Nothing | Known::Seen { .. }) => Known::Absent { since: now, had_one },
            // Nobody could renew while nobody could read: the time counts anew.
            (Some(seen), Known::Seen { seen: old, since })
                if old.revision == seen.revision
                    && old.record == seen.record
                    && gap < self.lease / 2 =>
            {
                Known::Seen { seen, since }
            }
            (Some(seen), _) => Known::Seen { seen, since: now },
        };
        self.confirmed = Some(asked);
        self.role = match &self.known {
            Known::Seen { seen, .. } => {
                let is_ours = seen.record.nonce == self.me.nonce && !seen.record.released;
                if is_ours { Role::Leader } else { Role::Standby }
            }
            // What is in no store is nobody's; the leader writes it again at once.
            Known::Absent { .. } | Known::Nothing
                if self.role == Role::Leader && gap < self.lease =>
            {
                self.written = Duration::ZERO;
                Role::Leader
            }
            // Another may have led since: one that was cut off for long has no claim.
            Known::Absent { .. } | Known::Nothing => Role::Standby,
        };
    }

    /// The holder that was seen has no process any more: nobody needs to wait for its lease.
    pub fn on_holder_gone(&mut self) {
        if let Known::Seen { seen, .. } = &self.known {
            self.gone = Some(seen.revision);
        }
    }

    /// A write was answered; it was sent at `asked`.
    pub fn on_written(&mut self, asked: Duration, record: Record, written: Written) {
        match written {
            Written::Stored(revision) => {
                self.role = if record.released { Role::Standby } else { Role::Leader };
                self.gives_way &= !record.released;
                self.known = Known::Seen { seen: Seen { revision, record }, since: asked };
                (self.confirmed, self.written) = (Some(asked), asked);
            }
            // Another has it, or an earlier write of ours was stored and its answer lost.
            Written::Refused => self.is_in_doubt = true,
        }
    }

    /// Neither is known: the key may have been written or not.
    pub fn on_unanswered(&mut self, now: Duration) {
        self.is_in_doubt = true;
        self.not_before = now + self.look_every();
    }
}

#[cfg(test)]
mod tests;
