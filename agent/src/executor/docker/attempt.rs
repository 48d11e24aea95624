//! The life of one attempt: image, create, start, follow, end; signals and removal beside.

use std::path::Path;
use std::time::Duration;

use bollard::errors::Error as EngineError;
use bollard::models::ContainerState;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, KillContainerOptionsBuilder, RemoveContainerOptionsBuilder,
    WaitContainerOptionsBuilder,
};
use futures::StreamExt;
use windrow_common::time::{Timestamp, wall_clock};

use super::container::{self, is_gone, message, status};
use super::{Inner, images, logs};
use crate::executor::{AttemptKey, ExecutorEvent, StartRequest, StopSignal};

/// Exit code of what SIGKILL ended.
const EXIT_KILLED: i32 = 137;
/// First pause when the engine does not answer; doubled up to the limit.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Tries to signal or remove a container.
const TRIES: u32 = 8;

/// How a container ended.
enum End {
    Exited { at: Timestamp, exit_code: i32, out_of_memory: bool },
    Gone,
}

impl Inner {
    /// Starts the attempt and follows it to its end.
    pub(super) async fn run(&self, request: StartRequest) {
        let key = request.key;
        let name = container::name(&request);
        match self.begin(&request, &name).await {
            Ok(at) => {
                self.tell(ExecutorEvent::Started { key, at }).await;
                self.follow(key, &name, &request.log_file).await;
            }
            Err(reason) => {
                let at = wall_clock();
                self.tell(ExecutorEvent::StartFailed { key, at, reason }).await;
            }
        }
    }

    /// Creates and starts the container. The error is for the user; no container is left then.
    async fn begin(&self, request: &StartRequest, name: &str) -> Result<Timestamp, String> {
        let image = request
            .spec
            .containers
            .first()
            .and_then(|one| one.image.as_deref())
            .filter(|image| !image.is_empty());
        let image = images::with_tag(image.ok_or("the job names no image")?);
        self.images.ensure(&self.docker, &image).await?;
        let closed = |_| "the agent is shutting down".to_owned();
        let _slot = self.slots.acquire().await.map_err(closed)?;
        self.refuse_if_stopped(request.key)?;
        let body = container::body(request, &self.config, &image, wall_clock())?;
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        if let Err(e) = self.docker.create_container(Some(options), body).await {
            if status(&e).is_none() {
                // No answer came: it may have been created all the same.
                self.remove(name).await;
            }
            return Err(format!("CannotCreateContainerError: {}", message(&e)));
        }
        if let Err(e) = self.docker.start_container(name, None).await {
            self.remove(name).await;
            return Err(format!("CannotStartContainerError: {}", message(&e)));
        }
        let at = wall_clock();
        if let Some(signal) = self.note_started(request.key) {
            self.signal(name, signal).await;
        }
        Ok(at)
    }

    fn refuse_if_stopped(&self, key: AttemptKey) -> Result<(), String> {
        let stopped = self.attempts().get(&key).is_none_or(|record| record.stop.is_some());
        if stopped { Err("stopped before it started".to_owned()) } else { Ok(()) }
    }

    /// From now on signals reach the container; gives the one that came too early to.
    fn note_started(&self, key: AttemptKey) -> Option<StopSignal> {
        let mut attempts = self.attempts();
        let record = attempts.get_mut(&key)?;
        record.started = true;
        record.stop
    }

    /// Copies the output and waits for the end of a container that was started.
    pub(super) async fn follow(&self, key: AttemptKey, name: &str, log_file: &Path) {
        let (end, ()) =
            tokio::join!(self.await_end(name), logs::follow(&self.docker, name, log_file));
        let event = match end {
            End::Exited { at, exit_code, out_of_memory } => {
                ExecutorEvent::Exited { key, at, exit_code, out_of_memory }
            }
            End::Gone => lost(key, "its container was removed by somebody else"),
        };
        self.tell(event).await;
    }

    /// Gives up a container that was created and never started.
    pub(super) async fn abandon(&self, key: AttemptKey, name: &str) {
        self.remove(name).await;
        self.tell(lost(key, "the agent stopped before it could start the container")).await;
    }

    async fn await_end(&self, name: &str) -> End {
        let mut pause = PAUSE;
        loop {
            match self.wait_once(name).await {
                Ok(end) => return end,
                Err(e) if is_gone(&e) => return End::Gone,
                Err(error) => tracing::warn!(name, %error, "waiting for a container failed"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn wait_once(&self, name: &str) -> Result<End, EngineError> {
        let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
        let mut waiting = Box::pin(self.docker.wait_container(name, Some(options)));
        match waiting.next().await {
            // A code that is not zero comes as an error; the state below tells it either way.
            Some(Ok(_) | Err(EngineError::DockerContainerWaitError { .. })) | None => {}
            Some(Err(e)) => return Err(e),
        }
        let state = self.docker.inspect_container(name, None).await?.state.unwrap_or_default();
        if container::is_live(&state) {
            let text = "the engine broke off, the container runs".to_owned();
            return Err(EngineError::DockerStreamError { error: text });
        }
        Ok(end_of(&state))
    }

    /// Sends a signal to the container's main process.
    pub(super) async fn signal(&self, name: &str, signal: StopSignal) {
        let word = match signal {
            StopSignal::Terminate => "SIGTERM",
            StopSignal::Kill => "SIGKILL",
        };
        let mut pause = PAUSE;
        for _ in 0..TRIES {
            let options = KillContainerOptionsBuilder::default().signal(word).build();
            match self.docker.kill_container(name, Some(options)).await {
                Ok(()) => return,
                // It does not run, or does not exist.
                Err(e) if matches!(status(&e), Some(404 | 409)) => return,
                Err(error) => tracing::warn!(name, word, %error, "signalling a container failed"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Removes the container and its anonymous volumes.
    pub(super) async fn remove(&self, name: &str) {
        let mut pause = PAUSE;
        for _ in 0..TRIES {
            let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            match self.docker.remove_container(name, Some(options)).await {
                Ok(()) => return,
                // It does not exist, or is being removed.
                Err(e) if matches!(status(&e), Some(404 | 409)) => return,
                Err(error) => tracing::warn!(name, %error, "removing a container failed"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

fn end_of(state: &ContainerState) -> End {
    let exit_code = state.exit_code.and_then(|code| i32::try_from(code).ok());
    let exit_code = exit_code.unwrap_or(EXIT_KILLED);
    // The engine also says so when only a child of the main process was killed.
    let out_of_memory = state.oom_killed == Some(true) && exit_code == EXIT_KILLED;
    let at = container::time_of(state.finished_at.as_deref()).unwrap_or_else(wall_clock);
    End::Exited { at, exit_code, out_of_memory }
}

fn lost(key: AttemptKey, reason: &str) -> ExecutorEvent {
    ExecutorEvent::Lost { key, at: wall_clock(), reason: reason.to_owned() }
}
