//! Children of a finished job whose records are in the history store: who failed is left here, and how
//! each attempt went is there.

use std::ops::Range;

use rangemap::RangeSet;
use serde::{Deserialize, Serialize};
use windrow_common::api::jobs::JobStatus;

use super::{Attempt, CHUNK, Child, Children, NeverRan, Ranges};
use crate::core::seldom::Seldom;

/// Children of one piece of the history: a message of about 100 KiB as a rule.
pub const PIECE: u32 = 4 * CHUNK;

/// What is left of children whose records are in the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archived {
    /// The FAILED ones; the others SUCCEEDED.
    failed: RangeSet<u32>,
    /// The record of a single job.
    single: Option<Child>,
    /// Whether the history has more than this.
    stored: bool,
}

/// The records of consecutive children, as the history has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Child, record, attempts before the last one.
    pub records: Vec<(u32, Child, Vec<Attempt>)>,
    pub never_ran: Vec<(Range<u32>, NeverRan)>,
}

impl Piece {
    /// Which piece has a child.
    pub fn of(child: u32) -> u32 {
        child / PIECE
    }

    /// Two of about half its size; none of what cannot be halved.
    pub fn halves(mut self) -> Option<(Self, Self)> {
        if self.records.len() + self.never_ran.len() < 2 {
            return None;
        }
        let records = self.records.split_off(self.records.len() / 2);
        let never_ran = self.never_ran.split_off(self.never_ran.len() / 2);
        Some((self, Self { records, never_ran }))
    }
}

impl Children {
    /// Whether their records have been given up here.
    pub fn is_archived(&self) -> bool {
        self.archived.is_some()
    }

    /// Whether archiving loses something that the history has to have first.
    pub fn needs_history(&self) -> bool {
        let of_many = self.size > 1
            && (!self.chunks.is_empty() || self.rare.never_ran.iter().next().is_some());
        of_many || !self.rare.past.is_empty()
    }

    /// How many pieces they make.
    pub fn piece_count(&self) -> u32 {
        self.size.div_ceil(PIECE)
    }

    /// One of them.
    pub fn piece(&self, number: u32) -> Piece {
        let range = number * PIECE..((number + 1).saturating_mul(PIECE)).min(self.size);
        let mut records = Vec::new();
        for (first, chunk) in self.chunks_in(&range) {
            let numbered = (first..).zip(chunk.records().into_owned());
            let tried = numbered.filter(|(_, record)| *record != Child::Untried);
            records.extend(tried.map(|(child, record)| (child, record, self.past(child).to_vec())));
        }
        let never_ran = self.rare.never_ran.overlapping(&range);
        let clip = |r: &Range<u32>| r.start.max(range.start)..r.end.min(range.end);
        Piece { records, never_ran: never_ran.map(|(r, ended)| (clip(r), ended.clone())).collect() }
    }

    /// The piece of the history without which this child cannot be described.
    pub fn piece_needed(&self, child: u32) -> Option<u32> {
        let stored = self.archived.as_ref().is_some_and(|archived| archived.stored);
        stored.then(|| Piece::of(child))
    }

    /// Puts records back, to describe children. Not part of any life: what is restored is thrown away.
    pub fn restore(&mut self, piece: Piece) {
        for (child, record, past) in piece.records {
            self.put(child, record);
            if !past.is_empty() {
                self.rare.past.insert(child, past);
            }
        }
        self.rare.never_ran.extend(piece.never_ran);
    }

    /// Gives up the records of ended children.
    pub(in crate::core) fn archive(&mut self) {
        assert!(self.all_ended(), "only finished jobs are archived");
        let stored = self.needs_history();
        let mut failed: RangeSet<u32> =
            self.rare.never_ran.iter().map(|(r, _)| r.clone()).collect();
        for (first, chunk) in self.chunks_in(&(0..self.size)) {
            failed.extend(chunk.failures().into_iter().map(|at| first + at..first + at + 1));
        }
        let single = (self.size == 1).then(|| self.get(0).into_owned());
        self.chunks = Seldom::default();
        self.rare.cut(|rare| rare.past.clear());
        if self.size > 1 {
            self.rare.cut(|rare| rare.never_ran.clear());
        }
        self.archived = Some(Box::new(Archived { failed, single, stored }));
    }
}

impl Archived {
    pub(super) fn status(&self, child: u32) -> JobStatus {
        if self.failed.contains(&child) { JobStatus::Failed } else { JobStatus::Succeeded }
    }

    pub(super) fn record(&self) -> Option<&Child> {
        self.single.as_ref()
    }

    pub(super) fn with_status(&self, status: JobStatus, look: &Range<u32>) -> Ranges {
        let clip = |r: Range<u32>| r.start.max(look.start)..r.end.min(look.end);
        match status {
            JobStatus::Failed => self.failed.overlapping(look).cloned().map(clip).collect(),
            JobStatus::Succeeded => self.failed.gaps(look).collect(),
            JobStatus::Submitted
            | JobStatus::Pending
            | JobStatus::Runnable
            | JobStatus::Starting
            | JobStatus::Running => Vec::new(),
        }
    }
}
