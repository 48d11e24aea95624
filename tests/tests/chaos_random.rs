//! A short random mix of faults; `windrow-chaos --minutes N --seed S` is the long form.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::time::Duration;

use windrow_common::api::jobs::JobStatus;
use windrow_tests::chaos::check::check;
use windrow_tests::chaos::history::History;
use windrow_tests::chaos::random;

/// All kinds of faults that a node can have, at random, under load. The history that comes of it holds;
/// and were there anything wrong with it, that would be found.
#[test]
fn a_random_mix_of_faults_loses_and_doubles_nothing() {
    let time = Duration::from_secs(60);
    let Some(history) = random::run(7, time, &random::options()) else { return };
    finds(&history, "was accepted and is not known", |history| {
        history.jobs.pop_first();
    });
    finds(&history, "SUCCEEDED with attempts", |history| {
        let children = history.jobs.values_mut().flat_map(|job| &mut job.children);
        let mut succeeded = children.filter(|child| child.status == JobStatus::Succeeded);
        let child = succeeded.next().unwrap();
        child.attempts.push(child.attempts.last().unwrap().clone());
    });
    finds(&history, "ran at once", |history| {
        let mut second = history.runs[0].clone();
        second.attempt += 100;
        second.started += 1;
        second.alive += 1;
        history.runs[0].alive = second.alive;
        history.is_strict = true;
        history.runs.push(second);
    });
}

#[track_caller]
fn finds(history: &History, words: &str, change: impl FnOnce(&mut History)) {
    let mut changed = history.clone();
    change(&mut changed);
    let wrong = check(&changed);
    assert!(wrong.iter().any(|one| one.contains(words)), "no `{words}` in {wrong:#?}");
}
