//! Questions about jobs that have left the memory: which pages of the history they need, and the answer
//! once those are there. The views are the same; they look at an excerpt of the state that was.

use std::collections::BTreeSet;
use std::time::Duration;

use windrow_common::api::ApiError;
use windrow_common::api::definitions::RegisterJobDefinition;
use windrow_common::api::explain::ExplainJob;
use windrow_common::api::jobs::{DescribeJobs, DescribeJobsResponse, ListJobs};
use windrow_common::api::tags::ListTagsForResource;
use windrow_common::ids::{JobId, JobRef};
use windrow_common::time::Timestamp;

use super::{Answer, Later};
use crate::core::State;
use crate::core::arn;
use crate::core::shelf::{PageId, Record};
use crate::core::state::{Revision, Spec};
use crate::core::tags::Tagged;
use crate::scheduler::explain::Hearing;
use crate::view::list::{ShelfList, list_jobs};
use crate::view::{describe_jobs, explain_job, list_tags};

/// A question that needs pages of the history.
#[derive(Debug)]
pub struct Shelved {
    question: Question,
    /// Pages that may have jobs asked for by id, and which; the next one is last.
    pages: Vec<(PageId, Vec<JobId>)>,
    /// Those found, and what it takes to describe them.
    excerpt: State,
    now: Timestamp,
}

/// What is asked.
#[derive(Debug)]
enum Question {
    /// Together with those that the state knows.
    Describe(DescribeJobs, Box<Later>),
    /// Children or nodes of a job.
    Parts(ListJobs),
    Explain(ExplainJob),
    Tags(ListTagsForResource),
    /// Whole jobs, in the order of the pages.
    List(ShelfList),
}

impl Shelved {
    /// DescribeJobs, answered as far as the state goes, if it names jobs that may be on the shelf.
    pub fn describe(
        state: &State,
        request: DescribeJobs,
        known: DescribeJobsResponse,
        now: Timestamp,
    ) -> Result<Self, DescribeJobsResponse> {
        let ids = request.jobs.iter().filter_map(|text| arn::plain(text).parse::<JobRef>().ok());
        let pages = pages(state, ids);
        if pages.is_empty() {
            return Err(known);
        }
        let known = Box::new(Later::of(state, Answer::Described(known)));
        Ok(Self::new(state, Question::Describe(request, known), pages, now))
    }

    /// ListJobs, if it asks for parts of a job that may be on the shelf, or goes on there.
    ///
    /// # Errors
    /// Unknown queue, status, filter or token, or a wrong page size.
    pub fn list(
        state: &State,
        request: &ListJobs,
        now: Timestamp,
    ) -> Result<Option<Self>, ApiError> {
        if let Some(list) = ShelfList::read(state, request)? {
            return Ok(Some(Self::new(state, Question::List(list), Vec::new(), now)));
        }
        let whole = request.array_job_id.iter().chain(&request.multi_node_job_id);
        let ids = whole.filter_map(|text| arn::plain(text).parse::<JobRef>().ok());
        let pages = pages(state, ids);
        let found = || Self::new(state, Question::Parts(request.clone()), pages.clone(), now);
        Ok((!pages.is_empty()).then(found))
    }

    /// ExplainJob, if it names a job that may be on the shelf.
    pub fn explain(state: &State, request: &ExplainJob, now: Timestamp) -> Option<Self> {
        let pages = pages(state, arn::plain(&request.job_id).parse().ok().into_iter());
        let question = || Question::Explain(request.clone());
        (!pages.is_empty()).then(|| Self::new(state, question(), pages.clone(), now))
    }

    /// ListTagsForResource, if it names a job that may be on the shelf.
    pub fn tags(state: &State, request: &ListTagsForResource, now: Timestamp) -> Option<Self> {
        let job = Tagged::job(&request.resource_arn).map(JobRef::from);
        let pages = pages(state, job.into_iter());
        let question = || Question::Tags(request.clone());
        (!pages.is_empty()).then(|| Self::new(state, question(), pages.clone(), now))
    }

    fn new(
        state: &State,
        question: Question,
        mut pages: Vec<(PageId, Vec<JobId>)>,
        now: Timestamp,
    ) -> Self {
        pages.reverse();
        let excerpt = State { agent_numbers: state.agent_numbers.clone(), ..State::default() };
        Self { question, pages, excerpt, now }
    }

    /// The page to be read next; none when the answer is complete.
    pub fn next_page(&mut self) -> Option<PageId> {
        if let Question::List(list) = &mut self.question {
            return list.next_page();
        }
        // The later page has a job as it is: what an earlier one has of it is out of date.
        while let Some((page, ids)) = self.pages.pop() {
            if ids.iter().any(|id| !self.excerpt.jobs.contains_key(id)) {
                self.pages.push((page, ids));
                return Some(page);
            }
        }
        None
    }

    /// Takes the page last asked for; none when the history has lost it.
    pub fn take(&mut self, page: Option<Vec<Record>>) {
        if let Question::List(list) = &mut self.question {
            return list.take(page, &self.excerpt);
        }
        let Some((_, ids)) = self.pages.pop() else { return };
        for record in page.into_iter().flatten().filter(|record| ids.contains(&record.id)) {
            if !self.excerpt.jobs.contains_key(&record.id) {
                put_back(&mut self.excerpt, record);
            }
        }
    }

    /// The answer, which may need records of children yet.
    ///
    /// # Errors
    /// As of the operation: there is no such job.
    pub fn answer(self) -> Result<Later, ApiError> {
        let (excerpt, now) = (self.excerpt, self.now);
        let answer = match self.question {
            Question::Describe(request, mut known) => {
                let found = describe_jobs(&excerpt, &request, now)?;
                known.merge(Later::of(&excerpt, Answer::Described(found)), &request.jobs);
                return Ok(*known);
            }
            Question::Parts(request) => Answer::Listed(list_jobs(&excerpt, &request, now)?),
            Question::Explain(request) => {
                let unheard = |_: &_| None;
                let hearing =
                    Hearing { silence: &unheard, late: Duration::MAX, lease_ttl: Duration::ZERO };
                Answer::Explained(Box::new(explain_job(&excerpt, &request, now, hearing)?))
            }
            Question::Tags(request) => Answer::Tagged(list_tags(&excerpt, &request)?),
            Question::List(list) => Answer::Listed(list.answer()),
        };
        Ok(Later::of(&excerpt, answer))
    }
}

/// Pages that may have those of the jobs that the state does not know, the latest first.
fn pages(state: &State, ids: impl Iterator<Item = JobRef>) -> Vec<(PageId, Vec<JobId>)> {
    let unknown = ids.map(|id| id.job).filter(|id| !state.jobs.contains_key(id));
    state.shelf.find(&unknown.collect::<BTreeSet<_>>())
}

/// Makes the job known to an excerpt of the state.
pub(in crate::view) fn put_back(excerpt: &mut State, record: Record) {
    for (digest, spec) in record.specs {
        excerpt.specs.entry(digest).or_insert(Spec { spec, run_micros: None });
    }
    let (name, revision) = record.job.definition.clone();
    let definition = RegisterJobDefinition {
        platform_capabilities: record.capabilities,
        ..RegisterJobDefinition::default()
    };
    let revisions = &mut excerpt.definitions.entry(name).or_default().revisions;
    revisions.entry(revision).or_insert(Revision { active: true, definition });
    excerpt.jobs.insert(record.id, record.job);
}
