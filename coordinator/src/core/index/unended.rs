//! How many children have which status, over the jobs that have not ended.

use windrow_common::api::jobs::JobStatus;

use crate::core::children::Children;

/// Children by status, in the order of [`JobStatus::ALL`].
type Counts = [u64; JobStatus::ALL.len()];

/// The table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unended {
    counts: Counts,
}

impl Unended {
    /// Children of one job, as the table counts them.
    pub(in crate::core) fn of(children: &Children) -> Counts {
        match children.all_ended() {
            true => Counts::default(),
            false => JobStatus::ALL.map(|status| u64::from(children.count(status))),
        }
    }

    /// A job that was counted so before is counted so now.
    pub(in crate::core) fn recount(&mut self, before: Counts, now: Counts) {
        for ((count, before), now) in self.counts.iter_mut().zip(before).zip(now) {
            *count = *count + now - before;
        }
    }

    /// Status and number of children.
    pub fn counts(&self) -> impl Iterator<Item = (JobStatus, u64)> {
        JobStatus::ALL.into_iter().zip(self.counts)
    }
}
