//! What finished jobs cost in memory: `cargo bench -p windrow-coordinator --bench finished -- JOBS KEPT`.
//! Only the core: no journal, no network; pages are made and thrown away.
//!
//! Jobs with a name, a tag and an idempotency key each are submitted and cancelled, and all beyond KEPT
//! leave the memory as they do in a coordinator. Printed is what the process has then, by JOBS.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, anyhow};
use windrow_common::api::definitions::{
    ContainerProperties, RegisterJobDefinition, ResourceRequirement,
};
use windrow_common::api::jobs::{CancelJob, SubmitJob};
use windrow_common::api::resources::{
    ComputeEnvironmentOrder, CreateComputeEnvironment, CreateJobQueue,
};
use windrow_common::ids::JobId;
use windrow_common::time::Timestamp;
use windrow_coordinator::core::limits::Limits;
use windrow_coordinator::core::shelf::{PAGE_JOBS, PageId, Record};
use windrow_coordinator::core::{Command, Shelve, State, apply, decide};

/// Idempotency keys of shelved jobs that stay known: the default.
const KEYS: u64 = 1_000_000;
/// Bytes of a page of memory.
const MEMORY_PAGE: u64 = 4096;

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
        world.finish_one(number)?;
        world.shelve(usize::try_from(kept)?)?;
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

struct World {
    state: State,
    limits: Limits,
    now: Timestamp,
}

impl World {
    fn new() -> anyhow::Result<Self> {
        let limits = Limits::default();
        let mut world = Self { state: State::default(), limits, now: Timestamp(1_000_000) };
        world.does(&Command::StartTerm)?;
        world.does(&Command::CreateEnvironment(CreateComputeEnvironment {
            compute_environment_name: "e".into(),
            kind: "UNMANAGED".into(),
            ..Default::default()
        }))?;
        let order = ComputeEnvironmentOrder { order: 1, compute_environment: "e".into() };
        world.does(&Command::CreateQueue(CreateJobQueue {
            job_queue_name: "q".into(),
            priority: 1,
            compute_environment_order: vec![order],
            ..Default::default()
        }))?;
        let need = |kind: &str, value: &str| ResourceRequirement {
            kind: kind.into(),
            value: value.into(),
        };
        let properties = ContainerProperties {
            command: Some(vec!["true".into()]),
            resource_requirements: Some(vec![need("VCPU", "1"), need("MEMORY", "100")]),
            ..Default::default()
        };
        world.does(&Command::RegisterDefinition(Box::new(RegisterJobDefinition {
            job_definition_name: "d".into(),
            kind: "container".into(),
            container_properties: Some(properties),
            ..Default::default()
        })))?;
        Ok(world)
    }

    fn does(&mut self, command: &Command) -> anyhow::Result<()> {
        let decision = decide(&self.state, &self.limits, command, self.now);
        for event in decision.map_err(|e| anyhow!(e.to_string()))?.events {
            apply(&mut self.state, &event);
            self.state.index.changed.clear();
        }
        Ok(())
    }

    fn finish_one(&mut self, number: u64) -> anyhow::Result<()> {
        self.now = Timestamp(self.now.0 + 1);
        let request = SubmitJob {
            job_name: format!("job-{number}"),
            job_queue: "q".into(),
            job_definition: "d".into(),
            tags: BTreeMap::from([("number".into(), number.to_string())]),
            idempotency_key: Some(format!("key-{number}")),
            ..Default::default()
        };
        let id = JobId::generate();
        self.does(&Command::Submit { id, request: Box::new(request) })?;
        let cancel = CancelJob { job_id: id.to_string(), reason: "enough".into() };
        self.does(&Command::Cancel(cancel))?;
        while !self.state.work.is_empty() {
            self.does(&Command::Work)?;
        }
        Ok(())
    }

    fn shelve(&mut self, kept: usize) -> anyhow::Result<()> {
        let finished = &self.state.index.finished;
        if finished.free_count() < kept + PAGE_JOBS {
            return Ok(());
        }
        let page: Vec<(Timestamp, JobId)> = finished.free().take(PAGE_JOBS).collect();
        self.does(&Command::Archive(page.clone()))?;
        let records = page.iter().map(|(_, id)| Record::of(&self.state, *id));
        let jobs: Vec<Record> = records.collect::<Option<_>>().context("a job is gone")?;
        let page = PageId { number: self.state.shelf.last_page + 1, term: self.state.term };
        let shelve = Shelve { page, jobs: Arc::new(jobs), keys_max: KEYS };
        self.does(&Command::Shelve(Box::new(shelve)))
    }
}

fn resident_bytes() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages = text.split_whitespace().nth(1).context("statm has two numbers")?;
    Ok(pages.parse::<u64>()? * MEMORY_PAGE)
}
