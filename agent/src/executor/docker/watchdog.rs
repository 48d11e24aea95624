//! Ends the containers of an agent that is dead or stands still. Run by the keeper, which knows no more of
//! them than their labels.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use bollard::errors::Error as EngineError;
use bollard::query_parameters::{KillContainerOptionsBuilder, ListContainersOptionsBuilder};
use bollard::{API_DEFAULT_VERSION, Docker};
use serde::{Deserialize, Serialize};
use windrow_common::ids::Name;

use super::container::status;
use super::group::labels;

/// Longest wait for the engine's answer.
const ANSWER_SECONDS: u64 = 10;
/// Pause between looks, until nothing runs.
const PAUSE: Duration = Duration::from_millis(500);

/// All containers of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Containers {
    /// The engine's socket.
    pub socket: PathBuf,
    /// As in their labels.
    pub agent: Name,
    /// As in their labels.
    pub state_directory: PathBuf,
}

impl Containers {
    /// What finds them.
    pub(super) fn filters(&self) -> HashMap<String, Vec<String>> {
        let wanted = vec![
            format!("{}={}", labels::AGENT, self.agent),
            format!("{}={}", labels::STATE_DIRECTORY, self.state_directory.display()),
        ];
        HashMap::from([("label".to_owned(), wanted)])
    }
}

/// Kills all of them, until none runs or it is no longer wanted. Blocks.
pub(crate) fn end_all(containers: &Containers, is_wanted: impl Fn() -> bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => return eprintln!("keeper: containers are not ended: {e}"),
    };
    runtime.block_on(async {
        while is_wanted() {
            match kill_running(containers).await {
                Ok(0) => return,
                Ok(_) => {}
                Err(e) => eprintln!("keeper: containers are not ended yet: {e}"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    });
}

/// Kills what runs, and says how many that were.
async fn kill_running(containers: &Containers) -> Result<usize, EngineError> {
    let socket = containers.socket.to_string_lossy();
    let docker = Docker::connect_with_unix(&socket, ANSWER_SECONDS, API_DEFAULT_VERSION)?;
    let filters = containers.filters();
    let options = ListContainersOptionsBuilder::default().filters(&filters).build();
    let running = docker.list_containers(Some(options)).await?;
    let count = running.len();
    for id in running.into_iter().filter_map(|one| one.id) {
        let options = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
        match docker.kill_container(&id, Some(options)).await {
            Ok(()) => {}
            // It has ended.
            Err(e) if matches!(status(&e), Some(404 | 409)) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(count)
}
