//! The history: what is told of finished jobs stays the same when their records have left the memory.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use futures::StreamExt;
use nix::sys::signal::Signal;
use serde_json::Value;
use windrow_common::subjects::Subjects;
use windrow_tests::part::signal;
use windrow_tests::{Cluster, wait_until};

fn start(known: &str) -> Cluster {
    start_with(known, "1s")
}

fn start_with(known: &str, in_memory: &str) -> Cluster {
    let known = format!("history_age={known}");
    let in_memory = format!("finished_in_memory={in_memory}");
    let settings = ["heartbeat=300ms", "lease_ttl=10s", &in_memory, &known];
    let mut options = vec!["--vcpus-per-agent", "8"];
    for setting in settings {
        options.extend(["--coordinator-set", setting]);
    }
    Cluster::start_with(&options)
}

fn wait_for_archive(cluster: &Cluster, jobs: u64) {
    wait_until("finished jobs to be archived", 60, || {
        let status = cluster.windrow(&["cluster", "status", "-o", "json"]).json();
        (status["archivedJobs"] == jobs).then_some(())
    });
}

/// An array of which one child fails.
fn submit(cluster: &Cluster) -> String {
    let script =
        "echo out $AWS_BATCH_JOB_ARRAY_INDEX; test $AWS_BATCH_JOB_ARRAY_INDEX != 1100 || exit 3";
    let array = ["--array", "1200", "--vcpus", "0.25", "--memory", "8", "--", "sh", "-c", script];
    let id = cluster.submit(&array);
    assert_eq!(cluster.ended(&id, 120)["status"], "FAILED");
    id
}

fn look(cluster: &Cluster, id: &str) -> Vec<Value> {
    let child = format!("{id}:1100");
    let failed = ["job", "list", "--children", id, "--status", "FAILED", "-o", "json"];
    let mut failed = cluster.windrow(&failed).json();
    vec![cluster.job(id), cluster.job(&child), failed["jobSummaryList"].take()]
}

#[test]
fn archived_jobs_look_as_before_also_to_the_next_coordinator() {
    let cluster = start("1h");
    let id = submit(&cluster);
    let before = look(&cluster, &id);
    wait_for_archive(&cluster, 1);
    let archived = look(&cluster, &id);
    assert_eq!(archived[1]["attempts"][0]["container"]["exitCode"], 3, "{:#}", archived[1]);
    assert_eq!(archived[2][0]["container"]["exitCode"], 3, "{:#}", archived[2]);
    assert_eq!(archived, before);

    cluster.kill("coordinator");
    assert_eq!(look(&cluster, &id), before);
    let logs = cluster.windrow(&["job", "logs", &format!("{id}:7")]).ok();
    assert!(logs.contains("out 7"), "{logs}");
    let after = cluster.submit(&["--after-failed", &id, "--", "true"]);
    assert_eq!(cluster.ended(&after, 60)["status"], "SUCCEEDED");
}

#[test]
fn finished_jobs_are_forgotten_in_the_end() {
    let cluster = start("3s");
    let id = submit(&cluster);
    wait_until("the job to be forgotten", 60, || {
        (cluster.windrow(&["job", "get", &id]).code == 4).then_some(())
    });
    let jobs = cluster.windrow(&["job", "list", "--status", "all", "-o", "json"]).json();
    assert_eq!(jobs["jobSummaryList"].as_array().unwrap().len(), 0, "{jobs:#}");
}

/// Killed the moment that it stores records, a coordinator has not given them up: its successor stores
/// them again, each in its place.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_when_the_coordinator_is_killed_while_it_stores() {
    let cluster = start_with("1h", "6s");
    let client = async_nats::connect(cluster.nats_url()).await.unwrap();
    let subjects = Subjects::new("windrow".parse().unwrap());
    let mut stored = client.subscribe(subjects.history_all()).await.unwrap();
    client.flush().await.unwrap();
    let array = ["--array", "3", "--vcpus", "0.25", "--memory", "8", "--", "sh", "-c", "exit 3"];
    let jobs: Vec<String> = (0..10).map(|_| cluster.submit(&array)).collect();
    let child = |job: &String| cluster.job(&format!("{job}:2"));
    let look = || jobs.iter().map(child).collect::<Vec<Value>>();
    jobs.iter().for_each(|job| assert_eq!(cluster.ended(job, 60)["status"], "FAILED"));
    let before = look();
    for _ in 0..3 {
        let pid = cluster.pid("coordinator");
        // Ends with the test's time limit if nothing is stored.
        stored.next().await.unwrap();
        signal(pid, Signal::SIGKILL);
        cluster.wait_for_successor("coordinator", pid);
    }
    wait_for_archive(&cluster, 10);
    assert_eq!(look(), before);
    let failed = ["job", "list", "--status", "failed", "-q"];
    assert_eq!(cluster.windrow(&failed).ok().lines().count(), 10);
}
