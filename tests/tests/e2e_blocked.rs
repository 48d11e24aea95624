//! Jobs that block their queue: told on the event subjects and ended by `jobStateTimeLimitActions`,
//! with the real programs.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::Duration;

use futures::StreamExt;
use serde_json::json;
use windrow_common::api::events::{JobEvent, TYPE_QUEUE_BLOCKED, read_batch};
use windrow_common::subjects::Subjects;
use windrow_tests::Cluster;

const REASON: &str = "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT";

fn subjects() -> Subjects {
    Subjects::new("windrow".parse().unwrap())
}

/// Queue `default` ends such jobs after so many seconds.
async fn limit(client: &async_nats::Client, seconds: u32) {
    let request = json!({"jobQueue": "default", "jobStateTimeLimitActions": [
        {"reason": REASON, "state": "RUNNABLE", "maxTimeSeconds": seconds, "action": "CANCEL"}]});
    let payload = request.to_string().into();
    let answer = client.request(subjects().api("UpdateJobQueue"), payload).await.unwrap();
    let body = String::from_utf8_lossy(&answer.payload);
    assert!(body.contains("jobQueueArn"), "{body}");
}

/// A job larger than the only agent.
fn large(cluster: &Cluster) -> String {
    cluster.submit(&["--vcpus", "64", "--memory", "16", "--", "true"])
}

/// The next record of a blocked queue on the event subject.
async fn next_blocked(events: &mut async_nats::Subscriber) -> JobEvent {
    let next = async {
        loop {
            let message = events.next().await.unwrap();
            let records = read_batch(&message.payload).unwrap();
            let mut blocked = records.into_iter().filter(|r| r.kind == TYPE_QUEUE_BLOCKED);
            if let Some(record) = blocked.next() {
                return record;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), next).await.expect("a blocked queue is told")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_queue_is_told_and_its_head_cancelled_in_its_time() {
    let cluster = Cluster::start();
    let client = async_nats::connect(cluster.nats_url()).await.unwrap();
    let subject = subjects().events_of_queue(&"default".parse().unwrap());
    let mut events = client.subscribe(subject).await.unwrap();
    client.flush().await.unwrap();
    limit(&client, 2).await;

    let blocked = large(&cluster);
    let behind = cluster.submit(&["--vcpus", "1", "--memory", "16", "--", "true"]);
    let record = next_blocked(&mut events).await;
    assert_eq!(record.subject, blocked);
    let told = record.data.status_reason.unwrap();
    assert!(told.starts_with(REASON), "{told}");
    let job = cluster.ended(&blocked, 60);
    assert_eq!(job["status"], "FAILED", "{job:#}");
    let reason = format!("Canceled by JobStateTimeLimit action due to reason: {REASON}");
    assert_eq!((&job["statusReason"], &job["isCancelled"]), (&reason.into(), &true.into()));
    assert_eq!(job["attempts"], json!([]), "it never ran");
    assert_eq!(cluster.ended(&behind, 60)["status"], "SUCCEEDED", "nobody behind had to wait");
    let kept = cluster.windrow(&["events", "--job", &blocked, "-o", "jsonl"]).ok();
    assert_eq!(kept.matches(TYPE_QUEUE_BLOCKED).count(), 1, "{kept}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_goes_on_and_nothing_is_told_twice_when_the_coordinator_is_killed() {
    let cluster = Cluster::start();
    let client = async_nats::connect(cluster.nats_url()).await.unwrap();
    let job = large(&cluster);
    let told = |job: &str| {
        let lines = cluster.windrow(&["events", "--job", job, "-o", "jsonl"]).ok();
        lines.matches(TYPE_QUEUE_BLOCKED).count()
    };
    windrow_tests::wait_until("the queue to be blocked", 60, || (told(&job) == 1).then_some(()));
    let waits = cluster.job(&job)["statusReason"].as_str().unwrap().to_owned();
    assert!(waits.starts_with(REASON), "{waits}");
    cluster.kill("coordinator");
    // The limit comes last, and counts from when the job was found at the head.
    limit(&client, 1).await;
    assert_eq!(cluster.ended(&job, 60)["isCancelled"], true);
    assert_eq!(told(&job), 1);
}
