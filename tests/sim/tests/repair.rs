//! A journal that lost its tail, and what happens to those who remember it.

use windrow_sim::net::Cut;
use windrow_sim::plan::{Fault, Plan};
use windrow_sim::{Detail, Outcome, run_plan};

/// A run with so many coordinators and these faults, each at so many thirds of the run.
fn run(seed: u64, coordinators: u8, faults: &[(u64, Fault)]) -> Outcome {
    let plan = Plan::new(seed);
    let third = plan.calm_at / 3;
    let faults = (0..).zip(faults).map(|(n, (thirds, fault))| (third * thirds + n, *fault));
    let faults = faults.collect();
    // Snapshots are rare, so that the repair's is the only one in the way.
    let plan = Plan { coordinators, faults, snapshot_every: 1_000, ..plan };
    run_plan(seed, plan, Detail::Hash)
}

#[test]
fn a_repair_is_finished_by_the_next_start_if_its_coordinator_dies_over_it() {
    let mut died = 0;
    for seed in 1..12 {
        let outcome = run(seed, 1, &[(2, Fault::DieAtJump(0)), (2, Fault::LoseTail(4, 100))]);
        assert_eq!(outcome.failure, None, "seed {seed}");
        died += outcome.injected.iter().filter(|(what, _)| what.ends_with("a repair")).count();
    }
    assert!(died > 3, "it died {died} times");
}

#[test]
fn whoever_comes_first_after_an_outage_nothing_that_somebody_remembers_is_given_up() {
    let cut = Cut { to_server: true, to_node: true };
    for seed in 1..25 {
        // One of them knows all, the others only what was before they were cut off.
        let mut faults: Vec<(u64, Fault)> = (0..3)
            .filter(|index| u64::from(*index) != seed % 3)
            .map(|index| (1, Fault::CutCoordinator(index, cut, 1_000_000)))
            .collect();
        faults.push((2, Fault::LoseTail(12, 5_000)));
        let outcome = run(seed, 3, &faults);
        assert_eq!(outcome.failure, None, "seed {seed}");
    }
}
