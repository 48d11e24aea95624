//! Puts an agent together from its configuration and runs it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::info;
use windrow_common::ids::Name;
use windrow_common::subjects::Subjects;
use windrow_common::wire::agent::Executor;

use super::ballast::Ballast;
use super::clock::moment;
use super::directory::StateDirectory;
use super::event_loop::{EventLoop, Parts};
use super::executors::Executors;
use super::gpus;
use super::health::{self, Watched};
use super::inventory;
use super::journal::Journal;
use super::link::Link;
use super::log_budget::Limits;
use super::log_key::LogKey;
use super::logs::LogShipper;
use super::registration::Identity;
use crate::config::Config;
use crate::core::held::{Held, HeldLease};
use crate::core::{Core, Settings};
use crate::executor::{AttemptKey, DockerConfig, Error, ExecutorEvent, LogFiles, ProcessConfig};

/// Runs an agent until a signal stops it.
///
/// # Errors
/// When the state directory, its journal or an executor cannot be used, or the journal cannot be
/// written any more. An unreachable NATS is none: it is waited for.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let signals = signals()?;
    let directory = StateDirectory::open(&config.state_directory)?;
    let agent = directory.name(config.name.as_ref(), &inventory::host_name())?;
    let (journal, held) = Journal::open(&directory.journal())?;
    let gpus = gpus::find(&config.resources).await?;
    let resources = inventory::resources(&config.resources, &gpus);
    let now = moment();
    let (event_sender, events) = mpsc::channel(64);
    let mut executors = open_executors(&config, &directory, &agent, &held, &event_sender).await?;
    let adopted = executors.adopt().await?;
    let settings = Settings {
        resources,
        gpus: gpus.iter().map(|gpu| gpu.id.clone()).collect(),
        stop_timeout: config.stop_timeout.0,
        backlog_limit: config.backlog_limit.0,
    };
    let mut core = Core::new(settings, held, now);
    let known: Vec<_> = adopted.iter().map(|one| (one.key, one.started_at)).collect();
    let missing = core.adopt(&known, now);
    let log_keys = log_keys(&core);
    info!(%agent, %resources, adopted = known.len(), lost = missing.len(), "agent starts");

    let subjects = Subjects::new(config.cluster.clone());
    let (inbox_sender, inbox) = mpsc::channel(64);
    let link = Link::open(&config.nats, subjects, agent.clone(), inbox_sender).await;
    let link = link.map_err(anyhow::Error::msg)?;
    let log_files = LogFiles::open(directory.spare_logs()).context("use spare log files")?;
    let log_files = Arc::new(log_files);
    let limits =
        Limits { rate: config.logs.rate, burst: config.logs.burst, size: config.logs.size };
    let missing_keys: BTreeSet<_> = missing.iter().copied().collect();
    let running: Vec<_> = log_keys.values().copied().collect();
    let running: Vec<_> =
        running.into_iter().filter(|log| !missing_keys.contains(&log.key)).collect();
    let logs =
        LogShipper::start(link.clone(), directory.logs(), Arc::clone(&log_files), limits, &running);
    let identity = Identity {
        agent,
        boot: now.wall.0,
        compute_environment: config.compute_environment.clone(),
        resources,
        executors: executors.kinds(),
        address: config.address.map(|address| address.to_string()),
        gpus,
        problems: Vec::new(),
    };
    let health = health::watch(watched(&config, &directory, &identity, &log_files));
    let reason = "the attempt ended while its agent was away";
    let lost = |key| ExecutorEvent::Lost { key, at: now.wall, reason: reason.to_owned() };
    let parts = Parts {
        core,
        journal,
        executors,
        events,
        early: missing.into_iter().map(lost).collect(),
        link,
        inbox,
        logs,
        log_keys,
        log_directory: directory.logs(),
        log_files,
        scratch_directory: directory.scratch(),
        identity,
        on_stop: config.on_stop,
        stop_timeout: config.stop_timeout.0,
        health,
        ballast: Ballast::take(directory.ballast()),
    };
    EventLoop::new(parts).run(signals).await.context("the agent stops")
}

async fn open_executors(
    config: &Config,
    directory: &StateDirectory,
    agent: &Name,
    held: &Held,
    events: &mpsc::Sender<Vec<ExecutorEvent>>,
) -> Result<Executors, Error> {
    let process = ProcessConfig {
        directory: directory.keeper(),
        logs: directory.logs(),
        scratch: directory.scratch(),
        keeper_program: None,
        cgroup: config.process.cgroup,
    };
    let process = (process, config.process.enabled);
    let docker = docker_config(config, directory, agent);
    let mut containers =
        held.leases.values().filter(|lease| lease.spec.executor() == Executor::Docker);
    let is_docker_needed = containers.any(|lease| !lease.running.is_empty());
    Executors::open(process, (config.docker.enabled, docker), is_docker_needed, events).await
}

/// What can go wrong with this host.
fn watched(
    config: &Config,
    directory: &StateDirectory,
    identity: &Identity,
    log_files: &Arc<LogFiles>,
) -> Watched {
    let has_docker = identity.executors.contains(&Executor::Docker);
    Watched {
        executors: identity.executors.clone(),
        docker: has_docker.then(|| docker_config(config, directory, &identity.agent)),
        directory: directory.path().to_owned(),
        disk_reserve: config.resources.disk_reserve,
        log_files: Arc::clone(log_files),
    }
}

fn docker_config(config: &Config, directory: &StateDirectory, agent: &Name) -> DockerConfig {
    DockerConfig {
        socket: config.docker.socket.clone(),
        network: config.docker.network.clone(),
        agent: agent.clone(),
        state_directory: directory.path().to_owned(),
        starts_max: config.docker.starts_max,
        stop_timeout: config.stop_timeout.0,
    }
}

/// One message for each SIGTERM and SIGINT.
fn signals() -> anyhow::Result<mpsc::Receiver<()>> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            // Full: two are told already, and the second ends the process.
            let _ = sender.try_send(());
        }
    });
    Ok(receiver)
}

/// The log files of what runs.
fn log_keys(core: &Core) -> BTreeMap<AttemptKey, LogKey> {
    let of_lease = |held: &HeldLease| {
        let logs = held.running.keys().map(|child| LogKey::of(&held.lease, *child, &held.spec));
        logs.map(|log| (log.key, log)).collect::<Vec<_>>()
    };
    core.held().leases.values().flat_map(of_lease).collect()
}
