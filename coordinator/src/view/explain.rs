//! ExplainJob and ExplainQueue.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use windrow_common::api::ApiError;
use windrow_common::api::explain::{
    ExplainJob, ExplainQueue, ExplainQueueResponse, Explanation, QueueReason, WaitCode,
};
use windrow_common::api::jobs::JobStatus;
use windrow_common::ids::{JobId, JobRef, Name};
use windrow_common::time::Timestamp;

use super::jobs;
use crate::core::State;
use crate::core::arn;
use crate::core::state::Job;
use crate::scheduler::explain::{Hearing, Look};

/// Most jobs of one queue that are looked at for [`explain_queue`], where no table has the answer.
const LOOKS_MAX: usize = 10_000;

/// Why a job does not get on.
///
/// # Errors
/// There is no such job or child.
pub fn explain_job(
    state: &State,
    request: &ExplainJob,
    now: Timestamp,
    hearing: Hearing<'_>,
) -> Result<Explanation, ApiError> {
    let text = arn::plain(&request.job_id);
    let found = text.parse::<JobRef>().ok().and_then(|id| Some((id, state.jobs.get(&id.job)?)));
    let Some((id, job)) = found.filter(|(id, job)| job.has(*id)) else {
        let shown: String = text.chars().take(80).collect();
        return Err(ApiError::not_found(format!("job `{shown}` does not exist"))
            .hint("`windrow job list` shows the jobs there are"));
    };
    let look = Look::new(state, now, Some(hearing));
    let mut explanation = look.explain(representative(id, job));
    if jobs::status(job, id).is_terminal() {
        tell_end(&mut explanation, id, job);
    }
    if id.child.is_none() && job.array_size.is_some() {
        let children = JobStatus::ALL.map(|status| (status, job.children.count(status)));
        explanation.children = children.into_iter().filter(|(_, count)| *count > 0).collect();
    }
    Ok(explanation)
}

/// How a job or child that has ended did, in the words of DescribeJobs.
pub(super) fn tell_end(explanation: &mut Explanation, id: JobRef, job: &Job) {
    let status = jobs::status(job, id);
    explanation.status = status;
    explanation.status_reason = jobs::status_reason(job, id, status);
    explanation.message = match &explanation.status_reason {
        Some(reason) => format!("it has ended, {status}: {reason}"),
        None => format!("it has ended, {status}"),
    };
    explanation.since = jobs::times(job, id).1;
}

/// Of an array parent that has not ended the first child that is least far; of anything else itself.
pub(super) fn representative(id: JobRef, job: &Job) -> JobRef {
    if id.child.is_some() || job.array_size.is_none() {
        return id;
    }
    let order = [
        JobStatus::Runnable,
        JobStatus::Pending,
        JobStatus::Submitted,
        JobStatus::Starting,
        JobStatus::Running,
    ];
    let status = order.into_iter().find(|status| job.children.count(*status) > 0);
    let first = status.and_then(|status| {
        let mut from = Some(0);
        while let Some(start) = from {
            let (found, next) = job.children.with_status(status, start);
            if let Some(range) = found.first() {
                return Some(range.start);
            }
            from = next;
        }
        None
    });
    first.map_or(id, |child| JobRef::child(id.job, child))
}

/// Children and jobs with the same reason, and the first of them.
#[derive(Clone, Copy, Debug)]
struct Sum {
    children: u64,
    jobs: u64,
    example: JobRef,
}

/// What the jobs of a queue, or of all, wait for. Ready jobs are summed up by shape and share: all
/// jobs of one have the reason of the first.
///
/// # Errors
/// There is no such queue.
pub fn explain_queue(
    state: &State,
    request: &ExplainQueue,
    now: Timestamp,
) -> Result<ExplainQueueResponse, ApiError> {
    let queues: Vec<&Name> = match request.job_queue.as_deref().filter(|q| !q.is_empty()) {
        None => state.queues.keys().collect(),
        Some(text) => vec![find_queue(state, text)?],
    };
    let look = Look::new(state, now, None);
    let mut response = ExplainQueueResponse::default();
    for queue in queues {
        for ((code, _), sum) in sums(state, &look, queue, &mut response.children) {
            let example = look.explain(sum.example);
            response.reasons.push(QueueReason {
                job_queue: queue.to_string(),
                code,
                children: sum.children,
                jobs: sum.jobs,
                example: sum.example.to_string(),
                message: example.message,
                hint: example.hint,
            });
        }
    }
    response.reasons.sort_by_key(|reason| Reverse(reason.children));
    Ok(response)
}

/// The queue that a text names.
pub(super) fn find_queue<'a>(state: &'a State, text: &str) -> Result<&'a Name, ApiError> {
    let plain = arn::plain(text);
    let known = plain.parse::<Name>().ok().and_then(|name| state.queues.get_key_value(&name));
    known.map(|(name, _)| name).ok_or_else(|| {
        let shown: String = plain.chars().take(80).collect();
        ApiError::not_found(format!("JobQueue {shown} not found."))
            .hint("list the queues with `windrow queue list`")
    })
}

/// Reasons of one queue; those of ready jobs by share as well.
fn sums(
    state: &State,
    look: &Look<'_>,
    queue: &Name,
    children: &mut BTreeMap<JobStatus, u64>,
) -> BTreeMap<(WaitCode, Option<Name>), Sum> {
    let mut sums = BTreeMap::new();
    let mut add = |code: WaitCode, share: Option<&Name>, example: JobRef, count: u64| {
        let new = Sum { children: 0, jobs: 0, example };
        let sum = sums.entry((code, share.cloned())).or_insert(new);
        sum.children += count;
        sum.jobs += 1;
    };
    for (share, ready) in state.index.ready.shares(queue).into_iter().flatten() {
        for (_, ranks) in ready.shapes() {
            let Some(first) = ranks.first() else { continue };
            let head = &state.jobs[&first.job];
            let code = look.why(representative(first.job.into(), head)).code();
            for rank in ranks {
                let job = &state.jobs[&rank.job];
                let example = representative_of_ready(rank.job, job);
                add(code, share.as_ref(), example, u64::from(job.children.runnable_count()));
            }
        }
    }
    // What is not ready, and not ended: dependencies, back-off, limits of the job's own, agents.
    let unended = JobStatus::ALL.into_iter().filter(|status| !status.is_terminal());
    let unended: Vec<JobStatus> = unended.collect();
    let everything = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    let rows = state.index.listing.by_status(Some(queue), &unended, everything, true);
    for row in rows.take(LOOKS_MAX) {
        let job = &state.jobs[&row.job];
        for status in &unended {
            *children.entry(*status).or_insert(0) += u64::from(job.children.count(*status));
        }
        if state.index.ready.rank(row.job).is_some() {
            continue;
        }
        let example = representative(row.job.into(), job);
        let why = look.why(example);
        let status = job.children.status(example.child.unwrap_or(0));
        if why.code() != WaitCode::Running {
            add(why.code(), None, example, u64::from(job.children.count(status)));
        }
    }
    children.retain(|_, count| *count > 0);
    sums
}

/// The first ready child of an array, or the job itself.
fn representative_of_ready(id: JobId, job: &Job) -> JobRef {
    match (job.array_size, job.children.next_runnable(1)) {
        (Some(_), Some((children, _))) => JobRef::child(id, children.start),
        (Some(_) | None, _) => id.into(),
    }
}
