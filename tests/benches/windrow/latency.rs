//! From the request to submit one job, on an idle cluster, to the first thing the job does.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use super::clock;
use super::floor;
use super::machine::Load;
use super::options::{NOTE_START, Options};
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
    /// The same program started by `posix_spawn`, to its first instruction.
    pub(crate) spawn_floor: Milliseconds,
    /// 512 bytes appended and `fdatasync`, in the data directory.
    pub(crate) sync_floor: Milliseconds,
    /// Share of all cores that were busy, ours included: the cluster idles most of the time.
    pub(crate) busy: f64,
}

/// Measures, floors in turn with jobs.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let rig = Rig::start().await?;
    let socket_path = rig.cluster.scratch().join("started");
    let socket = UnixDatagram::bind(&socket_path).context("bind a socket for jobs")?;
    socket.set_read_timeout(Some(LIMIT))?;
    let own = std::env::current_exe().context("find this program")?;
    let own = own.to_string_lossy();
    let path = socket_path.to_string_lossy();
    let request = job(QUEUE, &[&own, NOTE_START, &path], None);
    let to_sync = rig.cluster.data().join("bench-sync");

    let load = Load::read()?;
    let [mut starts, mut answers, mut spawns, mut syncs] = [const { Vec::new() }; 4];
    for number in 0..=options.tries {
        let before = clock::nanoseconds();
        let id = rig.submit(&request).await?;
        let answered = clock::nanoseconds();
        let began = clock::receive(&socket)?;
        rig.succeeded(id).await?;
        let spawn = spawn(Path::new(&*own), &socket, &socket_path)?;
        let sync = floor::sync_once(&to_sync)?;
        // The first job finds caches cold that later ones find warm.
        if number > 0 {
            starts.push(milliseconds(before, began));
            answers.push(milliseconds(before, answered));
            spawns.push(spawn);
            syncs.push(sync);
        }
        tokio::time::sleep(IDLE).await;
    }
    Ok(Outcome {
        tries: options.tries,
        submit_to_start: Milliseconds::of(&starts),
        submit_to_answer: Milliseconds::of(&answers),
        spawn_floor: Milliseconds::of(&spawns),
        sync_floor: Milliseconds::of(&syncs),
        busy: load.others_until(Load::read()?, 0.0),
    })
}

/// Milliseconds until the program, started here, does its first thing.
fn spawn(program: &Path, socket: &UnixDatagram, path: &Path) -> anyhow::Result<f64> {
    let before = clock::nanoseconds();
    let mut child = Command::new(program)
        .arg(NOTE_START)
        .arg(path)
        .stdin(Stdio::null())
        .spawn()
        .context("start this program")?;
    let began = clock::receive(socket)?;
    child.wait().context("wait for this program")?;
    Ok(milliseconds(before, began))
}

fn milliseconds(from: u64, to: u64) -> f64 {
    Duration::from_nanos(to.saturating_sub(from)).as_secs_f64() * 1e3
}
