//! Submitting arrays of a million children that nobody runs, beside arrays of two: time to the
//! answer, and memory of the coordinator.

use std::time::Instant;

use serde::Serialize;
use windrow_common::api::resources::{
    ComputeEnvironmentOrder, CreateComputeEnvironment, CreateJobQueue, DescribeCluster,
};

use super::latency::Milliseconds;
use super::machine::Load;
use super::options::Options;
use super::rig::{Rig, job};

const MILLION: u32 = 1_000_000;
/// An environment that no agent belongs to, and its queue.
pub(crate) const NOBODY: &str = "nobody";

/// What was found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    pub(crate) submissions: u32,
    /// Request sent to request answered.
    pub(crate) million: Milliseconds,
    pub(crate) two: Milliseconds,
    /// Resident memory of the coordinator: first, and after each array of a million.
    pub(crate) memory_bytes: Vec<u64>,
    /// Growth of memory over all arrays by their number of children.
    pub(crate) bytes_per_child: f64,
    /// Share of all cores that were busy, ours included.
    pub(crate) busy: f64,
}

/// Measures, both sizes in turn.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let rig = Rig::start().await?;
    create_queue(&rig, NOBODY).await?;
    // Code and connections are warm when measuring begins.
    timed(&rig, 2).await?;
    let load = Load::read()?;
    let mut memory_bytes = vec![memory(&rig).await?];
    let [mut million, mut two] = [const { Vec::new() }; 2];
    for _ in 0..options.submissions {
        million.push(timed(&rig, MILLION).await?);
        memory_bytes.push(memory(&rig).await?);
        two.push(timed(&rig, 2).await?);
    }
    let growth = memory_bytes[memory_bytes.len() - 1].saturating_sub(memory_bytes[0]);
    let growth = f64::from(u32::try_from(growth)?);
    Ok(Outcome {
        submissions: options.submissions,
        million: Milliseconds::of(&million),
        two: Milliseconds::of(&two),
        bytes_per_child: growth / f64::from(options.submissions) / f64::from(MILLION),
        memory_bytes,
        busy: load.others_until(Load::read()?, 0.0),
    })
}

/// Makes an unmanaged environment and its queue, both of this name.
pub(crate) async fn create_queue(rig: &Rig, name: &str) -> anyhow::Result<()> {
    rig.call(&CreateComputeEnvironment {
        compute_environment_name: name.to_owned(),
        kind: "UNMANAGED".to_owned(),
        ..Default::default()
    })
    .await?;
    let order = ComputeEnvironmentOrder { order: 1, compute_environment: name.to_owned() };
    rig.call(&CreateJobQueue {
        job_queue_name: name.to_owned(),
        priority: 1,
        compute_environment_order: vec![order],
        ..Default::default()
    })
    .await?;
    Ok(())
}

async fn timed(rig: &Rig, size: u32) -> anyhow::Result<f64> {
    let request = job(NOBODY, &[super::floor::PROGRAM], Some(size));
    let start = Instant::now();
    rig.submit(&request).await?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

async fn memory(rig: &Rig) -> anyhow::Result<u64> {
    Ok(rig.call(&DescribeCluster {}).await?.memory_bytes)
}
