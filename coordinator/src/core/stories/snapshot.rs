//! Who goes next in a queue, since when, and what the queue uses; what lists say of each job.

use windrow_common::api::jobs::{JobStatus, JobSummary, ListJobs, SubmitJob};
use windrow_common::api::policies::FairsharePolicy;
use windrow_common::api::quota::ResourceSharingStrategy::Reserve;
use windrow_common::api::snapshot::{GetJobQueueSnapshot, GetJobQueueSnapshotResponse};
use windrow_common::ids::JobId;
use windrow_common::wire::agent::EndCause;

use crate::core::Command;
use crate::core::stories::nodes::{multinode, range};
use crate::core::world::{World, name};
use crate::view;

fn snapshot(w: &World, queue: &str) -> GetJobQueueSnapshotResponse {
    let request = GetJobQueueSnapshot { job_queue: queue.into() };
    view::queue_snapshot(&w.state, &request, w.now).unwrap()
}

/// The jobs at the front, each with the earliest time at which it can have got there.
fn front(w: &World, queue: &str) -> Vec<(String, u64)> {
    let jobs = snapshot(w, queue).front_of_queue.jobs;
    jobs.into_iter().map(|job| (job.job_arn, job.earliest_time_at_position)).collect()
}

fn arn(w: &World, job: JobId) -> String {
    w.detail(job).job_arn
}

#[test]
fn a_snapshot_of_a_queue_shows_who_goes_next() {
    let mut w = World::new();
    w.agent("a", 2);
    w.array(2, vec![]);
    let jobs = [w.job(), w.job()];
    let shown = snapshot(&w, "q");
    let arns: Vec<String> =
        shown.front_of_queue.jobs.iter().map(|job| job.job_arn.clone()).collect();
    assert_eq!(arns, jobs.map(|job| arn(&w, job)));
    let used = &shown.queue_utilization.total_capacity_usage[0];
    assert_eq!((used.capacity_unit.as_str(), used.quantity), ("VCPU", 2.0));
    assert_eq!(shown.queue_utilization.fairshare_utilization, None);
    assert_eq!(shown.front_of_quota_shares, None);
}

#[test]
fn those_behind_a_job_that_starts_move_up_when_it_does() {
    let mut w = World::new();
    w.agent("a", 1);
    let [first, second] = [w.job(), w.job()];
    let submitted = w.now.0;
    w.advance(5);
    let third = w.job();
    let came = w.now.0;
    assert_eq!(front(&w, "q"), [(arn(&w, second), submitted), (arn(&w, third), came)]);
    w.advance(10);
    w.run_one(&name("a"), first);
    assert_eq!(w.status(second), JobStatus::Starting);
    assert_eq!(front(&w, "q"), [(arn(&w, third), w.now.0)], "it was second until now");
    // A job that comes later does not change what is before it, nor is it older than itself.
    let moved = w.now.0;
    w.advance(10);
    let fourth = w.job();
    assert_eq!(front(&w, "q"), [(arn(&w, third), moved), (arn(&w, fourth), w.now.0)]);
}

#[test]
fn who_comes_in_between_moves_others_back() {
    let mut w = World::new();
    w.policy("p", FairsharePolicy::default());
    w.fair_queue("f", "p");
    let submit = |w: &mut World, priority: u32| {
        w.submit(SubmitJob {
            job_queue: "f".into(),
            share_identifier: Some("one".into()),
            scheduling_priority_override: Some(priority),
            ..w.request()
        })
    };
    let low = submit(&mut w, 1);
    w.advance(10);
    let high = submit(&mut w, 5);
    let both = [(arn(&w, high), w.now.0), (arn(&w, low), w.now.0)];
    assert_eq!(front(&w, "f"), both);
    // A retry goes first, and came when its attempt had ended.
    let request =
        SubmitJob { job_queue: "f".into(), share_identifier: Some("one".into()), ..w.retrying(2) };
    w.advance(10);
    let retried = w.submit(SubmitJob { scheduling_priority_override: Some(9), ..request });
    let agent = w.agent("a", 1);
    let lease = w.leases(&agent).remove(0);
    assert_eq!(lease.job, retried);
    w.advance(10);
    w.does(Command::DrainAgent(windrow_common::api::resources::DrainAgent {
        agent: "a".into(),
        drain: true,
    }));
    let ended = w.ended(&lease, 0, EndCause::Exited, 1);
    w.report(&agent, vec![ended]);
    let all = [retried, high, low].map(|job| (arn(&w, job), w.now.0));
    assert_eq!(front(&w, "f"), all);
    let shares = snapshot(&w, "f").queue_utilization.fairshare_utilization.unwrap();
    assert_eq!(shares.active_share_count, 1);
}

#[test]
fn of_quota_shares_the_first_of_each_is_shown_and_what_they_use() {
    let mut w = World::new();
    w.agent("x", 8);
    w.quota_queue();
    w.quota_share("a", 1, Reserve);
    w.quota_share("b", 2, Reserve);
    let a = [w.submit(w.shared("a")), w.submit(w.shared("a")), w.submit(w.shared("a"))];
    w.submit(w.shared("b"));
    let shown = snapshot(&w, "shared");
    let fronts = shown.front_of_quota_shares.unwrap().quota_shares;
    assert_eq!(fronts.len(), 1, "nothing of `b` waits");
    assert_eq!(fronts["a"].len(), 1);
    assert_eq!(fronts["a"][0].job_arn, arn(&w, a[1]));
    assert_eq!(shown.front_of_queue.jobs.len(), 2);
    assert_eq!(shown.queue_utilization.fairshare_utilization, None);
    let shares = shown.queue_utilization.quota_share_utilization.unwrap();
    let used = shares.top_capacity_utilization.iter().map(|share| {
        let usage = &share.capacity_usage[0];
        (share.quota_share_name.as_str(), usage.capacity_unit.as_str(), usage.quantity)
    });
    assert_eq!(used.collect::<Vec<_>>(), [("a", "VCPU", 1.0), ("b", "VCPU", 1.0)]);
    let row = row(&w, "shared", a[0]);
    assert_eq!(row.share_identifier, None, "that is of fair share");
    assert_eq!(w.detail(a[0]).share_identifier, None);
    assert_eq!(w.detail(a[0]).quota_share_name.as_deref(), Some("a"));
}

fn row(w: &World, queue: &str, job: JobId) -> JobSummary {
    let request = ListJobs {
        job_queue: Some(queue.into()),
        job_status: Some("ALL".into()),
        ..Default::default()
    };
    let rows = view::list_jobs(&w.state, &request, w.now).unwrap().job_summary_list;
    rows.into_iter().find(|row| row.job_id == job.to_string()).unwrap()
}

#[test]
fn lists_say_what_a_job_asks_for_and_when_it_was_scheduled() {
    let mut w = World::new();
    w.definition("half", "0.5", "100");
    let job = w.submit(SubmitJob { job_definition: "half".into(), ..w.request() });
    let waits = row(&w, "q", job);
    assert_eq!(waits.scheduled_at, None);
    assert_eq!(
        (waits.capacity_usage[0].capacity_unit.as_str(), waits.capacity_usage[0].quantity),
        ("VCPU", 0.5)
    );
    w.advance(10);
    w.agent("a", 1);
    assert_eq!(row(&w, "q", job).scheduled_at, Some(w.now.0));
    w.advance(10);
    let array = w.array(3, vec![]);
    let parent = row(&w, "q", array);
    assert_eq!(parent.array_properties.unwrap().status_summary_last_updated_at, Some(w.now.0));
    assert!(parent.capacity_usage.is_empty(), "its children have it");
    let detail = w.detail(array).array_properties.unwrap();
    assert_eq!(detail.status_summary_last_updated_at, Some(w.now.0));
    let ended = w.now.0;
    w.cancel(&array.to_string());
    w.run_all(&name("a"), 0);
    w.advance(10);
    let detail = w.detail(array).array_properties.unwrap();
    assert_eq!(detail.status_summary_last_updated_at, Some(ended), "they change no more");
    let definition = multinode("nodes", 3, vec![range("0:0", "1"), range("1:", "2")]);
    w.does(Command::RegisterDefinition(Box::new(definition)));
    let nodes = w.submit(SubmitJob { job_definition: "nodes".into(), ..w.request() });
    assert_eq!(row(&w, "q", nodes).capacity_usage[0].quantity, 5.0);
}
