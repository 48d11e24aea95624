//! Where lists go on: jobs that have left the memory, page by page of the history. After those in
//! memory come these, those that left last first; filters are looked at job by job.

use std::cmp::Reverse;

use windrow_common::api::ApiError;
use windrow_common::api::jobs::{JobSummary, ListJobs, ListJobsResponse};
use windrow_common::ids::{JobRef, Name};

use super::{FILTERED_MAX, Filters, LIST_MAX, summary};
use crate::core::State;
use crate::core::find;
use crate::core::shelf::{PageId, Record};
use crate::view::history::put_back;
use crate::view::{bad_token, page_limit, token};

/// Most pages of the history that one answer reads.
const PAGES_MAX: usize = 8;

/// One page of such a list, being made.
#[derive(Debug)]
pub(in crate::view) struct ShelfList {
    queue: Option<Name>,
    filters: Filters,
    limit: usize,
    /// Pages of the history to be read, the next one last; and the one after them.
    pages: Vec<PageId>,
    beyond: Option<u64>,
    /// Rows of the next page that were given before.
    skip: usize,
    rows: Vec<JobSummary>,
    next_token: Option<String>,
}

/// Where a list goes on when the memory has no more; none if the history has nothing for it.
pub(super) fn first_token(
    state: &State,
    queue: Option<&Name>,
    filters: &Filters,
) -> Option<String> {
    let first = state.shelf.pages(queue, &filters.statuses, u64::MAX).next()?;
    Some(write_token(first.number, 0))
}

/// `+PAGE.ROW`: no other token of this operation begins so.
fn write_token(page: u64, row: usize) -> String {
    format!("+{page}.{row}")
}

fn parse_token(token: &str) -> Option<(u64, usize)> {
    let (page, row) = token.strip_prefix('+')?.split_once('.')?;
    Some((page.parse().ok()?, row.parse().ok()?))
}

impl ShelfList {
    /// The list that a request goes on with; none if it does not go on in the history.
    ///
    /// Errors: as of the operation.
    pub(in crate::view) fn read(
        state: &State,
        request: &ListJobs,
    ) -> Result<Option<Self>, ApiError> {
        let Some(text) = token(request.next_token.as_ref()).filter(|t| t.starts_with('+')) else {
            return Ok(None);
        };
        let (page, skip) = parse_token(text).ok_or_else(|| bad_token(text))?;
        let queue = request.job_queue.as_deref().filter(|q| !q.is_empty());
        let queue = queue.map(|text| find::queue(state, text).map(|(name, _)| name)).transpose()?;
        let filters = Filters::read(request)?;
        let page_max = if request.filters.is_empty() { LIST_MAX } else { FILTERED_MAX };
        let limit = page_limit(request.max_results, page_max)?;
        let mut all = state.shelf.pages(queue.as_ref(), &filters.statuses, page);
        let mut pages: Vec<PageId> = all.by_ref().take(PAGES_MAX).collect();
        let beyond = all.next().map(|page| page.number);
        drop(all);
        // The page of the token may have been forgotten meanwhile.
        let skip = if pages.first().is_some_and(|first| first.number == page) { skip } else { 0 };
        pages.reverse();
        let (rows, next_token) = (Vec::new(), None);
        Ok(Some(Self { queue, filters, limit, pages, beyond, skip, rows, next_token }))
    }

    /// The page to be read next; none when the list's page is full.
    pub(in crate::view) fn next_page(&mut self) -> Option<PageId> {
        if self.next_token.is_some() {
            return None;
        }
        let next = self.pages.last().copied();
        if next.is_none() {
            self.next_token = self.beyond.map(|page| write_token(page, 0));
        }
        next
    }

    /// Takes that page. Where it is lost, all before it are too: the oldest go first.
    pub(in crate::view) fn take(&mut self, page: Option<Vec<Record>>, agents: &State) {
        let Some(id) = self.pages.pop() else { return };
        let Some(mut records) = page else {
            self.pages.clear();
            self.beyond = None;
            return;
        };
        // One that was on the shelf before is listed from there.
        records.retain(|record| !record.job.was_shelved);
        records.sort_by_key(|record| Reverse((record.job.created_at, record.job.order)));
        let skip = std::mem::take(&mut self.skip);
        let mut excerpt = State { agent_numbers: agents.agent_numbers.clone(), ..State::default() };
        for (row, record) in records.into_iter().enumerate().skip(skip) {
            if self.rows.len() == self.limit {
                self.next_token = Some(write_token(id.number, row));
                return;
            }
            let (job_id, is_meant) = (record.id, self.is_meant(&record));
            if is_meant {
                put_back(&mut excerpt, record);
                self.rows.push(summary(&excerpt, JobRef::from(job_id), &excerpt.jobs[&job_id]));
            }
        }
    }

    fn is_meant(&self, record: &Record) -> bool {
        self.queue.as_ref().is_none_or(|queue| *queue == record.job.queue)
            && self.filters.matches(&record.job)
    }

    /// The list's page.
    pub(in crate::view) fn answer(self) -> ListJobsResponse {
        ListJobsResponse { job_summary_list: self.rows, next_token: self.next_token }
    }
}
