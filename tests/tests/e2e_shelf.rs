//! Finished jobs beyond a number leave the coordinator's memory, and nobody notices but by the memory.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use futures::StreamExt;
use nix::sys::signal::Signal;
use serde_json::Value;
use windrow_common::subjects::Subjects;
use windrow_tests::part::signal;
use windrow_tests::{Cluster, wait_until};

const JOBS: usize = 50;
const KEPT: u64 = 10;

fn start() -> Cluster {
    let settings = ["finished_jobs=10", "heartbeat=300ms", "lease_ttl=10s", "snapshot_every=20"];
    let mut options = vec!["--vcpus-per-agent", "8"];
    for setting in settings {
        options.extend(["--coordinator-set", setting]);
    }
    Cluster::start_with(&options)
}

fn submit(cluster: &Cluster, number: usize) -> String {
    let (name, key) = (format!("n{number}"), format!("key-{number}"));
    let script = format!("echo output of {number}; exit {}", number % 5);
    let tag = format!("n={number}");
    cluster.submit(&[
        "--name",
        &name,
        "--idempotency-key",
        &key,
        "--tag",
        &tag,
        "--vcpus",
        "0.25",
        "--memory",
        "8",
        "--",
        "sh",
        "-c",
        &script,
    ])
}

fn status(cluster: &Cluster) -> Value {
    cluster.windrow(&["cluster", "status", "-o", "json"]).json()
}

fn wait_for_shelf(cluster: &Cluster, finished: usize) {
    wait_until("finished jobs to leave the memory", 60, || {
        let status = status(cluster);
        let known = status["jobs"].as_u64()?;
        let shelved = status["shelvedJobs"].as_u64()?;
        (known <= KEPT && known + shelved >= finished as u64).then_some(())
    });
}

fn listed(cluster: &Cluster, arguments: &[&str]) -> Vec<String> {
    let mut all = vec!["job", "list", "-q"];
    all.extend(arguments);
    let text = cluster.windrow(&all).ok();
    let mut ids: Vec<String> = text.lines().map(str::to_owned).collect();
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "each job once");
    ids
}

/// Fault 51.
#[tokio::test(flavor = "multi_thread")]
async fn finished_jobs_leave_memory_and_are_found_and_run_again() {
    let cluster = start();
    let client = async_nats::connect(cluster.nats_url()).await.unwrap();
    let subjects = Subjects::new("windrow".parse().unwrap());
    let mut stored = client.subscribe(subjects.history_all()).await.unwrap();
    client.flush().await.unwrap();
    let jobs: Vec<String> = (0..JOBS / 2).map(|number| submit(&cluster, number)).collect();
    // Killed the moment that a page is stored, and again.
    for _ in 0..2 {
        let pid = cluster.pid("coordinator");
        stored.next().await.unwrap();
        signal(pid, Signal::SIGKILL);
        cluster.wait_for_successor("coordinator", pid);
    }
    let jobs: Vec<String> =
        jobs.into_iter().chain((JOBS / 2..JOBS).map(|number| submit(&cluster, number))).collect();
    for (number, id) in jobs.iter().enumerate() {
        let wanted = if number % 5 == 0 { "SUCCEEDED" } else { "FAILED" };
        assert_eq!(cluster.ended(id, 60)["status"], wanted, "{number}");
    }
    wait_for_shelf(&cluster, JOBS);

    for (number, id) in jobs.iter().enumerate().step_by(7) {
        let job = cluster.job(id);
        assert_eq!(job["jobName"], format!("n{number}"));
        assert_eq!(job["tags"]["n"], number.to_string());
        assert_eq!(job["attempts"][0]["container"]["exitCode"], number % 5);
        let logs = cluster.windrow(&["job", "logs", id]).ok();
        assert!(logs.contains(&format!("output of {number}")), "{logs}");
        let why = cluster.windrow(&["job", "why", id]).ok();
        assert!(why.contains("has ended"), "{why}");
    }
    let mut all = jobs.clone();
    all.sort();
    assert_eq!(listed(&cluster, &["--status", "all"]), all);
    assert_eq!(listed(&cluster, &["--status", "succeeded"]).len(), JOBS / 5);
    assert_eq!(listed(&cluster, &["--status", "all", "--name", "n1*"]).len(), 11);

    assert_eq!(submit(&cluster, 3), jobs[3], "the key still leads to its job");
    let again = cluster.windrow(&["job", "rerun", &jobs[0], "-q"]).ok();
    assert_eq!(cluster.ended(&again, 60)["status"], "SUCCEEDED");
    let after = cluster.submit(&["--after-failed", &jobs[1], "--", "true"]);
    assert_eq!(cluster.ended(&after, 60)["status"], "SUCCEEDED");
    // The jobs that were loaded leave again, and the next coordinator knows all of it.
    wait_for_shelf(&cluster, JOBS + 2);
    cluster.kill("coordinator");
    assert_eq!(listed(&cluster, &["--status", "all"]).len(), JOBS + 2);
    assert_eq!(cluster.job(&again)["rerunOf"], jobs[0].as_str());
}

/// Killed in the middle of a page, which holds jobs of many queues: an array's children too are found.
#[test]
fn an_array_that_has_left_the_memory_shows_its_children() {
    let cluster = start();
    let script = "test $AWS_BATCH_JOB_ARRAY_INDEX != 3 || exit 9";
    let array = ["--array", "20", "--vcpus", "0.25", "--memory", "8", "--", "sh", "-c", script];
    let id = cluster.submit(&array);
    assert_eq!(cluster.ended(&id, 60)["status"], "FAILED");
    let child = format!("{id}:3");
    let before = (cluster.job(&id), cluster.job(&child));
    for number in 0..12 {
        submit(&cluster, number);
    }
    wait_for_shelf(&cluster, 13);
    assert_eq!((cluster.job(&id), cluster.job(&child)), before);
    let failed = cluster.windrow(&["job", "list", "--children", &id, "--status", "failed", "-q"]);
    assert_eq!(failed.ok().trim(), child);
    let again = cluster.windrow(&["job", "rerun", "--failed", &id, "-q"]).ok();
    assert_eq!(cluster.ended(&again, 60)["status"], "FAILED");
}
