//! PlanJob: carries a submission out on a copy of what matters to it, by the same decisions and the
//! same pass of the scheduler, and tells what came of it.

use std::collections::BTreeSet;

use windrow_common::api::ApiError;
use windrow_common::api::explain::{PlanJob, PlanJobResponse};
use windrow_common::api::jobs::{DescribeJobs, SubmitJob};
use windrow_common::ids::{JobId, JobRef, Name};
use windrow_common::time::Timestamp;

use super::explain::representative;
use crate::core::limits::Limits;
use crate::core::{Command, State, apply, arn, decide};
use crate::scheduler::explain::Look;
use crate::scheduler::order::dispatch_order;
use crate::scheduler::{Pass, Placement};

/// Most waiting jobs that are copied: beyond that those ahead are not counted exactly.
const JOBS_MAX: usize = 10_000;
/// Most placements of others that are carried out first, should the scheduler be in the middle of them.
const STEPS_MAX: usize = 1_000;

/// Where a submission would go, and why not at once.
///
/// # Errors
/// Those of the submission.
pub fn plan_job(
    state: &State,
    limits: &Limits,
    request: &PlanJob,
    now: Timestamp,
) -> Result<PlanJobResponse, ApiError> {
    let id = JobId::from_u128(u128::MAX);
    let (mut trial, is_cut) = copy(state, &request.job, now);
    if let Some(definition) = &request.definition {
        let command = Command::RegisterDefinition(Box::new(definition.clone()));
        carry_out(&mut trial, limits, &command, now)?;
    }
    let job = Box::new(SubmitJob { idempotency_key: None, ..request.job.clone() });
    carry_out(&mut trial, limits, &Command::Submit { id, request: job }, now)?;
    while !trial.work.is_empty() {
        carry_out(&mut trial, limits, &Command::Work, now)?;
    }
    let described =
        super::describe_jobs(&trial, &DescribeJobs { jobs: vec![id.to_string()] }, now)?;
    let job = described.jobs.into_iter().next();
    let job = job.ok_or_else(|| ApiError::invalid("the job would be refused"))?;
    let agents = first_placement(&mut trial, limits, id, now)?;
    let explanation = agents.is_none().then(|| {
        let first = representative(JobRef::from(id), &trial.jobs[&id]);
        let mut explanation = Look::new(&trial, now, None).explain(first);
        if is_cut {
            explanation.position = None;
            explanation.estimate = None;
            explanation.no_estimate = Some(format!("more than {JOBS_MAX} jobs wait"));
            explanation.ahead.iter_mut().for_each(|ahead| ahead.is_at_least = true);
        }
        explanation
    });
    let agents = agents.unwrap_or_default().iter().map(ToString::to_string).collect();
    Ok(PlanJobResponse { starts_now: explanation.is_none(), agents, explanation, job })
}

/// A copy with everything that decides where the job goes, and whether waiting jobs were left out.
fn copy(state: &State, request: &SubmitJob, now: Timestamp) -> (State, bool) {
    let mut jobs: BTreeSet<JobId> = state.leases.values().map(|lease| lease.job).collect();
    let awaited = request.depends_on.iter().filter_map(|d| d.job_id.as_deref());
    jobs.extend(awaited.filter_map(|text| Some(arn::plain(text).parse::<JobRef>().ok()?.job)));
    jobs.extend(state.preemptions.values().map(|exchange| exchange.by));
    jobs.extend(state.reservations.values().map(|reserved| reserved.job));
    // The first job of every shape decides what is kept for whom.
    let queues: Vec<&Name> = state.index.ready.queues().collect();
    for queue in &queues {
        let shares = state.index.ready.shares(queue).into_iter().flat_map(|s| s.values());
        jobs.extend(shares.flat_map(|share| share.heads()).map(|(rank, _)| rank.job));
    }
    let mut waiting = queues.iter().flat_map(|queue| dispatch_order(state, queue, now));
    jobs.extend(waiting.by_ref().take(JOBS_MAX));
    let is_cut = waiting.next().is_some();
    let mut copy = state.without_jobs();
    let known = jobs.into_iter().filter_map(|id| Some((id, state.jobs.get(&id)?.clone())));
    copy.jobs.extend(known);
    copy.reindex();
    (copy, is_cut)
}

fn carry_out(
    trial: &mut State,
    limits: &Limits,
    command: &Command,
    now: Timestamp,
) -> Result<(), ApiError> {
    for event in decide(trial, limits, command, now)?.events {
        apply(trial, &event);
    }
    Ok(())
}

/// The agents that the job would be placed on at once.
fn first_placement(
    trial: &mut State,
    limits: &Limits,
    id: JobId,
    now: Timestamp,
) -> Result<Option<Vec<Name>>, ApiError> {
    let mut pass = Pass::new(trial, now);
    for _ in 0..STEPS_MAX {
        let Some(placement) = pass.next(trial) else { return Ok(None) };
        if placement.job() == id {
            return Ok(Some(match placement {
                Placement::Children { agent, .. } => vec![agent],
                Placement::Nodes { agents, .. } => agents,
            }));
        }
        carry_out(trial, limits, &Command::Place(placement), now)?;
    }
    Ok(None)
}
