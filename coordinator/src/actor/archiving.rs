//! Finished jobs out of memory: after a while their records go to the history, beside the loop, and
//! when it has them the core gives them up. Beyond a number of finished jobs the oldest go there
//! themselves, page by page. Much later they are forgotten altogether.

use std::sync::Arc;
use std::time::Duration;

use windrow_common::ids::JobId;
use windrow_common::time::Timestamp;

use super::Actor;
use crate::core::children::archive::{PIECE, Piece};
use crate::core::shelf::{PAGE_BYTES, PAGE_JOBS, PageId, Record};
use crate::core::{Command, Shelve, State};
use crate::view::history::Wanted;

/// Finished jobs looked at in one turn.
const LOOKS_MAX: usize = 512;
/// Children whose records one batch holds, about: copying them takes the loop a few milliseconds.
const BATCH_CHILDREN: u32 = 16 * 1024;

/// Something to be stored.
#[derive(Clone, Debug)]
pub enum Batch {
    /// Pieces, and the jobs that are complete with them, each with the time of its end.
    Pieces(Vec<(Wanted, Piece)>, Vec<(Timestamp, JobId)>),
    /// Finished jobs.
    Page(PageId, Arc<Vec<Record>>),
}

/// What is kept of finished jobs, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// How long they keep their children's records in the state.
    pub records: Duration,
    /// How many of them stay in the state.
    pub jobs: usize,
    /// How many idempotency keys of those that do not.
    pub keys: u64,
    /// How long they are known at all.
    pub known: Duration,
}

impl Default for Keep {
    /// The defaults of the configuration.
    fn default() -> Self {
        Self {
            records: Duration::from_secs(5 * 60),
            jobs: 100_000,
            keys: 1_000_000,
            known: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// What is under way.
#[derive(Debug)]
pub(super) struct Archiving {
    keep: Keep,
    /// A batch is being stored.
    is_busy: bool,
    /// A job of which the pieces before this one are stored.
    begun: Option<(Timestamp, JobId, u32)>,
    /// The history has everything of these.
    stored: Vec<(Timestamp, JobId)>,
    /// The history has this page.
    page: Option<(PageId, Arc<Vec<Record>>)>,
}

impl Archiving {
    /// Nothing is.
    pub(super) fn new(keep: Keep) -> Self {
        Self { keep, is_busy: false, begun: None, stored: Vec::new(), page: None }
    }

    /// A batch is stored.
    pub(super) fn on_stored(&mut self, complete: Vec<(Timestamp, JobId)>) {
        self.is_busy = false;
        self.stored.extend(complete);
    }

    /// A page is stored.
    pub(super) fn on_page(&mut self, page: PageId, records: Arc<Vec<Record>>) {
        self.is_busy = false;
        self.page = Some((page, records));
    }

    /// What is due to be stored, if nothing is being stored.
    fn start(
        &mut self,
        state: &State,
        due: &[(Timestamp, JobId)],
        beyond: &[(Timestamp, JobId)],
    ) -> Option<Batch> {
        if self.is_busy {
            return None;
        }
        let (pieces, complete) = self.pieces(state, due);
        let batch = match pieces.is_empty() {
            false => Some(Batch::Pieces(pieces, complete)),
            true => page(state, beyond).map(|(page, records)| Batch::Page(page, records.into())),
        };
        self.is_busy = batch.is_some();
        batch
    }

    /// Pieces to be stored, and the jobs that are complete with them.
    fn pieces(&mut self, state: &State, due: &[(Timestamp, JobId)]) -> Pieces {
        let mut batch = Pieces::default();
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
                batch.0.push((wanted, children.piece(piece)));
                room = room.saturating_sub(children.size().min(PIECE));
            }
            batch.1.push((*at, *id));
        }
        batch
    }
}

type Pieces = (Vec<(Wanted, Piece)>, Vec<(Timestamp, JobId)>);

/// The next page: the first of these jobs, if all have given up their records.
fn page(state: &State, jobs: &[(Timestamp, JobId)]) -> Option<(PageId, Vec<Record>)> {
    let mut records = Vec::new();
    let mut bytes = 0;
    for (_, id) in jobs {
        let record = Record::of(state, *id)?;
        if !record.job.children.is_archived() {
            return None;
        }
        bytes += rmp_serde::to_vec(&record.job).map_or(0, |job| job.len());
        records.push(record);
        if bytes >= PAGE_BYTES {
            break;
        }
    }
    let page = PageId { number: state.shelf.last_page + 1, term: state.term };
    (!records.is_empty()).then_some((page, records))
}

impl Actor {
    /// Archives, shelves and forgets what is due. Follow-up work goes first: it may be about such jobs.
    pub(super) fn archive(&mut self, now: Timestamp) {
        if !self.state.work.is_empty() {
            return;
        }
        let before = |age: Duration| {
            Timestamp(now.0.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)))
        };
        let keep = self.archiving.keep;
        // Neither of the commands refuses anything.
        if let Some((page, jobs)) = self.archiving.page.take() {
            let shelve = Shelve { page, jobs, keys_max: keep.keys };
            self.decide(&Command::Shelve(Box::new(shelve)), now).ok();
        }
        let stored = std::mem::take(&mut self.archiving.stored);
        let finished = &self.state.index.finished;
        let beyond = finished.free_count().saturating_sub(keep.jobs).min(PAGE_JOBS);
        let beyond: Vec<(Timestamp, JobId)> = match beyond >= page_jobs(keep.jobs) {
            true => finished.free().take(beyond).collect(),
            false => Vec::new(),
        };
        let has_records =
            |(_, id): &&(Timestamp, JobId)| !self.state.jobs[id].children.is_archived();
        let mut due: Vec<(Timestamp, JobId)> =
            finished.with_records(before(keep.records)).take(LOOKS_MAX).collect();
        // However long ago they ended.
        due.extend(beyond.iter().filter(has_records));
        let is_free = |(_, id): &&(Timestamp, JobId)| !self.state.jobs[id].children.needs_history();
        let mut ready = stored;
        ready.extend(due.iter().filter(is_free));
        ready.sort_unstable();
        ready.dedup();
        self.decide(&Command::Archive(ready), now).ok();
        self.turn.to_history = self.archiving.start(&self.state, &due, &beyond);
        self.decide(&Command::Forget(before(keep.known)), now).ok();
    }
}

/// How many jobs there must be for a page: few large ones are cheaper to keep and to read.
fn page_jobs(keep: usize) -> usize {
    (keep / 8).clamp(1, PAGE_JOBS)
}
