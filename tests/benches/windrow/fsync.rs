//! What waiting for the disk costs: the NATS server syncs before each acknowledgement, as `windrow up` has it, or now
//! and then, as is the server's default. With the latter a power loss can take back what was acknowledged; a crash of
//! any process cannot. A B A B, each half on a cluster of its own.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use anyhow::Context;
use serde::Serialize;
use tempfile::TempDir;

use super::control::{Kind, Run, ZERO, measured, until_over};
use super::floor::{PROGRAM, THREADS};
use super::latency::{self, Milliseconds};
use super::machine::Load;
use super::options::Options;
use super::recovery::submit_singles;
use super::rig::{Rig, job};
use super::statistics::spread;
use super::submit::create_queue;
use super::zero::Zero;

const VCPUS: u32 = 64;
const CHILDREN: u32 = 100_000;
const SINGLES: u32 = 20_000;
/// Single jobs whose start is timed, in each half.
const TRIES: u32 = 40;

/// What was found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    /// Synced before each acknowledgement, and now and then.
    pub(crate) pairs: Vec<[Half; 2]>,
    /// Share of all cores that were busy, ours included.
    pub(crate) busy: f64,
}

/// On one cluster.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Half {
    pub(crate) submit_to_start: Milliseconds,
    pub(crate) submit_to_answer: Milliseconds,
    pub(crate) submissions_per_second: f64,
    pub(crate) array: Run,
    pub(crate) singles: Run,
}

/// What a row says, the figure, and its digits after the point.
type Row = (&'static str, fn(&Half) -> f64, usize);

/// Measures.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let load = Load::read()?;
    let directory = TempDir::with_prefix("windrow-bench-").context("make a directory")?;
    let lazy = lazy_server(&directory)?;
    let mut pairs = Vec::new();
    for number in 1..=options.pairs {
        let pair = [half(&[]).await?, half(&["--nats-server", &lazy]).await?];
        let [start, rate] = [
            pair.each_ref().map(|half| half.submit_to_start.p50),
            pair.each_ref().map(|half| half.array.per_second),
        ];
        eprintln!("pair {number}: start {start:.2?} ms, array {rate:.0?}/s");
        pairs.push(pair);
    }
    Ok(Outcome { pairs, busy: load.others_until(Load::read()?, 0.0) })
}

/// The NATS server with its default in what `windrow up` has written for it.
fn lazy_server(directory: &TempDir) -> anyhow::Result<String> {
    let server = std::env::var("WINDROW_NATS_SERVER").unwrap_or_else(|_| "nats-server".to_owned());
    let change = "sed -i '/sync_interval: always/d' \"$2\"";
    let script = format!("#!/bin/sh\n[ \"$1\" != --config ] || {change}\nexec '{server}' \"$@\"\n");
    let path = directory.path().join("nats-server");
    fs::write(&path, script).context("write a script")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).context("make it a program")?;
    Ok(path.to_string_lossy().into_owned())
}

async fn half(server: &[&str]) -> anyhow::Result<Half> {
    let rig = Rig::with(THREADS, server).await?;
    let started = latency::sample(&rig, TRIES).await?;
    create_queue(&rig, ZERO).await?;
    let _zero = Zero::start(&rig.cluster.nats_url(), ZERO, VCPUS)?;
    // Code and connections are warm when measuring begins.
    rig.submit(&job(ZERO, &[PROGRAM], Some(100))).await?;
    until_over(&rig).await?;
    let start = Instant::now();
    submit_singles(&rig, ZERO, SINGLES).await?;
    let submissions_per_second = f64::from(SINGLES) / start.elapsed().as_secs_f64();
    until_over(&rig).await?;
    Ok(Half {
        submit_to_start: Milliseconds::of(&started.starts),
        submit_to_answer: Milliseconds::of(&started.answers),
        submissions_per_second,
        array: measured(&rig, CHILDREN, Kind::Array).await?,
        singles: measured(&rig, SINGLES, Kind::Singles).await?,
    })
}

impl Outcome {
    /// As a table.
    pub(crate) fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "\n## fsync: synced before each acknowledgement (`sync_interval: always`), against the NATS server's default\n\n\
             Medians of {} pairs [least to most]. Arrays of {CHILDREN} and {SINGLES} single jobs take no time to run; \
             while single jobs are submitted, those before them run. All cores were {:.2} busy.\n\n\
             | | synced | default | ratio |\n|---|---|---|---|",
            self.pairs.len(),
            self.busy
        )?;
        let rows: [Row; 5] = [
            ("submit to start, idle, p50 ms", |half| half.submit_to_start.p50, 2),
            ("submit to answer, idle, p50 ms", |half| half.submit_to_answer.p50, 2),
            ("single jobs submitted /s", |half| half.submissions_per_second, 0),
            ("children of an array /s", |half| half.array.per_second, 0),
            ("single jobs run /s", |half| half.singles.per_second, 0),
        ];
        for (what, value, digits) in rows {
            let cell = |of: &dyn Fn(&[Half; 2]) -> f64, digits: usize| {
                spread(&self.pairs.iter().map(of).collect::<Vec<_>>(), digits)
            };
            writeln!(
                text,
                "| {what} | {} | {} | {} |",
                cell(&|[synced, _]| value(synced), digits),
                cell(&|[_, lazy]| value(lazy), digits),
                cell(&|[synced, lazy]| value(synced) / value(lazy), 2)
            )?;
        }
        Ok(())
    }
}
