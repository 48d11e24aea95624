//! Runs attempts: as plain processes or as Docker containers.
//!
//! An executor outlives nothing by itself, but what it started does: after a crash of the agent,
//! `adopt` gives back every attempt that still runs or has ended meanwhile.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use windrow_common::ids::{JobId, LeaseId};
use windrow_common::time::Timestamp;
use windrow_common::units::Resources;
use windrow_common::wire::agent::ContainerEnd;
use windrow_common::wire::lease::TaskSpec;

pub mod docker;
pub mod log_files;
pub mod process;
mod secrets;

pub use docker::{DockerConfig, DockerExecutor};
pub use log_files::LogFiles;
pub use process::{ProcessConfig, ProcessExecutor};

/// Why an executor cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The keeper's program could not be started.
    #[error("cannot start the keeper `{program}`")]
    StartKeeper {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The keeper started and ended without serving.
    #[error("the keeper of `{directory}` does not serve; see `{directory}/keeper.log`")]
    KeeperSilent {
        /// The keeper's directory.
        directory: PathBuf,
    },
    /// The directory of the keeper, or a file in it, could not be used.
    #[error("cannot use `{path}`")]
    Directory {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The running keeper speaks another version than this agent.
    #[error(
        "the keeper of `{directory}` speaks version {found}, this agent {wanted}; let its jobs \
         end, or stop it, and start the agent again"
    )]
    KeeperVersion {
        /// The keeper's directory.
        directory: PathBuf,
        /// What it speaks.
        found: u16,
        /// What this agent speaks.
        wanted: u16,
    },
    /// No Docker engine answers.
    #[error("no Docker engine answers on `{socket}`: {reason}")]
    NoDocker {
        /// The engine's socket.
        socket: PathBuf,
        /// Why.
        reason: String,
    },
    /// The Docker engine refused something.
    #[error("Docker cannot {action}")]
    Docker {
        /// What was attempted.
        action: &'static str,
        /// Why.
        #[source]
        source: Box<bollard::errors::Error>,
    },
}

/// An attempt that an executor knows from before the agent's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// Which.
    pub key: AttemptKey,
    /// When it started; when it was tried, if it never ran. Absent while some of its containers wait
    /// for others: the event of its start follows.
    pub started_at: Option<Timestamp>,
    /// Whether it still runs. If not, the event with its end follows.
    pub running: bool,
}

/// One attempt on this host. A child's later attempts have other leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptKey {
    /// The lease it runs under.
    pub lease: LeaseId,
    /// The child's index; 0 for a single job.
    pub child: u32,
}

/// When attempts must be over although their agent may be dead or stand still, since this host was
/// started: others get their work afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// They are asked to end.
    pub stop_at: Duration,
    /// They are killed, and none starts any more.
    pub kill_at: Duration,
}

/// Variables of a container or process. Some are secret, so only their names are ever shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Environment(pub Vec<(String, String)>);

impl Environment {
    /// Adds a variable, or gives one another value.
    pub fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(existing, _)| existing == name) {
            Some((_, existing)) => value.clone_into(existing),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Everything needed to start an attempt.
#[derive(Clone, Debug)]
pub struct StartRequest {
    /// Names the attempt in later calls and events.
    pub key: AttemptKey,
    /// Its job, for labels.
    pub job: JobId,
    /// What to run.
    pub spec: Arc<TaskSpec>,
    /// The complete environment of each container, `AWS_BATCH_` variables included.
    pub environments: Vec<Environment>,
    /// What all of it may use.
    pub resources: Resources,
    /// The GPUs of each container, by id.
    pub gpus: Vec<Vec<String>>,
    /// The file that receives its output, standard output and error in the order written; of
    /// several containers with their name before each line. The executor creates it (and appends).
    pub log_file: PathBuf,
    /// A directory for this attempt alone; a process without a working directory of its own runs in
    /// it. The executor creates it when used and removes it when the attempt ended.
    pub scratch: PathBuf,
}

/// What an executor tells the agent about an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecutorEvent {
    /// It runs.
    Started {
        /// Which.
        key: AttemptKey,
        /// Since when.
        at: Timestamp,
    },
    /// It never ran. Nothing is left of it.
    StartFailed {
        /// Which.
        key: AttemptKey,
        /// When that was known.
        at: Timestamp,
        /// Why, in AWS's words where it has them (`CannotPullContainerError: …`).
        reason: String,
    },
    /// It ended, and nothing of it runs any more; its log file is complete.
    Exited {
        /// Which.
        key: AttemptKey,
        /// When.
        at: Timestamp,
        /// Exit status; 128 and the signal's number when killed.
        exit_code: i32,
        /// Whether its memory limit ended it.
        out_of_memory: bool,
        /// Why, where the exit status does not tell.
        reason: Option<String>,
        /// How each container ended, of an attempt with several.
        containers: Vec<ContainerEnd>,
    },
    /// The executor lost sight of it: how it ended cannot be known. It does not run any more.
    Lost {
        /// Which.
        key: AttemptKey,
        /// When that was noticed.
        at: Timestamp,
        /// What happened.
        reason: String,
    },
}

/// How hard to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopSignal {
    /// SIGTERM to the main process's group: please end.
    Terminate,
    /// SIGKILL to everything of the attempt.
    Kill,
}
