//! What more agents cost: the time until all have registered, what coordinator and NATS server spend on them while
//! nothing runs, memory for each, and an array that takes no time to run. Each agent is the worker of
//! [`super::zero`], with a connection, a session and a consumer of its own, and heartbeats as a real one sends them.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use super::control::{Kind, LOOK_EVERY, Run, ZERO, measured, until_over};
use super::cpu::{self, Seconds};
use super::floor::PROGRAM;
use super::machine::Load;
use super::options::Options;
use super::rig::{Rig, job};
use super::statistics::{median, spread};
use super::submit::create_queue;
use super::zero::Zero;

/// Of each agent: those of ten thousand together still hold most of the array at once.
const VCPUS: u32 = 8;
const CHILDREN: u32 = 100_000;
/// So long nothing runs, in which all agents send several heartbeats.
const IDLE: Duration = Duration::from_secs(10);
/// Longest time in which all agents register.
const LIMIT: Duration = Duration::from_secs(600);
/// The parts that agents can cost something.
const PARTS: [&str; 2] = ["coordinator", "nats-server"];

/// What was found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    pub(crate) cases: Vec<Case>,
    /// Share of all cores that were busy, ours included.
    pub(crate) busy: f64,
}

/// So many agents.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Case {
    pub(crate) agents: u32,
    /// From the start of the first to the session of the last.
    pub(crate) registered_seconds: f64,
    /// Sessions that were given until then: one for each, and those that had to ask again.
    pub(crate) sessions: u32,
    /// CPU of both parts and of the agents until then, in seconds.
    pub(crate) registered_cpu: Seconds,
    /// CPU while nothing ran, as a share of one core.
    pub(crate) idle_cores: Seconds,
    /// By which parts grew, resident, from before the agents to after [`IDLE`]; bytes for each agent.
    pub(crate) bytes_each: Seconds,
    pub(crate) runs: Vec<Run>,
    /// Sessions given in all: more than before where agents lost theirs while the arrays ran.
    pub(crate) sessions_at_end: u32,
}

/// Measures.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let load = Load::read()?;
    let mut cases = Vec::new();
    for &agents in &options.agents {
        eprintln!("    {agents} agents");
        cases.push(case(agents, options.pairs).await?);
    }
    Ok(Outcome { cases, busy: load.others_until(Load::read()?, 0.0) })
}

/// In a cluster of its own.
async fn case(agents: u32, runs: u32) -> anyhow::Result<Case> {
    let rig = Rig::start().await?;
    create_queue(&rig, ZERO).await?;
    let memory_before = memory(&rig)?;
    let (used, start) = (cpu::of_cluster(&rig.cluster)?, Instant::now());
    let zero = Zero::start_many(&rig.cluster.nats_url(), ZERO, VCPUS, agents)?;
    while zero.joined().0 < agents {
        anyhow::ensure!(start.elapsed() < LIMIT, "{:?} of {agents} registered", zero.joined());
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let registered_seconds = start.elapsed().as_secs_f64();
    let registered_cpu = cpu::difference(&used, &cpu::of_cluster(&rig.cluster)?);
    let sessions = zero.joined().1;

    let used = cpu::of_cluster(&rig.cluster)?;
    tokio::time::sleep(IDLE).await;
    let used = cpu::difference(&used, &cpu::of_cluster(&rig.cluster)?);
    let idle_cores = used.into_iter().map(|(part, s)| (part, s / IDLE.as_secs_f64())).collect();
    let grown = cpu::difference(&memory_before, &memory(&rig)?);
    let bytes_each = grown.into_iter().map(|(part, bytes)| (part, bytes / f64::from(agents)));

    // Code and connections are warm when measuring begins.
    rig.submit(&job(ZERO, &[PROGRAM], Some(CHILDREN / 10))).await?;
    until_over(&rig).await?;
    let mut found = Vec::new();
    for _ in 0..runs {
        found.push(measured(&rig, CHILDREN, Kind::Array).await?);
    }
    Ok(Case {
        agents,
        registered_seconds,
        sessions,
        registered_cpu,
        idle_cores,
        bytes_each: bytes_each.collect(),
        runs: found,
        sessions_at_end: zero.joined().1,
    })
}

/// Resident bytes of the parts.
fn memory(rig: &Rig) -> anyhow::Result<Seconds> {
    let of = |part| {
        let file = format!("/proc/{}/statm", rig.cluster.pid(part));
        let text = std::fs::read_to_string(&file).with_context(|| format!("read `{file}`"))?;
        let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u32>().ok());
        Ok((part, f64::from(pages.with_context(|| format!("`{file}`: {text}"))?) * 4096.0))
    };
    PARTS.into_iter().map(of).collect()
}

impl Outcome {
    /// As a table.
    pub(crate) fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "\n## agents: an array of {CHILDREN} that takes no time to run, {} runs each; before it, nothing for {} s\n\n\
             Each agent has {VCPUS} vCPUs, a connection, a session and a consumer of its own, and sends heartbeats; all \
             are on one thread of the client. Idle: CPU as a share of one core. All cores were {:.2} busy.\n\n\
             | agents | all registered after, s | sessions until then, at the end | idle: coordinator | idle: nats-server \
             | idle: client | KiB per agent: coordinator | nats-server | array: tasks/s, median [least to most] \
             | CPU ms per child: coordinator | nats-server | client |\n|---|---|---|---|---|---|---|---|---|---|---|---|",
            self.cases.first().map_or(0, |case| case.runs.len()),
            IDLE.as_secs(),
            self.busy
        )?;
        for case in &self.cases {
            let of = |value: &dyn Fn(&Run) -> f64| {
                median(&case.runs.iter().map(value).collect::<Vec<_>>())
            };
            let part = |part| of(&|run: &Run| run.parts_cpu_ms_each[part]);
            let rates: Vec<f64> = case.runs.iter().map(|run| run.per_second).collect();
            writeln!(
                text,
                "| {} | {:.2} | {}, {} | {:.3} | {:.3} | {:.3} | {:.0} | {:.0} | {} | {:.4} \
                 | {:.4} | {:.4} |",
                case.agents,
                case.registered_seconds,
                case.sessions,
                case.sessions_at_end,
                case.idle_cores["coordinator"],
                case.idle_cores["nats-server"],
                case.idle_cores["client"],
                case.bytes_each["coordinator"] / 1024.0,
                case.bytes_each["nats-server"] / 1024.0,
                spread(&rates, 0),
                part("coordinator"),
                part("nats-server"),
                part("client")
            )?;
        }
        Ok(())
    }
}
