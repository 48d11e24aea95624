//! An array of short processes, against starting as many without Windrow: A B A B.

use std::time::Instant;

use serde::Serialize;

use super::cpu::{self, Seconds};
use super::floor;
use super::machine::Load;
use super::options::Options;
use super::rig::{QUEUE, Rig, job};
use super::statistics::median;

/// One array and one floor, one after the other.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pair {
    pub(crate) windrow_per_second: f64,
    pub(crate) floor_per_second: f64,
    /// Of the whole system, jobs and client included.
    pub(crate) windrow_cpu_ms_each: f64,
    pub(crate) floor_cpu_ms_each: f64,
    /// Share of all cores that others used meanwhile.
    pub(crate) windrow_others: f64,
    pub(crate) floor_others: f64,
    /// CPU milliseconds per task of each part.
    pub(crate) parts_cpu_ms_each: Seconds,
    /// Journal messages that one array took.
    pub(crate) journal_messages: u64,
}

impl Pair {
    /// Of the rates.
    pub(crate) fn rate_ratio(&self) -> f64 {
        self.windrow_per_second / self.floor_per_second
    }

    /// Of CPU times.
    pub(crate) fn cpu_ratio(&self) -> f64 {
        self.windrow_cpu_ms_each / self.floor_cpu_ms_each
    }
}

/// All pairs.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    pub(crate) children: u32,
    pub(crate) slots: u32,
    pub(crate) rate_ratio_median: f64,
    pub(crate) cpu_ratio_median: f64,
    pub(crate) pairs: Vec<Pair>,
}

/// Measures; the first array, which warms both up, does not count.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let rig = Rig::start().await?;
    let warm_up = rig.submit(&job(QUEUE, &[floor::PROGRAM], Some(1000))).await?;
    rig.succeeded(warm_up).await?;
    let mut pairs = Vec::new();
    for number in 1..=options.pairs {
        let pair = pair(&rig, options.children).await?;
        eprintln!(
            "pair {number}: {:.0}/s, floor {:.0}/s: {:.3}; CPU {:.2} x",
            pair.windrow_per_second,
            pair.floor_per_second,
            pair.rate_ratio(),
            pair.cpu_ratio()
        );
        pairs.push(pair);
    }
    let of = |ratio: fn(&Pair) -> f64| median(&pairs.iter().map(ratio).collect::<Vec<_>>());
    Ok(Outcome {
        children: options.children,
        slots: floor::THREADS,
        rate_ratio_median: of(Pair::rate_ratio),
        cpu_ratio_median: of(Pair::cpu_ratio),
        pairs,
    })
}

async fn pair(rig: &Rig, children: u32) -> anyhow::Result<Pair> {
    let tasks = f64::from(children);
    let journal_before = journal_sequence(rig).await?;
    let (load, cpu_before) = (Load::read()?, cpu::of_cluster(&rig.cluster)?);
    let start = Instant::now();
    let id = rig.submit(&job(QUEUE, &[floor::PROGRAM], Some(children))).await?;
    rig.succeeded(id).await?;
    let seconds = start.elapsed().as_secs_f64();
    let used = cpu::difference(&cpu_before, &cpu::of_cluster(&rig.cluster)?);
    let all: f64 = used.values().sum();
    let windrow_others = load.others_until(Load::read()?, all);
    let journal_messages = journal_sequence(rig).await? - journal_before;

    let load = Load::read()?;
    let (floor_seconds, floor_cpu) = floor::run(children)?;
    Ok(Pair {
        windrow_per_second: tasks / seconds,
        floor_per_second: tasks / floor_seconds,
        windrow_cpu_ms_each: all * 1e3 / tasks,
        floor_cpu_ms_each: floor_cpu * 1e3 / tasks,
        windrow_others,
        floor_others: load.others_until(Load::read()?, floor_cpu),
        parts_cpu_ms_each: used.iter().map(|(part, s)| (*part, s * 1e3 / tasks)).collect(),
        journal_messages,
    })
}

async fn journal_sequence(rig: &Rig) -> anyhow::Result<u64> {
    let request = windrow_common::api::resources::DescribeCluster {};
    Ok(rig.call(&request).await?.journal_sequence)
}
