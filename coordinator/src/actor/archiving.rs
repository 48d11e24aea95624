//! Finished jobs out of memory: after a while their records go to the history, beside the loop, and
//! when it has them the core gives them up. Much later they are forgotten altogether.

use std::time::Duration;

use windrow_common::ids::JobId;
use windrow_common::time::Timestamp;

use super::Actor;
use crate::core::children::archive::{PIECE, Piece};
use crate::core::{Command, State};
use crate::view::history::Wanted;

/// Finished jobs looked at in one turn.
const LOOKS_MAX: usize = 512;
/// Children whose records one batch holds, about: copying them takes the loop a few milliseconds.
const BATCH_CHILDREN: u32 = 16 * 1024;

/// Pieces to be stored, and the jobs that are complete with them.
#[derive(Debug, Default)]
pub struct Batch {
    pub pieces: Vec<(Wanted, Piece)>,
    /// Each with the time of its end.
    pub complete: Vec<(Timestamp, JobId)>,
}

/// What is under way.
#[derive(Debug)]
pub(super) struct Archiving {
    /// How long finished jobs keep their records here.
    keep: Duration,
    /// How long finished jobs are known.
    known: Duration,
    /// A batch is being stored.
    is_busy: bool,
    /// A job of which the pieces before this one are stored.
    begun: Option<(Timestamp, JobId, u32)>,
    /// The history has everything of these.
    stored: Vec<(Timestamp, JobId)>,
}

impl Archiving {
    /// Nothing is.
    pub(super) fn new(keep: Duration, known: Duration) -> Self {
        Self { keep, known, is_busy: false, begun: None, stored: Vec::new() }
    }

    /// A batch is stored.
    pub(super) fn on_stored(&mut self, complete: Vec<(Timestamp, JobId)>) {
        self.is_busy = false;
        self.stored.extend(complete);
    }

    /// What is due to be stored, if nothing is being stored.
    fn start(&mut self, state: &State, due: &[(Timestamp, JobId)]) -> Option<Batch> {
        if self.is_busy {
            return None;
        }
        let batch = self.batch(state, due);
        self.is_busy = !batch.pieces.is_empty();
        self.is_busy.then_some(batch)
    }

    fn batch(&mut self, state: &State, due: &[(Timestamp, JobId)]) -> Batch {
        let mut batch = Batch::default();
        let mut room = BATCH_CHILDREN;
        for (at, id) in due {
            let Some(job) = state.jobs.get(id) else { continue };
            let children = &job.children;
            if children.is_archived() || !children.needs_history() {
                continue;
            }
            let begun = self.begun.take().filter(|(when, which, _)| (when, which) == (at, id));
            let count = children.piece_count();
            for piece in begun.map_or(0, |(_, _, next)| next)..count {
                if room == 0 {
                    self.begun = Some((*at, *id, piece));
                    return batch;
                }
                let wanted = Wanted { queue: job.queue.clone(), job: *id, piece };
                batch.pieces.push((wanted, children.piece(piece)));
                room = room.saturating_sub(children.size().min(PIECE));
            }
            batch.complete.push((*at, *id));
        }
        batch
    }
}

impl Actor {
    /// Archives and forgets what is due. Follow-up work goes first: it may be about such jobs.
    pub(super) fn archive(&mut self, now: Timestamp) {
        if !self.state.work.is_empty() {
            return;
        }
        let before = |age: Duration| {
            Timestamp(now.0.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)))
        };
        let stored = std::mem::take(&mut self.archiving.stored);
        let finished = &self.state.index.finished;
        let due: Vec<(Timestamp, JobId)> =
            finished.with_records(before(self.archiving.keep)).take(LOOKS_MAX).collect();
        let is_free = |(_, id): &&(Timestamp, JobId)| !self.state.jobs[id].children.needs_history();
        let ready = stored.into_iter().chain(due.iter().filter(is_free).copied()).collect();
        // Neither command refuses anything.
        self.decide(&Command::Archive(ready), now).ok();
        if let Some(batch) = self.archiving.start(&self.state, &due) {
            self.turn.to_history = Some(batch);
        }
        self.decide(&Command::Forget(before(self.archiving.known)), now).ok();
    }
}
