//! The control plane alone: what is to run is over as soon as it has reached the worker. Arrays of three sizes, to
//! see whether a child costs more in a large one, and single jobs. Every state of every child is safe on disk.

use std::time::{Duration, Instant};

use serde::Serialize;
use windrow_common::api::resources::{DescribeCluster, ResourceState, UpdateComputeEnvironment};

use super::cpu::{self, Seconds};
use super::floor::PROGRAM;
use super::machine::Load;
use super::options::Options;
use super::recovery::{submit_singles, until};
use super::rig::{Rig, job};
use super::statistics::median;
use super::submit::create_queue;
use super::zero::Zero;

/// The environment of the worker, and its queue.
pub(super) const ZERO: &str = "zero";
const VCPUS: u32 = 64;
const ARRAYS: [u32; 3] = [10_000, 100_000, 1_000_000];
const SINGLES: u32 = 100_000;
/// Pause between two looks whether all is over.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What was found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    pub(crate) arrays: Vec<Case>,
    pub(crate) singles: Case,
    /// Median CPU of a child of the largest array, to that of the smallest.
    pub(crate) growth: f64,
    /// Share of all cores that were busy, ours included.
    pub(crate) busy: f64,
}

/// So many children or jobs.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Case {
    pub(crate) tasks: u32,
    pub(crate) runs: Vec<Run>,
}

/// From the first lease to the last end.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Run {
    pub(crate) per_second: f64,
    /// CPU milliseconds of each; the worker's are among the client's.
    pub(crate) parts_cpu_ms_each: Seconds,
    /// By which the coordinator grew, resident, for each.
    pub(crate) bytes_each: f64,
}

impl Run {
    /// Of server, coordinator and whatever else is there, without the client and the worker in it.
    pub(crate) fn cpu_ms_each(&self) -> f64 {
        let parts = self.parts_cpu_ms_each.iter().filter(|(part, _)| **part != "client");
        parts.map(|(_, milliseconds)| milliseconds).sum()
    }
}

impl Case {
    pub(crate) fn median_of(&self, value: impl Fn(&Run) -> f64) -> f64 {
        median(&self.runs.iter().map(value).collect::<Vec<_>>())
    }
}

/// Measures.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let load = Load::read()?;
    let mut arrays = ARRAYS.map(|tasks| Case { tasks, runs: Vec::new() }).to_vec();
    let mut singles = Case { tasks: SINGLES, runs: Vec::new() };
    for _ in 0..options.pairs {
        for case in &mut arrays {
            case.runs.push(once(case.tasks, Kind::Array).await?);
        }
        singles.runs.push(once(SINGLES, Kind::Singles).await?);
    }
    let [smallest, .., largest] = arrays.as_slice() else { unreachable!("there are three") };
    let growth = largest.median_of(Run::cpu_ms_each) / smallest.median_of(Run::cpu_ms_each);
    Ok(Outcome { growth, arrays, singles, busy: load.others_until(Load::read()?, 0.0) })
}

/// What is run.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Array,
    Singles,
}

/// In a cluster of its own.
async fn once(tasks: u32, kind: Kind) -> anyhow::Result<Run> {
    let rig = Rig::start().await?;
    create_queue(&rig, ZERO).await?;
    let _worker = Zero::start(&rig.cluster.nats_url(), ZERO, VCPUS)?;
    // Code and connections are warm when measuring begins.
    rig.submit(&job(ZERO, &[PROGRAM], Some(100))).await?;
    until_over(&rig).await?;
    measured(&rig, tasks, kind).await
}

/// Submits to the queue [`ZERO`] while nothing may start, and lets it run.
pub(super) async fn measured(rig: &Rig, tasks: u32, kind: Kind) -> anyhow::Result<Run> {
    enable(rig, ResourceState::Disabled).await?;
    let memory_before = rig.call(&DescribeCluster {}).await?.memory_bytes;
    match kind {
        Kind::Array => drop(rig.submit(&job(ZERO, &[PROGRAM], Some(tasks))).await?),
        Kind::Singles => submit_singles(rig, ZERO, tasks).await?,
    }
    let (before, start) = (cpu::of_cluster(&rig.cluster)?, Instant::now());
    enable(rig, ResourceState::Enabled).await?;
    until_over(rig).await?;
    let seconds = start.elapsed().as_secs_f64();
    let used = cpu::difference(&before, &cpu::of_cluster(&rig.cluster)?);
    let each = |value: f64| value / f64::from(tasks);
    let memory = rig.call(&DescribeCluster {}).await?.memory_bytes;
    let grown = u32::try_from(memory.saturating_sub(memory_before) / 1024)?;
    Ok(Run {
        per_second: f64::from(tasks) / seconds,
        parts_cpu_ms_each: used.into_iter().map(|(part, s)| (part, each(s * 1e3))).collect(),
        bytes_each: each(f64::from(grown) * 1024.0),
    })
}

async fn enable(rig: &Rig, state: ResourceState) -> anyhow::Result<()> {
    rig.call(&UpdateComputeEnvironment {
        compute_environment: ZERO.to_owned(),
        state: Some(state),
        ..Default::default()
    })
    .await?;
    Ok(())
}

/// Children of jobs that have ended are not counted any more.
pub(super) async fn until_over(rig: &Rig) -> anyhow::Result<()> {
    until(rig, LOOK_EVERY, |cluster| cluster.children.values().all(|count| *count == 0)).await
}
