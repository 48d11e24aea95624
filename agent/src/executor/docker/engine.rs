//! Single questions and orders to the engine, repeated while it does not answer.

use std::time::Duration;

use bollard::errors::Error as EngineError;
use bollard::models::ContainerState;
use bollard::query_parameters::{
    KillContainerOptionsBuilder, RemoveContainerOptionsBuilder, RemoveVolumeOptionsBuilder,
    WaitContainerOptionsBuilder,
};
use futures::StreamExt;
use windrow_common::time::wall_clock;

use super::Inner;
use super::container::{self, is_gone, status};
use super::group::Group;
use super::life::{Exit, Health};
use crate::executor::StopSignal;

/// Exit code of what SIGKILL ended.
const EXIT_KILLED: i32 = 137;
/// Exit codes of what an engine stopped or lost sight of when it ended.
const ENDED_BY_ENGINE: [i32; 3] = [EXIT_KILLED, 143, 255];
/// First pause when the engine does not answer; doubled up to the limit.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often an engine is asked whether it is still there, after an end that may be its own.
const LEAVING_TRIES: u32 = 10;
/// Longest wait for its answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Tries to signal or remove something.
const TRIES: u32 = 8;

/// How a container came to its end.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// By itself, or by a signal while the engine was there.
    Exited(Exit),
    /// By a signal while the engine was away.
    WithEngine(Exit),
    /// Somebody else removed it.
    Removed,
}

impl Inner {
    /// Waits for a container's end.
    pub(super) async fn await_end(&self, name: &str) -> End {
        let mut pause = PAUSE;
        let mut was_away = false;
        loop {
            match self.wait_once(name).await {
                // An engine that ends takes its containers with it, unless it is told to leave them.
                Ok(exit) if was_away && ENDED_BY_ENGINE.contains(&exit.code) => {
                    return End::WithEngine(exit);
                }
                Ok(exit) => return End::Exited(exit),
                Err(e) if is_gone(&e) => return End::Removed,
                Err(error) => {
                    was_away |= status(&error).is_none();
                    tracing::warn!(name, %error, "waiting for a container failed");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Whether this end, which nobody here asked for, is that of the engine: it stops its containers
    /// and is gone a moment later.
    pub(super) async fn ends_with_engine(&self, exit: Exit) -> bool {
        if exit.out_of_memory || !ENDED_BY_ENGINE.contains(&exit.code) {
            return false;
        }
        for _ in 0..LEAVING_TRIES {
            tokio::time::sleep(PAUSE).await;
            let answer = tokio::time::timeout(ANSWER_LIMIT, self.docker.ping()).await;
            if !matches!(answer, Ok(Ok(_))) {
                return true;
            }
        }
        false
    }

    async fn wait_once(&self, name: &str) -> Result<Exit, EngineError> {
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
        Ok(exit_of(&state))
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

    /// What the health check of a container's image says; unknown while the engine does not answer.
    pub(super) async fn health(&self, name: &str) -> Health {
        match self.docker.inspect_container(name, None).await {
            Ok(found) => found.state.as_ref().map_or(Health::Unknown, container::health_of),
            Err(error) => {
                tracing::warn!(name, %error, "asking for a container's health failed");
                Health::Unknown
            }
        }
    }

    /// Removes everything the engine holds of an attempt.
    pub(super) async fn remove_group(&self, group: &Group) {
        for container in group.all_containers() {
            self.remove(container).await;
        }
        for volume in &group.volumes {
            self.remove_volume(volume).await;
        }
    }

    pub(super) async fn remove_volume(&self, name: &str) {
        let options = RemoveVolumeOptionsBuilder::default().force(true).build();
        match self.docker.remove_volume(name, Some(options)).await {
            Ok(()) => {}
            Err(e) if is_gone(&e) => {}
            // The next start of the agent tries again.
            Err(error) => tracing::warn!(name, %error, "removing a volume failed"),
        }
    }
}

fn exit_of(state: &ContainerState) -> Exit {
    let code = state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(EXIT_KILLED);
    // The engine also says so when only a child of the main process was killed.
    let out_of_memory = state.oom_killed == Some(true) && code == EXIT_KILLED;
    let at = container::time_of(state.finished_at.as_deref()).unwrap_or_else(wall_clock);
    Exit { at, code, out_of_memory }
}
