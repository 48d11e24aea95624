//! What users rely on, through the real programs: environment, dependencies, retries, stopping,
//! output, idempotency, drain.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeMap;

use serde_json::Value;
use windrow_tests::part::is_alive;
use windrow_tests::program::Finished;
use windrow_tests::{Cluster, wait_until};

/// Submits a shell script; `options` come before it, `file` is its `$0`.
fn submit_script(cluster: &Cluster, options: &[&str], script: &str, file: &str) -> String {
    let mut all = options.to_vec();
    all.extend(["--vcpus", "0.5", "--memory", "16", "--", "sh", "-c", script, file]);
    cluster.submit(&all)
}

fn succeeds(cluster: &Cluster, job: &str) -> Value {
    let job = cluster.ended(job, 60);
    assert_eq!(job["status"], "SUCCEEDED", "{job:#}");
    job
}

#[test]
fn a_child_has_the_environment_of_aws_batch_and_nothing_else() {
    let cluster = Cluster::start();
    let array = cluster.submit(&["--array", "3", "--env", "MINE=1=2", "--", "/usr/bin/env"]);
    succeeds(&cluster, &array);
    let child = format!("{array}:2");
    let printed = cluster.windrow(&["job", "logs", &child]).ok();
    let environment: BTreeMap<&str, &str> = printed
        .lines()
        .map(|line| line.strip_prefix("[2] ").unwrap_or(line).split_once('=').unwrap())
        .collect();
    let expected = [
        ("AWS_BATCH_JOB_ID", child.as_str()),
        ("AWS_BATCH_JOB_ATTEMPT", "1"),
        ("AWS_BATCH_JOB_ARRAY_INDEX", "2"),
        ("AWS_BATCH_JOB_ARRAY_SIZE", "3"),
        ("AWS_BATCH_JQ_NAME", "default"),
        ("AWS_BATCH_CE_NAME", "default"),
        ("MINE", "1=2"),
    ];
    for (name, value) in expected {
        assert_eq!(environment.get(name), Some(&value), "{name} in {environment:#?}");
    }
    // The test runner's own variables must not reach a job.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    assert!(!environment.keys().any(|name| name.starts_with("CARGO")), "{environment:#?}");
    assert!(environment.len() < 20, "{environment:#?}");
}

#[test]
fn dependencies_give_the_order() {
    let cluster = Cluster::start();
    let file = cluster.scratch().join("order");
    let file = file.to_str().unwrap();
    let write = "echo $STEP$AWS_BATCH_JOB_ARRAY_INDEX >>\"$0\"";
    let slow_write = format!("sleep 0.1; {write}");
    let sequential = ["--array", "4", "--depends-on", "SEQUENTIAL", "--env", "STEP=s"];
    let first = submit_script(&cluster, &sequential, &slow_write, file);
    let by_index = format!("N_TO_N:{first}");
    let paired = ["--array", "4", "--depends-on", &by_index, "--env", "STEP=p"];
    let second = submit_script(&cluster, &paired, write, file);
    let both = ["--depends-on", &second, "--depends-on", &first, "--env", "STEP=end"];
    let last = submit_script(&cluster, &both, write, file);
    succeeds(&cluster, &last);

    let text = std::fs::read_to_string(file).unwrap();
    let order: Vec<&str> = text.lines().collect();
    let position = |what: &str| order.iter().position(|o| *o == what).unwrap();
    assert_eq!(order.len(), 9, "{order:?}");
    assert_eq!(order[8], "end");
    for index in 0..4 {
        assert!(position(&format!("s{index}")) < position(&format!("p{index}")), "{order:?}");
    }
    for index in 1..4 {
        assert!(position(&format!("s{}", index - 1)) < position(&format!("s{index}")), "{order:?}");
    }
}

#[test]
fn failed_attempts_are_tried_again_as_often_as_allowed() {
    let cluster = Cluster::start();
    let third_time = "[ $AWS_BATCH_JOB_ATTEMPT -eq 3 ] || exit 4";
    let lucky = submit_script(&cluster, &["--attempts", "3"], third_time, "sh");
    let unlucky = submit_script(&cluster, &["--attempts", "2"], third_time, "sh");
    let codes = |job: &Value| -> Vec<i64> {
        let attempts = job["attempts"].as_array().unwrap();
        attempts.iter().map(|a| a["container"]["exitCode"].as_i64().unwrap()).collect()
    };
    assert_eq!(codes(&succeeds(&cluster, &lucky)), [4, 4, 0]);
    let job = cluster.ended(&unlucky, 60);
    assert_eq!(job["status"], "FAILED");
    assert_eq!(codes(&job), [4, 4]);
}

#[test]
fn a_terminated_job_ends_with_all_its_processes() {
    let cluster = Cluster::start();
    let file = cluster.scratch().join("pids");
    let script = "sleep 300 & echo $$ $! >\"$0\"; wait";
    let id = submit_script(&cluster, &[], script, file.to_str().unwrap());
    let pids = wait_until("the job to run", 30, || {
        let text = std::fs::read_to_string(&file).ok()?;
        let pids: Vec<i32> = text.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
        (pids.len() == 2).then_some(pids)
    });
    cluster.windrow(&["job", "terminate", &id, "--reason", "not needed"]).ok();
    let job = cluster.ended(&id, 60);
    assert_eq!((&job["status"], &job["statusReason"]), (&"FAILED".into(), &"not needed".into()));
    for pid in pids {
        wait_until("the job's processes to end", 30, || (!is_alive(pid)).then_some(()));
    }
}

#[test]
fn what_a_job_leaves_in_the_background_ends_with_it() {
    let cluster = Cluster::start();
    let file = cluster.scratch().join("pid");
    let script = "sleep 300 & echo $! >\"$0\"";
    succeeds(&cluster, &submit_script(&cluster, &[], script, file.to_str().unwrap()));
    let pid = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    wait_until("the background process to end", 30, || (!is_alive(pid)).then_some(()));
}

#[test]
fn a_cancelled_job_never_starts() {
    let cluster = Cluster::start();
    let file = cluster.scratch().join("ran");
    let blocker = cluster.submit(&["--", "sleep", "300"]);
    let depends = ["--depends-on", blocker.as_str()];
    let waiting = submit_script(&cluster, &depends, "touch \"$0\"", file.to_str().unwrap());
    cluster.windrow(&["job", "cancel", &waiting, "--reason", "changed my mind"]).ok();
    let job = cluster.ended(&waiting, 60);
    assert_eq!(job["statusReason"], "changed my mind", "{job:#}");
    cluster.windrow(&["job", "terminate", &blocker]).ok();
    assert_eq!(cluster.ended(&blocker, 60)["status"], "FAILED");
    assert!(!file.exists());
}

#[test]
fn output_arrives_whole_and_in_order() {
    let cluster = Cluster::start();
    let printed = cluster.windrow(&["run", "--", "seq", "1", "20000"]);
    let expected: String = (1..=20_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(printed.code, 0);
    assert!(printed.stdout == expected, "{} bytes", printed.stdout.len());
    let id = submit_script(&cluster, &[], "echo one; echo two >&2; echo three", "sh");
    succeeds(&cluster, &id);
    assert_eq!(cluster.windrow(&["job", "logs", &id]).ok(), "one\ntwo\nthree");
}

#[test]
fn run_exits_with_the_jobs_code() {
    let cluster = Cluster::start();
    let run = |script: &str| cluster.windrow(&["run", "--", "sh", "-c", script]).code;
    assert_eq!(run("exit 0"), 0);
    assert_eq!(run("exit 42"), 42);
    assert_eq!(run("kill -9 $$"), 137);
}

#[test]
fn an_idempotency_key_names_one_job() {
    let cluster = Cluster::start();
    let submit = |word: &str| {
        cluster.windrow(&["submit", "-q", "--idempotency-key", "k", "--", "echo", word])
    };
    let first = submit("one").ok();
    assert_eq!(submit("one").ok(), first);
    let message = submit("two").fails_with(6);
    assert!(message.contains(&first), "{message}");
    cluster.kill("coordinator");
    assert_eq!(submit("one").ok(), first, "the key is remembered over a crash");
}

#[test]
fn a_drained_agent_takes_nothing_new() {
    let cluster = Cluster::start_with(&["--agents", "2", "--vcpus-per-agent", "4"]);
    cluster.windrow(&["agent", "drain", "agent-1"]).ok();
    let array = cluster.submit(&["--array", "20", "--memory", "16", "--", "true"]);
    succeeds(&cluster, &array);
    for index in 0..20 {
        let child = cluster.job(&format!("{array}:{index}"));
        let agent = &child["attempts"][0]["container"]["containerInstanceArn"];
        assert!(agent.as_str().unwrap().ends_with("agent-2"), "{child:#}");
    }
    cluster.windrow(&["agent", "drain", "agent-2"]).ok();
    let waiting = cluster.submit(&["--", "true"]);
    assert_eq!(cluster.windrow(&["job", "wait", &waiting, "--timeout", "1s"]).code, 124);
    cluster.windrow(&["agent", "undrain", "agent-1"]).ok();
    succeeds(&cluster, &waiting);
}

#[test]
fn more_important_queues_go_first() {
    let cluster = Cluster::start_with(&["--vcpus-per-agent", "1"]);
    let file = cluster.scratch().join("order");
    let file = file.to_str().unwrap();
    cluster.windrow(&["queue", "create", "urgent", "--priority", "500"]).ok();
    cluster.windrow(&["agent", "drain", "agent-1"]).ok();
    let write = "echo $AWS_BATCH_JQ_NAME >>\"$0\"";
    let submit = |queue: &str| {
        cluster.submit(&["--queue", queue, "--vcpus", "1", "--", "sh", "-c", write, file])
    };
    let jobs = ["default", "default", "urgent", "urgent"].map(submit);
    cluster.windrow(&["agent", "undrain", "agent-1"]).ok();
    for job in &jobs {
        succeeds(&cluster, job);
    }
    let order = std::fs::read_to_string(file).unwrap();
    assert_eq!(order, "urgent\nurgent\ndefault\ndefault\n");
}

#[test]
fn a_second_up_on_one_directory_is_refused_and_down_is_harmless() {
    let cluster = Cluster::start();
    cluster.windrow(&["up", "--detach"]).fails_with(6);
    cluster.down();
    cluster.down();
    let message = cluster.windrow(&["job", "list"]).fails_with(7);
    assert!(message.contains("windrow up"), "{message}");
    let up = Finished::run(cluster.program("windrow").args(["up", "--detach", "--agents", "1"]));
    up.ok();
    assert_eq!(cluster.windrow(&["run", "--", "echo", "again"]).ok(), "again");
}
