//! Runs attempts as Docker containers.
//!
//! One task follows one attempt through its life: image, create, start, logs, wait. Containers
//! carry labels that say whose they are, so that a restarted agent finds its own and only these.
//! Knows nothing of leases beyond their numbers.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::models::ContainerSummary;
use bollard::query_parameters::ListContainersOptionsBuilder;
use bollard::{API_DEFAULT_VERSION, Docker};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use windrow_common::ids::Name;

use super::{Adopted, AttemptKey, Error, ExecutorEvent, StartRequest, StopSignal};

mod attempt;
mod container;
mod images;
mod logs;

use container::labels;

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
}

/// What is known of an attempt that is not forgotten.
#[derive(Clone, Debug)]
struct Record {
    /// The container's name.
    container: String,
    /// The strongest stop asked for.
    stop: Option<StopSignal>,
    /// Whether the container has been started, so that a signal reaches it.
    started: bool,
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
        let config = &self.inner.config;
        let wanted = vec![
            format!("{}={}", labels::AGENT, config.agent),
            format!("{}={}", labels::STATE_DIRECTORY, config.state_directory.display()),
        ];
        let filters = HashMap::from([("label".to_owned(), wanted)]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let listed = self.inner.docker.list_containers(Some(options)).await;
        let listed = listed.map_err(|source| Error::Docker {
            action: "list the agent's containers",
            source: Box::new(source),
        })?;
        let mut adopted = Vec::new();
        for summary in listed {
            adopted.extend(self.adopt_one(&summary).await?);
        }
        Ok(adopted)
    }

    async fn adopt_one(&self, summary: &ContainerSummary) -> Result<Option<Adopted>, Error> {
        let Some(found) = container::read_labels(summary) else {
            tracing::warn!(id = ?summary.id, "container with labels of ours that cannot be read");
            return Ok(None);
        };
        let inspected = self.inner.docker.inspect_container(&found.container, None).await;
        let state = match inspected {
            Ok(inspected) => inspected.state.unwrap_or_default(),
            Err(e) if container::is_gone(&e) => return Ok(None),
            Err(source) => {
                let source = Box::new(source);
                return Err(Error::Docker { action: "inspect an adopted container", source });
            }
        };
        let started_at = container::time_of(state.started_at.as_deref());
        let running = started_at.is_some() && container::is_live(&state);
        let key = found.key;
        let record = Record { container: found.container.clone(), stop: None, started: true };
        self.inner.attempts().insert(key, record);
        let inner = Arc::clone(&self.inner);
        if let Some(started_at) = started_at {
            self.spawn(async move { inner.follow(key, &found.container, &found.log_file).await });
            return Ok(Some(Adopted { key, started_at, running }));
        }
        self.spawn(async move { inner.abandon(key, &found.container).await });
        Ok(Some(Adopted { key, started_at: found.created_at, running }))
    }

    /// Starts attempts; the outcome arrives as events.
    pub async fn start(&self, requests: Vec<StartRequest>) {
        for request in requests {
            let container = container::name(&request);
            let record = Record { container, stop: None, started: false };
            match self.inner.attempts().entry(request.key) {
                Entry::Vacant(vacant) => {
                    vacant.insert(record);
                }
                // It is on its way already.
                Entry::Occupied(_) => continue,
            }
            let inner = Arc::clone(&self.inner);
            self.spawn(async move { inner.run(request).await });
        }
    }

    /// Signals an attempt; one that has not begun does not begin. Nothing happens when it ended.
    pub async fn stop(&self, key: AttemptKey, signal: StopSignal) {
        let target = {
            let mut attempts = self.inner.attempts();
            let Some(record) = attempts.get_mut(&key) else { return };
            if record.stop != Some(StopSignal::Kill) {
                record.stop = Some(signal);
            }
            record.started.then(|| record.container.clone())
        };
        if let Some(container) = target {
            let inner = Arc::clone(&self.inner);
            self.spawn(async move { inner.signal(&container, signal).await });
        }
    }

    /// Removes the containers of attempts whose end the agent has on disk, with their anonymous
    /// volumes.
    pub async fn forget(&self, keys: Vec<AttemptKey>) {
        for key in keys {
            let record = self.inner.attempts().remove(&key);
            if let Some(Record { container, .. }) = record {
                let inner = Arc::clone(&self.inner);
                self.spawn(async move { inner.remove(&container).await });
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

/// Asks the engine for a sign of life, without the asynchronous client, whose caller may block.
fn ping(config: &DockerConfig) -> std::io::Result<()> {
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
