//! Several coordinators: whoever leads may be killed, stopped or told to leave in the middle of an
//! array, and another goes on.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::time::Instant;

use nix::sys::signal::Signal;
use windrow_tests::part::signal;
use windrow_tests::{Cluster, wait_until};

const CHILDREN: usize = 4_000;

fn cluster() -> Cluster {
    let cluster = Cluster::start_with(&["--vcpus-per-agent", "8", "--coordinators", "3"]);
    wait_until("two standbys", 30, || (standbys(&cluster) == 2).then_some(()));
    cluster
}

fn standbys(cluster: &Cluster) -> usize {
    let status = cluster.windrow(&["cluster", "status", "-o", "json"]).json();
    status["standbys"].as_array().unwrap().len()
}

/// An array whose children note their index in a file.
fn submit(cluster: &Cluster) -> String {
    let file = cluster.scratch().join("indices");
    let script = "sleep 0.01; echo $AWS_BATCH_JOB_ARRAY_INDEX >>\"$0\"";
    let size = CHILDREN.to_string();
    let file = file.to_str().unwrap();
    let arguments = ["--array", &size, "--vcpus", "0.5", "--memory", "16", "--", "sh", "-c"];
    cluster.submit(&[&arguments[..], &[script, file]].concat())
}

fn written(cluster: &Cluster) -> Vec<usize> {
    let text = std::fs::read_to_string(cluster.scratch().join("indices")).unwrap_or_default();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn wait_for_written(cluster: &Cluster, count: usize) {
    wait_until(&format!("{count} children to write"), 240, || {
        (written(cluster).len() >= count).then_some(())
    });
}

/// Waits until another coordinator than this one leads, and gives it.
fn next_leader(cluster: &Cluster, before: i32, how: &str) -> i32 {
    let start = Instant::now();
    let leader = wait_until("another coordinator to lead", 60, || {
        cluster.leader().filter(|leader| *leader != before)
    });
    println!("{how}: another coordinator answered after {:?}", start.elapsed());
    leader
}

/// Every child has one result and ran once: nobody was given up.
fn assert_complete(cluster: &Cluster, id: &str) {
    let job = cluster.ended(id, 240);
    assert_eq!(job["status"], "SUCCEEDED", "{job:#}");
    let indices = written(cluster);
    assert_eq!(indices.len(), CHILDREN, "none is lost and none ran twice");
    assert!(indices.into_iter().collect::<BTreeSet<_>>().into_iter().eq(0..CHILDREN));
}

/// Fault 6.
#[test]
fn a_killed_leader_is_followed_by_a_standby() {
    let cluster = cluster();
    let id = submit(&cluster);
    for count in [500, 1_500] {
        wait_for_written(&cluster, count);
        let leader = cluster.leader().unwrap();
        signal(leader, Signal::SIGKILL);
        next_leader(&cluster, leader, "kill -9");
        assert!(written(&cluster).len() < CHILDREN, "the kill came too late to show anything");
    }
    assert_complete(&cluster, &id);
}

/// Fault 8.
#[test]
fn a_leader_that_stood_still_is_refused_and_stands_by() {
    let cluster = cluster();
    let id = submit(&cluster);
    wait_for_written(&cluster, 500);
    let old = cluster.leader().unwrap();
    signal(old, Signal::SIGSTOP);
    let new = next_leader(&cluster, old, "SIGSTOP");
    wait_for_written(&cluster, 1_000);
    signal(old, Signal::SIGCONT);
    wait_until("the old leader to stand by", 30, || (standbys(&cluster) == 2).then_some(()));
    assert_eq!(cluster.leader(), Some(new));
    assert_complete(&cluster, &id);
}

/// Fault 9, as far as it is done on purpose.
#[test]
fn a_leader_that_is_told_to_stop_hands_over() {
    let cluster = cluster();
    let id = submit(&cluster);
    for count in [500, 1_000, 1_500] {
        wait_for_written(&cluster, count);
        let leader = cluster.leader().unwrap();
        signal(leader, Signal::SIGTERM);
        next_leader(&cluster, leader, "SIGTERM");
    }
    assert_complete(&cluster, &id);
}
