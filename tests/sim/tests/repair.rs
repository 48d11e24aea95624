//! A journal that lost its tail, and what happens to those who remember it.

use windrow_sim::plan::{Fault, Plan};
use windrow_sim::{Detail, Outcome, run_plan};

/// A run with so many coordinators and these faults at half time.
fn run(seed: u64, coordinators: u8, faults: &[Fault]) -> Outcome {
    let plan = Plan::new(seed);
    let at = plan.calm_at / 2;
    let faults = (at..).zip(faults.iter().copied()).collect();
    // Snapshots are rare, so that the repair's is the only one in the way.
    let plan = Plan { coordinators, faults, snapshot_every: 1_000, ..plan };
    run_plan(seed, plan, Detail::Hash)
}

#[test]
fn a_repair_is_finished_by_the_next_start_if_its_coordinator_dies_over_it() {
    let mut died = 0;
    for seed in 1..12 {
        let outcome = run(seed, 1, &[Fault::DieAtJump(0), Fault::LoseTail(4, 100)]);
        assert_eq!(outcome.failure, None, "seed {seed}");
        died += outcome.injected.iter().filter(|(what, _)| what.ends_with("a repair")).count();
    }
    assert!(died > 3, "it died {died} times");
}

#[test]
fn whoever_comes_first_after_an_outage_nothing_that_somebody_remembers_is_given_up() {
    for seed in 1..20 {
        let outcome = run(seed, 3, &[Fault::LoseTail(8, 5_000)]);
        assert_eq!(outcome.failure, None, "seed {seed}");
    }
}
