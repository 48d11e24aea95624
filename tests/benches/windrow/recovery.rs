//! How long a cluster schedules nothing after its coordinator was killed: with nothing queued, with a
//! million single jobs queued, and with half an array of a million done. Beside it, the longest time in
//! which the coordinator answered nobody while it took these in, snapshots included.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::StreamExt;
use nix::sys::signal::Signal;
use serde::Serialize;
use windrow_common::api::resources::{DescribeCluster, DescribeClusterResponse};
use windrow_tests::part::signal;

use super::floor::PROGRAM;
use super::latency::Milliseconds;
use super::machine::Load;
use super::options::Options;
use super::rig::{Client, Rig, job};
use super::submit::create_queue;
use super::zero::Zero;

/// The environment of the zero worker, and its queue.
const ZERO: &str = "zero";
const VCPUS: u32 = 8;
/// Requests on their way at once.
const IN_FLIGHT: usize = 512;
/// How often an answer is asked for, to see how long none comes.
const PROBE_EVERY: Duration = Duration::from_millis(5);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Pause between two looks at the state.
const SETTLE_EVERY: Duration = Duration::from_millis(100);
/// Longest time in which a state comes about.
const LIMIT: Duration = Duration::from_secs(1800);
/// Longest time in which a coordinator starts.
const RESTART_LIMIT: Duration = Duration::from_secs(120);

/// What was found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    pub(crate) restarts: u32,
    pub(crate) cases: Vec<Case>,
    /// Share of all cores that were busy, ours included.
    pub(crate) busy: f64,
}

/// One state that the coordinator is killed in, and started again from.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Case {
    pub(crate) what: String,
    /// Kill to the first answer of its successor, which is started at once.
    pub(crate) answered: Milliseconds,
    /// Kill to the first lease that the successor gives. What agents have been given before goes on
    /// without a coordinator.
    pub(crate) scheduled: Milliseconds,
    /// Longest time to an answer while the state came about.
    pub(crate) longest_answer_ms: f64,
    /// Seconds it took to come about.
    pub(crate) built_seconds: f64,
    /// The newest snapshot at the end.
    pub(crate) snapshot_bytes: u64,
    /// Of the coordinator, resident.
    pub(crate) memory_bytes: u64,
}

/// Measures.
pub(crate) async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let load = Load::read()?;
    let jobs = options.jobs;
    let cases = vec![
        case(options, "nothing queued", State::Nothing).await?,
        case(options, &format!("{jobs} single jobs queued"), State::Queued(jobs)).await?,
        case(options, &format!("an array of {jobs}, half done"), State::HalfDone(jobs)).await?,
    ];
    let busy = load.others_until(Load::read()?, 0.0);
    Ok(Outcome { restarts: options.restarts, cases, busy })
}

enum State {
    Nothing,
    Queued(u32),
    HalfDone(u32),
}

async fn case(options: &Options, what: &str, state: State) -> anyhow::Result<Case> {
    eprintln!("    {what}");
    let is_empty = matches!(state, State::Nothing);
    let rig = Rig::start().await?;
    create_queue(&rig, ZERO).await?;
    let zero = Zero::start(&rig.cluster.nats_url(), ZERO, VCPUS)?;
    let probe = Probe::start(&rig.cluster.nats_url())?;
    let begun = Instant::now();
    match state {
        State::Nothing => {}
        State::Queued(jobs) => {
            zero.hold_after(0);
            submit_singles(&rig, ZERO, jobs).await?;
            until(&rig, SETTLE_EVERY, |cluster| cluster.jobs >= u64::from(jobs)).await?;
        }
        State::HalfDone(size) => {
            zero.hold_after(u64::from(size / 2));
            rig.submit(&job(ZERO, &[PROGRAM], Some(size))).await?;
            let half = u64::from(size / 2);
            let is_half_done = |cluster: &DescribeClusterResponse| {
                cluster.children.get("SUCCEEDED").is_some_and(|n| *n >= half)
            };
            until(&rig, SETTLE_EVERY, is_half_done).await?;
        }
    }
    let (built_seconds, longest_answer_ms) = (begun.elapsed().as_secs_f64(), probe.stop()?);
    let [mut answered, mut scheduled] = [const { Vec::new() }; 2];
    for _ in 0..options.restarts {
        // It starts what it has been given, and then has nothing to start.
        settle(&zero).await;
        let (pid, before) = (rig.cluster.pid("coordinator"), zero.lease());
        signal(pid, Signal::SIGKILL);
        let killed = Instant::now();
        zero.release();
        if is_empty {
            rig.publish(ZERO, serde_json::to_vec(&job(ZERO, &[PROGRAM], None))?).await?;
        }
        let [mut answer, mut start] = [None; 2];
        while answer.is_none() || start.is_none() {
            anyhow::ensure!(
                killed.elapsed() < RESTART_LIMIT,
                "no lease came after the coordinator was killed: is there nothing left to start?"
            );
            if start.is_none() && zero.lease() > before {
                start = Some(killed.elapsed());
            }
            if answer.is_none() && rig.is_answering().await {
                answer = Some(killed.elapsed());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        answered.extend(answer.map(milliseconds));
        scheduled.extend(start.map(milliseconds));
    }
    let cluster = rig.call(&DescribeCluster {}).await?;
    Ok(Case {
        what: what.to_owned(),
        answered: Milliseconds::of(&answered),
        scheduled: Milliseconds::of(&scheduled),
        longest_answer_ms,
        built_seconds,
        snapshot_bytes: rig.snapshot_bytes().await?,
        memory_bytes: cluster.memory_bytes,
    })
}

/// Submits the jobs; each is in the journal when this ends. By requests, as many of them share a write to
/// disk; a published submission has one of its own.
pub(crate) async fn submit_singles(rig: &Rig, queue: &str, jobs: u32) -> anyhow::Result<()> {
    let request = job(queue, &[PROGRAM], None);
    let submitted = futures::stream::iter(0..jobs).map(|_| rig.call(&request));
    let mut submitted = std::pin::pin!(submitted.buffer_unordered(IN_FLIGHT));
    while let Some(answer) = submitted.next().await {
        answer?;
    }
    Ok(())
}

/// Waits until it holds, and looks at these intervals.
pub(crate) async fn until(
    rig: &Rig,
    every: Duration,
    holds: impl Fn(&DescribeClusterResponse) -> bool,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !holds(&rig.call(&DescribeCluster {}).await?) {
        anyhow::ensure!(begun.elapsed() < LIMIT, "the state did not come about");
        tokio::time::sleep(every).await;
    }
    Ok(())
}

async fn settle(zero: &Zero) {
    let mut before = None;
    while before != Some(zero.started()) {
        before = Some(zero.started());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Asks again and again, on a thread and a connection of its own.
struct Probe {
    is_over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<anyhow::Result<Duration>>,
}

impl Probe {
    fn start(url: &str) -> anyhow::Result<Self> {
        let (is_over, url) = (Arc::new(AtomicBool::new(false)), url.to_owned());
        let over = is_over.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let probe = async move {
            let client = Client::connect(&url).await?;
            let mut longest = Duration::ZERO;
            while !over.load(Ordering::SeqCst) {
                let asked = Instant::now();
                client.call(&DescribeCluster {}).await?;
                longest = longest.max(asked.elapsed());
                tokio::time::sleep(PROBE_EVERY).await;
            }
            Ok(longest)
        };
        Ok(Self { is_over, thread: std::thread::spawn(move || runtime.block_on(probe)) })
    }

    fn stop(self) -> anyhow::Result<f64> {
        self.is_over.store(true, Ordering::SeqCst);
        let longest = self.thread.join().map_err(|_| anyhow::anyhow!("the probe panicked"))?;
        Ok(milliseconds(longest.context("probe the coordinator")?))
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
