//! `kill -9` of each part in the middle of an array of 10,000 children: nothing is lost, and of each
//! child exactly one result is accepted.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::Value;
use windrow_tests::part::{is_alive, signal};
use windrow_tests::{Cluster, agent, wait_until};

const CHILDREN: usize = 10_000;
/// Far more than the slowest run here took; reached only when something is stuck.
const LIMIT_SECONDS: u64 = 240;

/// An array job whose children each append their index to one file.
struct CountingArray<'a> {
    cluster: &'a Cluster,
    file: PathBuf,
    id: String,
}

impl<'a> CountingArray<'a> {
    /// `pause` is how long a child runs, in seconds, as `sleep` takes it.
    fn submit(cluster: &'a Cluster, pause: &str) -> Self {
        let file = cluster.scratch().join("indices");
        let script = match pause {
            "0" => "echo $AWS_BATCH_JOB_ARRAY_INDEX >>\"$0\"".to_owned(),
            _ => format!("sleep {pause}; echo $AWS_BATCH_JOB_ARRAY_INDEX >>\"$0\""),
        };
        let size = CHILDREN.to_string();
        let id = cluster.submit(&[
            "--array",
            &size,
            "--vcpus",
            "0.5",
            "--memory",
            "16",
            "--",
            "sh",
            "-c",
            &script,
            file.to_str().unwrap(),
        ]);
        Self { cluster, file, id }
    }

    /// Indices in the order in which children wrote them.
    fn written(&self) -> Vec<usize> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    fn wait_for_written(&self, count: usize) {
        wait_until(&format!("{count} children to write"), LIMIT_SECONDS, || {
            (self.written().len() >= count).then_some(())
        });
    }

    fn assert_unfinished(&self) {
        assert!(self.written().len() < CHILDREN, "the kill came too late to show anything");
    }

    /// Waits for the end: every child has exactly one result, and none is missing.
    fn assert_complete(&self) {
        let job = self.cluster.ended(&self.id, LIMIT_SECONDS);
        assert_eq!(job["status"], "SUCCEEDED", "{job:#}");
        let summary = job["arrayProperties"]["statusSummary"].as_object().unwrap();
        let count = |status: &str| summary.get(status).and_then(Value::as_u64).unwrap_or(0);
        assert_eq!(count("SUCCEEDED"), 10_000, "{job:#}");
        assert_eq!(summary.values().filter_map(Value::as_u64).sum::<u64>(), 10_000, "{job:#}");
        let distinct: BTreeSet<usize> = self.written().into_iter().collect();
        assert!(distinct.iter().copied().eq(0..CHILDREN), "{} indices", distinct.len());
    }

    /// No child ran twice: nobody was given up, so nothing had to run again.
    fn assert_each_ran_once(&self) {
        assert_eq!(self.written().len(), CHILDREN);
    }
}

/// Kills the part twice in the middle of an array whose children take `pause` seconds.
fn assert_survives_kills(cluster: &Cluster, part: &str, pause: &str) {
    let array = CountingArray::submit(cluster, pause);
    for written in [1_500, 4_000] {
        array.wait_for_written(written);
        let pid = cluster.pid(part);
        signal(pid, Signal::SIGKILL);
        array.assert_unfinished();
        cluster.wait_for_successor(part, pid);
    }
    array.assert_complete();
    array.assert_each_ran_once();
}

#[test]
fn array_survives_a_killed_coordinator() {
    // Snapshots are frequent here, so that the journal is trimmed before each kill.
    let options = ["--vcpus-per-agent", "8", "--coordinator-set", "snapshot_every=50"];
    let cluster = Cluster::start_with(&options);
    assert_survives_kills(&cluster, "coordinator", "0");
    let log = std::fs::read_to_string(cluster.data().join("logs/coordinator.log")).unwrap();
    assert!(log.contains("journal trimmed") && log.contains("snapshot loaded"), "{log}");
}

#[test]
fn array_survives_a_killed_nats_server() {
    // Slow enough to be at work still when the first server has come back.
    assert_survives_kills(&Cluster::start(), "nats-server", "0.02");
}

#[test]
fn array_survives_a_killed_agent_which_adopts_what_runs() {
    assert_survives_kills(&Cluster::start(), "agent-1", "0.02");
}

#[test]
fn array_survives_down_and_up() {
    let cluster = Cluster::start();
    let array = CountingArray::submit(&cluster, "0");
    array.wait_for_written(1_500);
    cluster.down();
    array.assert_unfinished();
    cluster.up();
    array.assert_complete();
}

#[test]
fn killed_agent_adopts_a_running_job_and_reports_its_exit_code() {
    let cluster = Cluster::start();
    let release = cluster.scratch().join("release");
    let script = "echo $$ >\"$0.pid\"; until [ -e \"$0\" ]; do sleep 0.05; done; exit 7";
    let id = cluster.submit(&["--", "sh", "-c", script, release.to_str().unwrap()]);
    let pid_file = release.with_extension("pid");
    let pid = wait_until("the job to run", 30, || {
        std::fs::read_to_string(&pid_file).ok()?.trim().parse::<i32>().ok()
    });

    cluster.kill("agent-1");
    assert!(is_alive(pid), "the job does not notice that its agent died");
    std::fs::write(&release, "").unwrap();

    let job = cluster.ended(&id, 60);
    assert_eq!(job["status"], "FAILED");
    assert_eq!(job["attempts"].as_array().unwrap().len(), 1, "{job:#}");
    assert_eq!(job["attempts"][0]["container"]["exitCode"], 7, "{job:#}");
}

/// Fault 2.
#[test]
fn jobs_of_an_agent_that_stays_away_run_elsewhere() {
    let cluster = Cluster::start_with(&[
        "--agents",
        "0",
        "--coordinator-set",
        "lease_ttl=3s",
        "--coordinator-set",
        "heartbeat=500ms",
    ]);
    let mut doomed = agent::start(&cluster, "doomed", "8");
    let array = CountingArray::submit(&cluster, "0.02");
    array.wait_for_written(2_000);
    agent::kill_host(&cluster, "doomed", &mut doomed);
    array.assert_unfinished();

    let _heir = agent::start(&cluster, "heir", "8");
    array.assert_complete();
}

/// Fault 4, keeping the replacement.
#[test]
fn late_results_of_an_agent_that_was_given_up_are_fenced() {
    let cluster = Cluster::start_with(&[
        "--agents",
        "0",
        "--coordinator-set",
        "lease_ttl=3s",
        "--coordinator-set",
        "heartbeat=500ms",
    ]);
    let frozen = agent::start(&cluster, "frozen", "8");
    let array = CountingArray::submit(&cluster, "0.02");
    array.wait_for_written(2_000);
    let stopped: Vec<i32> =
        agent::keepers(&cluster, "frozen").into_iter().chain([frozen.pid()]).collect();
    for &pid in &stopped {
        signal(pid, Signal::SIGSTOP);
    }
    array.assert_unfinished();

    let _heir = agent::start(&cluster, "heir", "8");
    wait_until("the frozen agent to count as lost", 60, || {
        let agents = cluster.windrow(&["agent", "list", "-o", "json"]).json();
        let agents = agents["agents"].as_array().unwrap().clone();
        agents.iter().any(|a| a["agent"] == "frozen" && a["status"] == "LOST").then_some(())
    });
    for &pid in &stopped {
        signal(pid, Signal::SIGCONT);
    }
    array.assert_complete();
    // What it ran when it was frozen ends now, long after the heir was given the same children.
    wait_until("late results to be refused", 30, || {
        let status = cluster.windrow(&["cluster", "status", "-o", "json"]).json();
        status["fencedResults"].as_u64().filter(|&count| count > 0)
    });
}
