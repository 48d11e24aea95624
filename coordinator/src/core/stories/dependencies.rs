//! Dependencies: what may start when, by the condition on what it waits for.

use windrow_common::api::jobs::DependencyCondition::{Any, Failed, Success};
use windrow_common::api::jobs::{DependencyCondition, JobDependency, JobStatus, SubmitJob};
use windrow_common::ids::{JobId, JobRef};
use windrow_common::wire::agent::EndCause;

use crate::core::world::{World, n_to_n, on, sequential};

fn with(mut entries: Vec<JobDependency>, condition: DependencyCondition) -> Vec<JobDependency> {
    entries[0].condition = Some(condition);
    entries
}

fn after(w: &mut World, depends_on: Vec<JobDependency>) -> JobId {
    w.submit(SubmitJob { depends_on, ..w.request() })
}

#[test]
fn a_condition_says_how_a_job_must_have_ended() {
    for code in [0, 1] {
        let mut w = World::new();
        let agent = w.agent("a", 1);
        let first = w.job();
        let conditions = [Success, Any, Failed];
        let waiting = conditions.map(|condition| after(&mut w, with(on(first), condition)));
        assert!(waiting.iter().all(|job| w.status(*job) == JobStatus::Pending));
        let lease = w.leases(&agent).remove(0);
        let end = w.ended(&lease, 0, EndCause::Exited, code);
        w.report(&agent, vec![end]);
        w.run_all(&agent, 0);
        // Submitted after the end, they are decided at once.
        let late = conditions.map(|condition| after(&mut w, with(on(first), condition)));
        w.run_all(&agent, 0);
        let (yes, no) = (JobStatus::Succeeded, JobStatus::Failed);
        let expected = if code == 0 { [yes, yes, no] } else { [no, yes, yes] };
        assert_eq!(waiting.map(|job| w.status(job)), expected, "exit {code}");
        assert_eq!(late.map(|job| w.status(job)), expected, "exit {code}, late");
        let reason = |job: JobId| w.detail(job).status_reason.unwrap();
        if code == 0 {
            let named = format!(
                "Dependent Job failed - job {first} SUCCEEDED, and this one was to run if it FAILED"
            );
            assert_eq!(reason(waiting[2]), named);
        } else {
            assert_eq!(reason(waiting[0]), "Dependent Job failed");
        }
        let shown = waiting.map(|job| w.detail(job).depends_on[0].condition);
        assert_eq!(shown, [None, Some(Any), Some(Failed)]);
        w.check_replay();
    }
}

#[test]
fn an_array_has_failed_when_one_of_its_children_has() {
    let mut w = World::new();
    let agent = w.agent("a", 3);
    let array = w.array(3, vec![]);
    let (clean_up, report) =
        (after(&mut w, with(on(array), Failed)), after(&mut w, with(on(array), Any)));
    let lease = w.leases(&agent).remove(0);
    let bad = w.ended(&lease, 1, EndCause::Exited, 1);
    w.report(&agent, vec![bad]);
    assert_eq!(w.status(clean_up), JobStatus::Pending, "the others still run");
    let good = [0, 2].map(|child| w.ended(&lease, child, EndCause::Exited, 0));
    w.report(&agent, good.to_vec());
    w.run_all(&agent, 0);
    assert_eq!([clean_up, report].map(|job| w.status(job)), [JobStatus::Succeeded; 2]);
}

#[test]
fn single_children_and_peers_can_be_waited_for_by_condition() {
    let mut w = World::new();
    let agent = w.agent("a", 2);
    let array = w.array(2, vec![]);
    let child = JobDependency {
        job_id: Some(JobRef::child(array, 1).to_string()),
        condition: Some(Failed),
        ..JobDependency::default()
    };
    let rescue = after(&mut w, vec![child]);
    let each = w.array(2, with(n_to_n(array), Failed));
    let lease = w.leases(&agent).remove(0);
    let ends =
        [0, 1].map(|child| w.ended(&lease, child, EndCause::Exited, i32::try_from(child).unwrap()));
    w.report(&agent, ends.to_vec());
    w.run_all(&agent, 0);
    assert_eq!(w.status(rescue), JobStatus::Succeeded);
    assert_eq!((w.child(each, 0), w.child(each, 1)), (JobStatus::Failed, JobStatus::Succeeded));
    let reason = w.detail(JobRef::child(each, 0)).status_reason.unwrap();
    assert!(reason.contains(&format!("same index of job {array} SUCCEEDED")), "{reason}");
    w.check_replay();
}

#[test]
fn a_sequential_array_may_go_on_after_failures() {
    let mut w = World::new();
    let agent = w.agent("a", 8);
    let job = w.array(4, with(sequential(), Any));
    for child in 0..4 {
        let lease = w.leases(&agent).remove(0);
        assert_eq!((lease.first, lease.count), (child, 1), "one after the other");
        let end = w.ended(&lease, child, EndCause::Exited, i32::from(child % 2 == 0));
        w.report(&agent, vec![end]);
    }
    let children = &w.state.jobs[&job].children;
    assert_eq!((children.count(JobStatus::Failed), children.count(JobStatus::Succeeded)), (2, 2));
    w.check_replay();
}

#[test]
fn a_sequential_array_may_try_until_one_succeeds() {
    let mut w = World::new();
    let agent = w.agent("a", 8);
    let job = w.array(5, with(sequential(), Failed));
    for (child, code) in [(0, 1), (1, 1), (2, 0)] {
        let lease = w.leases(&agent).remove(0);
        let end = w.ended(&lease, child, EndCause::Exited, code);
        w.report(&agent, vec![end]);
    }
    let statuses: Vec<_> = (0..5).map(|child| w.child(job, child)).collect();
    let failed = JobStatus::Failed;
    assert_eq!(statuses, [failed, failed, JobStatus::Succeeded, failed, failed]);
    let reason = w.detail(JobRef::child(job, 4)).status_reason.unwrap();
    assert!(reason.starts_with("Dependent Job failed - the child before it SUCCEEDED"), "{reason}");
    w.check_replay();
}

#[test]
fn the_worst_of_several_dependencies_decides() {
    let mut w = World::new();
    let agent = w.agent("a", 1);
    let (good, bad) = (w.job(), w.job());
    let both = [with(on(good), Failed), with(on(bad), Any)].concat();
    let impossible = after(&mut w, both);
    let possible = after(&mut w, [with(on(good), Any), with(on(bad), Failed)].concat());
    for code in [0, 1] {
        let lease = w.leases(&agent).remove(0);
        let end = w.ended(&lease, 0, EndCause::Exited, code);
        w.report(&agent, vec![end]);
        let decided = w.status(impossible);
        assert_eq!(decided, JobStatus::Failed, "as soon as one can never hold");
    }
    w.run_all(&agent, 0);
    assert_eq!(w.status(possible), JobStatus::Succeeded);
}

#[test]
fn a_cancelled_job_counts_as_failed() {
    let mut w = World::new();
    let first = w.job();
    let (any, failed) =
        (after(&mut w, with(on(first), Any)), after(&mut w, with(on(first), Failed)));
    w.cancel(&first.to_string());
    assert_eq!([any, failed].map(|job| w.status(job)), [JobStatus::Runnable; 2]);
}
