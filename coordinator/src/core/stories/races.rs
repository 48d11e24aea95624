//! Two things happen to a job at the same moment, in either order: one wins, and everybody is told the
//! same.

use windrow_common::api::jobs::{DescribeJobs, JobStatus, SubmitJob};
use windrow_common::ids::JobId;
use windrow_common::wire::agent::{EndCause, Report};
use windrow_common::wire::lease::Lease;

use crate::core::Command;
use crate::core::world::{World, name, on};
use crate::view::describe_jobs;

/// A job on an agent, which has or has not said that it started.
fn leased(attempts: u32, is_started: bool) -> (World, JobId, Lease) {
    let mut w = World::new();
    let agent = w.agent("a", 1);
    let job = w.submit(w.retrying(attempts));
    let lease = w.leases(&agent).remove(0);
    if is_started {
        let started = w.started(&lease, 0);
        w.report(&agent, vec![started]);
    }
    (w, job, lease)
}

/// How often the job was told to have ended, and how it did.
fn ends(w: &World, job: JobId) -> Vec<JobStatus> {
    let of_job = w.told.iter().filter(|(_, change)| change.job == job);
    of_job.map(|(_, change)| change.detail.status).filter(|s| s.is_terminal()).collect()
}

fn reason(w: &World, job: JobId) -> Option<String> {
    let request = DescribeJobs { jobs: vec![job.to_string()] };
    describe_jobs(&w.state, &request, w.now).unwrap().jobs.remove(0).status_reason
}

/// Fault 44: terminate and the report of a start, a success or a failure that would be tried again.
#[test]
fn terminate_and_what_the_agent_reports_meet_in_either_order() {
    let reports = |w: &World, lease: &Lease| -> [(&str, Vec<Report>, JobStatus); 3] {
        let end = |code| w.ended(lease, 0, EndCause::Exited, code);
        [
            ("start", vec![w.started(lease, 0)], JobStatus::Failed),
            ("success", vec![end(0)], JobStatus::Succeeded),
            ("failure", vec![end(1)], JobStatus::Failed),
        ]
    };
    for number in 0..3 {
        for terminate_first in [true, false] {
            let (mut w, job, lease) = leased(3, number > 0);
            let (what, report, expected) = reports(&w, &lease)[number].clone();
            if terminate_first {
                w.terminate(&job.to_string());
                w.report(&name("a"), report);
            } else {
                w.report(&name("a"), report);
                w.terminate(&job.to_string());
            }
            let is_over = w.status(job).is_terminal();
            // A failure that comes first is tried again, and that attempt is stopped.
            assert_eq!(is_over, what == "success" || (what == "failure" && terminate_first));
            let lease = w.leases(&name("a")).pop().unwrap_or(lease);
            if !is_over {
                let stopped = w.ended(&lease, 0, EndCause::Stopped, 143);
                w.report(&name("a"), vec![stopped]);
            }
            assert_eq!(ends(&w, job), [expected], "{what}, terminate first: {terminate_first}");
            // Once more, by a client that did not hear the answer.
            w.terminate(&job.to_string());
            assert_eq!(ends(&w, job), [expected]);
            assert!(w.state.leases.is_empty());
            w.check_replay();
        }
    }
}

/// Fault 44: cancel ends what has not been leased, and nothing that has; whichever comes first.
#[test]
fn cancel_and_a_place_meet_in_either_order() {
    for cancel_first in [true, false] {
        let mut w = World::new();
        let job = w.job();
        if cancel_first {
            w.cancel(&job.to_string());
        }
        let agent = w.agent("a", 1);
        if !cancel_first {
            w.cancel(&job.to_string());
        }
        assert_eq!(w.state.leases.len(), usize::from(!cancel_first));
        w.run_all(&agent, 0);
        let expected = if cancel_first { JobStatus::Failed } else { JobStatus::Succeeded };
        assert_eq!(ends(&w, job), [expected]);
    }
}

/// Fault 45.
#[test]
fn a_time_limit_and_a_success_at_the_same_moment_are_one_end() {
    for timeout_first in [true, false] {
        for in_one_message in [true, false] {
            let (mut w, job, lease) = leased(1, true);
            let mut reports = vec![
                w.ended(&lease, 0, EndCause::TimedOut, 137),
                w.ended(&lease, 0, EndCause::Exited, 0),
            ];
            if !timeout_first {
                reports.reverse();
            }
            if in_one_message {
                w.report(&name("a"), reports);
            } else {
                reports.into_iter().for_each(|report| drop(w.report(&name("a"), vec![report])));
            }
            let expected = if timeout_first { JobStatus::Failed } else { JobStatus::Succeeded };
            assert_eq!(ends(&w, job), [expected]);
            assert_eq!(w.state.fenced_results, 1, "the second one is refused");
            let is_timeout = reason(&w, job).is_some_and(|r| r.contains("timeout"));
            assert_eq!(is_timeout, timeout_first, "{:?}", reason(&w, job));
            w.check_replay();
        }
    }
}

/// Fault 42: a job can wait only for jobs that are there already, so there are no cycles; and for those
/// of other queues.
#[test]
fn what_cannot_be_waited_for_is_refused_and_large_graphs_have_a_limit() {
    let mut w = World::new();
    w.queue("other", 1);
    let id = JobId::from_u128(77);
    let itself = Box::new(SubmitJob { depends_on: on(id), ..w.request() });
    let error = w.refused(Command::Submit { id, request: itself });
    assert!(error.message.contains("does not exist"), "{error}");

    let elsewhere = w.submit(SubmitJob { job_queue: "other".into(), ..w.request() });
    let most = w.limits.dependencies;
    let first = w.job();
    let mut depends_on = on(elsewhere);
    depends_on.resize_with(most, || on(first).remove(0));
    let last = w.submit(SubmitJob { depends_on: depends_on.clone(), ..w.request() });
    depends_on.extend(on(first));
    let too_many = Box::new(SubmitJob { depends_on, ..w.request() });
    let error = w.refused(Command::Submit { id, request: too_many });
    assert!(error.message.contains(&most.to_string()), "{error}");
    let agent = w.agent("a", 1);
    for _ in 0..3 {
        w.run_all(&agent, 0);
    }
    assert_eq!(w.status(last), JobStatus::Succeeded);

    let due = w.state.index.finished.with_records(w.now).collect();
    w.does(Command::Archive(due));
    w.does(Command::Forget(w.now));
    let gone = Box::new(SubmitJob { depends_on: on(first), ..w.request() });
    let error = w.refused(Command::Submit { id, request: gone });
    assert!(error.message.contains("does not exist"), "{error}");
}
