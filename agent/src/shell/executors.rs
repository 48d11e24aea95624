//! The ways to run an attempt that work here, behind one door: a job with an image runs in Docker, any
//! other as a plain process.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{info, warn};
use windrow_common::time::wall_clock;
use windrow_common::wire::agent::Executor;

use crate::config::Switch;
use crate::executor::{
    Adopted, AttemptKey, DockerConfig, DockerExecutor, Error, ExecutorEvent, Fence, ProcessConfig,
    ProcessExecutor, StartRequest, StopSignal,
};

/// Tries for an engine whose containers the journal knows; it may start later than the agent.
const ENGINE_TRIES: u32 = 30;
/// Pause between them.
const ENGINE_PAUSE: Duration = Duration::from_secs(2);

/// Every executor that is open.
#[derive(Debug)]
pub struct Executors {
    process: Option<ProcessExecutor>,
    /// Where no plain processes run the keeper only sees to it that containers end in time.
    runs_processes: bool,
    docker: Option<DockerExecutor>,
    /// Attempts of the Docker executor that are not forgotten; all others are processes.
    in_docker: BTreeSet<AttemptKey>,
}

impl Executors {
    /// Opens what is configured. `runs_processes`: jobs without an image too. `is_docker_needed`: the journal knows of running containers, so an
    /// engine that does not answer yet is waited for a while before they count as lost.
    ///
    /// # Errors
    /// When the keeper cannot be started, or Docker is switched on and does not answer.
    pub async fn open(
        (process, runs_processes): (ProcessConfig, bool),
        docker: (Switch, DockerConfig),
        is_docker_needed: bool,
        events: &mpsc::Sender<Vec<ExecutorEvent>>,
    ) -> Result<Self, Error> {
        let process = match ProcessExecutor::open(process, events.clone()) {
            Err(error) if !runs_processes => {
                warn!(%error, "without a keeper, containers of an agent that stands still run on");
                None
            }
            opened => Some(opened?),
        };
        let docker = match docker {
            (Switch::Off, _) => None,
            (Switch::On, config) => Some(open_docker(&config, is_docker_needed, events).await?),
            (Switch::Auto, config) => match open_docker(&config, is_docker_needed, events).await {
                Ok(docker) => Some(docker),
                Err(error) => {
                    info!(%error, "jobs with an image do not run here");
                    None
                }
            },
        };
        Ok(Self { process, runs_processes, docker, in_docker: BTreeSet::new() })
    }

    /// What works here, for the coordinator.
    pub fn kinds(&self) -> Vec<Executor> {
        let process = self.runs_processes.then_some(Executor::Process).into_iter();
        process.chain(self.docker.iter().map(|_| Executor::Docker)).collect()
    }

    /// Every attempt that an executor still knows; once, before all else.
    ///
    /// # Errors
    /// When the engine cannot list its containers.
    pub async fn adopt(&mut self) -> Result<Vec<Adopted>, Error> {
        let mut adopted = Vec::new();
        if let Some(docker) = &self.docker {
            adopted.extend(docker.adopt().await?);
            self.in_docker.extend(adopted.iter().map(|one| one.key));
        }
        if let Some(process) = &self.process {
            adopted.extend(process.adopt().await?);
        }
        Ok(adopted)
    }

    /// Starts attempts. Gives back the failures of those that nothing here can run.
    pub async fn start(&mut self, requests: Vec<StartRequest>) -> Vec<ExecutorEvent> {
        let (images, commands): (Vec<_>, Vec<_>) =
            requests.into_iter().partition(|request| request.spec.executor() == Executor::Docker);
        let mut refused = Vec::new();
        match self.process.as_ref().filter(|_| self.runs_processes) {
            Some(process) if !commands.is_empty() => process.start(commands).await,
            Some(_) => {}
            None => refused.extend(commands.iter().map(refuse)),
        }
        match &self.docker {
            Some(docker) if !images.is_empty() => {
                self.in_docker.extend(images.iter().map(|request| request.key));
                docker.start(images).await;
            }
            Some(_) => {}
            None => refused.extend(images.iter().map(refuse)),
        }
        refused
    }

    /// Signals attempts.
    pub async fn stop(&self, stops: Vec<(AttemptKey, StopSignal)>) {
        for (key, signal) in stops {
            match (&self.docker, &self.process) {
                (Some(docker), _) if self.in_docker.contains(&key) => {
                    docker.stop(key, signal).await
                }
                (_, Some(process)) => process.stop(key, signal).await,
                (_, None) => {}
            }
        }
    }

    /// Says by when everything must be over, from now on.
    pub async fn fence(&self, fence: Option<Fence>) {
        if let Some(docker) = &self.docker {
            docker.fence(fence);
        }
        if let Some(process) = &self.process {
            let containers = self.docker.as_ref().map(DockerExecutor::containers);
            process.fence(fence, containers).await;
        }
    }

    /// Drops records of attempts that have ended.
    pub async fn forget(&mut self, keys: Vec<AttemptKey>) {
        let (images, commands): (Vec<_>, Vec<_>) =
            keys.into_iter().partition(|key| self.in_docker.remove(key));
        if let Some(docker) = self.docker.as_ref().filter(|_| !images.is_empty()) {
            docker.forget(images).await;
        }
        if let Some(process) = self.process.as_ref().filter(|_| !commands.is_empty()) {
            process.forget(commands).await;
        }
    }
}

async fn open_docker(
    config: &DockerConfig,
    is_needed: bool,
    events: &mpsc::Sender<Vec<ExecutorEvent>>,
) -> Result<DockerExecutor, Error> {
    let mut tries = 1;
    loop {
        match DockerExecutor::open(config.clone(), events.clone()) {
            Err(error) if is_needed && tries < ENGINE_TRIES => {
                warn!(%error, "jobs of this agent may run in an engine that does not answer; waiting");
                tokio::time::sleep(ENGINE_PAUSE).await;
                tries += 1;
            }
            result => return result,
        }
    }
}

fn refuse(request: &StartRequest) -> ExecutorEvent {
    let reason = match request.spec.containers.iter().find_map(|one| one.image.as_ref()) {
        Some(image) => format!("image `{image}`: this agent has no Docker engine"),
        None => "this agent runs no plain processes; give the job an image".to_owned(),
    };
    ExecutorEvent::StartFailed { key: request.key, at: wall_clock(), reason }
}
