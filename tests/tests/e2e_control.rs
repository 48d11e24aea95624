//! What a person does with jobs that went wrong or are too many, through the real programs: rerun,
//! back-off, dependencies by condition, bulk stops, deletes of queues.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use serde_json::{Value, json};
use windrow_tests::{Cluster, wait_until};

/// Submits a shell script; `options` come before it, `file` is its `$0`.
fn submit_script(cluster: &Cluster, options: &[&str], script: &str, file: &str) -> String {
    let mut all = options.to_vec();
    all.extend(["--vcpus", "0.5", "--memory", "16", "--", "sh", "-c", script, file]);
    cluster.submit(&all)
}

fn ended(cluster: &Cluster, job: &str, status: &str) -> Value {
    let job = cluster.ended(job, 60);
    assert_eq!(job["status"], status, "{job:#}");
    job
}

/// Fails for odd indices as long as the file `$0` is not there; says what it is otherwise.
const FAILS_AT_FIRST: &str = "[ -e \"$0\" ] || [ $((AWS_BATCH_JOB_ARRAY_INDEX % 2)) -eq 0 ] || exit 3; \
     echo $AWS_BATCH_JOB_ARRAY_INDEX of $AWS_BATCH_JOB_ARRAY_SIZE >>\"$1\"";

#[test]
fn failed_children_are_run_again_as_a_new_job_and_in_place() {
    let cluster = Cluster::start();
    let repaired = cluster.scratch().join("repaired");
    let ran = cluster.scratch().join("ran");
    let (file, log) = (repaired.to_str().unwrap(), ran.to_str().unwrap());
    let lines = || {
        let text = std::fs::read_to_string(&ran).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        std::fs::remove_file(&ran).unwrap();
        lines
    };
    let array = cluster.submit(&[
        "--array",
        "6",
        "--vcpus",
        "0.5",
        "--memory",
        "16",
        "--",
        "sh",
        "-c",
        FAILS_AT_FIRST,
        file,
        log,
    ]);
    let job = ended(&cluster, &array, "FAILED");
    assert_eq!(job["arrayProperties"]["statusSummary"]["FAILED"], 3);
    assert_eq!(lines(), ["0 of 6", "2 of 6", "4 of 6"]);
    let dependent = cluster.submit(&["--depends-on", &array, "--", "true"]);
    ended(&cluster, &dependent, "FAILED");

    std::fs::write(&repaired, "").unwrap();
    let new = cluster.windrow(&["job", "rerun", "--failed", &array, "-q"]).ok();
    assert_ne!(new, array);
    let job = ended(&cluster, &new, "SUCCEEDED");
    assert_eq!(job["rerunOf"], array.as_str());
    assert_eq!(job["arrayProperties"]["statusSummary"]["SUCCEEDED"], 6);
    assert_eq!(lines(), ["1 of 6", "3 of 6", "5 of 6"], "only those, under their own indices");

    let same = cluster.windrow(&["job", "rerun", "--in-place", &array, "--wait", "-q"]).ok();
    assert_eq!(same, array);
    assert_eq!(cluster.job(&array)["status"], "SUCCEEDED");
    assert_eq!(lines(), ["1 of 6", "3 of 6", "5 of 6"]);
    assert_eq!(cluster.job(&dependent)["status"], "FAILED", "it stays as it was");
    let child = cluster.job(&format!("{array}:1"));
    assert_eq!(child["attempts"].as_array().unwrap().len(), 2, "{child:#}");
    // Nothing is left to run again.
    assert_eq!(cluster.windrow(&["job", "rerun", "--in-place", &array]).code, 6);
    // A new coordinator knows it all.
    cluster.kill("coordinator");
    assert_eq!(cluster.job(&array)["status"], "SUCCEEDED");
    assert_eq!(cluster.job(&new)["status"], "SUCCEEDED");
}

#[test]
fn a_job_backs_off_and_others_follow_by_condition() {
    let cluster = Cluster::start();
    let request = cluster.scratch().join("job.json");
    let file = json!({
        "jobName": "fails",
        "containerOverrides": {"command": ["sh", "-c", "exit 9"]},
        "retryStrategy": {"attempts": 2, "backoff": {"initialSeconds": 1}},
    });
    std::fs::write(&request, file.to_string()).unwrap();
    let fails = cluster.submit(&["-f", request.to_str().unwrap()]);
    let after = |flag: &str| cluster.submit(&[flag, &fails, "--", "true"]);
    let (success, any, failed) =
        (after("--depends-on"), after("--after-any"), after("--after-failed"));
    let job = ended(&cluster, &fails, "FAILED");
    let attempts = job["attempts"].as_array().unwrap();
    let time = |attempt: usize, key: &str| attempts[attempt][key].as_u64().unwrap();
    assert!(time(1, "startedAt") >= time(0, "stoppedAt") + 900, "it waited: {attempts:#?}");
    assert_eq!(job["retryStrategy"]["backoff"]["multiplier"], 2);
    ended(&cluster, &any, "SUCCEEDED");
    ended(&cluster, &failed, "SUCCEEDED");
    assert_eq!(ended(&cluster, &success, "FAILED")["statusReason"], "Dependent Job failed");
    let never = cluster.submit(&["--after-failed", &any, "--", "true"]);
    let reason = ended(&cluster, &never, "FAILED")["statusReason"].clone();
    assert!(reason.as_str().unwrap().contains(&format!("job {any} SUCCEEDED")), "{reason}");
}

#[test]
fn all_jobs_that_match_are_ended_after_a_confirmation() {
    let cluster = Cluster::start();
    let sleep = |name: &str| submit_script(&cluster, &["--name", name], "sleep 300", "sh");
    let (first, second, other) = (sleep("bulk-1"), sleep("bulk-2"), sleep("other"));
    let listed = |arguments: &[&str]| {
        let mut ids: Vec<String> =
            cluster.windrow(arguments).ok().lines().map(str::to_owned).collect();
        ids.sort();
        ids
    };
    let mut both = vec![first.clone(), second.clone()];
    both.sort();
    let dry = ["job", "terminate", "--name", "BULK*", "--dry-run", "-q"];
    assert_eq!(listed(&dry), both);
    let unasked = cluster.windrow(&["job", "terminate", "--name", "bulk*"]);
    assert_eq!(unasked.code, 1, "{unasked:?}");
    assert!(unasked.stderr.contains("--yes"), "{unasked:?}");
    assert_eq!(listed(&["job", "terminate", "--name", "bulk*", "--yes", "-q"]), both);
    for id in both {
        assert_eq!(ended(&cluster, &id, "FAILED")["isTerminated"], true);
    }
    wait_until("the other job to run", 30, || {
        (cluster.job(&other)["status"] == "RUNNING").then_some(())
    });
    // By id, many at once; a running job is not cancelled.
    let waits = cluster.submit(&["--depends-on", &other, "--", "true"]);
    cluster.windrow(&["job", "cancel", &other, &waits, "--reason", "too late"]).ok();
    assert_eq!(ended(&cluster, &waits, "FAILED")["statusReason"], "too late");
    assert_eq!(cluster.job(&other)["status"], "RUNNING");
    assert_eq!(cluster.windrow(&["job", "cancel"]).code, 2, "nothing was named");
}

#[test]
fn a_queue_is_deleted_with_its_jobs() {
    let cluster = Cluster::start();
    cluster.windrow(&["queue", "create", "old"]).ok();
    let runs = submit_script(&cluster, &["--queue", "old"], "sleep 300", "sh");
    let waits = cluster.submit(&["--queue", "old", "--depends-on", &runs, "--", "true"]);
    assert_eq!(cluster.windrow(&["queue", "delete", "old"]).code, 6, "it is ENABLED");
    cluster.windrow(&["queue", "update", "old", "--disable"]).ok();
    cluster.windrow(&["queue", "delete", "old"]).ok();
    for id in [runs, waits] {
        assert_eq!(ended(&cluster, &id, "FAILED")["statusReason"], "Job queue old was deleted");
    }
    wait_until("the queue to be gone", 30, || {
        (cluster.windrow(&["queue", "get", "old"]).code == 4).then_some(())
    });
}
