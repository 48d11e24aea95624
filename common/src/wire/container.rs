//! One container of an attempt, or the one plain process: everything an executor needs to know of it.

use serde::{Deserialize, Serialize};

use crate::units::Resources;

/// Name of the container of a job that has only one, as in AWS Batch.
pub const DEFAULT_NAME: &str = "default";

/// In the log of an attempt with several containers, between a container's name and a line of its
/// output.
pub const LOG_LINE: &str = " | ";
/// The same, when the line goes on in the container's next record.
pub const LOG_PART: &str = " > ";

/// What one container runs and what it may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// Its name in the job.
    pub name: String,
    /// Whether its end ends the job; at least one container of a job is.
    pub essential: bool,
    /// Containers of the same job that have to get so far before this one starts.
    pub depends_on: Vec<(String, Condition)>,
    /// Longest wait for the conditions above, in seconds; absent: no limit. After it the job fails.
    pub start_timeout_seconds: Option<u32>,
    /// Time between SIGTERM and SIGKILL, in seconds; absent: the agent's.
    pub stop_timeout_seconds: Option<u32>,
    /// The container image; absent: a plain process on the host.
    pub image: Option<String>,
    /// Program and arguments; empty: the image's own command. The image's entry point stays.
    pub command: Vec<String>,
    /// Variables the user asked for, in order, without the `AWS_BATCH_` ones.
    pub environment: Vec<(String, String)>,
    /// Variables whose values are looked up on the host at the start and kept nowhere.
    pub secrets: Vec<Secret>,
    /// User name or id, `user` or `user:group`.
    pub user: Option<String>,
    /// Directory to run in; absent: a fresh scratch directory, or the image's.
    pub working_directory: Option<String>,
    /// Volumes of the task shown in the container.
    pub mounts: Vec<Mount>,
    /// Whether the container's own file system is read-only.
    pub readonly_root: bool,
    /// Whether the container has the host's privileges.
    pub privileged: bool,
    /// What it may use: shares of the processor, a hard limit of memory, whole GPUs.
    pub resources: Resources,
    /// Limits of its processes.
    pub ulimits: Vec<Ulimit>,
    /// Settings of the Linux kernel.
    pub linux: LinuxParameters,
    /// Where the engine sends its output besides the job's log; absent: nowhere.
    pub log_driver: Option<LogDriver>,
}

impl Default for ContainerSpec {
    fn default() -> Self {
        Self {
            name: DEFAULT_NAME.to_owned(),
            essential: true,
            depends_on: Vec::new(),
            start_timeout_seconds: None,
            stop_timeout_seconds: None,
            image: None,
            command: Vec::new(),
            environment: Vec::new(),
            secrets: Vec::new(),
            user: None,
            working_directory: None,
            mounts: Vec::new(),
            readonly_root: false,
            privileged: false,
            resources: Resources::default(),
            ulimits: Vec::new(),
            linux: LinuxParameters::default(),
            log_driver: None,
        }
    }
}

/// How far a container has to be before one that depends on it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Condition {
    /// It has started.
    Start,
    /// It has exited, with whatever code.
    Complete,
    /// It has exited with code 0.
    Success,
    /// Its image's health check has passed.
    Healthy,
}

/// A variable whose value is looked up on the agent's host when the container starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// The variable.
    pub name: String,
    /// Where the value is: `env:NAME`, a variable of the agent, or `file:PATH`, a file of the host.
    pub from: String,
}

/// A volume shown inside a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Name of a [`Volume`] of the task.
    pub volume: String,
    /// Path in the container.
    pub target: String,
    /// Whether the container cannot write to it.
    pub read_only: bool,
}

/// A directory that containers of a task can be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name in the task.
    pub name: String,
    /// What is behind it.
    pub source: VolumeSource,
}

/// What is behind a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeSource {
    /// A directory of the host, made when it is missing.
    Host(String),
    /// A fresh, empty one that all containers of the attempt share and that goes with the attempt.
    Shared,
    /// A directory of a file server.
    Nfs {
        /// The server's name or address.
        server: String,
        /// The exported directory.
        path: String,
        /// Options of mount, such as `nfsvers=4.1`; empty: the agent's default.
        options: String,
    },
}

/// A limit of a container's processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// As Docker spells it: `core`, `cpu`, `nofile`, ...
    pub name: String,
    /// The limit that applies; -1 is no limit.
    pub soft: i64,
    /// The highest a process may raise it to; -1 is no limit.
    pub hard: i64,
}

/// Settings of the Linux kernel for a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinuxParameters {
    /// Whether a small init process is process 1 and passes signals on; absent: yes.
    pub init: Option<bool>,
    /// Size of `/dev/shm` in MiB; absent: the engine's.
    pub shared_memory_mib: Option<u32>,
    /// File systems in memory.
    pub tmpfs: Vec<Tmpfs>,
    /// Swap in MiB beside the memory; absent or 0: none.
    pub max_swap_mib: Option<u32>,
    /// How readily the kernel swaps, 0 to 100; counts only with swap.
    pub swappiness: Option<u32>,
    /// Devices of the host.
    pub devices: Vec<Device>,
}

/// A file system in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// Path in the container.
    pub target: String,
    /// Its size in MiB.
    pub size_mib: u32,
    /// Options of mount, such as `noexec`.
    pub options: Vec<String>,
}

/// A device of the host in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Path on the host.
    pub source: String,
    /// Path in the container.
    pub target: String,
    /// Whether the container may read from it.
    pub read: bool,
    /// Whether it may write to it.
    pub write: bool,
    /// Whether it may make device files of it.
    pub mknod: bool,
}

/// A log driver of the engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogDriver {
    /// As Docker spells it: `json-file`, `syslog`, ...
    pub name: String,
    /// Its options.
    pub options: Vec<(String, String)>,
}
