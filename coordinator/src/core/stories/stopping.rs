//! Cancel and terminate, by the state of what they are asked for.

use windrow_common::api::jobs::{
    BulkResponse, CancelJob, CancelJobs, JobStatus, SubmitJob, TerminateJob, TerminateJobs,
};
use windrow_common::ids::{JobId, JobRef, Name};
use windrow_common::wire::agent::EndCause;
use windrow_common::wire::lease::{Lease, Order};

use crate::core::world::{World, on};
use crate::core::{Answer, Command};

/// A job of one child in this status, its agent, and its lease if it has one.
fn in_status(w: &mut World, status: JobStatus) -> (JobId, Option<(Name, Lease)>) {
    match status {
        JobStatus::Submitted => {
            // Between submission and admission there is no turn: taken back by hand.
            let job = w.job();
            w.state.jobs.get_mut(&job).unwrap().children = crate::core::children::Children::new(1);
            w.state.reindex();
            (job, None)
        }
        JobStatus::Pending => {
            let first = w.job();
            (w.submit(SubmitJob { depends_on: on(first), ..w.retrying(3) }), None)
        }
        JobStatus::Runnable => (w.submit(w.retrying(3)), None),
        JobStatus::Starting | JobStatus::Running | JobStatus::Succeeded | JobStatus::Failed => {
            let agent = w.agent("a", 1);
            let attempts = if status == JobStatus::Failed { 1 } else { 3 };
            let job = w.submit(w.retrying(attempts));
            let lease = w.leases(&agent).remove(0);
            if status == JobStatus::Running {
                let started = w.started(&lease, 0);
                w.report(&agent, vec![started]);
            } else if status.is_terminal() {
                let code = i32::from(status == JobStatus::Failed);
                let ended = w.ended(&lease, 0, EndCause::Exited, code);
                w.report(&agent, vec![ended]);
            }
            (job, Some((agent, lease)))
        }
    }
}

#[test]
fn what_becomes_of_a_job_depends_on_its_status() {
    for status in JobStatus::ALL {
        for terminate in [false, true] {
            let mut w = World::new();
            let (job, lease) = in_status(&mut w, status);
            assert_eq!(w.status(job), status);
            let (id, reason) = (job.to_string(), "r".repeat(1024));
            w.does(if terminate {
                Command::Terminate(TerminateJob { job_id: id, reason: reason.clone() })
            } else {
                Command::Cancel(CancelJob { job_id: id, reason: reason.clone() })
            });
            let at_work = matches!(status, JobStatus::Starting | JobStatus::Running);
            let ends_now = !at_work && !status.is_terminal();
            let case = format!("{status}, terminate {terminate}");
            let detail = w.detail(job);
            let expected = if ends_now { JobStatus::Failed } else { status };
            assert_eq!(detail.status, expected, "{case}");
            assert_eq!(detail.is_cancelled, ends_now && !terminate, "{case}");
            assert_eq!(detail.is_terminated, (ends_now || at_work) && terminate, "{case}");
            if ends_now {
                assert_eq!(detail.status_reason.as_deref(), Some(reason.as_str()), "{case}");
                assert!(detail.attempts.is_empty() && detail.stopped_at.is_some(), "{case}");
            }
            let Some((agent, lease)) = lease.filter(|_| at_work) else { continue };
            let is_stop = |o: &Order| matches!(o, Order::Stop(stop) if stop.lease == lease.id);
            assert_eq!(w.orders[&agent].iter().any(is_stop), terminate, "{case}");
            let ended = w.ended(&lease, 0, EndCause::Exited, if terminate { 143 } else { 0 });
            w.report(&agent, vec![ended]);
            let detail = w.detail(job);
            if terminate {
                assert_eq!(detail.status, JobStatus::Failed, "{case}: not tried again");
                assert_eq!(detail.status_reason.as_deref(), Some(reason.as_str()), "{case}");
            } else {
                assert_eq!(detail.status, JobStatus::Succeeded, "{case}");
            }
        }
    }
}

#[test]
fn a_reason_is_required_and_not_too_long() {
    let mut w = World::new();
    let job = w.job().to_string();
    let cancel = |job_id: &str, reason: &str| {
        Command::Cancel(CancelJob { job_id: job_id.into(), reason: reason.into() })
    };
    let long = "r".repeat(1025);
    for (id, reason, text) in [
        ("", "x", "'jobId' is a required field (cannot be an empty string)"),
        (&*job, "", "'reason' is a required field (cannot be an empty string)"),
        (&*job, &*long, "reason is 1025 characters long, at most 1024 are allowed"),
    ] {
        assert_eq!(w.refused(cancel(id, reason)).message, text);
    }
    w.does(cancel("not-an-id", "x"));
}

#[test]
fn an_array_ends_with_the_reason_given_for_all_of_it_and_not_with_that_of_a_child() {
    let mut w = World::new();
    let (whole, part) = (w.array(3, vec![]), w.array(3, vec![]));
    w.terminate(&whole.to_string());
    let detail = w.detail(whole);
    assert_eq!((detail.status, detail.is_terminated), (JobStatus::Failed, true));
    assert_eq!(detail.status_reason.as_deref(), Some("stop it"));
    w.cancel(&JobRef::child(part, 1).to_string());
    assert_eq!((w.status(part), w.child(part, 1)), (JobStatus::Pending, JobStatus::Failed));
    assert!(w.detail(JobRef::child(part, 1)).is_cancelled);
    assert!(!w.detail(JobRef::child(part, 0)).is_cancelled && !w.detail(part).is_cancelled);
    let agent = w.agent("a", 2);
    w.run_all(&agent, 0);
    assert_eq!(w.detail(part).status_reason.as_deref(), Some("Array Child Job failed"));
    w.check_replay();
}

#[test]
fn many_jobs_end_at_once_and_each_has_its_result() {
    let mut w = World::new();
    let agent = w.agent("a", 1);
    let (runs, waits, array) = (w.job(), w.job(), w.array(5, vec![]));
    let unknown = JobId::from_u128(77).to_string();
    let child = JobRef::child(array, 2).to_string();
    let ids = [runs.to_string(), waits.to_string(), child.clone(), waits.to_string(), unknown];
    let all: Vec<String> = ids.iter().cloned().chain([String::new()]).collect();
    let request = CancelJobs { jobs: all.clone(), reason: "enough".into() };
    let Answer::Bulk(BulkResponse { successful, errors }) = w.does(Command::CancelMany(request))
    else {
        panic!("no bulk answer")
    };
    assert_eq!(successful, ids);
    assert_eq!((errors.len(), errors[0].code.as_str()), (1, "ClientException"));
    assert_eq!((w.status(runs), w.status(waits)), (JobStatus::Starting, JobStatus::Failed));
    assert_eq!((w.child(array, 2), w.child(array, 3)), (JobStatus::Failed, JobStatus::Runnable));
    // A job and its own child: the job.
    let jobs =
        vec![child, array.to_string(), runs.to_string(), JobRef::child(array, 0).to_string()];
    w.does(Command::TerminateMany(TerminateJobs { jobs, reason: "enough".into() }));
    assert_eq!(w.status(array), JobStatus::Failed);
    assert!(w.orders[&agent].iter().any(|order| matches!(order, Order::Stop(_))));
    w.check_replay();

    w.limits.bulk_jobs = 2;
    let request = CancelJobs { jobs: all, reason: "enough".into() };
    let error = w.refused(Command::CancelMany(request));
    assert!(error.message.contains("at most 2 jobs") && error.message.contains("got 6"), "{error}");
    let none = CancelJobs { jobs: vec![], reason: "enough".into() };
    w.refused(Command::CancelMany(none));
}
