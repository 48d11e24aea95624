//! Events: every change of every child is told once and in order, whatever happens to the coordinator.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;
use windrow_tests::{Cluster, wait_until};

const CHILDREN: usize = 3_000;
const LIMIT_SECONDS: u64 = 240;

/// The job's events, oldest first.
fn events(cluster: &Cluster, job: &str) -> Vec<Value> {
    let lines = cluster.windrow(&["events", "--job", job, "-o", "jsonl"]).ok();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Whether a child may go from one status to the other.
fn is_arrow(from: &str, to: &str) -> bool {
    let next: &[&str] = match from {
        "" => &["PENDING"],
        "PENDING" => &["RUNNABLE"],
        "RUNNABLE" => &["STARTING"],
        "STARTING" => &["RUNNING", "RUNNABLE", "SUCCEEDED"],
        "RUNNING" => &["SUCCEEDED", "RUNNABLE"],
        _ => &[],
    };
    next.contains(&to)
}

#[test]
fn each_change_is_told_once_and_in_order_although_the_coordinator_is_killed() {
    let options = ["--vcpus-per-agent", "8", "--coordinator-set", "snapshot_every=50"];
    let cluster = Cluster::start_with(&options);
    let file = cluster.scratch().join("indices");
    let script = "echo $AWS_BATCH_JOB_ARRAY_INDEX >>\"$0\"";
    let size = CHILDREN.to_string();
    let array = ["--array", &size, "--vcpus", "0.5", "--memory", "16", "--", "sh", "-c", script];
    let id = cluster.submit(&[&array[..], &[file.to_str().unwrap()]].concat());
    let written = || std::fs::read_to_string(&file).unwrap_or_default().lines().count();
    for count in [500, 1_500] {
        wait_until("children to write", LIMIT_SECONDS, || (written() >= count).then_some(()));
        cluster.kill("coordinator");
        assert!(written() < CHILDREN, "the kill came too late to show anything");
    }
    assert_eq!(cluster.ended(&id, LIMIT_SECONDS)["status"], "SUCCEEDED");

    let ended = |events: &[Value]| {
        events.iter().any(|e| e["subject"] == *id && e["data"]["status"] == "SUCCEEDED")
    };
    let events =
        wait_until("the last event", 30, || Some(events(&cluster, &id)).filter(|e| ended(e)));
    let ids: BTreeSet<&str> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), events.len(), "no event twice");
    let mut last = BTreeMap::<&str, &str>::new();
    for event in &events {
        assert_eq!(event["specversion"], "1.0");
        let (subject, status) = (&event["subject"], &event["data"]["status"]);
        let (subject, status) = (subject.as_str().unwrap(), status.as_str().unwrap());
        assert_eq!(event["data"]["jobId"], subject);
        let before = last.insert(subject, status).unwrap_or_default();
        assert!(subject == id || is_arrow(before, status), "{subject}: {before:?} to {status}");
    }
    assert_eq!(last.len(), CHILDREN + 1, "each child, and the array");
    assert!(last.values().all(|status| *status == "SUCCEEDED"), "{last:?}");
}

#[test]
fn events_are_followed_as_they_come_and_chosen_by_queue_job_and_time() {
    let cluster = Cluster::start();
    let mut follow = cluster
        .program("windrow")
        .args(["events", "-f", "--queue", "default", "--since", "1h", "-o", "jsonl"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let id = cluster.submit(&["--array", "3", "--", "true"]);
    // Ends with the test's time limit if the last event never comes.
    let told: Vec<Value> = std::iter::from_fn(|| {
        let event: Value = serde_json::from_str(&lines.next()?.unwrap()).unwrap();
        (event["subject"] != *id || event["data"]["status"] != "SUCCEEDED").then_some(event)
    })
    .collect();
    follow.kill().unwrap();
    follow.wait().unwrap();
    let statuses = |events: &[Value], subject: &str| -> Vec<String> {
        let of_it = events.iter().filter(|event| event["subject"] == subject);
        of_it.map(|event| event["data"]["status"].as_str().unwrap().to_owned()).collect()
    };
    let child = format!("{id}:1");
    let life = statuses(&told, &child);
    assert_eq!(life.first().map(String::as_str), Some("PENDING"), "{life:?}");
    assert_eq!(life.last().map(String::as_str), Some("SUCCEEDED"), "{life:?}");

    let kept = events(&cluster, &child);
    assert_eq!(statuses(&kept, &child), life, "the same events, kept");
    assert_eq!(kept.len(), life.len(), "of this child only");
    let table = cluster.windrow(&["events", "--job", &child]).ok();
    assert!(table.contains("SUCCEEDED") && table.contains(&child), "{table}");
    let none = cluster.windrow(&["events", "--queue", "other", "-o", "json"]).json();
    assert_eq!(none["events"].as_array().unwrap().len(), 0);
}
