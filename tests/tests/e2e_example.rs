//! The lambda phage example finds the same by hand, as processes and in containers.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::Path;

use windrow_tests::Cluster;
use windrow_tests::example::{self, Findings};
use windrow_tests::program::Finished;

fn through_windrow(cluster: &Cluster, options: &[&str], work: &Path) -> Findings {
    let mut run = cluster.program(example::directory().join("run.sh").to_str().unwrap());
    run.env("WINDROW", cluster.program("windrow").get_program()).args(options);
    let printed = Finished::run(run.arg("--directory").arg(work)).ok();
    let findings = Findings::read(work);
    assert!(printed.starts_with(findings.figures.trim()), "{printed}");
    findings
}

#[test]
fn example_finds_the_same_in_all_ways_to_run_it() {
    let cluster = Cluster::start();
    let work = cluster.scratch();
    let by_hand = Findings::by_hand(&work.join("by-hand"));
    assert!(by_hand.figures.starts_with("reads 20000\naligned "), "{}", by_hand.figures);
    assert!(by_hand.variants.len() > 10, "{} variants", by_hand.variants.len());

    assert_eq!(through_windrow(&cluster, &[], &work.join("process")), by_hand);
    let few_chunks = ["--docker", "--chunks", "5"];
    assert_eq!(through_windrow(&cluster, &few_chunks, &work.join("docker")), by_hand);
}
