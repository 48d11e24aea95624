//! From the request to submit one job to the first thing the job does: on an idle cluster, and on one with half of the
//! machine busy with other jobs.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use tempfile::TempDir;
use windrow_common::api::jobs::{
    DependencyType, DescribeJobs, JobDependency, JobStatus, SubmitJob,
};
use windrow_common::ids::JobId;
use windrow_tests::started;

use super::floor;
use super::machine::Load;
use super::options::Options;
use super::rig::{QUEUE, Rig, job};
use super::statistics::quantile;

/// The cluster is left alone so long between two jobs.
const IDLE: Duration = Duration::from_millis(100);
/// Longest time until a job begins.
const LIMIT: Duration = Duration::from_secs(30);

/// Milliseconds of a sample.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Milliseconds {
    pub p50: f64,
    pub p99: f64,
    pub(crate) max: f64,
}

impl Milliseconds {
    /// Of these.
    pub(crate) fn of(sample: &[f64]) -> Self {
        Self { p50: quantile(sample, 0.5), p99: quantile(sample, 0.99), max: quantile(sample, 1.0) }
    }
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    pub(crate) tries: u32,
    /// Request sent to job begun.
    pub(crate) submit_to_start: Milliseconds,
    /// Request sent to request answered, by when it is on disk.
    pub(crate) submit_to_answer: Milliseconds,
    /// The same two while other jobs keep one of two cores busy.
    pub(crate) loaded_submit_to_start: Milliseconds,
    pub(crate) loaded_submit_to_answer: Milliseconds,
    /// The same program started by `posix_spawn`, to its first instruction.
    pub(crate) spawn_floor: Milliseconds,
    /// 512 bytes appended and `fdatasync`, in the data directory.
    pub(crate) sync_floor: Milliseconds,
    /// Share of all cores that were busy, ours included: the cluster idles most of the time.
    pub(crate) busy: f64,
}

/// Milliseconds of each try.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    pub(crate) starts: Vec<f64>,
    pub(crate) answers: Vec<f64>,
    spawns: Vec<f64>,
    syncs: Vec<f64>,
}

/// Measures.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let rig = Rig::start().await?;
    let load = Load::read()?;
    let idle = sample(&rig, options.tries).await?;
    let busy = load.others_until(Load::read()?, 0.0);
    let others = rig.submit(&others()).await?;
    until_begun(&rig, others).await?;
    let loaded = sample(&rig, options.tries).await?;
    Ok(Outcome {
        tries: options.tries,
        submit_to_start: Milliseconds::of(&idle.starts),
        submit_to_answer: Milliseconds::of(&idle.answers),
        loaded_submit_to_start: Milliseconds::of(&loaded.starts),
        loaded_submit_to_answer: Milliseconds::of(&loaded.answers),
        spawn_floor: Milliseconds::of(&idle.spawns),
        sync_floor: Milliseconds::of(&idle.syncs),
        busy,
    })
}

/// An array whose children keep one core busy for 100 ms each, one after the other, for longer than this takes.
fn others() -> SubmitJob {
    let script = "timeout 0.1 sh -c 'while :; do :; done' || true";
    let one_by_one =
        JobDependency { kind: Some(DependencyType::Sequential), ..JobDependency::default() };
    SubmitJob { depends_on: vec![one_by_one], ..job(QUEUE, &["sh", "-c", script], Some(10_000)) }
}

/// Waits until the first child of an array has begun.
async fn until_begun(rig: &Rig, job: JobId) -> anyhow::Result<()> {
    let begun = Instant::now();
    let request = DescribeJobs { jobs: vec![format!("{job}:0")] };
    loop {
        let described = rig.call(&request).await?;
        let status = described.jobs.first().map(|child| child.status);
        if matches!(status, Some(JobStatus::Running | JobStatus::Succeeded)) {
            return Ok(());
        }
        anyhow::ensure!(begun.elapsed() < LIMIT, "the other jobs do not run");
        tokio::time::sleep(IDLE).await;
    }
}

/// So many jobs, one after the other, floors in turn with them.
pub(crate) async fn sample(rig: &Rig, tries: u32) -> anyhow::Result<Sample> {
    let scratch = TempDir::with_prefix("windrow-bench-").context("make a directory")?;
    let socket_path = scratch.path().join("started");
    let socket = UnixDatagram::bind(&socket_path).context("bind a socket for jobs")?;
    socket.set_read_timeout(Some(LIMIT))?;
    let program = started::job();
    let path = socket_path.to_string_lossy();
    let request = job(QUEUE, &[&program.to_string_lossy(), &path], None);
    let to_sync = rig.cluster.data().join("bench-sync");

    let mut found = Sample::default();
    for number in 0..=tries {
        let before = started::nanoseconds();
        let id = rig.submit(&request).await?;
        let answered = started::nanoseconds();
        let began = started::receive(&socket).context("wait for the job to begin")?;
        rig.succeeded(id).await?;
        let spawn = spawn(&program, &socket, &socket_path)?;
        let sync = floor::sync_once(&to_sync)?;
        // The first job finds caches cold that later ones find warm.
        if number > 0 {
            found.starts.push(milliseconds(before, began));
            found.answers.push(milliseconds(before, answered));
            found.spawns.push(spawn);
            found.syncs.push(sync);
        }
        tokio::time::sleep(IDLE).await;
    }
    Ok(found)
}

/// Milliseconds until the program, started here, does its first thing.
fn spawn(program: &Path, socket: &UnixDatagram, path: &Path) -> anyhow::Result<f64> {
    let before = started::nanoseconds();
    let mut child = Command::new(program)
        .arg(path)
        .stdin(Stdio::null())
        .spawn()
        .context("start the job's program")?;
    let began = started::receive(socket).context("wait for the job's program")?;
    child.wait().context("wait for the job's program")?;
    Ok(milliseconds(before, began))
}

fn milliseconds(from: u64, to: u64) -> f64 {
    Duration::from_nanos(to.saturating_sub(from)).as_secs_f64() * 1e3
}
