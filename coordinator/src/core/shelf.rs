//! Finished jobs that have left the memory. Their records are in pages of the history store, and all
//! that stays here is which page has a job: some 5 bytes for each. Idempotency keys stay too, as a
//! hash.
//!
//! Who writes pages: [`crate::shell::history`], before the event that shelves the jobs is decided.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use windrow_common::api::jobs::JobStatus;
use windrow_common::ids::{JobId, Name};
use windrow_common::time::Timestamp;
use windrow_common::wire::lease::SpecDigest;

use super::State;
use super::state::{Job, JobSpec};

/// Most jobs of one page: it is read as a whole to describe one of them.
pub const PAGE_JOBS: usize = 512;
/// Bytes of records after which a page is full, about.
pub const PAGE_BYTES: usize = 512 * 1024;
/// Keys of one block: forgotten together, and copied together while a snapshot is being stored.
const BLOCK_KEYS: usize = 65_536;

/// What is known of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shelf {
    /// By number, which rises from page to page.
    pages: BTreeMap<u64, Page>,
    /// Number of the last page there ever was.
    pub last_page: u64,
    /// Jobs of all pages. One that was loaded back and left again counts twice.
    pub jobs: u64,
    /// Oldest first.
    keys: VecDeque<Arc<Block>>,
}

/// A page of the history store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The term of the coordinator that stored it: one that was taken over from may still be storing
    /// another page of this number.
    pub term: u64,
    /// The first and last of its jobs, by id.
    ids: (JobId, JobId),
    /// When the last of them ended.
    pub ended: Timestamp,
    /// The queues that they are of.
    queues: Arc<BTreeSet<Name>>,
    /// [`print`] of each, in ascending order.
    prints: Arc<Vec<u32>>,
    /// How many of them FAILED; the others SUCCEEDED.
    failed: u32,
}

/// Names a page of the history store. Later pages are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageId {
    pub number: u64,
    pub term: u64,
}

/// Keys of jobs shelved one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Block {
    /// The job, and a digest of what was asked.
    keys: BTreeMap<KeyHash, (JobId, u64)>,
    /// When the last of the jobs ended.
    ended: Timestamp,
}

/// The first 16 bytes of a key's SHA-256: nobody finds two keys that have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
struct KeyHash(u128);

impl KeyHash {
    fn of(key: &str) -> Self {
        let mut first = [0; 16];
        first.copy_from_slice(&Sha256::digest(key)[..16]);
        Self(u128::from_be_bytes(first))
    }
}

/// A finished job as a page of the history store has it, with everything it takes to describe it and
/// to run it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub id: JobId,
    pub job: Box<Job>,
    pub specs: Vec<(SpecDigest, Arc<JobSpec>)>,
    /// `platformCapabilities` of its definition.
    pub capabilities: Vec<String>,
}

impl Record {
    /// Of a job in memory.
    pub fn of(state: &State, id: JobId) -> Option<Self> {
        let job = state.jobs.get(&id)?.clone();
        let specs: BTreeSet<SpecDigest> = job.specs().collect();
        let specs = specs.into_iter().map(|spec| (spec, state.specs[&spec].spec.clone())).collect();
        let (name, revision) = &job.definition;
        let definition = state.definitions.get(name).and_then(|d| d.revisions.get(revision));
        let capabilities = definition.map(|d| d.definition.platform_capabilities.clone());
        Some(Self { id, job, specs, capabilities: capabilities.unwrap_or_default() })
    }
}

/// A few bits of an id that tell it from nearly all others: the last ones, which are random.
fn print(id: JobId) -> u32 {
    id.random_bits()
}

impl Page {
    fn has_any(&self, queue: Option<&Name>, statuses: &[JobStatus]) -> bool {
        let has = |status: &JobStatus| match status {
            JobStatus::Failed => self.failed > 0,
            JobStatus::Succeeded => (self.failed as usize) < self.prints.len(),
            JobStatus::Submitted
            | JobStatus::Pending
            | JobStatus::Runnable
            | JobStatus::Starting
            | JobStatus::Running => false,
        };
        queue.is_none_or(|queue| self.queues.contains(queue)) && statuses.iter().any(has)
    }

    fn may_have(&self, id: JobId) -> bool {
        (self.ids.0..=self.ids.1).contains(&id) && self.prints.binary_search(&print(id)).is_ok()
    }
}

impl Shelf {
    /// Which pages may have these jobs, each with those it may have, the latest page first. Of one
    /// that was loaded back and left again there are two: the later one has it as it is.
    pub fn find(&self, ids: &BTreeSet<JobId>) -> Vec<(PageId, Vec<JobId>)> {
        let mut found = Vec::new();
        for (number, page) in self.pages.iter().rev() {
            let here: Vec<JobId> = ids.iter().copied().filter(|id| page.may_have(*id)).collect();
            if !here.is_empty() {
                found.push((PageId { number: *number, term: page.term }, here));
            }
        }
        found
    }

    /// Whether a page may have this job.
    pub fn may_have(&self, id: JobId) -> bool {
        self.pages.values().any(|page| page.may_have(id))
    }

    /// Pages with jobs of a queue, or of any, in these statuses, up to this number, the latest first.
    pub fn pages(
        &self,
        queue: Option<&Name>,
        statuses: &[JobStatus],
        upto: u64,
    ) -> impl Iterator<Item = PageId> {
        let pages = self.pages.range(..=upto).rev();
        pages
            .filter(move |(_, page)| page.has_any(queue, statuses))
            .map(|(number, page)| PageId { number: *number, term: page.term })
    }

    /// How many pages there are.
    pub fn page_count(&self) -> usize {
        self.pages.len()
    }

    /// [`Self::jobs`], counted anew.
    pub(super) fn recount(&self) -> u64 {
        self.pages.values().map(|page| page.prints.len() as u64).sum()
    }

    /// How many keys are known.
    pub fn key_count(&self) -> u64 {
        self.keys.iter().map(|block| block.keys.len() as u64).sum()
    }

    /// The job that a request under this key led to, and the digest of that request.
    pub fn key(&self, key: &str) -> Option<(JobId, u64)> {
        if self.keys.is_empty() {
            return None;
        }
        let hash = KeyHash::of(key);
        self.keys.iter().rev().find_map(|block| block.keys.get(&hash)).copied()
    }

    /// The number of the last page all of whose jobs ended at or before this time, with none before it
    /// that has later ones.
    pub fn forgettable(&self, upto: Timestamp) -> Option<u64> {
        let old = self.pages.iter().take_while(|(_, page)| page.ended <= upto);
        old.last().map(|(number, _)| *number)
    }

    /// How many blocks of keys can go, the oldest first: those of jobs that all ended at or before this
    /// time, and those beyond so many keys.
    pub fn forgettable_keys(&self, upto: Timestamp, keys_max: u64) -> usize {
        let mut left = self.key_count();
        let goes = |block: &&Arc<Block>| {
            let count = block.keys.len() as u64;
            let is_beyond = left - count >= keys_max;
            left -= count;
            is_beyond || block.ended <= upto
        };
        self.keys.iter().take_while(goes).count()
    }

    /// These jobs are in this page.
    pub(super) fn add(&mut self, at: PageId, jobs: &[(JobId, Box<Job>)]) {
        let ids = || jobs.iter().map(|(id, _)| *id);
        let (Some(first), Some(last)) = (ids().min(), ids().max()) else { return };
        let mut prints: Vec<u32> = ids().map(print).collect();
        prints.sort_unstable();
        let failed = jobs.iter().filter(|(_, job)| job.status() == JobStatus::Failed).count();
        let page = Page {
            term: at.term,
            ids: (first, last),
            ended: ended(jobs),
            queues: Arc::new(jobs.iter().map(|(_, job)| job.queue.clone()).collect()),
            prints: Arc::new(prints),
            failed: u32::try_from(failed).unwrap_or(u32::MAX),
        };
        self.pages.insert(at.number, page);
        self.last_page = at.number;
        self.jobs += jobs.len() as u64;
    }

    /// The keys of jobs that go into a page, each with its job and digest.
    pub(super) fn add_keys(&mut self, keys: Vec<(String, (JobId, u64))>, ended: Timestamp) {
        for (key, to) in keys {
            if self.keys.back().is_none_or(|block| block.keys.len() >= BLOCK_KEYS) {
                self.keys.push_back(Arc::default());
            }
            if let Some(block) = self.keys.back_mut().map(Arc::make_mut) {
                block.keys.insert(KeyHash::of(&key), to);
                block.ended = block.ended.max(ended);
            }
        }
    }

    /// Pages up to this number are forgotten.
    pub(super) fn forget_pages(&mut self, upto: u64) {
        let later = self.pages.split_off(&(upto + 1));
        let gone = std::mem::replace(&mut self.pages, later);
        self.jobs -= gone.values().map(|page| page.prints.len() as u64).sum::<u64>();
    }

    /// So many blocks of keys are forgotten.
    pub(super) fn forget_keys(&mut self, blocks: usize) {
        self.keys.drain(..blocks.min(self.keys.len()));
    }
}

/// When the last of these jobs ended.
pub(super) fn ended(jobs: &[(JobId, Box<Job>)]) -> Timestamp {
    jobs.iter().filter_map(|(_, job)| job.stopped_at).max().unwrap_or_default()
}
