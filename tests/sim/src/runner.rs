//! Runs many seeds on several threads and tells about those that fail.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::plan::Plan;
use crate::trace::Detail;
use crate::world::{Outcome, run, run_plan};

/// Every so many seeds one is run twice: it must go the same way.
const TWICE_EVERY: u64 = 20;

/// Which seeds, and how.
#[derive(Clone, Debug)]
pub struct Options {
    pub from: u64,
    pub seeds: u64,
    pub seconds: Option<u64>,
    pub threads: usize,
}

/// What many seeds came to.
#[derive(Debug, Default)]
struct Sum {
    seeds: u64,
    millis: u64,
    jobs: u64,
    results: u64,
    attempts: u64,
    injected: BTreeMap<&'static str, u64>,
    failed: Vec<u64>,
}

/// Runs a seed; a panic of the product is a failure like others.
fn judged(seed: u64, detail: Detail) -> Outcome {
    let result = catch_unwind(AssertUnwindSafe(|| run(seed, detail)));
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let failure = Some(format!("panicked: {}", text.unwrap_or_default()));
        Outcome { seed, failure, ..Outcome::default() }
    })
}

/// Runs one seed and prints what it did.
pub fn one(seed: u64, trace: bool) -> bool {
    println!("{:#?}", Plan::new(seed).faults);
    let outcome = judged(seed, if trace { Detail::All } else { Detail::Hash });
    tell(&outcome);
    outcome.failure.is_none()
}

/// Runs many seeds; whether all went well.
pub fn many(options: &Options) -> bool {
    let started = Instant::now();
    let sum = Mutex::new(Sum::default());
    each(options, |seed| {
        let outcome = judged(seed, Detail::Hash);
        if seed.is_multiple_of(TWICE_EVERY) {
            let again = judged(seed, Detail::Hash);
            assert_eq!(outcome.hash, again.hash, "seed {seed} goes another way the second time");
        }
        let mut sum = sum.lock().expect("nobody panics with it");
        if outcome.failure.is_some() {
            report(seed);
        }
        sum.add(outcome);
        if sum.seeds.is_multiple_of(500) {
            println!("{} seeds, {} failed", sum.seeds, sum.failed.len());
        }
        true
    });
    let sum = sum.into_inner().expect("nobody panics with it");
    sum.tell(started.elapsed().as_secs_f64());
    sum.failed.is_empty() && sum.seeds > 0
}

/// Gives seeds to threads until one says `false`, or they or the time are over.
fn each(options: &Options, work: impl Fn(u64) -> bool + Sync) {
    let (next, stop) = (AtomicU64::new(options.from), AtomicBool::new(false));
    let started = Instant::now();
    let worker = || {
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let late = options.seconds.is_some_and(|most| started.elapsed().as_secs() >= most);
            if seed >= options.from.saturating_add(options.seeds) || late {
                break;
            }
            if !work(seed) {
                stop.store(true, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(worker);
        }
    });
}

/// Runs a failed seed once more for its last lines.
fn report(seed: u64) {
    let outcome = judged(seed, Detail::Last);
    for line in &outcome.lines {
        println!("    {line}");
    }
    println!("faults of seed {seed}: {:?}", Plan::new(seed).faults);
    tell(&outcome);
    println!("run it again: windrow-sim --seed {seed} --trace");
}

fn tell(outcome: &Outcome) {
    let Outcome { seed, hash, millis, jobs, results, attempts, injected, .. } = outcome;
    println!(
        "seed {seed}: hash {hash:016x}, {:.1} s simulated, {jobs} jobs, {results} results, {attempts} attempts, faults {injected:?}",
        Seconds(*millis).get()
    );
    match &outcome.failure {
        Some(what) => println!("seed {seed} FAILED: {what}"),
        None => println!("seed {seed} is good"),
    }
}

/// The run with 1,000 kills: every child of an array of 10,000 has one result.
pub fn kills(seed: u64) -> bool {
    let (size, kills) = (10_000, 1_000);
    let outcome = run_plan(seed, Plan::kills(seed, size, kills), Detail::Hash);
    tell(&outcome);
    let is_exact = outcome.results == u64::from(size);
    let before = outcome.results_at_last_kill;
    println!("{} accepted results of {size} children, {kills} kills", outcome.results);
    println!("{before} of them before the last kill");
    outcome.failure.is_none() && is_exact && before < u64::from(size)
}

/// Switches deliberate bugs on one after the other; whether each is found, with a table.
#[cfg(feature = "sabotage")]
pub fn sabotage(options: &Options, which: &str) -> bool {
    use windrow_common::sabotage::{BUGS, choose};
    std::panic::set_hook(Box::new(|_| {}));
    let mut all_found = true;
    for bug in BUGS.iter().filter(|bug| which == "all" || **bug == which) {
        let found = Mutex::new(None::<(u64, String)>);
        each(options, |seed| {
            choose(Some(bug));
            let outcome = judged(seed, Detail::Hash);
            choose(None);
            let Some(what) = outcome.failure else { return true };
            let mut found = found.lock().expect("nobody panics with it");
            if found.as_ref().is_none_or(|(first, _)| seed < *first) {
                *found = Some((seed, what));
            }
            false
        });
        match found.into_inner().expect("nobody panics with it") {
            Some((seed, what)) => {
                let what: String = what.chars().take(100).collect();
                println!("{bug:32} found by seed {:5}: {what}", seed - options.from + 1);
            }
            None => {
                all_found = false;
                println!("{bug:32} NOT FOUND by {} seeds", options.seeds);
            }
        }
    }
    all_found
}

struct Seconds(u64);

impl Seconds {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn get(&self) -> f64 {
        self.0 as f64 / 1000.0
    }
}

impl Sum {
    fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.millis += outcome.millis;
        self.jobs += outcome.jobs;
        self.results += outcome.results;
        self.attempts += outcome.attempts;
        for (fault, count) in outcome.injected {
            *self.injected.entry(fault).or_default() += count;
        }
        if outcome.failure.is_some() {
            self.failed.push(outcome.seed);
        }
    }

    fn tell(&self, seconds: f64) {
        let hours = Seconds(self.millis).get() / 3600.0;
        println!(
            "{} seeds in {seconds:.1} s: {hours:.1} h simulated, {} jobs, {} results, {} attempts",
            self.seeds, self.jobs, self.results, self.attempts
        );
        for (fault, count) in &self.injected {
            println!("  {count:8} x {fault}");
        }
        println!("{} failed: {:?}", self.failed.len(), self.failed);
    }
}
