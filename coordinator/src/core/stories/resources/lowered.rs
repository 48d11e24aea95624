//! Limits that are lowered below what there is already: nothing is taken away, nothing comes in addition.

use windrow_common::api::jobs::{ArrayProperties, JobStatus, RerunJob, SubmitJob};
use windrow_common::api::quota::{ResourceSharingStrategy, UpdateQuotaShare};
use windrow_common::api::resources::{CreateJobQueue, UpdateJobQueue};
use windrow_common::ids::JobId;
use windrow_common::wire::agent::EndCause;

use crate::core::Command;
use crate::core::limits::Limits;
use crate::core::stories::quota;
use crate::core::world::{World, name, on, queue_request};

#[test]
fn a_quota_share_lowered_below_its_use_lets_nobody_in_until_enough_have_ended() {
    let mut w = World::new();
    w.quota_queue();
    w.does(Command::CreateQuotaShare(quota::create("s", 4, ResourceSharingStrategy::Reserve)));
    let agent = w.agent("a", 8);
    let request = w.shared("s");
    let jobs = [(); 6].map(|()| w.submit(request.clone()));
    let count = |w: &World, status| jobs.iter().filter(|job| w.status(**job) == status).count();
    assert_eq!(count(&w, JobStatus::Starting), 4);
    w.does(Command::UpdateQuotaShare(UpdateQuotaShare {
        quota_share_arn: "shared/s".into(),
        capacity_limits: quota::create("s", 2, ResourceSharingStrategy::Reserve).capacity_limits,
        ..Default::default()
    }));
    assert_eq!(count(&w, JobStatus::Starting), 4, "nobody is stopped");
    let mut leases = w.leases(&agent).into_iter();
    for (ended, starting) in [(1, 3), (2, 2), (3, 2), (4, 2)] {
        let end = w.ended(&leases.next().unwrap(), 0, EndCause::Exited, 0);
        w.report(&agent, vec![end]);
        let now = (count(&w, JobStatus::Succeeded), count(&w, JobStatus::Starting));
        assert_eq!(now, (ended, starting));
    }
    w.check_replay();
}

#[test]
fn under_the_limits_of_aws_what_is_larger_stays_and_ends_and_nothing_like_it_comes_again() {
    let mut w = World::new();
    let agent = w.agent("a", 8);
    let arrayed = |size| Some(ArrayProperties { size: Some(size), ..Default::default() });
    let large = w.submit(SubmitJob { array_properties: arrayed(10_001), ..w.request() });
    let many = w.retrying(11);
    let many = w.submit(SubmitJob { depends_on: on(large), ..many });
    for number in 0..60 {
        w.queue(&format!("q{number}"), 1);
    }
    w.limits = Limits::aws();
    // Neither can be submitted any more.
    let refused = |w: &mut World, request: SubmitJob, text: &str| {
        let command = Command::Submit { id: JobId::from_u128(99), request: Box::new(request) };
        let error = w.refused(command);
        assert!(error.message.contains(text), "{error}");
    };
    let request = SubmitJob { array_properties: arrayed(10_001), ..w.request() };
    refused(&mut w, request, "10000");
    let request = w.retrying(11);
    refused(&mut w, request, "from 1 to 10");
    let queue = queue_request("another", 1);
    let error = w.refused(Command::CreateQueue(CreateJobQueue { ..queue }));
    assert!(error.message.contains("50"), "{error}");
    // Queues beyond the limit can be changed.
    w.does(Command::UpdateQueue(UpdateJobQueue {
        job_queue: "q59".into(),
        priority: Some(7),
        ..Default::default()
    }));
    assert_eq!(w.state.queues[&name("q59")].priority, 7);
    // And what was there runs to its end.
    w.is_checked = false; // Of ten thousand children, after every step.
    w.run_all(&agent, 0);
    assert_eq!([large, many].map(|job| w.status(job)), [JobStatus::Succeeded; 2]);
    // What was accepted once can be run again.
    let rerun = RerunJob { job_id: large.to_string(), ..Default::default() };
    w.does(Command::Rerun { id: JobId::from_u128(99), request: Box::new(rerun) });
    assert_eq!(w.state.jobs[&JobId::from_u128(99)].children.size(), 10_001);
    w.check_replay();
}

#[test]
fn under_the_limits_of_aws_a_lost_host_costs_an_attempt() {
    let mut w = World::new();
    w.limits = Limits::aws();
    let run = |w: &mut World, attempts: u32| {
        let request = w.retrying(attempts);
        let job = w.submit(request);
        let mut lost = 0;
        while w.status(job) != JobStatus::Failed {
            w.register("a", 1, Vec::new());
            w.lose(&name("a"));
            lost += 1;
        }
        (job, lost)
    };
    let (once, lost) = run(&mut w, 1);
    assert_eq!(lost, 1);
    let detail = w.detail(once);
    assert_eq!(detail.status_reason.as_deref(), Some("Host EC2 (instance a) terminated."));
    let (thrice, lost) = run(&mut w, 3);
    assert_eq!((lost, w.detail(thrice).attempts.len()), (3, 3));
    // Those that the limit lets through and that were submitted before it was there count as well.
    w.limits = Limits::default();
    w.register("a", 1, Vec::new());
    let request = w.retrying(2);
    let job = w.submit(request);
    w.lose(&name("a"));
    w.limits = Limits::aws();
    w.register("a", 1, Vec::new());
    w.lose(&name("a"));
    assert_eq!(
        w.status(job),
        JobStatus::Runnable,
        "the first loss was free, the second is charged"
    );
    w.register("a", 1, Vec::new());
    w.lose(&name("a"));
    assert_eq!(w.status(job), JobStatus::Failed);
    w.check_replay();
}
