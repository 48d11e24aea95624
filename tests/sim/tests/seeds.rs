//! What a seed promises: one run, always the same.

use std::collections::BTreeSet;

use windrow_sim::{Detail, Outcome, run};

const SEEDS: std::ops::Range<u64> = 1..5;

fn good(seed: u64) -> Outcome {
    let outcome = run(seed, Detail::Hash);
    assert_eq!(outcome.failure, None, "seed {seed}");
    outcome
}

#[test]
fn a_seed_goes_the_same_way_each_time_whatever_runs_beside_it() {
    let alone: Vec<Outcome> = SEEDS.map(good).collect();
    let beside: Vec<Outcome> = std::thread::scope(|scope| {
        let runs: Vec<_> = SEEDS.map(|seed| scope.spawn(move || good(seed))).collect();
        runs.into_iter().map(|run| run.join().expect("a run ends")).collect()
    });
    for (once, again) in alone.iter().zip(&beside) {
        let seed = once.seed;
        assert_eq!(once.hash, again.hash, "seed {seed} goes another way the second time");
        assert_eq!(once.injected, again.injected, "seed {seed}");
    }
    let hashes: BTreeSet<u64> = alone.iter().map(|outcome| outcome.hash).collect();
    assert_eq!(hashes.len(), alone.len(), "two seeds go the same way");
}
