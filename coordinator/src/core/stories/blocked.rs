//! Queues with a head that cannot start: it is told, and ends when its queue says so.

use serde_json::json;
use windrow_common::api::events::{JobEvent, TYPE_QUEUE_BLOCKED, read_batch};
use windrow_common::api::jobs::{JobStatus, SubmitJob};
use windrow_common::api::policies::FairsharePolicy;
use windrow_common::api::quota::ResourceSharingStrategy;
use windrow_common::api::resources::{
    CreateJobQueue, DescribeJobQueues, DrainAgent, JobStateTimeLimitAction, UpdateJobQueue,
};
use windrow_common::ids::JobId;
use windrow_common::time::Timestamp;

use crate::core::Command;
use crate::core::limits::Limits;
use crate::core::world::{World, name, queue_request};
use crate::view;
use crate::view::changes::messages;

const TOO_LARGE: &str = "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT";
const BEYOND_SHARE: &str = "MISCONFIGURATION:QUOTA_MANAGEMENT_LIMIT_EXCEEDED";

fn limit(reason: &str, seconds: u32, action: &str) -> JobStateTimeLimitAction {
    let entry = json!({
        "reason": reason, "state": "RUNNABLE", "maxTimeSeconds": seconds, "action": action
    });
    serde_json::from_value(entry).unwrap()
}

fn update(actions: Vec<JobStateTimeLimitAction>) -> Command {
    Command::UpdateQueue(UpdateJobQueue {
        job_queue: "q".into(),
        job_state_time_limit_actions: Some(actions),
        ..Default::default()
    })
}

/// What was told of blocked queues, as published.
fn told(w: &World) -> Vec<JobEvent> {
    let changes = w.told.iter().map(|(_, change)| change.clone()).collect();
    let messages = messages(&name("c"), 7, Timestamp(1_700_000_000_000), changes);
    let records = messages.iter().flat_map(|m| read_batch(&m.payload).unwrap());
    records.filter(|record| record.kind == TYPE_QUEUE_BLOCKED).collect()
}

/// A job that is larger than the agent.
fn large(w: &mut World) -> JobId {
    w.definition("large", "9", "100");
    w.submit(SubmitJob { job_definition: "large".into(), ..w.request() })
}

#[test]
fn a_head_that_can_never_start_is_cancelled_when_its_time_is_over() {
    let mut w = World::new();
    w.agent("a", 1);
    w.does(update(vec![limit(TOO_LARGE, 600, "CANCEL")]));
    let job = large(&mut w);
    w.advance(599);
    assert_eq!(w.status(job), JobStatus::Runnable);
    w.advance(1);
    assert_eq!(w.status(job), JobStatus::Failed);
    let detail = w.detail(job);
    assert_eq!(
        detail.status_reason.unwrap(),
        format!("Canceled by JobStateTimeLimit action due to reason: {TOO_LARGE}")
    );
    assert!(detail.is_cancelled);
    assert!(w.state.blocked.is_empty());
    w.check_replay();
}

#[test]
fn the_next_of_the_line_has_its_own_time() {
    let mut w = World::new();
    w.agent("a", 1);
    w.does(update(vec![limit(TOO_LARGE, 60, "CANCEL")]));
    let first = large(&mut w);
    let second = large(&mut w);
    w.advance(60);
    assert_eq!((w.status(first), w.status(second)), (JobStatus::Failed, JobStatus::Runnable));
    w.advance(59);
    assert_eq!(w.status(second), JobStatus::Runnable);
    w.advance(1);
    assert_eq!(w.status(second), JobStatus::Failed);
    assert_eq!(told(&w).len(), 2);
}

#[test]
fn a_head_that_may_start_again_is_spared() {
    let mut w = World::new();
    w.agent("a", 1);
    w.does(update(vec![limit(TOO_LARGE, 60, "CANCEL")]));
    let job = large(&mut w);
    w.advance(50);
    w.agent("big", 16);
    assert_eq!(w.status(job), JobStatus::Starting);
    w.advance(60);
    assert_eq!(w.status(job), JobStatus::Starting);
    assert!(w.state.blocked.is_empty());
}

#[test]
fn what_ends_the_blockade_in_the_same_instant_comes_first() {
    let mut w = World::new();
    w.agent("a", 1);
    w.does(update(vec![limit(TOO_LARGE, 60, "CANCEL")]));
    let job = large(&mut w);
    w.now = w.now.plus(std::time::Duration::from_secs(60));
    w.agent("big", 16);
    assert_eq!(w.status(job), JobStatus::Starting);
}

#[test]
fn another_reason_starts_the_time_anew() {
    let mut w = World::new();
    w.does(update(vec![limit(TOO_LARGE, 60, "CANCEL"), limit("ACTION_REQUIRED", 60, "TERMINATE")]));
    let job = large(&mut w);
    w.advance(59);
    w.agent("a", 1);
    w.advance(59);
    assert_eq!(w.status(job), JobStatus::Runnable);
    let reasons: Vec<String> =
        told(&w).into_iter().map(|record| record.data.status_reason.unwrap()).collect();
    assert!(reasons[0].starts_with("ACTION_REQUIRED - no agent"), "{reasons:?}");
    assert!(reasons[1].starts_with(TOO_LARGE), "{reasons:?}");
    assert_eq!(reasons.len(), 2);
    w.lose(&name("a"));
    w.advance(60);
    let reason = w.detail(job).status_reason.unwrap();
    assert_eq!(reason, "Terminated by JobStateTimeLimit action due to reason: ACTION_REQUIRED");
    w.check_replay();
}

#[test]
fn a_blocked_head_is_told_once_as_describe_jobs_has_it() {
    let mut w = World::new();
    w.agent("a", 1);
    let job = large(&mut w);
    for _ in 0..3 {
        w.job();
        w.advance(100);
    }
    let records = told(&w);
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!(record.subject, job.to_string());
    assert_eq!(record.data.status, JobStatus::Runnable);
    assert_eq!(record.data.status_reason, w.detail(job).status_reason);
    assert_eq!(w.status(job), JobStatus::Runnable, "without an action it waits on");
    let drain = |drain| Command::DrainAgent(DrainAgent { agent: "a".into(), drain });
    w.does(drain(true));
    w.does(drain(false));
    let codes: Vec<String> =
        told(&w).into_iter().map(|record| record.data.status_reason.unwrap()).collect();
    assert!(codes.len() >= 2, "the reason was another one meanwhile: {codes:?}");
    w.check_replay();
}

#[test]
fn an_action_that_comes_later_counts_from_the_beginning_and_one_taken_away_does_nothing() {
    let mut w = World::new();
    w.agent("a", 1);
    let job = large(&mut w);
    w.advance(30);
    w.does(update(vec![limit(TOO_LARGE, 60, "CANCEL")]));
    w.does(update(vec![]));
    w.advance(100);
    assert_eq!(w.status(job), JobStatus::Runnable);
    w.does(update(vec![limit(TOO_LARGE, 60, "CANCEL")]));
    assert_eq!(w.status(job), JobStatus::Failed, "its time was over long ago");
}

#[test]
fn a_job_of_another_share_is_looked_at_for_itself() {
    let mut w = World::new();
    w.agent("a", 1);
    w.policy("p", FairsharePolicy::default());
    w.does(Command::CreateQueue(CreateJobQueue {
        scheduling_policy_arn: Some("p".into()),
        job_state_time_limit_actions: vec![limit(TOO_LARGE, 60, "CANCEL")],
        ..queue_request("fair", 1)
    }));
    let of = |definition: &str, share: &str, w: &World| SubmitJob {
        job_queue: "fair".into(),
        job_definition: definition.into(),
        share_identifier: Some(share.into()),
        ..w.request()
    };
    w.definition("large", "9", "100");
    let runs = w.submit(of("d", "x", &w));
    let waits = w.submit(of("d", "x", &w));
    let blocked = w.submit(of("large", "y", &w));
    w.advance(60);
    assert_eq!(w.status(blocked), JobStatus::Failed);
    assert!([runs, waits].iter().all(|job| w.status(*job) != JobStatus::Failed));
}

#[test]
fn a_job_beyond_its_quota_share_blocks_it_and_is_cancelled() {
    let mut w = World::new();
    w.agent("a", 4);
    w.quota_queue();
    w.quota_share("small", 2, ResourceSharingStrategy::Reserve);
    w.does(Command::UpdateQueue(UpdateJobQueue {
        job_queue: "shared".into(),
        job_state_time_limit_actions: Some(vec![limit(BEYOND_SHARE, 60, "CANCEL")]),
        ..Default::default()
    }));
    w.definition("three", "3", "100");
    let beyond = SubmitJob { job_definition: "three".into(), ..w.shared("small") };
    let beyond = w.submit(beyond);
    let within = w.submit(w.shared("small"));
    assert_eq!(w.status(within), JobStatus::Starting, "it holds up nobody");
    let reason = w.detail(beyond).status_reason.unwrap();
    assert!(reason.starts_with(&format!("{BEYOND_SHARE} - it needs more VCPU than")), "{reason}");
    assert_eq!(told(&w).len(), 1);
    w.advance(60);
    assert_eq!(w.status(beyond), JobStatus::Failed);
    w.check_replay();
}

#[test]
fn wrong_actions_are_refused_and_right_ones_shown() {
    let mut w = World::new();
    let refused = |w: &mut World, actions| w.refused(update(actions)).message;
    let message = refused(&mut w, vec![limit("SOMETHING", 600, "CANCEL")]);
    assert!(message.contains("Invalid job reason `SOMETHING`"), "{message}");
    let message = refused(&mut w, vec![limit(TOO_LARGE, 0, "CANCEL")]);
    assert!(message.contains("maxTimeSeconds must be from 1 to"), "{message}");
    let twice = vec![limit(TOO_LARGE, 1, "CANCEL"), limit(TOO_LARGE, 2, "TERMINATE")];
    assert!(refused(&mut w, twice).contains("given twice"));
    let action = limit(TOO_LARGE, 1, "TERMINATE");
    w.does(update(vec![action.clone()]));
    let shown = view::describe_queues(&w.state, &DescribeJobQueues::default()).unwrap();
    assert_eq!(shown.job_queues[0].job_state_time_limit_actions, [action]);
    w.limits = Limits::aws();
    let documented = [
        "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY",
        "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE",
        "MISCONFIGURATION:SERVICE_ENVIRONMENT_MAX_RESOURCE",
        BEYOND_SHARE,
    ];
    w.does(update(documented.map(|reason| limit(reason, 600, "CANCEL")).into()));
    let message = refused(&mut w, vec![limit(TOO_LARGE, 599, "CANCEL")]);
    assert!(message.contains("from 600 to 86400, got 599"), "{message}");
    let message = refused(&mut w, vec![limit("ACTION_REQUIRED", 600, "CANCEL")]);
    assert!(message.contains("Invalid job reason"), "{message}");
    w.check_replay();
}
