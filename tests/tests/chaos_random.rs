//! A short random mix of faults; `windrow-chaos --minutes N --seed S` is the long form.

use std::time::Duration;

use windrow_tests::chaos::random;

/// All kinds of faults of this table that a node can have, at random, under load.
#[test]
fn a_random_mix_of_faults_loses_and_doubles_nothing() {
    random::run(7, Duration::from_secs(60), &random::options());
}
