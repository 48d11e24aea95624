//! What queued single jobs cost in memory and at a start: `cargo bench -p windrow-coordinator --bench queued -- JOBS [more]`.
//! Only the core: no journal, no network.
//!
//! Each job has a name of its own; with `more`, a tag and an idempotency key too. Printed is what the process
//! has more than without them, and how long their snapshot takes to be written and to be read.

mod world;

use std::time::Instant;

use windrow_coordinator::shell::journal::Position;
use windrow_coordinator::shell::snapshot;
use world::{World, resident_bytes};

fn main() -> anyhow::Result<()> {
    let mut numbers = std::env::args().skip(1).filter_map(|word| word.parse::<u64>().ok());
    let jobs = numbers.next().unwrap_or(1_000_000);
    let has_more = std::env::args().any(|word| word == "more");
    let mut world = World::new()?;
    let (before, started) = (resident_bytes()?, Instant::now());
    for number in 1..=jobs {
        world.submit(number, has_more)?;
    }
    let submitted = started.elapsed();
    let submitted_bytes = (resident_bytes()? - before) / jobs;
    let started = Instant::now();
    let bytes = snapshot::encode(&world.state, Position::default());
    let encoded = started.elapsed();
    drop(world);
    let started = Instant::now();
    let (state, _) = snapshot::decode(&bytes)?;
    let decoded = started.elapsed();
    assert_eq!(state.jobs.len() as u64, jobs);
    println!("| {jobs} jobs | |\n|---|---|");
    println!("| memory, bytes each | {submitted_bytes} |");
    println!("| snapshot, bytes each | {} |", bytes.len() as u64 / jobs);
    println!("| submit, us each | {:.2} |", submitted.as_secs_f64() * 1e6 / jobs as f64);
    println!("| write the snapshot, s | {:.2} |", encoded.as_secs_f64());
    println!("| read the snapshot, s | {:.2} |", decoded.as_secs_f64());
    Ok(())
}
