//! A core with an environment, a queue and a definition, and what its process has in memory.

use std::collections::BTreeMap;

use anyhow::{Context, anyhow};
use windrow_common::api::definitions::{
    ContainerProperties, RegisterJobDefinition, ResourceRequirement,
};
use windrow_common::api::jobs::SubmitJob;
use windrow_common::api::resources::{
    ComputeEnvironmentOrder, CreateComputeEnvironment, CreateJobQueue,
};
use windrow_common::ids::JobId;
use windrow_common::time::Timestamp;
use windrow_coordinator::core::limits::Limits;
use windrow_coordinator::core::{Command, State, apply, decide};

/// Bytes of a page of memory.
const MEMORY_PAGE: u64 = 4096;

/// The core, and the time that it is told.
pub(crate) struct World {
    pub(crate) state: State,
    limits: Limits,
    now: Timestamp,
}

impl World {
    /// Without jobs.
    pub(crate) fn new() -> anyhow::Result<Self> {
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

    /// Carries out a command.
    pub(crate) fn does(&mut self, command: &Command) -> anyhow::Result<()> {
        let decision = decide(&self.state, &self.limits, command, self.now);
        for event in decision.map_err(|e| anyhow!(e.to_string()))?.events {
            apply(&mut self.state, &event);
            self.state.index.changed.clear();
        }
        Ok(())
    }

    /// Submits a job with a name of its own and does the work that follows; with a tag and an idempotency
    /// key, if it has more.
    pub(crate) fn submit(&mut self, number: u64, has_more: bool) -> anyhow::Result<JobId> {
        self.now = Timestamp(self.now.0 + 1);
        let tag = has_more.then(|| ("number".to_owned(), number.to_string()));
        let request = SubmitJob {
            job_name: format!("job-{number}"),
            job_queue: "q".into(),
            job_definition: "d".into(),
            tags: BTreeMap::from_iter(tag),
            idempotency_key: has_more.then(|| format!("key-{number}")),
            ..Default::default()
        };
        let id = JobId::generate();
        self.does(&Command::Submit { id, request: Box::new(request) })?;
        self.work()?;
        Ok(id)
    }

    /// Does what is left to do.
    pub(crate) fn work(&mut self) -> anyhow::Result<()> {
        while !self.state.work.is_empty() {
            self.does(&Command::Work)?;
        }
        Ok(())
    }
}

/// What the process has in memory.
pub(crate) fn resident_bytes() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages = text.split_whitespace().nth(1).context("statm has two numbers")?;
    Ok(pages.parse::<u64>()? * MEMORY_PAGE)
}
