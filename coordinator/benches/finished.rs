//! What finished jobs cost in memory: `cargo bench -p windrow-coordinator --bench finished -- JOBS KEPT`.
//! Only the core: no journal, no network; pages are made and thrown away.
//!
//! Jobs with a name, a tag and an idempotency key each are submitted and cancelled, and all beyond KEPT
//! leave the memory as they do in a coordinator. Printed is what the process has then, by JOBS.

mod world;

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use windrow_common::api::jobs::CancelJob;
use windrow_common::ids::JobId;
use windrow_common::time::Timestamp;
use windrow_coordinator::core::shelf::{PAGE_JOBS, PageId, Record};
use windrow_coordinator::core::{Command, Shelve};
use world::{World, resident_bytes};

/// Idempotency keys of shelved jobs that stay known: the default.
const KEYS: u64 = 1_000_000;

fn main() -> anyhow::Result<()> {
    let mut numbers = std::env::args().skip(1).filter_map(|word| word.parse::<u64>().ok());
    let jobs = numbers.next().unwrap_or(1_000_000);
    let kept = numbers.next().unwrap_or(100_000);
    let mut world = World::new()?;
    let started = Instant::now();
    println!("| finished jobs | in memory | memory, MiB | bytes per job that left | keys |");
    println!("|---|---|---|---|---|");
    let mut first = None;
    for number in 1..=jobs {
        finish_one(&mut world, number)?;
        shelve(&mut world, usize::try_from(kept)?)?;
        if number == kept * 2 || number % (jobs / 10).max(1) == 0 {
            let memory = resident_bytes()?;
            // From here on nothing but what has left the memory grows.
            let (from, base) = *first.get_or_insert((number, memory));
            let each = memory.saturating_sub(base).checked_div(number - from).unwrap_or(0);
            let state = &world.state;
            let keys = state.shelf.key_count();
            println!("| {number} | {} | {} | {each} | {keys} |", state.jobs.len(), memory >> 20);
        }
    }
    let each = started.elapsed() / u32::try_from(jobs)?;
    eprintln!("{each:?} for each job: submitted, cancelled, archived, shelved");
    Ok(())
}

fn finish_one(world: &mut World, number: u64) -> anyhow::Result<()> {
    let id = world.submit(number, true)?;
    let cancel = CancelJob { job_id: id.to_string(), reason: "enough".into() };
    world.does(&Command::Cancel(cancel))?;
    world.work()
}

fn shelve(world: &mut World, kept: usize) -> anyhow::Result<()> {
    let finished = &world.state.index.finished;
    if finished.free_count() < kept + PAGE_JOBS {
        return Ok(());
    }
    let page: Vec<(Timestamp, JobId)> = finished.free().take(PAGE_JOBS).collect();
    world.does(&Command::Archive(page.clone()))?;
    let records = page.iter().map(|(_, id)| Record::of(&world.state, *id));
    let jobs: Vec<Record> = records.collect::<Option<_>>().context("a job is gone")?;
    let page = PageId { number: world.state.shelf.last_page + 1, term: world.state.term };
    let shelve = Shelve { page, jobs: Arc::new(jobs), keys_max: KEYS };
    world.does(&Command::Shelve(Box::new(shelve)))
}
