//! Limits on what may start, through the real programs: the jobs themselves write down when they
//! begin and end.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;

use serde_json::Value;
use windrow_tests::{Cluster, wait_until};

/// Writes `+` at its beginning and `-` at its end into the file `$0`: lines of one byte are
/// appended whole, whoever else writes.
const MARKS: &str = "echo + >>\"$0\"; sleep 0.3; echo - >>\"$0\"";

/// How many have ended, and the most that ran at once.
fn at_once(file: &Path) -> (usize, i32) {
    let text = std::fs::read_to_string(file).unwrap();
    let steps = text.lines().map(|line| if line == "+" { 1 } else { -1 });
    let running = steps.scan(0, |running, step| {
        *running += step;
        Some(*running)
    });
    (text.lines().filter(|line| *line == "-").count(), running.max().unwrap_or(0))
}

fn submit(cluster: &Cluster, options: &[&str], file: &Path) -> String {
    let mut all = options.to_vec();
    all.extend(["--vcpus", "0.5", "--memory", "16", "--", "sh", "-c", MARKS]);
    all.push(file.to_str().unwrap());
    cluster.submit(&all)
}

fn succeeds(cluster: &Cluster, job: &str) {
    let job = cluster.ended(job, 60);
    assert_eq!(job["status"], "SUCCEEDED", "{job:#}");
}

fn described(cluster: &Cluster, resource: &str) -> Value {
    let answer = cluster.windrow(&["consumable", "describe", resource, "-o", "json"]);
    answer.json()["consumableResources"][0].take()
}

#[test]
fn a_licence_of_two_lets_two_of_six_jobs_run_at_once() {
    let cluster = Cluster::start();
    cluster.windrow(&["consumable", "create", "licence", "--total", "2"]).ok();
    let file = cluster.scratch().join("marks");
    let jobs: Vec<String> =
        (0..6).map(|_| submit(&cluster, &["--consumable", "licence=1"], &file)).collect();
    let free = submit(&cluster, &[], &cluster.scratch().join("others"));
    succeeds(&cluster, &free);
    for job in &jobs {
        succeeds(&cluster, job);
    }
    assert_eq!(at_once(&file), (6, 2));
    let licence = described(&cluster, "licence");
    assert_eq!((&licence["inUseQuantity"], &licence["availableQuantity"]), (&0.into(), &2.into()));
    let listed = cluster.windrow(&["consumable", "jobs", "licence", "-o", "json"]).json();
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 6);
    let listed = cluster.windrow(&["consumable", "list", "-q"]).ok();
    assert_eq!(listed, "licence");
}

#[test]
fn a_licence_is_raised_while_jobs_wait_and_deleted_when_none_needs_it() {
    let cluster = Cluster::start();
    cluster.windrow(&["consumable", "create", "tokens", "--non-replenishable"]).ok();
    let file = cluster.scratch().join("marks");
    let array = submit(&cluster, &["--array", "3", "--consumable", "tokens=2"], &file);
    wait_until("the array to be ready", 30, || {
        (cluster.job(&array)["arrayProperties"]["statusSummary"]["RUNNABLE"] == 3).then_some(())
    });
    let refused = cluster.windrow(&["consumable", "delete", "tokens"]);
    assert_eq!(refused.code, 6, "{refused:?}");
    cluster.windrow(&["consumable", "update", "tokens", "--add", "5"]).ok();
    wait_until("two to have run", 30, || {
        (cluster.job(&array)["arrayProperties"]["statusSummary"]["SUCCEEDED"] == 2).then_some(())
    });
    assert_eq!(described(&cluster, "tokens")["totalQuantity"], 1);
    cluster.windrow(&["consumable", "update", "tokens", "--add", "1"]).ok();
    succeeds(&cluster, &array);
    assert_eq!(at_once(&file).0, 3);
    cluster.windrow(&["consumable", "delete", "tokens"]).ok();
    let gone = cluster.windrow(&["consumable", "describe", "tokens"]);
    assert_eq!(gone.code, 4, "{gone:?}");
}

#[test]
fn an_array_runs_no_more_children_at_once_than_it_may() {
    let cluster = Cluster::start();
    let file = cluster.scratch().join("marks");
    let array = submit(&cluster, &["--array", "8", "--max-parallel", "2"], &file);
    wait_until("two to have run", 30, || {
        let done = &cluster.job(&array)["arrayProperties"]["statusSummary"]["SUCCEEDED"];
        (done.as_u64().unwrap() >= 2).then_some(())
    });
    assert_eq!(at_once(&file).1, 2);
    cluster.windrow(&["job", "update", &array, "--max-parallel", "3"]).ok();
    assert_eq!(cluster.job(&array)["arrayProperties"]["maxParallel"], 3);
    succeeds(&cluster, &array);
    let (ran, most) = at_once(&file);
    assert_eq!(ran, 8);
    assert!((2..=3).contains(&most), "{most} at once");
}
