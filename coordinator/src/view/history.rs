//! Questions about jobs whose records are in the history: what is missing here, and the answer once it
//! is there.

mod shelf;

use std::collections::BTreeSet;

use windrow_common::api::explain::Explanation;
use windrow_common::api::jobs::{DescribeJobsResponse, ListJobsResponse};
use windrow_common::api::tags::ListTagsForResourceResponse;
use windrow_common::ids::{JobId, JobRef, Name};

pub use shelf::Shelved;
pub(in crate::view) use shelf::put_back;

use super::explain::tell_end;
use super::jobs::{detail, summary};
use crate::core::State;
use crate::core::arn;
use crate::core::children::archive::Piece;

/// Names a piece of the history.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    pub queue: Name,
    pub job: JobId,
    pub piece: u32,
}

/// An answer that waits for pieces of the history.
#[derive(Debug)]
pub struct Later {
    pub wanted: BTreeSet<Wanted>,
    /// The jobs concerned, and what it takes to describe them.
    excerpt: State,
    ids: Vec<JobRef>,
    answer: Answer,
}

/// The answer as it is without them.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Described(DescribeJobsResponse),
    Listed(ListJobsResponse),
    Explained(Box<Explanation>),
    Tagged(ListTagsForResourceResponse),
}

impl Later {
    /// Whether the answer lacks something that the history has; if so, what it takes to complete it.
    pub fn new(state: &State, answer: Answer) -> Result<Self, Answer> {
        let later = Self::of(state, answer);
        if later.wanted.is_empty() { Err(later.answer) } else { Ok(later) }
    }

    /// What it takes to complete the answer: nothing if it lacks nothing.
    fn of(state: &State, answer: Answer) -> Self {
        let ids: Vec<JobRef> = match &answer {
            Answer::Described(answer) => parse(answer.jobs.iter().map(|job| &job.job_id)),
            // Of a job as a whole, all that lists show is here.
            Answer::Listed(answer) => {
                let ids = parse(answer.job_summary_list.iter().map(|job| &job.job_id));
                ids.into_iter().filter(|id| id.child.is_some()).collect()
            }
            Answer::Explained(answer) => parse(std::iter::once(&answer.job_id)),
            Answer::Tagged(_) => Vec::new(),
        };
        let mut wanted = BTreeSet::new();
        let mut excerpt = State::default();
        let ids: Vec<JobRef> = ids
            .into_iter()
            .filter(|id| {
                let Some(job) = state.jobs.get(&id.job) else { return false };
                let is_parent = job.array_size.is_some() && id.child.is_none();
                let child = job.child_of(*id);
                let piece = job.children.piece_needed(child);
                let Some(piece) = piece.filter(|_| !is_parent) else { return false };
                wanted.insert(Wanted { queue: job.queue.clone(), job: id.job, piece });
                excerpt.jobs.entry(id.job).or_insert_with(|| job.clone());
                for spec in job.specs() {
                    excerpt.specs.entry(spec).or_insert_with(|| state.specs[&spec].clone());
                }
                let definition = &job.definition.0;
                if let Some(found) = state.definitions.get(definition) {
                    excerpt.definitions.insert(definition.clone(), found.clone());
                }
                true
            })
            .collect();
        if !wanted.is_empty() {
            excerpt.agent_numbers.clone_from(&state.agent_numbers);
        }
        Self { wanted, excerpt, ids, answer }
    }

    /// Takes in the answer about other jobs of the same DescribeJobs request, which named them in this
    /// order.
    fn merge(&mut self, other: Self, order: &[String]) {
        let (Answer::Described(all), Answer::Described(more)) = (&mut self.answer, other.answer)
        else {
            return;
        };
        all.jobs.extend(more.jobs);
        let place = |id: &String| order.iter().position(|text| arn::plain(text) == id);
        all.jobs.sort_by_cached_key(|job| place(&job.job_id));
        self.wanted.extend(other.wanted);
        self.ids.extend(other.ids);
        if self.excerpt.agent_numbers.is_empty() {
            self.excerpt.agent_numbers = other.excerpt.agent_numbers;
        }
        self.excerpt.jobs.extend(other.excerpt.jobs);
        self.excerpt.specs.extend(other.excerpt.specs);
        for (name, definition) in other.excerpt.definitions {
            let revisions = &mut self.excerpt.definitions.entry(name).or_default().revisions;
            for (number, revision) in definition.revisions {
                revisions.entry(number).or_insert(revision);
            }
        }
    }

    /// The answer with these pieces. What the history has lost stays as it was.
    pub fn finish(mut self, pieces: Vec<(Wanted, Piece)>) -> Answer {
        for (wanted, piece) in pieces {
            if let Some(job) = self.excerpt.jobs.get_mut(&wanted.job) {
                job.children.restore(piece);
            }
        }
        match self.answer {
            Answer::Described(mut answer) => {
                for job in &mut answer.jobs {
                    let id = self.ids.iter().find(|id| id.to_string() == job.job_id);
                    if let Some(id) = id {
                        *job = detail(&self.excerpt, *id, &self.excerpt.jobs[&id.job]);
                    }
                }
                Answer::Described(answer)
            }
            Answer::Listed(mut answer) => {
                let mut ids = self.ids.iter().peekable();
                for row in &mut answer.job_summary_list {
                    if let Some(id) = ids.next_if(|id| id.to_string() == row.job_id) {
                        *row = summary(&self.excerpt, *id, &self.excerpt.jobs[&id.job]);
                    }
                }
                Answer::Listed(answer)
            }
            Answer::Explained(mut answer) => {
                for id in self.ids {
                    tell_end(&mut answer, id, &self.excerpt.jobs[&id.job]);
                }
                Answer::Explained(answer)
            }
            Answer::Tagged(answer) => Answer::Tagged(answer),
        }
    }
}

fn parse<'a>(ids: impl Iterator<Item = &'a String>) -> Vec<JobRef> {
    ids.filter_map(|id| id.parse().ok()).collect()
}
