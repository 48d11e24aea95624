//! Which job was submitted when, by number: other tables name a job by its place among all ever submitted, so
//! that those of jobs submitted one after the other are ranges.

use std::collections::BTreeMap;
use std::ops::Range;

use windrow_common::ids::JobId;
use windrow_common::time::Timestamp;

use crate::core::state::Job;

/// Places of one block.
const BLOCK: u64 = 256;

/// All jobs in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Orders {
    blocks: BTreeMap<u64, Block>,
}

#[derive(Clone, Debug)]
struct Block {
    /// By place in the block.
    jobs: Vec<(u8, JobId)>,
    /// The first and the last time at which one of them was created, or one that has left.
    created: (Timestamp, Timestamp),
}

/// The times do not follow from the jobs that are left.
impl PartialEq for Block {
    fn eq(&self, other: &Self) -> bool {
        self.jobs == other.jobs
    }
}

impl Orders {
    /// A job is known.
    pub(in crate::core) fn enter(&mut self, id: JobId, job: &Job) {
        let (block, place) = split(job.order);
        let at = job.created_at;
        let empty = || Block { jobs: Vec::new(), created: (at, at) };
        let block = self.blocks.entry(block).or_insert_with(empty);
        block.created = (block.created.0.min(at), block.created.1.max(at));
        if let Err(index) = block.jobs.binary_search_by_key(&place, |(place, _)| *place) {
            block.jobs.insert(index, (place, id));
        }
    }

    /// A job is known no more.
    pub(super) fn leave(&mut self, job: &Job) {
        let (number, place) = split(job.order);
        let Some(block) = self.blocks.get_mut(&number) else { return };
        block.jobs.retain(|(other, _)| *other != place);
        if block.jobs.is_empty() {
            self.blocks.remove(&number);
        }
    }

    /// The job with this place.
    pub fn job(&self, order: u64) -> Option<JobId> {
        let (block, place) = split(order);
        let jobs = &self.blocks.get(&block)?.jobs;
        let found = jobs.binary_search_by_key(&place, |(place, _)| *place).ok()?;
        Some(jobs[found].1)
    }

    /// Where jobs may be that were created after one time and before another, in order. Blocks that have none
    /// are passed over: by the clock, places and times rise together, but a clock may be set back.
    pub fn created_within(&self, after: Option<u64>, before: Option<u64>) -> Vec<Range<u64>> {
        if after.is_none() && before.is_none() {
            return std::iter::once(0..u64::MAX).collect();
        }
        let mut spans: Vec<Range<u64>> = Vec::new();
        let may_have = |block: &Block| {
            after.is_none_or(|after| block.created.1.0 > after)
                && before.is_none_or(|before| block.created.0.0 < before)
        };
        for (number, _) in self.blocks.iter().filter(|(_, block)| may_have(block)) {
            let span = number * BLOCK..(number + 1) * BLOCK;
            match spans.last_mut().filter(|last| last.end == span.start) {
                Some(last) => last.end = span.end,
                None => spans.push(span),
            }
        }
        spans
    }
}

fn split(order: u64) -> (u64, u8) {
    (order / BLOCK, u8::try_from(order % BLOCK).expect("a block has so many places"))
}
