//! Ended jobs once more: as new jobs, and in place.

use windrow_common::api::ErrorKind;
use windrow_common::api::jobs::{JobStatus, RerunJob, RerunJobResponse, SubmitJob};
use windrow_common::ids::{JobId, JobRef, Name};
use windrow_common::wire::agent::EndCause;

use crate::core::world::{World, n_to_n, on, sequential};
use crate::core::{Answer, Command};

const NEW: JobId = JobId::from_u128(4000);

fn rerun(w: &mut World, request: RerunJob) -> RerunJobResponse {
    let answer = w.does(Command::Rerun { id: NEW, request: Box::new(request) });
    let Answer::Rerun(response) = answer else { panic!("{answer:?}") };
    response
}

fn failed_only(job: JobId) -> RerunJob {
    RerunJob { job_id: job.to_string(), only_failed: true, ..RerunJob::default() }
}

fn in_place(job: impl Into<JobRef>) -> RerunJob {
    RerunJob { job_id: job.into().to_string(), in_place: true, ..RerunJob::default() }
}

/// The agent runs all it has; children of these indices fail.
fn run_failing(w: &mut World, agent: &Name, failing: &[u32]) -> Vec<u32> {
    let mut ran = Vec::new();
    loop {
        let leases = w.leases(agent);
        if leases.is_empty() {
            ran.sort_unstable();
            return ran;
        }
        for lease in leases {
            for child in lease.first..lease.first + lease.count {
                let code = i32::from(failing.contains(&child));
                let end = w.ended(&lease, child, EndCause::Exited, code);
                w.report(agent, vec![end]);
                ran.push(child);
            }
        }
    }
}

#[test]
fn a_new_array_runs_only_what_failed_under_the_same_indices() {
    let mut w = World::new();
    let agent = w.agent("a", 4);
    let first = w.array(10, vec![]);
    run_failing(&mut w, &agent, &[2, 7]);
    assert_eq!(w.status(first), JobStatus::Failed);
    let answer = rerun(&mut w, failed_only(first));
    assert_eq!((answer.job_id, answer.children), (NEW.to_string(), Some(2)));
    let downstream = w.array(10, n_to_n(NEW));
    assert_eq!(w.child(downstream, 1), JobStatus::Starting, "its peer has SUCCEEDED long ago");
    assert_eq!(w.child(downstream, 2), JobStatus::Pending);
    let lease = &w.leases(&agent)[0];
    assert_eq!((lease.job, lease.first, lease.array_size), (NEW, 2, Some(10)));
    w.register("a", 4, vec![]);
    run_failing(&mut w, &agent, &[]);
    assert_eq!((w.status(NEW), w.status(downstream)), (JobStatus::Succeeded, JobStatus::Succeeded));
    assert_eq!(w.status(first), JobStatus::Failed, "the old job stays as it was");
    let detail = w.detail(NEW);
    assert_eq!(detail.rerun_of, Some(first.to_string()));
    assert_eq!(detail.array_properties.unwrap().status_summary[&JobStatus::Succeeded], 10);
    let carried = w.detail(JobRef::child(NEW, 5));
    assert!(carried.attempts.is_empty());
    let reason = format!("SUCCEEDED in job {first}, of which this is a rerun");
    assert_eq!(carried.status_reason, Some(reason));
    assert_eq!(w.detail(JobRef::child(NEW, 7)).attempts.len(), 1);
    w.check_replay();
}

#[test]
fn a_rerun_is_asked_for_once_under_a_key() {
    let mut w = World::new();
    let agent = w.agent("a", 1);
    let job = w.job();
    w.run_all(&agent, 1);
    let request = RerunJob { idempotency_key: Some("k".into()), ..failed_only(job) };
    assert_eq!(rerun(&mut w, request.clone()).job_id, NEW.to_string());
    let again =
        w.does(Command::Rerun { id: JobId::from_u128(1), request: Box::new(request.clone()) });
    let Answer::Rerun(again) = again else { panic!("{again:?}") };
    assert_eq!((again.job_id, again.children), (NEW.to_string(), None));
    let other = RerunJob { only_failed: false, ..request };
    let error = w.refused(Command::Rerun { id: NEW, request: Box::new(other) });
    assert_eq!(error.kind, ErrorKind::Conflict);
    w.run_all(&agent, 1);
    let here = RerunJob { idempotency_key: Some("p".into()), ..in_place(job) };
    assert_eq!(rerun(&mut w, here.clone()).children, Some(1));
    w.run_all(&agent, 1);
    assert_eq!(rerun(&mut w, here.clone()).children, None);
    assert_eq!(w.status(job), JobStatus::Failed, "the second request did nothing");
    w.check_replay();
    // The keys go with the jobs.
    w.does(Command::Forget(w.now));
    assert!(w.state.jobs.is_empty() && w.state.idempotency.is_empty());
    let error = w.refused(Command::Rerun { id: NEW, request: Box::new(here) });
    assert_eq!(error.kind, ErrorKind::NotFound);
    w.check_replay();
}

#[test]
fn a_whole_job_can_be_run_once_more_and_waits_only_for_what_it_is_told() {
    let mut w = World::new();
    let agent = w.agent("a", 1);
    let first = w.job();
    let second = w.submit(SubmitJob { depends_on: on(first), ..w.retrying(2) });
    w.run_all(&agent, 1);
    assert_eq!(w.status(second), JobStatus::Failed, "its dependency had");
    let other = w.job();
    let request = RerunJob { depends_on: on(other), only_failed: false, ..failed_only(second) };
    rerun(&mut w, request);
    assert_eq!(w.status(NEW), JobStatus::Pending);
    w.run_all(&agent, 0);
    assert_eq!(w.status(NEW), JobStatus::Succeeded);
    assert_eq!(w.detail(NEW).retry_strategy.unwrap().attempts, Some(2));
    w.check_replay();
}

#[test]
fn what_cannot_be_run_once_more_is_refused_with_a_way_out() {
    let mut w = World::new();
    let agent = w.agent("a", 1);
    let good = w.job();
    w.run_all(&agent, 0);
    let runs = w.array(2, vec![]);
    let refused = |w: &mut World, request: RerunJob| {
        let error = w.refused(Command::Rerun { id: NEW, request: Box::new(request) });
        assert!(error.hint.is_some(), "{error}");
        error.message
    };
    assert!(refused(&mut w, failed_only(good)).contains("nothing of job"));
    assert!(refused(&mut w, in_place(good)).contains("it is SUCCEEDED"));
    assert!(refused(&mut w, failed_only(runs)).contains("has not ended: it is PENDING"));
    assert!(refused(&mut w, failed_only(JobId::from_u128(5))).contains("does not exist"));
    let child = RerunJob { in_place: false, ..in_place(JobRef::child(runs, 0)) };
    assert!(refused(&mut w, child).contains("part of a job"));
    let with = RerunJob { depends_on: on(good), ..in_place(runs) };
    assert!(refused(&mut w, with).contains("keeps its dependencies"));
}

#[test]
fn failed_children_run_again_in_place_with_a_fresh_budget() {
    let mut w = World::new();
    let agent = w.agent("a", 4);
    let request = SubmitJob { array_properties: w.size(5), ..w.retrying(2) };
    let job = w.submit(request);
    let dependent = w.submit(SubmitJob { depends_on: on(job), ..w.request() });
    w.terminate(&JobRef::child(job, 4).to_string());
    assert_eq!(run_failing(&mut w, &agent, &[1]), [0, 1, 1, 2, 3]);
    assert_eq!((w.status(job), w.status(dependent)), (JobStatus::Failed, JobStatus::Failed));
    assert_eq!(w.state.queues[&crate::core::world::name("q")].active_jobs, 0);

    assert_eq!(rerun(&mut w, in_place(job)).children, Some(2));
    assert_eq!(w.status(job), JobStatus::Pending);
    assert_eq!(w.state.queues[&crate::core::world::name("q")].active_jobs, 1);
    assert_eq!(w.detail(job).stopped_at, None);
    assert!(!w.detail(JobRef::child(job, 4)).is_terminated);
    assert_eq!(run_failing(&mut w, &agent, &[1]), [1, 1, 4], "two attempts more");
    let child = w.detail(JobRef::child(job, 1));
    assert_eq!((child.status, child.attempts.len()), (JobStatus::Failed, 4));
    rerun(&mut w, in_place(JobRef::child(job, 1)));
    let lease = w.leases(&agent).remove(0);
    assert_eq!(lease.attempt, 5, "attempts count on, so that their logs are kept apart");
    let end = w.ended(&lease, 1, EndCause::Exited, 0);
    w.report(&agent, vec![end]);
    assert_eq!(w.status(job), JobStatus::Succeeded);
    assert_eq!(w.status(dependent), JobStatus::Failed, "what failed with it stays so");
    w.check_replay();
}

#[test]
fn a_rerun_in_place_waits_for_its_dependencies_again() {
    let mut w = World::new();
    let agent = w.agent("a", 4);
    let first = w.array(3, vec![]);
    let second = w.array(3, n_to_n(first));
    let chain = w.array(4, sequential());
    run_failing(&mut w, &agent, &[1]);
    let statuses = |w: &World, job: JobId| {
        (0..w.state.jobs[&job].children.size()).map(|c| w.child(job, c)).collect::<Vec<_>>()
    };
    let (good, bad) = (JobStatus::Succeeded, JobStatus::Failed);
    assert_eq!(statuses(&w, second), [good, bad, good]);
    assert_eq!(statuses(&w, chain), [good, bad, bad, bad]);
    // Its peer is still FAILED: so it is at once again.
    rerun(&mut w, in_place(second));
    assert_eq!(w.status(second), bad);
    rerun(&mut w, in_place(first));
    rerun(&mut w, in_place(second));
    assert_eq!(w.child(second, 1), JobStatus::Pending, "the peer runs");
    rerun(&mut w, in_place(chain));
    assert_eq!((w.child(chain, 1), w.child(chain, 2)), (JobStatus::Starting, JobStatus::Pending));
    run_failing(&mut w, &agent, &[]);
    assert_eq!([first, second, chain].map(|job| w.status(job)), [good; 3]);
    w.check_replay();
}

#[test]
fn losses_before_a_rerun_in_place_do_not_count_after_it() {
    let mut w = World::new();
    let agent = w.agent("a", 1);
    let job = w.job();
    let lose = |w: &mut World| {
        w.lose(&agent);
        w.register("a", 1, Vec::new());
    };
    for _ in 0..=crate::core::limits::HOST_LOSSES_MAX {
        lose(&mut w);
    }
    assert_eq!(w.status(job), JobStatus::Failed);
    rerun(&mut w, in_place(job));
    lose(&mut w);
    assert_eq!(w.status(job), JobStatus::Starting);
}
