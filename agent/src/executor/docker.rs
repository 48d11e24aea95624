//! Runs attempts as Docker containers.
//!
//! One task follows one attempt through its life: images, create, start, logs, wait. All containers
//! of an attempt are created before the first one starts, and carry labels that say whose they are
//! and when they may start, so that a restarted agent finds its own and only these, and goes on
//! where it was. Knows nothing of leases beyond their numbers.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::query_parameters::{ListContainersOptionsBuilder, ListVolumesOptionsBuilder};
use bollard::{API_DEFAULT_VERSION, Docker};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use windrow_common::ids::Name;
use windrow_common::time::wall_clock;

use super::{Adopted, AttemptKey, Error, ExecutorEvent, Fence, StartRequest, StopSignal};

mod attempt;
mod container;
mod engine;
mod group;
mod images;
mod life;
mod logs;
mod pause;
mod watchdog;

use group::{Found, Group, read_labels, volume_owner};
use life::Stage;
pub use watchdog::Containers;
pub(crate) use watchdog::end_all;

/// Longest wait for the engine's answer: it is slow when it starts many containers.
const ANSWER_SECONDS: u64 = 120;
/// Longest wait for its first sign of life.
const PING_LIMIT: Duration = Duration::from_secs(10);

/// Settings of the Docker executor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DockerConfig {
    /// The engine's socket.
    #[serde(default = "default_socket")]
    pub socket: PathBuf,
    /// Network of the containers: `bridge`, `host`, `none`, or a network's name.
    #[serde(default = "default_network")]
    pub network: String,
    /// The agent, for the containers' labels.
    pub agent: Name,
    /// The agent's state directory, for the labels: agents of one name may share an engine.
    pub state_directory: PathBuf,
    /// Containers created or removed at the same time; more only wait inside the engine.
    #[serde(default = "default_starts_max")]
    pub starts_max: usize,
    /// Time between SIGTERM and SIGKILL of a container that has none of its own.
    #[serde(default = "default_stop_timeout")]
    pub stop_timeout: Duration,
}

fn default_socket() -> PathBuf {
    PathBuf::from("/var/run/docker.sock")
}

fn default_network() -> String {
    "bridge".to_owned()
}

fn default_starts_max() -> usize {
    8
}

fn default_stop_timeout() -> Duration {
    Duration::from_secs(30)
}

/// A handle on the agent's containers. Dropped, it leaves them running.
#[derive(Debug)]
pub struct DockerExecutor {
    inner: Arc<Inner>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

/// What the tasks share.
#[derive(Debug)]
struct Inner {
    docker: Docker,
    config: DockerConfig,
    events: Sender<Vec<ExecutorEvent>>,
    slots: Semaphore,
    images: images::Images,
    attempts: Mutex<BTreeMap<AttemptKey, Record>>,
    /// When everything must be over.
    fence: Mutex<Option<Fence>>,
}

/// What is known of an attempt that is not forgotten.
#[derive(Debug)]
struct Record {
    group: Group,
    /// Tells its task to stop it.
    stop: watch::Sender<Stop>,
}

/// A wish that an attempt ends; each one sent counts, so that a kill can be repeated.
#[derive(Clone, Copy, Debug, Default)]
struct Stop {
    signal: Option<StopSignal>,
}

impl DockerExecutor {
    /// Connects to the engine. Blocks until it answers. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`Error::NoDocker`] when nothing answers on the socket within ten seconds.
    pub fn open(config: DockerConfig, events: Sender<Vec<ExecutorEvent>>) -> Result<Self, Error> {
        let no_docker = |reason: String| Error::NoDocker { socket: config.socket.clone(), reason };
        ping(&config).map_err(|e| no_docker(e.to_string()))?;
        let socket = config.socket.to_string_lossy();
        let docker = Docker::connect_with_unix(&socket, ANSWER_SECONDS, API_DEFAULT_VERSION)
            .map_err(|e| no_docker(e.to_string()))?;
        let inner = Inner {
            docker,
            events,
            slots: Semaphore::new(config.starts_max.max(1)),
            images: images::Images::default(),
            attempts: Mutex::default(),
            fence: Mutex::default(),
            config,
        };
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        Ok(Self { inner: Arc::new(inner), tasks, cancel })
    }

    /// Every container of this agent. For those that have ended the event with their end follows,
    /// for the others when they end. To be called once, first.
    ///
    /// # Errors
    /// [`Error::Docker`] when the engine cannot list containers.
    pub async fn adopt(&self) -> Result<Vec<Adopted>, Error> {
        let filters = self.containers().filters();
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let listed = self.inner.docker.list_containers(Some(options)).await;
        let listed = listed.map_err(|source| refused("list the agent's containers", source))?;
        let mut groups: BTreeMap<AttemptKey, Vec<Found>> = BTreeMap::new();
        for summary in listed {
            match read_labels(&summary) {
                Some(found) => groups.entry(found.key).or_default().push(found),
                None => {
                    tracing::warn!(id = ?summary.id, "container with labels of ours that cannot be read")
                }
            }
        }
        let mut volumes = self.volumes(&filters).await?;
        let mut adopted = Vec::new();
        for (key, found) in groups {
            let volumes = volumes.remove(&key).unwrap_or_default();
            adopted.extend(self.adopt_one(key, &found, volumes).await?);
        }
        // The agent was killed between removing an attempt's containers and its volumes.
        for volume in volumes.into_values().flatten() {
            let inner = Arc::clone(&self.inner);
            self.spawn(async move { inner.remove_volume(&volume).await });
        }
        Ok(adopted)
    }

    /// The agent's named volumes, by attempt.
    async fn volumes(
        &self,
        filters: &HashMap<String, Vec<String>>,
    ) -> Result<BTreeMap<AttemptKey, Vec<String>>, Error> {
        let options = ListVolumesOptionsBuilder::default().filters(filters).build();
        let listed = self.inner.docker.list_volumes(Some(options)).await;
        let listed = listed.map_err(|source| refused("list the agent's volumes", source))?;
        let mut volumes: BTreeMap<AttemptKey, Vec<String>> = BTreeMap::new();
        for volume in listed.volumes.into_iter().flatten() {
            if let Some(key) = volume_owner(&volume) {
                volumes.entry(key).or_default().push(volume.name);
            }
        }
        Ok(volumes)
    }

    async fn adopt_one(
        &self,
        key: AttemptKey,
        found: &[Found],
        volumes: Vec<String>,
    ) -> Result<Option<Adopted>, Error> {
        let group = Group::found(found, volumes.clone());
        let Some(group) = group else {
            return Ok(self.abandon(key, found, volumes, "containers of it were missing"));
        };
        let mut stages = Vec::with_capacity(group.containers.len());
        let (mut is_live, mut last_start) = (false, None);
        for container in &group.containers {
            let inspected = self.inner.docker.inspect_container(container, None).await;
            let state = match inspected {
                Ok(inspected) => inspected.state.unwrap_or_default(),
                Err(e) if container::is_gone(&e) => {
                    let reason = "its container was removed by somebody else";
                    return Ok(self.abandon(key, found, volumes, reason));
                }
                Err(e) => return Err(refused("inspect an adopted container", e)),
            };
            let started_at = container::time_of(state.started_at.as_deref());
            is_live |= started_at.is_some() && container::is_live(&state);
            last_start = last_start.max(started_at);
            stages.push(started_at.map_or(Stage::Waiting, Stage::running));
        }
        let Some(last_start) = last_start else {
            let reason = "the agent stopped before it could start the container";
            return Ok(self.abandon(key, found, volumes, reason));
        };
        let all_started = stages.iter().all(|stage| *stage != Stage::Waiting);
        let stop = self.record(&group);
        let inner = Arc::clone(&self.inner);
        self.spawn(async move { inner.follow(&group, stages, stop).await });
        let started_at = all_started.then_some(last_start);
        Ok(Some(Adopted { key, started_at, running: is_live }))
    }

    /// Gives up an attempt that cannot be followed: removes what is left of it.
    fn abandon(
        &self,
        key: AttemptKey,
        found: &[Found],
        volumes: Vec<String>,
        reason: &'static str,
    ) -> Option<Adopted> {
        let first = found.first()?;
        let group = Group {
            key,
            log_file: first.log_file.clone(),
            members: Vec::new(),
            containers: found.iter().map(|one| one.container.clone()).collect(),
            pause: None,
            volumes,
        };
        self.record(&group);
        let inner = Arc::clone(&self.inner);
        self.spawn(async move { inner.abandon(&group, reason).await });
        Some(Adopted { key, started_at: Some(first.created_at), running: false })
    }

    /// Remembers an attempt; what is sent to its record arrives at the receiver.
    fn record(&self, group: &Group) -> watch::Receiver<Stop> {
        let (stop, receiver) = watch::channel(Stop::default());
        self.inner.attempts().insert(group.key, Record { group: group.clone(), stop });
        receiver
    }

    /// Starts attempts; the outcome arrives as events.
    pub async fn start(&self, requests: Vec<StartRequest>) {
        for request in requests {
            if self.inner.attempts().contains_key(&request.key) {
                // It is on its way already.
                continue;
            }
            let inner = Arc::clone(&self.inner);
            match Group::of(&request, &self.inner.config) {
                Ok(group) => {
                    let stop = self.record(&group);
                    self.spawn(async move { inner.run(request, group, stop).await });
                }
                Err(reason) => {
                    let (key, at) = (request.key, wall_clock());
                    let event = ExecutorEvent::StartFailed { key, at, reason };
                    self.spawn(async move { inner.tell(event).await });
                }
            }
        }
    }

    /// Signals an attempt; one that has not begun does not begin. Nothing happens when it ended.
    pub async fn stop(&self, key: AttemptKey, signal: StopSignal) {
        if let Some(record) = self.inner.attempts().get(&key) {
            // Fails only when its task is over.
            let _ = record.stop.send(Stop { signal: Some(signal) });
        }
    }

    /// No container starts once this time is over, whatever its task was doing when the agent stood
    /// still.
    pub fn fence(&self, fence: Option<Fence>) {
        *self.inner.fence.lock().unwrap_or_else(PoisonError::into_inner) = fence;
    }

    /// What finds all containers of this agent.
    pub fn containers(&self) -> Containers {
        let DockerConfig { socket, agent, state_directory, .. } = self.inner.config.clone();
        Containers { socket, agent, state_directory }
    }

    /// Removes the containers of attempts whose end the agent has on disk, with their volumes.
    pub async fn forget(&self, keys: Vec<AttemptKey>) {
        for key in keys {
            let record = self.inner.attempts().remove(&key);
            if let Some(Record { group, .. }) = record {
                let inner = Arc::clone(&self.inner);
                self.spawn(async move { inner.remove_group(&group).await });
            }
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let cancelled = self.cancel.clone().cancelled_owned();
        self.tasks.spawn(async move {
            tokio::select! {
                () = task => {}
                () = cancelled => {}
            }
        });
    }
}

impl Drop for DockerExecutor {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Inner {
    fn attempts(&self) -> MutexGuard<'_, BTreeMap<AttemptKey, Record>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn tell(&self, event: ExecutorEvent) {
        // Fails only when nobody is interested any more.
        let _ = self.events.send(vec![event]).await;
    }
}

fn refused(action: &'static str, source: bollard::errors::Error) -> Error {
    Error::Docker { action, source: Box::new(source) }
}

/// Asks the engine for a sign of life, without the asynchronous client, whose caller may block.
///
/// # Errors
/// Whatever keeps it from answering, within seconds.
pub fn ping(config: &DockerConfig) -> std::io::Result<()> {
    let mut stream = UnixStream::connect(&config.socket)?;
    stream.set_read_timeout(Some(PING_LIMIT))?;
    stream.set_write_timeout(Some(PING_LIMIT))?;
    stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    match answer.lines().next() {
        Some(status) if status.contains(" 200 ") => Ok(()),
        status => Err(std::io::Error::other(format!("it answers `{}`", status.unwrap_or("")))),
    }
}
