//! Retries and timeouts: what is tried again, what is charged, how long it waits.

use std::time::Duration;

use windrow_common::api::definitions::{RetryBackoff, RetryStrategy};
use windrow_common::api::jobs::{JobStatus, SubmitJob};
use windrow_common::wire::agent::EndCause;

use crate::core::next_deadline;
use crate::core::world::World;

/// Tries `attempts` times, after 10, 30 and then 50 seconds.
fn backing_off(w: &World, attempts: u32) -> SubmitJob {
    let backoff =
        RetryBackoff { initial_seconds: Some(10), multiplier: Some(3), max_seconds: Some(50) };
    let strategy = RetryStrategy {
        attempts: Some(attempts),
        backoff: Some(backoff),
        ..RetryStrategy::default()
    };
    SubmitJob { retry_strategy: Some(strategy), ..w.request() }
}

#[test]
fn a_failed_job_backs_off_before_it_is_tried_again() {
    let mut w = World::new();
    let agent = w.agent("a", 1);
    let job = w.submit(backing_off(&w, 4));
    for wait in [10, 30, 50] {
        w.run_all(&agent, 1);
        assert_eq!(w.status(job), JobStatus::Runnable);
        let until = w.now.plus(Duration::from_secs(wait));
        assert_eq!(w.state.jobs[&job].children.not_before(0), Some(until));
        assert_eq!(next_deadline(&w.state), Some(until));
        // Others use the host meanwhile.
        let other = w.job();
        w.run_all(&agent, 0);
        assert_eq!(w.status(other), JobStatus::Succeeded);
        w.advance(wait - 1);
        assert_eq!(w.status(job), JobStatus::Runnable, "not before its time");
        w.advance(1);
        assert_eq!(w.status(job), JobStatus::Starting);
        assert_eq!(next_deadline(&w.state), None);
        w.check_replay();
    }
    w.run_all(&agent, 1);
    assert_eq!(w.status(job), JobStatus::Failed);
    let detail = w.detail(job);
    assert_eq!(detail.attempts.len(), 4);
    assert_eq!(detail.retry_strategy.unwrap().backoff.unwrap().max_seconds, Some(50));
}

#[test]
fn each_child_backs_off_by_itself() {
    let mut w = World::new();
    let agent = w.agent("a", 2);
    let request = SubmitJob { array_properties: w.size(2), ..backing_off(&w, 2) };
    let job = w.submit(request);
    let lease = w.leases(&agent).remove(0);
    let first = w.ended(&lease, 1, EndCause::Exited, 1);
    w.report(&agent, vec![first]);
    w.advance(5);
    let second = w.ended(&lease, 0, EndCause::StartFailed, 1);
    w.report(&agent, vec![second]);
    w.advance(5);
    assert_eq!((w.child(job, 0), w.child(job, 1)), (JobStatus::Runnable, JobStatus::Starting));
    w.advance(5);
    assert_eq!(w.child(job, 0), JobStatus::Starting);
    w.check_replay();
}

#[test]
fn a_job_that_backs_off_can_be_cancelled() {
    let mut w = World::new();
    let agent = w.agent("a", 1);
    let job = w.submit(backing_off(&w, 3));
    w.run_all(&agent, 1);
    w.cancel(&job.to_string());
    assert_eq!((w.status(job), next_deadline(&w.state)), (JobStatus::Failed, None));
    assert_eq!(w.detail(job).status_reason.as_deref(), Some("not needed"));
    w.advance(100);
    assert!(w.leases(&agent).is_empty());
    w.check_replay();
}

#[test]
fn a_lost_host_is_neither_charged_nor_backed_off_from() {
    let mut w = World::new();
    let lost = w.agent("a", 1);
    let job = w.submit(backing_off(&w, 2));
    w.lose(&lost);
    let agent = w.agent("b", 1);
    assert_eq!(w.status(job), JobStatus::Starting);
    w.run_all(&agent, 1);
    let until = w.now.plus(Duration::from_secs(10));
    assert_eq!(w.state.jobs[&job].children.not_before(0), Some(until), "the first charged one");
    w.advance(10);
    w.run_all(&agent, 1);
    assert_eq!((w.status(job), w.detail(job).attempts.len()), (JobStatus::Failed, 3));
}

#[test]
fn lost_hosts_are_charged_if_so_configured() {
    let mut w = World::new();
    w.limits.charge_host_losses = true;
    let agent = w.agent("a", 1);
    let job = w.submit(w.retrying(2));
    w.lose(&agent);
    assert_eq!(w.status(job), JobStatus::Runnable);
    w.register("a", 1, Vec::new());
    w.lose(&agent);
    let detail = w.detail(job);
    assert_eq!((detail.status, detail.attempts.len()), (JobStatus::Failed, 2));
    assert_eq!(detail.status_reason.as_deref(), Some("Host EC2 (instance a) terminated."));
}

#[test]
fn every_attempt_is_recorded_with_its_times_and_reasons() {
    let mut w = World::new();
    let agent = w.agent("a", 1);
    let job = w.submit(w.retrying(4));
    let causes = [EndCause::StartFailed, EndCause::OutOfMemory, EndCause::Exited, EndCause::Exited];
    for (attempt, cause) in (1..).zip(causes) {
        let lease = w.leases(&agent).remove(0);
        assert_eq!(lease.attempt, attempt, "AWS_BATCH_JOB_ATTEMPT counts from 1");
        let code = if attempt == 4 { 0 } else { 137 };
        let end = w.ended(&lease, 0, cause, code);
        w.report(&agent, vec![end]);
        w.advance(60);
    }
    let detail = w.detail(job);
    assert_eq!(detail.status, JobStatus::Succeeded);
    let status_reasons: Vec<_> =
        detail.attempts.iter().map(|a| a.status_reason.as_deref().unwrap()).collect();
    let normal = "Essential container in task exited";
    assert_eq!(status_reasons, ["Task failed to start", normal, normal, normal]);
    let reason = detail.attempts[1].container.reason.as_deref();
    assert_eq!(reason, Some("OutOfMemoryError: Container killed due to memory usage"));
    assert_eq!(detail.attempts[3].container.exit_code, Some(0));
    let ends: Vec<_> = detail.attempts.iter().map(|a| a.stopped_at.unwrap()).collect();
    assert!(ends.is_sorted_by(|a, b| a + 60_000 == *b), "{ends:?}");
    assert_eq!((detail.started_at, detail.stopped_at), (Some(ends[3] - 10_000), Some(ends[3])));
}

#[test]
fn a_retry_goes_before_jobs_that_waited_longer() {
    let mut w = World::new();
    let agent = w.agent("a", 1);
    let retried = w.submit(w.retrying(2));
    let waiting = w.job();
    let lease = w.leases(&agent).remove(0);
    let end = w.ended(&lease, 0, EndCause::Exited, 1);
    w.report(&agent, vec![end]);
    assert_eq!(w.leases(&agent).remove(0).job, retried);
    assert_eq!(w.status(waiting), JobStatus::Runnable);
}

#[test]
fn terminated_timed_out_and_dependency_failures_are_never_retried() {
    let mut w = World::new();
    let agent = w.agent("a", 1);
    for cause in [EndCause::TimedOut, EndCause::Stopped] {
        let job = w.submit(w.retrying(5));
        let dependent =
            w.submit(SubmitJob { depends_on: crate::core::world::on(job), ..w.retrying(5) });
        let lease = w.leases(&agent).remove(0);
        if cause == EndCause::Stopped {
            w.terminate(&job.to_string());
        }
        let end = w.ended(&lease, 0, cause, 137);
        w.report(&agent, vec![end]);
        assert_eq!((w.status(job), w.detail(job).attempts.len()), (JobStatus::Failed, 1));
        assert_eq!(
            (w.status(dependent), w.detail(dependent).attempts.len()),
            (JobStatus::Failed, 0)
        );
    }
}

#[test]
fn every_attempt_has_the_whole_time_limit() {
    let mut w = World::new();
    let agent = w.agent("a", 1);
    let request = SubmitJob { timeout: w.limited(60).timeout, ..w.retrying(2) };
    w.submit(request);
    let first = w.leases(&agent).remove(0);
    // It waits for long, which does not count, and fails by itself.
    w.advance(3600);
    let end = w.ended(&first, 0, EndCause::Exited, 1);
    w.report(&agent, vec![end]);
    let second = w.leases(&agent).remove(0);
    assert_eq!((first.timeout_seconds, second.timeout_seconds), (Some(60), Some(60)));
}
