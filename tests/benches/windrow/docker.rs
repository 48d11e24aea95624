//! An array of containers that do nothing, against the engine's own API with the same containers: A B A B, with one,
//! four and eight at a time.
//!
//! What a container costs is spent in the engine, containerd, shims, runc and the kernel's own threads. So the CPU of
//! the whole machine is counted, on both sides, and the machine is to do nothing else meanwhile; what it uses while
//! nothing runs is shown beside it.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::{
    CreateContainerOptions, RemoveContainerOptions, WaitContainerOptionsBuilder,
};
use futures::StreamExt;
use serde::Serialize;
use windrow_common::api::definitions::{
    ContainerProperties, RegisterJobDefinition, ResourceRequirement,
};
use windrow_common::api::jobs::SubmitJob;
use windrow_tests::image::{BUSYBOX, make_busybox};

use super::machine::Load;
use super::options::Options;
use super::rig::{QUEUE, Rig, job};
use super::statistics::spread;

/// Containers at a time.
const AT_ONCE: [u32; 3] = [1, 4, 8];
/// So many for each that run at a time, in each half of a pair.
const ROUNDS: u32 = 10;
/// Fewest in each half of a pair.
const FEWEST: u32 = 40;
const COMMAND: [&str; 2] = ["busybox", "true"];
const MEMORY_MIB: u32 = 32;
const DEFINITION: &str = "container";
/// How long the machine is watched while nothing runs.
const IDLE: Duration = Duration::from_secs(3);

/// What was found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    pub(crate) cases: Vec<Case>,
    /// CPU that the machine uses while nothing runs, in cores.
    pub(crate) idle_cores: f64,
}

/// So many containers at a time.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Case {
    pub(crate) at_once: u32,
    pub(crate) containers: u32,
    pub(crate) pairs: Vec<Pair>,
}

/// One array and one floor, one after the other.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pair {
    pub(crate) windrow: Half,
    pub(crate) floor: Half,
}

/// Of so many containers.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Half {
    pub(crate) per_second: f64,
    pub(crate) cpu_ms_each: f64,
}

impl Half {
    async fn measure(
        containers: u32,
        run: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<Self> {
        let (load, start) = (Load::read()?, Instant::now());
        run.await?;
        let seconds = start.elapsed().as_secs_f64();
        let cpu = load.busy_until(Load::read()?);
        let each = f64::from(containers);
        Ok(Self { per_second: each / seconds, cpu_ms_each: cpu * 1e3 / each })
    }
}

/// Measures. Each side begins every second pair.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    make_busybox();
    let load = Load::read()?;
    tokio::time::sleep(IDLE).await;
    let idle_cores = load.busy_until(Load::read()?) / IDLE.as_secs_f64();
    let engine = Docker::connect_with_local_defaults().context("connect to the Docker engine")?;
    let mut cases = Vec::new();
    for at_once in AT_ONCE {
        cases.push(case(&engine, at_once, options.pairs).await?);
    }
    Ok(Outcome { cases, idle_cores })
}

async fn case(engine: &Docker, at_once: u32, count: u32) -> anyhow::Result<Case> {
    let rig = Rig::with(at_once, &[]).await?;
    rig.call(&definition()).await?;
    let containers = (ROUNDS * at_once).max(FEWEST);
    // What both need is warm when measuring begins.
    array(&rig, at_once * 2).await?;
    floor(engine, at_once * 2, at_once).await?;
    let mut pairs = Vec::new();
    for number in 1..=count {
        let ours = Half::measure(containers, array(&rig, containers));
        let theirs = Half::measure(containers, floor(engine, containers, at_once));
        let (windrow, floor) = if number % 2 == 1 {
            let windrow = ours.await?;
            (windrow, theirs.await?)
        } else {
            let floor = theirs.await?;
            (ours.await?, floor)
        };
        eprintln!(
            "{at_once} at a time, pair {number}: {:.2}/s, floor {:.2}/s; CPU {:.1} ms, floor {:.1} ms",
            windrow.per_second, floor.per_second, windrow.cpu_ms_each, floor.cpu_ms_each
        );
        pairs.push(Pair { windrow, floor });
    }
    Ok(Case { at_once, containers, pairs })
}

async fn array(rig: &Rig, size: u32) -> anyhow::Result<()> {
    let request = job(QUEUE, &COMMAND, Some(size));
    let request = SubmitJob { job_definition: DEFINITION.to_owned(), ..request };
    let id = rig.submit(&request).await?;
    rig.succeeded(id).await
}

fn definition() -> RegisterJobDefinition {
    let need = |kind: &str, value: u32| ResourceRequirement {
        kind: kind.to_owned(),
        value: value.to_string(),
    };
    RegisterJobDefinition {
        job_definition_name: DEFINITION.to_owned(),
        kind: "container".to_owned(),
        container_properties: Some(ContainerProperties {
            image: Some(BUSYBOX.to_owned()),
            resource_requirements: Some(vec![need("VCPU", 1), need("MEMORY", MEMORY_MIB)]),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Creates, starts, waits for and removes containers, so many at a time.
async fn floor(engine: &Docker, containers: u32, at_once: u32) -> anyhow::Result<()> {
    let started = Arc::new(AtomicU32::new(0));
    let mut lanes = tokio::task::JoinSet::new();
    for _ in 0..at_once {
        let (engine, started) = (engine.clone(), started.clone());
        lanes.spawn(async move {
            while started.fetch_add(1, Ordering::Relaxed) < containers {
                one(&engine).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(lane) = lanes.join_next().await {
        lane??;
    }
    Ok(())
}

async fn one(engine: &Docker) -> anyhow::Result<()> {
    let options = None::<CreateContainerOptions>;
    let created = engine.create_container(options, body()).await.context("create a container")?;
    engine.start_container(&created.id, None).await.context("start a container")?;
    let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
    let ended = engine.wait_container(&created.id, Some(options)).next().await;
    ended.context("wait for a container")?.context("a container that exits with 0")?;
    let removed = engine.remove_container(&created.id, None::<RemoveContainerOptions>).await;
    removed.context("remove a container")
}

/// The container that the agent makes for [`definition`].
fn body() -> ContainerCreateBody {
    let memory = i64::from(MEMORY_MIB) << 20;
    ContainerCreateBody {
        image: Some(BUSYBOX.to_owned()),
        cmd: Some(COMMAND.map(str::to_owned).to_vec()),
        host_config: Some(HostConfig {
            memory: Some(memory),
            memory_swap: Some(memory),
            cpu_shares: Some(1024),
            init: Some(true),
            network_mode: Some("bridge".to_owned()),
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: None,
            }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

impl Outcome {
    /// As a table.
    pub(crate) fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "\n## docker: containers that do nothing, against the engine's API\n\n\
             Targets: rate at least 0.95 of the floor's, CPU at most 1.05 of it. The floor creates, starts, waits for \
             and removes the same containers. CPU is of the whole machine; while nothing ran it used {:.3} cores. \
             Medians of {} pairs [least to most].\n\n\
             | at a time, containers | containers/s | floor | rate ratio | CPU ms each | floor | CPU ratio |\n\
             |---|---|---|---|---|---|---|",
            self.idle_cores,
            self.cases.first().map_or(0, |case| case.pairs.len()),
        )?;
        for case in &self.cases {
            let of = |value: &dyn Fn(&Pair) -> f64, digits: usize| {
                spread(&case.pairs.iter().map(value).collect::<Vec<_>>(), digits)
            };
            writeln!(
                text,
                "| {}, {} | {} | {} | {} | {} | {} | {} |",
                case.at_once,
                case.containers,
                of(&|pair| pair.windrow.per_second, 2),
                of(&|pair| pair.floor.per_second, 2),
                of(&|pair| pair.windrow.per_second / pair.floor.per_second, 3),
                of(&|pair| pair.windrow.cpu_ms_each, 1),
                of(&|pair| pair.floor.cpu_ms_each, 1),
                of(&|pair| pair.windrow.cpu_ms_each / pair.floor.cpu_ms_each, 3),
            )?;
        }
        Ok(())
    }
}
