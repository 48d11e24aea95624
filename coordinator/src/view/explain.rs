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

use super::{jobs, shown};
use crate::core::State;
use crate::core::arn;
use crate::core::find;
use crate::core::state::Job;
use crate::scheduler::explain::{Hearing, Look};

/// Most jobs of one status that are looked at for [`explain_queue`], shared among the queues asked
/// about: some milliseconds.
const LOOKS_MAX: usize = 10_000;
/// Least jobs of one status that are looked at in each queue.
const LOOKS_MIN: usize = 100;
/// Most stretches of children that are looked through for examples, in one answer: of at most 256
/// children that have a record each.
pub(super) const STRETCHES_MAX: usize = 4096;

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
        return Err(ApiError::not_found(format!("job `{}` does not exist", shown(text)))
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
    let mut looks = usize::MAX;
    representative_within(id, job, &mut looks).unwrap_or(id)
}

/// The same, with so many stretches of children left to look through; none when they are used up.
pub(super) fn representative_within(id: JobRef, job: &Job, looks: &mut usize) -> Option<JobRef> {
    if id.child.is_some() || job.array_size.is_none() {
        return Some(id);
    }
    let order = [
        JobStatus::Runnable,
        JobStatus::Pending,
        JobStatus::Submitted,
        JobStatus::Starting,
        JobStatus::Running,
    ];
    match order.into_iter().find(|status| job.children.count(*status) > 0) {
        Some(status) => Some(JobRef::child(id.job, first_with(job, status, looks)?)),
        None => Some(id),
    }
}

/// The first child with this status; of RUNNABLE ones the one that goes next. None when there is
/// none, or when the stretches left to look through are used up.
fn first_with(job: &Job, status: JobStatus, looks: &mut usize) -> Option<u32> {
    if job.children.count(status) == 0 {
        return None;
    }
    if status == JobStatus::Runnable {
        let next = job.children.next_runnable(1).map(|(next, _)| next.start);
        return next.or_else(|| job.children.first_backing_off());
    }
    let mut from = 0;
    loop {
        *looks = looks.checked_sub(1)?;
        let (found, next) = job.children.with_status(status, from);
        if let Some(range) = found.first() {
            return Some(range.start);
        }
        from = next?;
    }
}

/// Children and jobs with the same reason, and the first of them.
#[derive(Clone, Copy, Debug)]
struct Sum {
    children: u64,
    jobs: u64,
    example: JobRef,
}

/// What the jobs of a queue, or of all, wait for. Ready jobs are summed up by shape and share: all
/// jobs of one count for the reason of the first. Of each status a bounded number of jobs is looked
/// at, and the answer says how many were not.
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
        Some(text) => {
            let (wanted, _) = find::queue(state, text)?;
            state.queues.keys().filter(|name| **name == wanted).collect()
        }
    };
    let look = Look::new(state, now, None);
    let looks = (LOOKS_MAX / queues.len().max(1)).max(LOOKS_MIN);
    let mut stretches = STRETCHES_MAX;
    let mut response = ExplainQueueResponse::default();
    for queue in queues {
        let mut sums = Sums { state, look: &look, queue, stretches, sums: BTreeMap::new() };
        sums.add_ready(looks);
        response.jobs_not_looked_at += sums.add_others(looks, &mut response.children);
        stretches = sums.stretches;
        for ((code, _), sum) in sums.sums {
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
    response.children.retain(|_, count| *count > 0);
    response.reasons.sort_by_key(|reason| Reverse(reason.children));
    Ok(response)
}

/// Reasons of one queue; those of ready jobs by share as well.
struct Sums<'a> {
    state: &'a State,
    look: &'a Look<'a>,
    queue: &'a Name,
    /// Left to look through for examples.
    stretches: usize,
    sums: BTreeMap<(WaitCode, Option<&'a Name>), Sum>,
}

impl<'a> Sums<'a> {
    fn add(
        &mut self,
        code: WaitCode,
        share: Option<&'a Name>,
        example: JobRef,
        children: u64,
        jobs: u64,
    ) {
        let new = Sum { children: 0, jobs: 0, example };
        let sum = self.sums.entry((code, share)).or_insert(new);
        sum.children += children;
        sum.jobs += jobs;
    }

    /// Jobs with a child to lease, shape by shape: each beyond the first `looks` of a shape counts as
    /// one child.
    fn add_ready(&mut self, looks: usize) {
        for (share, ready) in self.state.index.ready.shares(self.queue).into_iter().flatten() {
            for (first, ranks) in ready.shapes() {
                let head = &self.state.jobs[&first.job];
                let example = representative(first.job.into(), head);
                let orders = &self.state.index.orders;
                let jobs = ranks.iter(orders).take(looks).map(|rank| &self.state.jobs[&rank.job]);
                let seen: u64 = jobs.map(|job| u64::from(job.children.runnable_count())).sum();
                let unseen = ranks.len().saturating_sub(looks as u64);
                let code = self.look.why(example).code();
                self.add(code, share.as_ref(), example, seen + unseen, ranks.len());
            }
        }
    }

    /// What else has not ended: dependencies, back-off, limits of the job's own, agents. Counts the
    /// children by status on the way; gives how many jobs were not looked at.
    fn add_others(&mut self, looks: usize, children: &mut BTreeMap<JobStatus, u64>) -> u64 {
        let (listing, mut unseen) = (&self.state.index.listing, 0);
        for status in JobStatus::ALL.into_iter().filter(|status| !status.is_terminal()) {
            let rows = listing.by_status(Some(self.queue), &[status], 0..u64::MAX, true);
            for row in rows.take(looks) {
                let Some(job) = self.state.index.orders.job(row.order) else { continue };
                unseen += u64::from(!self.add_job(job, children));
            }
            unseen += listing.count(self.queue, status).saturating_sub(looks as u64);
        }
        unseen
    }

    /// Each status of a job's children by itself; false when they were not all looked at.
    fn add_job(&mut self, id: JobId, children: &mut BTreeMap<JobStatus, u64>) -> bool {
        let job = &self.state.jobs[&id];
        let mut is_seen = true;
        let part = |child: u32| match (job.array_size, &job.nodes) {
            (None, None) => JobRef::from(id),
            (Some(_), _) | (_, Some(_)) => job.part(id, child),
        };
        for status in JobStatus::ALL.into_iter().filter(|status| !status.is_terminal()) {
            let mut count = u64::from(job.children.count(status));
            *children.entry(status).or_insert(0) += count;
            if status == JobStatus::Runnable {
                let ready = u64::from(job.children.runnable_count());
                if let Some(child) = job.children.first_backing_off() {
                    self.add(WaitCode::Backoff, None, part(child), count - ready, 1);
                }
                // Those of a job that is ready are counted already.
                let is_ready = self.state.rank(id).is_some();
                count = if is_ready { 0 } else { ready };
            }
            if count == 0 {
                continue;
            }
            let Some(child) = first_with(job, status, &mut self.stretches) else {
                is_seen = false;
                continue;
            };
            let code = self.look.why(part(child)).code();
            if code != WaitCode::Running {
                self.add(code, None, part(child), count, 1);
            }
        }
        is_seen
    }
}
